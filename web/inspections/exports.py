"""Exactly what is filtered as a file that is made while it is taken, by the page and by the API.

Rows are read page by page, each in a transaction of its own, and leave at once: of a million rows no more
than a page is ever held, and whoever goes away stops the reading. Two events say who took what: one before
the first byte leaves, one with the rows and the hash of what left.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import anyio
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from db import events, exports
from db.export_files import Form, encoded
from db.exports import ExportRow
from db.matching import Filter
from web.access import Permission, Principal, Who, needs
from web.inspections import filters
from web.site import Here, Site

router = APIRouter(prefix="/exports", include_in_schema=False)
PAGE: Final = 2_000  # rows that are held at once, some 2 MB
TYPES: Final[dict[Form, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


class Export(StreamingResponse):
    """A file on its way to who asked for it."""

    def __init__(self, site: Site, who: Principal, form: Form, wanted: filters.Asked) -> None:
        self._site, self._who, self._form = site, who, form
        self._asked = wanted.filter()
        self._rows = 0
        self._is_whole = False
        self._hash = hashlib.sha256()
        self._begun = self._note("export.began", {"filter": _told(self._asked)})
        name = f"inspections-{datetime.now(UTC):%Y%m%d-%H%M%S}.{form}"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
        }
        super().__init__(self._pieces(), headers=headers, media_type=TYPES[form])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):  # also where who asked has gone away
                await anyio.to_thread.run_sync(self._note_end)

    async def _pieces(self) -> AsyncIterator[bytes]:
        pieces = encoded(self._form, self._pages())
        while True:
            piece = await anyio.to_thread.run_sync(next, pieces, None, limiter=self._site.exporting)
            if piece is None:
                break
            self._hash.update(piece)
            yield piece
        self._is_whole = True

    def _pages(self) -> Iterator[list[ExportRow]]:
        after = None
        while True:
            with self._site.reading() as session:
                rows = exports.page(session, self._asked, PAGE, after)
            if not rows:
                return
            after = rows[-1].id
            self._rows += len(rows)
            yield rows

    def _note_end(self) -> None:
        told = {
            "export": str(self._begun),
            "rows": self._rows,
            "sha256": self._hash.hexdigest(),
            "is_whole": self._is_whole,
        }
        self._note("export.ended", told)

    def _note(self, kind: str, detail: dict[str, Any]) -> Any:
        file = f"inspections.{self._form}"
        return self._site.act(lambda session: events.record(session, kind, self._who.name, file, detail))


@router.get("/inspections.{form}", dependencies=[needs(Permission.EXPORT)])
def export(form: Form, request: Request, site: Here, who: Who) -> Export:
    """Send what the list with these filters shows, all of it."""
    wanted = filters.read(request.query_params, filters.Asked)
    return Export(site, who, form, wanted)


def _told(asked: Filter) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(asked).items()
        if value is not None
    }
