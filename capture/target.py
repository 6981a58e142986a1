"""Where frames go from the spool: into the database (capture.intake), or to a server (capture.upload)."""

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from capture.frames import Frame
from capture.intake import IntakeReport, Refusal
from capture.settings import CaptureSettings


class Target(Protocol):
    """What takes frames. Each method may be repeated, also after being killed halfway: nothing doubles.

    They raise what capture.patience waits for where nothing could be kept just now.
    """

    @property
    def described(self) -> str:
        """What is away when it is, in words."""

    def take(self, frames: Sequence[Frame]) -> IntakeReport:
        """Keep the frames durably and say what became of each; only then may the spool forget them."""

    def known(self, ids: Collection[UUID]) -> set[UUID]:
        """Tell which of the ids are accepted already."""

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Leave an event for each image that could not even become a frame."""

    def held_up(self, settings: CaptureSettings) -> tuple[float, str | None]:
        """Give for how many seconds to hand nothing over, and why."""
