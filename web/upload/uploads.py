"""From images of a request to accepted inspections: the same intake as a station's own, and no faster."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Annotated, Final

import anyio
from fastapi import Depends, Request

from capture.intake import CaptureSettings, Frame, Intake, IntakeReport, Limits, Refusal
from db import inspections, mounted
from db.text import readable
from web.access import Principal
from web.site import Site
from web.upload.documents import RefusalsDocument, RefusedDocument, TakenDocument, id_of
from web.upload.receiving import MisdescribedError, Received
from workers.queue import enqueue

_COMING: Final = 32  # requests that are read at once, each with up to a quarter of a gigabyte on disk
_TAKEN: Final = 2  # requests that are taken in at once, each with up to _BYTES in memory
_IMAGES: Final = 64  # that are committed at once
_BYTES: Final = 64 * 1024 * 1024  # of images in memory, unless one is larger
_LOOK_S: Final = 1.0
_NO_ROOM_S: Final = 30.0


class HeldUpError(Exception):
    """No images are taken just now; what was sent has to come again, after `retry_after_s`."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class OtherStationError(Exception):
    """A token of one station was shown for another."""


class DamagedError(Exception):
    """An image came otherwise than it was sent."""


class Uploads:
    """What all uploads share. Safe to share among threads. Raises SettingsError."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = CaptureSettings()
        self._intake = Intake(site.acts, site.store, enqueue, Limits.of(self._settings))
        self._looking = replace(self._intake, sessions=site.sessions)
        self.gate = anyio.CapacityLimiter(1)  # so that no more threads wait for a database that is away
        self.turns = anyio.CapacityLimiter(_TAKEN)
        self._coming = 0
        self._lock = threading.Lock()
        self._held_up: tuple[float, str | None] = (0.0, None)
        self._looked_at = -_LOOK_S
        self._last: dict[str, float] = {}  # when each was let in while the backlog is old

    def let_in(self, who: Principal) -> None:
        """Let a request come in, which is let_out() afterwards.

        Raises HeldUpError, and ImageStoreUnavailableError.
        """
        with self._lock:
            self._look()
            if self._coming >= _COMING:
                raise HeldUpError("too many stations send images just now; send them again in a moment", 1.0)
            self._require_turn(who.name)
            self._coming += 1

    def let_out(self) -> None:
        with self._lock:
            self._coming -= 1

    def take(
        self, who: Principal, received: Sequence[Received], clock_ahead_s: float | None
    ) -> TakenDocument:
        """Take images in, some at a time; once it returns, each is stored, or refused with an event.

        Raises UnknownProductError, OtherStationError, MisdescribedError and UnidentifiedImageError with
        nothing taken; DamagedError, and what Intake.take raises, with some taken, which are known when they
        come again.
        """
        stations = [station_for(who, one.about.station, one.which) for one in received]
        for one in received:
            one.about.time(one.which)
        with self._site.reading() as session:
            for product in {one.about.product for one in received}:
                inspections.require_product(session, readable(product))
        reports = []
        frames: list[Frame] = []
        for one, station in zip(received, stations, strict=True):
            frames.append(_frame(one, station))
            if len(frames) >= _IMAGES or sum(len(frame.data) for frame in frames) >= _BYTES:
                reports.append(self._intake.take(frames, clock_ahead_s))
                frames = []
        if frames:
            reports.append(self._intake.take(frames, clock_ahead_s))
        return _told(reports)

    def refuse(self, who: Principal, said: RefusalsDocument) -> int:
        """Leave an event for each file that a station could not read. Raises OtherStationError."""
        refusals = [
            Refusal(one.id, one.name, one.reason, one.product, station_for(who, one.station, one.name[:80]))
            for one in said.refused
        ]
        self._intake.refuse(refusals)
        return len(refusals)

    def _look(self) -> None:
        """See how far behind the workers are, and whether there is room; one looks for all."""
        if monotonic() - self._looked_at < _LOOK_S:
            return
        with self._site.reading() as session:
            mounted.require_images(session, self._site.store)
        self._held_up = self._looking.held_up(self._settings)
        self._looked_at = monotonic()

    def _require_turn(self, actor: str) -> None:
        pause_s, why = self._held_up
        if why is None:
            self._last.clear()
            return
        if pause_s == float("inf"):
            raise HeldUpError(why, _NO_ROOM_S)
        left_s = self._last.get(actor, -pause_s) + pause_s - monotonic()
        if left_s > 0:
            raise HeldUpError(why, left_s)
        self._last[actor] = monotonic()


def station_for(who: Principal, said: str | None, which: str) -> str:
    """Give the station of an image. Raises OtherStationError and MisdescribedError."""
    if said is None and who.station is None:
        raise MisdescribedError(f"{which} names no station")
    if who.station is not None and said not in {None, who.station}:
        raise OtherStationError(f"this token uploads for station {who.station!r} only, not for {said!r}")
    return said or who.station or ""


def _frame(one: Received, station: str) -> Frame:
    one.file.file.seek(0)
    data = one.file.file.read()
    sha256 = hashlib.sha256(data).hexdigest()
    about = one.about
    if about.sha256 is not None and about.sha256 != sha256:
        raise DamagedError(f"{one.which} was damaged on its way: send it again. Its sha256 is {sha256} here")
    at = about.time(one.which)
    return Frame(
        id=about.id or id_of(about.product, station, at, sha256),
        product=about.product,
        station=station,
        line=about.line,
        serial=about.serial,
        lot=about.lot,
        captured_at=at,
        name=one.name,
        data=data,
    )


def _told(reports: Sequence[IntakeReport]) -> TakenDocument:
    return TakenDocument(
        accepted=[id_ for report in reports for id_ in report.accepted],
        known=[id_ for report in reports for id_ in report.known],
        refused=[
            RefusedDocument(
                id=one.id,
                name=one.name,
                reason=readable(one.reason),
                product=one.product,
                station=one.station,
            )
            for report in reports
            for one in report.refused
        ],
        unannounced=sum(report.unannounced for report in reports),
    )


async def _of(request: Request) -> Uploads:
    uploads: Uploads = request.app.state.uploads
    return uploads


Receiving = Annotated[Uploads, Depends(_of)]
