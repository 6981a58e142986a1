"""Handing images to a Pyramidion server, for stations that must not see Redis or the database.

What capture.run hands frames to instead of capture.intake: nothing leaves the spool before the server has
said that it is stored. Ids are made at the station: what is sent again after a crash of either side is known.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from capture.frames import Frame
from capture.intake import IntakeReport, Refusal
from capture.patience import AwayError
from capture.server import Server, TooMuchError
from capture.settings import CaptureSettings
from db.text import UnkeepableNameError, readable, require_name

_IMAGES: Final = 64  # of a request
_BYTES: Final = 64 * 1024 * 1024  # of images in a request, unless one is larger
_AT_ONCE: Final = 1000  # ids of a question, refusals of a message
_NAME: Final = 1000  # characters: the end of a path tells most


class Upload:
    """Each method may be repeated, also after either side was killed halfway: nothing doubles.

    They raise AwayError where nothing could be kept just now, and capture.server.UploadRefusedError where
    waiting is no cure.
    """

    described: ClassVar[str] = "the server"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._bytes = _BYTES  # fewer once the server says so

    def close(self) -> None:
        """Let the connections to the server go."""
        self._server.close()

    def take(self, frames: Sequence[Frame]) -> IntakeReport:
        """Have the server store the frames, in as many requests as they need."""
        rest: list[Frame] = []
        refused: list[Refusal] = []
        for frame in {frame.id: frame for frame in frames}.values():
            why = _unkeepable(frame)
            if why is None:
                rest.append(frame)
            else:
                refused.append(_refusal(frame, why))
        reports: list[IntakeReport] = []
        while rest:
            batch = _first(rest, self._bytes)
            try:
                reports.append(self._send(batch))
            except TooMuchError as error:
                if len(batch) > 1:
                    self._bytes = sum(len(frame.data) for frame in batch) // 2
                    continue
                refused.append(_refusal(batch[0], str(error)))
            rest = rest[len(batch) :]
        self.refuse(refused)
        return IntakeReport(
            tuple(id_ for report in reports for id_ in report.accepted),
            tuple(id_ for report in reports for id_ in report.known),
            (*refused, *(one for report in reports for one in report.refused)),
            sum(report.unannounced for report in reports),
        )

    def known(self, ids: Collection[UUID]) -> set[UUID]:
        """Ask which of the ids are accepted already, so that their images need not be sent again.

        Without ids it only asks whether the server lets this station in.
        """
        found: set[UUID] = set()
        for some in _by(_AT_ONCE, [str(id_) for id_ in ids]) or [[]]:
            answer = self._server.ask("inspections/known", json={"ids": some})
            found.update(UUID(one) for one in _list(answer, "known"))
        return found

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Have the server leave an event for each image that could not even become a frame."""
        for some in _by(_AT_ONCE, [_described(one) for one in refusals]):
            self._server.ask("inspections/refused", json={"refused": some})

    def held_up(self, settings: CaptureSettings) -> tuple[float, str | None]:  # noqa: ARG002
        """Never: the server says with each answer whether it can take images now."""
        return 0.0, None

    def _send(self, frames: Sequence[Frame]) -> IntakeReport:
        about = json.dumps([_about(frame) for frame in frames]).encode("ascii")
        parts: list[tuple[str, tuple[str | None, bytes, str]]] = [
            ("frames", (None, about, "application/json")),
            *(
                ("images", (str(number), frame.data, "application/octet-stream"))
                for number, frame in enumerate(frames)
            ),
        ]
        answer = self._server.ask("inspections", files=parts)
        by_id = {str(frame.id): frame for frame in frames}
        accepted, known = _list(answer, "accepted"), _list(answer, "known")
        refused = {one["id"]: str(one["reason"]) for one in _list(answer, "refused")}
        unanswered = set(by_id) - {*accepted, *known, *refused}
        if unanswered:
            raise AwayError(f"{self._server.url} said nothing of {len(unanswered)} of {len(frames)} images")
        return IntakeReport(
            tuple(by_id[id_].id for id_ in accepted),
            tuple(by_id[id_].id for id_ in known),
            tuple(_refusal(by_id[id_], reason) for id_, reason in refused.items()),
            int(answer.get("unannounced", 0)),
        )


def _first(frames: Sequence[Frame], most_bytes: int) -> list[Frame]:
    """Give as many of the first frames as go into a request, at least one."""
    size = 0
    for number, frame in enumerate(frames):
        size += len(frame.data)
        if number and (number >= _IMAGES or size > most_bytes):
            return list(frames[:number])
    return list(frames)


def _by(number: int, items: list[Any]) -> list[list[Any]]:
    return [items[start : start + number] for start in range(0, len(items), number)]


def _unkeepable(frame: Frame) -> str | None:
    """Say which of the frame's names no database keeps: such text doesn't even go over the network."""
    try:
        for what in ("product", "station", "line", "serial", "lot"):
            require_name(what, getattr(frame, what))
    except UnkeepableNameError as error:
        return str(error)
    return None


def _about(frame: Frame) -> dict[str, str | None]:
    return {
        "id": str(frame.id),
        "product": frame.product,
        "station": frame.station,
        "line": frame.line,
        "serial": frame.serial,
        "lot": frame.lot,
        "captured_at": frame.captured_at.isoformat(),
        "name": readable(frame.name)[-_NAME:],
        "sha256": frame.sha256,
    }


def _described(refusal: Refusal) -> dict[str, str | None]:
    return {
        "id": None if refusal.id is None else str(refusal.id),
        "name": readable(refusal.name)[-_NAME:],
        "reason": readable(refusal.reason)[:_NAME],
        "product": readable(refusal.product),
        "station": readable(refusal.station),
    }


def _refusal(frame: Frame, reason: str) -> Refusal:
    return Refusal(frame.id, frame.name, reason, frame.product, frame.station)


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    found = answer.get(name)
    return found if isinstance(found, list) else []
