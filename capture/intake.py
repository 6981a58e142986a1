"""Intake: frames become stored images, inspection rows, and messages to the workers, in that order.

All that the page needs to take in what stations upload is here.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from capture.clocks import StationClocks
from capture.frames import Frame
from capture.images import ImageFacts, Limits, RefusedImageError, inspect
from capture.settings import CaptureSettings
from db import attempts, clock, events, inspections
from db.golden import GoldenError, StoredImage
from db.imagestore import ImageStore, key_of
from db.inspections import NewInspection
from db.tables import Event
from db.text import readable
from workers.queue import BrokerUnavailableError

__all__ = [
    "REFUSED",
    "CaptureSettings",
    "Enqueue",
    "Frame",
    "Intake",
    "IntakeReport",
    "Limits",
    "Refusal",
    "row",
]

REFUSED = "image.refused"
_SUBJECT = 255  # characters of an event's subject
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Refusal:
    """An image that is not inspected, and why; `id` is None where there is no file to make one from."""

    id: UUID | None
    name: str
    reason: str
    product: str
    station: str


@dataclass(frozen=True)
class IntakeReport:
    """What became of each frame: accepted now, known before, or refused. `unannounced` of the accepted ones
    could not be queued; they wait in the database, and the sweeper queues them when the broker is back.
    """

    accepted: tuple[UUID, ...]
    known: tuple[UUID, ...]
    refused: tuple[Refusal, ...]
    unannounced: int


class Enqueue(Protocol):
    """Queues accepted inspections; raises workers.queue.BrokerUnavailableError."""

    def __call__(self, ids: Sequence[UUID], *, at: datetime) -> None: ...


@dataclass(frozen=True)
class Intake:
    """Where frames go. Each method may be repeated, also after being killed halfway: nothing doubles.

    They raise ImageStoreUnavailableError, or an error of SQLAlchemy, where nothing could be kept.
    """

    described: ClassVar[str] = "database and image store"

    sessions: sessionmaker[Session]
    store: ImageStore
    enqueue: "Enqueue"
    limits: Limits
    clocks: StationClocks = field(default_factory=StationClocks)

    def take(self, frames: Sequence[Frame], clock_ahead_s: float | None = 0.0) -> IntakeReport:
        """Accept what can be inspected; raises UnknownProductError, with nothing accepted, for a product that
        isn't set up.

        `clock_ahead_s` is by how much the stations' clock is ahead of this machine's: 0 where it is the same
        clock, None where it isn't known.
        """
        new: dict[UUID, NewInspection] = {}
        blobs: list[bytes] = []
        refused: list[Refusal] = []
        received_at = datetime.now(UTC)
        for frame in frames:
            if frame.id in new:
                continue
            try:
                facts = inspect(frame.data, self.limits)
                new[frame.id] = row(frame, facts, received_at)
            except (RefusedImageError, ValueError) as error:  # ValueError: a name that no database keeps
                refused.append(Refusal(frame.id, frame.name, str(error), frame.product, frame.station))
            else:
                blobs.append(frame.data)
        self.store.put_many(blobs)
        with self.sessions.begin() as session:
            at = clock.now(session)
            ahead_s = (datetime.now(UTC) - at).total_seconds()
            accepted = inspections.accept(session, list(new.values()), waiting_since=at)
            _record(session, refused)
            stations = {row.station for row in new.values()} if clock_ahead_s is not None else ()
            told = self.clocks.tell(session, stations, at, ahead_s + (clock_ahead_s or 0.0))
        self.clocks.remember(told)
        known = tuple(id_ for id_ in new if id_ not in set(accepted))
        return IntakeReport(tuple(accepted), known, tuple(refused), self._announce(accepted, at))

    def known(self, ids: Collection[UUID]) -> set[UUID]:
        """Tell which of the ids are accepted already, so that their images need not be read again."""
        with self.sessions.begin() as session:
            return inspections.known_ids(session, ids)

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Leave an event for each image that could not even become a frame."""
        with self.sessions.begin() as session:
            _record(session, refusals)

    def held_up(self, settings: CaptureSettings) -> tuple[float, str | None]:
        """Give for how many seconds to take nothing in, and why; 0 and None where nothing speaks against it.

        For ever where the image store has too little room; a moment before each batch where the backlog is
        old: work that nobody does would stop the intake for good otherwise.
        """
        free, least = self.store.free_bytes(), settings.image_store_min_free_bytes
        if free is not None and free < least:
            return float("inf"), (
                f"intake waits: {self.store.describe()} has {free / 1e9:.2f} GB free, less than "
                f"PYRAMIDION_IMAGE_STORE_MIN_FREE_BYTES ({least / 1e9:.2f} GB). Make room there, or let "
                "retention remove images; meanwhile the spool takes them"
            )
        with self.sessions.begin() as session:
            oldest = attempts.oldest(session)
        age_s = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
        if age_s <= settings.backlog_max_s:
            return 0.0, None
        return min(_LONGEST_PAUSE_S, age_s / settings.backlog_max_s), (
            f"intake slows down: the oldest image without a verdict has waited {age_s:.0f} s, longer than "
            f"PYRAMIDION_BACKLOG_MAX_S ({settings.backlog_max_s:g}). `pyramidion status` says who "
            "works, `pyramidion doctor` who should"
        )

    def _announce(self, ids: Sequence[UUID], at: datetime) -> int:
        if not ids:
            return 0
        try:
            self.enqueue(ids, at=at)
        except BrokerUnavailableError:
            return len(ids)
        return 0


def row(frame: Frame, facts: ImageFacts, received_at: datetime) -> NewInspection:
    """Give what is inserted for a frame; raises ValueError for a name that no database keeps."""
    return NewInspection(
        id=frame.id,
        product=frame.product,
        station=frame.station,
        line=frame.line,
        serial=frame.serial,
        lot=frame.lot,
        captured_at=frame.captured_at,
        received_at=received_at,
        image_sha256=frame.sha256,
        image_key=key_of(frame.sha256),
        image_bytes=len(frame.data),
        image_width=facts.width,
        image_height=facts.height,
        image_format=facts.format,
    )


def golden_image(data: bytes) -> StoredImage:
    """Give what is kept of an image that shall be a golden sample; raises GoldenError for one that can't."""
    try:
        facts = inspect(data, Limits.of(CaptureSettings()))
    except RefusedImageError as error:
        raise GoldenError(f"this can't be a golden sample: {error}") from None
    return StoredImage(hashlib.sha256(data).hexdigest(), len(data), facts.width, facts.height, facts.format)


def _record(session: Session, refusals: Sequence[Refusal]) -> None:
    """Record each refusal once, however often its image comes by."""
    if not refusals:
        return
    by_subject = {_subject(refusal): refusal for refusal in refusals}
    recorded = set(
        session.scalars(
            select(Event.subject).where(Event.kind == REFUSED, Event.subject.in_(list(by_subject)))
        )
    )
    for subject, refusal in by_subject.items():
        if subject not in recorded:
            detail = {
                "name": refusal.name,
                "reason": refusal.reason,
                "product": refusal.product,
                "station": refusal.station,
            }
            events.record(session, REFUSED, f"station {refusal.station}"[:_SUBJECT], subject, detail)


def _subject(refusal: Refusal) -> str:
    return readable(str(refusal.id) if refusal.id else refusal.name)[-_SUBJECT:]
