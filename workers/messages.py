"""The one message that travels from stations to scoring workers: ids, never pixels.

Messages of each version have a queue of their own, so that a plant may be updated one process at a time: a
version waits for a worker that knows it (docs/adr/0026-versions-of-messages.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

VERSION: Final = 1  # that this release writes
KNOWN: Final = (1,)  # that it reads: those that stations of the release before still write, too
MAX_VERSION: Final = 999  # what says more is garbage, and shall make no queue
# Few: a message goes to one worker whole, and the last of a rush shouldn't keep one busy alone.
MAX_IDS: Final = 16


class UnknownMessageError(ValueError):
    """A message that this release cannot read."""


def queue_of(version: int) -> str:
    """Give the queue in which messages of a version travel."""
    return "score" if version == 1 else f"score.v{version}"


def known_queues() -> list[str]:
    """Give the queues that a worker of this release empties."""
    return [queue_of(one) for one in KNOWN]


def version_of(body: object) -> int | None:
    """Give the version that a message says it has; None for what is no message of any release."""
    version = body.get("version") if isinstance(body, dict) else None
    readable = isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= MAX_VERSION
    return version if readable else None


@dataclass(frozen=True, slots=True)
class ScoreMessage:
    """1 to 16 inspections that wait for a verdict, and when they were queued (UTC)."""

    ids: tuple[UUID, ...]
    enqueued_at: datetime

    def __post_init__(self) -> None:
        if not 1 <= len(self.ids) <= MAX_IDS:
            raise ValueError(f"a message carries 1 to {MAX_IDS} ids, not {len(self.ids)}")
        if self.enqueued_at.tzinfo is None:
            raise ValueError(f"enqueued_at needs a time zone: {self.enqueued_at}")

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "ids": [str(one) for one in self.ids],
            "enqueued_at": self.enqueued_at.isoformat(),
        }

    @classmethod
    def from_json(cls, body: object) -> "ScoreMessage":
        """Read a message; raises UnknownMessageError for another version or anything malformed."""
        if not isinstance(body, dict) or version_of(body) not in KNOWN:
            known = " or ".join(map(str, KNOWN))
            raise UnknownMessageError(f"not a score message of version {known}: {body!r:.200}")
        try:
            ids = tuple(UUID(one) for one in body["ids"])
            return cls(ids, datetime.fromisoformat(body["enqueued_at"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnknownMessageError(f"malformed score message ({error}): {body!r:.200}") from error


def messages(ids: Sequence[UUID], enqueued_at: datetime) -> list[ScoreMessage]:
    """Cut any number of ids into messages of at most 16."""
    return [
        ScoreMessage(tuple(ids[start : start + MAX_IDS]), enqueued_at)
        for start in range(0, len(ids), MAX_IDS)
    ]
