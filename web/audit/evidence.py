"""Evidence as a download, sent while it is made.

It is made into a file that has no name, at the speed of this machine: a snapshot of the database isn't held
for as long as a slow browser takes. Most of it is whole before anything is sent, so that what is wrong is
answered with a sentence. Of a long one the beginning is sent meanwhile; should it fail then, the download
breaks off, and an event says so.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, Final, Literal, cast
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Form
from starlette.responses import StreamingResponse

from db.engine import READ_ONLY
from db.evidence import hand_out
from db.evidence.collect import Subject
from db.history import UnknownInspectionError
from db.home import private_folder
from db.ledger.settings import LedgerSettings
from web.access import Permission, Who, needs
from web.audit.drawing import as_jpeg
from web.inspections.filters import Name
from web.site import Here, Site

router = APIRouter(prefix="/audit", include_in_schema=False)
About = Literal["lot", "serial", "inspection"]
AT_ONCE: Final = 2  # each reads images as fast as it can, and the workers want the machine too
PATIENCE_S: Final = 10.0  # for so long an answer waits for the whole
_PIECE: Final = 1 << 20
_turns: Final = threading.BoundedSemaphore(AT_ONCE)


class BusyError(Exception):
    """As much evidence is being made as may be at once."""

    def __init__(self) -> None:
        super().__init__(f"evidence is being made for {AT_ONCE} others just now: ask for it again in a while")


class NoRoomError(Exception):
    """The evidence can't be written here."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the evidence can't be written on the server: {error.strerror or error}")


class _GoneAwayError(Exception):
    """Whoever wanted it no longer does."""


class Making(threading.Thread):
    """Makes evidence into a file, and gives it as far as it is.

    To who writes it, it is a file that can't be sought in: what is there stays as it is.
    """

    def __init__(self, site: Site, subject: Subject, actor: str, file: IO[bytes]) -> None:
        super().__init__(name=f"evidence of {subject.what}", daemon=True)
        self._site, self._subject, self._actor, self._file = site, subject, actor, file
        self._written = 0
        self._goes_on = True
        self._news = threading.Condition()
        self.is_over = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._make()
        except BaseException as error:  # noqa: BLE001  # told to who waits for it
            self.error = error
        finally:
            _turns.release()
            with self._news:
                self.is_over = True
                self._news.notify_all()
            self._close()

    def _make(self) -> None:
        site, subject = self._site, self._subject
        engine = site.engine.execution_options(**{READ_ONLY: False})  # what waits is sealed before
        try:
            stated = hand_out.make(
                engine, site.store, LedgerSettings(), subject, cast("IO[bytes]", self), as_jpeg
            )
        except Exception as error:
            if self._written:
                why = "who wanted it went away" if isinstance(error, _GoneAwayError) else str(error)
                hand_out.note_broken_off(site.acts, self._actor, subject, why)
            raise
        hand_out.note(site.acts, self._actor, subject, stated)

    def write(self, data: bytes) -> int:
        """Add to the file; called by who makes it."""
        if not self._goes_on:
            raise _GoneAwayError
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        with self._news:
            self._written += len(data)
            self._news.notify_all()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def pieces(self) -> Iterator[bytes]:
        """Give what is written, as it comes. Raises what making it raised."""
        sent = 0
        try:
            while True:
                there, is_over = self._more_than(sent)
                while sent < there:
                    piece = os.pread(self._file.fileno(), min(_PIECE, there - sent), sent)
                    sent += len(piece)
                    yield piece
                if is_over:
                    break
        finally:
            self.give_up()
        if self.error is not None:
            raise self.error

    def give_up(self) -> None:
        """Want nothing more of it: what makes it ends with the next piece, and the file goes."""
        self._goes_on = False
        self._close()

    def _close(self) -> None:
        with self._news:
            if self.is_over and not self._goes_on:
                self._file.close()

    def _more_than(self, sent: int) -> tuple[int, bool]:
        with self._news:
            self._news.wait_for(lambda: self._written > sent or self.is_over)
            return self._written, self.is_over

    @property
    def size(self) -> int | None:
        """How many bytes it has, None while it is being made."""
        return self._written if self.is_over else None


@router.post("/evidence", dependencies=[needs(Permission.AUDIT)])
def download(site: Here, who: Who, about: Annotated[About, Form()], name: Annotated[Name, Form()]) -> Any:
    """Hand out the evidence of a lot, a serial or an inspection."""
    return answer(site, who.name, about, name.strip())


def answer(site: Site, actor: str, about: About, name: str) -> StreamingResponse:
    """Answer with evidence.

    Raises BusyError, NoRoomError, db.history.UnknownInspectionError, and what db.evidence.hand_out.make does.
    """
    if about == "inspection":
        try:
            name = str(UUID(name))
        except ValueError:
            raise UnknownInspectionError(name) from None
    making = _begun(site, Subject(about, name), actor)
    making.join(PATIENCE_S)
    if making.is_over and making.error is not None:
        making.give_up()
        raise NoRoomError(making.error) if isinstance(making.error, OSError) else making.error
    headers = {"Content-Disposition": _disposition(about, name), "Cache-Control": "private, no-store"}
    if making.size is not None:
        headers["Content-Length"] = str(making.size)
    return StreamingResponse(making.pieces(), media_type="application/zip", headers=headers)


def _begun(site: Site, subject: Subject, actor: str) -> Making:
    if not _turns.acquire(blocking=False):
        raise BusyError
    with ExitStack() as unless_begun:
        unless_begun.callback(_turns.release)
        try:
            # Not where the system keeps what is small: that may be memory.
            folder = private_folder(site.home / "tmp")
            making = Making(site, subject, actor, TemporaryFile(dir=folder, buffering=0))  # noqa: SIM115
            making.start()
        except OSError as error:
            raise NoRoomError(error) from None
        unless_begun.pop_all()
    return making


def _disposition(about: str, name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"
    whole = quote(f"evidence-{about}-{name[:80]}.zip", safe="")
    return f"attachment; filename=\"evidence-{about}-{plain}.zip\"; filename*=UTF-8''{whole}"
