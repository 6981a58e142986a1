"""What a source gives: frames, or files that may become frames, or what it had to leave out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from capture.frames import Frame
from capture.intake import Refusal


@dataclass(frozen=True)
class Skipped:
    """A file that isn't meant to be inspected, or not yet."""

    name: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A file that is read only if its inspection isn't there yet; reading raises nothing."""

    id: UUID
    read: Callable[[], Frame | Refusal | Skipped]


# None says that nothing more comes for now: what was gathered shall go on its way.
Item: TypeAlias = Frame | Candidate | Refusal | Skipped | None
