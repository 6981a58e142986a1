"""Small pictures of parts for who watches, each drawn once; they are pushed, so they are light."""

import io
import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final
from uuid import UUID

from PIL import Image

from db import live
from db.imagestore import CorruptBlobError, MissingBlobError
from web.inspections import overlay
from web.site import Site

LONGEST: Final = 240  # pixels
_AT_ONCE: Final = 16  # that are read with their maps: more than a look has time to draw
_QUALITY: Final = 80  # of JPEG: a tenth of a PNG's bytes
_MOST_BYTES: Final = 16_000_000  # far more than all walls show at a time


class Thumbs:
    """Pictures by inspection, the last ones that were drawn; None is one of which there is no picture."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._kept: OrderedDict[UUID, bytes | None] = OrderedDict()
        self._bytes = 0
        self._most = most_bytes
        self._lock = Lock()

    def get(self, id_: UUID) -> bytes | None:
        with self._lock:
            return self._kept.get(id_)

    def has(self, id_: UUID) -> bool:
        """Whether it was drawn, or could not be."""
        with self._lock:
            return id_ in self._kept

    def keep(self, id_: UUID, data: bytes | None) -> None:
        with self._lock:
            self._bytes += len(data or b"") - len(self._kept.pop(id_, b"") or b"")
            self._kept[id_] = data
            while self._bytes > self._most or len(self._kept) > self._most // 1000:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone or b"")

    def draw(self, site: Site, ids: Sequence[UUID], budget_s: float) -> None:
        """Draw those that are not there yet, the first ones first, until the budget is used up; one at least.

        Raises ImageStoreUnavailableError and what the database raises.
        """
        missing = [id_ for id_ in ids if not self.has(id_)]
        if not missing:
            return
        with site.reading() as session:
            found = {one.id: one for one in live.pictures(session, missing[:_AT_ONCE])}
        until = time.monotonic() + budget_s
        for id_ in missing[:_AT_ONCE]:
            picture = found.get(id_)
            self.keep(id_, None if picture is None else _drawn(site, picture))
            if time.monotonic() > until:
                return


def _drawn(site: Site, picture: live.Picture) -> bytes | None:
    try:
        return draw(site, picture)
    except (MissingBlobError, CorruptBlobError, overlay.UndrawableError):
        return None  # the inspection's page says why


def draw(site: Site, picture: live.Picture) -> bytes:
    """Draw the part with its map and boxes, as a JPEG. Raises UndrawableError and ImageStoreError."""
    data = site.store.get(picture.image_sha256)
    with site.drawings.turn:
        if picture.map is None:
            return _jpeg(overlay.upright(data, LONGEST))
        drawn = overlay.draw(
            data,
            picture.map,
            picture.low,
            picture.high,
            picture.threshold,
            picture.regions,
            longest=LONGEST,
            numbered=False,
        )
        return _jpeg(drawn)


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
