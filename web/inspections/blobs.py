"""Images and maps of an inspection, as stored and as drawn. They never change, so browsers may keep them."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from db import history, pictures
from db.tables import AnomalyMap, Result
from web.access import Permission, needs
from web.inspections import overlay
from web.site import Here, Site

router = APIRouter(prefix="/inspections/{id_}", include_in_schema=False)
TYPES = {  # by the format's name; anything else is offered for download
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}
FOREVER = "private, max-age=31536000, immutable"
A_DAY = "private, max-age=86400"  # a newer program may draw the same facts better
ASK_AGAIN = "private, no-cache"  # its map is still to come
THUMBNAIL = 256  # pixels of its longer side


class NoMapError(Exception):
    """An inspection has no anomaly map; the message says whether it may still get one."""


class LetGoError(Exception):
    """Retention has let an image or a map go; the message says when."""


@router.api_route("/image", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def image(id_: UUID, request: Request, site: Here) -> Response:
    """Give the image as it was stored, byte for byte."""
    row = _with_image(site, id_).inspection
    kind = TYPES.get(row.image_format.upper(), "application/octet-stream")
    return _kept(request, row.image_sha256, FOREVER, kind, lambda: site.store.get(row.image_sha256))


@router.api_route("/view.png", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def view(id_: UUID, request: Request, site: Here, full: Annotated[bool, Query()] = False) -> Response:
    """Give the image as the page shows it: upright, whatever its format, and no larger than needed.

    `full` gives every pixel, for looking closely.
    """
    row = _with_image(site, id_).inspection
    longest = max(row.image_width, row.image_height) if full else overlay.LONGEST

    def make() -> bytes:
        stored = site.store.get(row.image_sha256)
        with site.drawings.turn:
            return overlay.as_png(overlay.upright(stored, longest))

    tag = f"{row.image_sha256}.{longest if full else 'view'}{overlay.DRAWING}"
    return _kept(request, tag, A_DAY, "image/png", make)


@router.api_route("/map.png", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def anomaly_map(id_: UUID, request: Request, site: Here) -> Response:
    """Give the stored map as it is; the page says how its grey values become scores."""
    stored = _judged(_detail(site, id_))[1]
    return _kept(request, stored.sha256, FOREVER, "image/png", lambda: stored.data)


@router.api_route("/overlay.png", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def drawn(id_: UUID, request: Request, site: Here) -> Response:
    """Draw the map over the image, and boxes around the regions."""
    detail = _with_image(site, id_)
    result, stored = _judged(detail)
    sha256 = detail.inspection.image_sha256

    def make() -> bytes:
        data = site.store.get(sha256)
        with site.drawings.turn:
            picture = overlay.draw(
                data, stored.data, stored.low, stored.high, result.threshold or 0.0, result.regions
            )
            return overlay.as_png(picture)

    return _kept(request, f"{sha256}.{stored.sha256}.{overlay.DRAWING}", A_DAY, "image/png", make)


@router.api_route("/heat.png", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def heat(id_: UUID, request: Request, site: Here) -> Response:
    """Give the map in its colours on a ground that is see-through, to lie over the image."""
    detail = _detail(site, id_)
    result, stored = _judged(detail)
    part = detail.inspection

    def make() -> bytes:
        size = part.image_width, part.image_height
        with site.drawings.turn:
            return overlay.as_png(
                overlay.heat(stored.data, stored.low, stored.high, result.threshold or 0.0, size)
            )

    return _kept(request, f"{stored.sha256}.heat{overlay.DRAWING}", A_DAY, "image/png", make)


@router.api_route("/thumbnail.png", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def thumbnail(id_: UUID, request: Request, site: Here) -> Response:
    """Draw the part small, with map and boxes where it has them, for lists and walls."""
    with site.reading() as session:
        it = pictures.pictured(session, id_)
    if it.image_let_go is not None:
        raise LetGoError(f"Retention let the image go at {it.image_let_go:%Y-%m-%d %H:%M:%S} UTC.")
    tag = f"{it.image_sha256}.{it.map_sha256}.small{overlay.DRAWING}"

    def fetch() -> tuple[bytes, bytes | None]:
        data = site.store.get(it.image_sha256)
        if it.map_sha256 is None:
            return data, None
        with site.reading() as session:
            return data, pictures.map_png(session, id_)

    def draw(fetched: tuple[bytes, bytes | None]) -> bytes:
        data, stored = fetched
        if stored is None:
            return overlay.as_small_png(overlay.upright(data, THUMBNAIL))
        scale = it.low, it.high, it.threshold
        picture = overlay.draw(data, stored, *scale, it.regions, longest=THUMBNAIL, numbered=False)
        return overlay.as_small_png(picture)

    keep = A_DAY if it.is_judged else ASK_AGAIN
    # Two parts may share image and map, and differ in what is marked.
    return _kept(request, tag, keep, "image/png", lambda: site.drawings.get(f"{id_}.{tag}", fetch, draw))


def _detail(site: Site, id_: UUID) -> history.Detail:
    with site.reading() as session:
        return history.inspection(session, id_)


def _with_image(site: Site, id_: UUID) -> history.Detail:
    detail = _detail(site, id_)
    if detail.image_let_go is not None:
        raise LetGoError(f"Retention let the image go at {detail.image_let_go:%Y-%m-%d %H:%M:%S} UTC.")
    return detail


def _judged(detail: history.Detail) -> tuple[Result, AnomalyMap]:
    if detail.result is None:
        raise NoMapError("This inspection waits for its verdict; its anomaly map comes with it.")
    if detail.map is None:
        raise NoMapError(f"This inspection was judged {detail.result.verdict} and has no anomaly map.")
    if detail.map_let_go is not None:
        raise LetGoError(f"Retention let the map go at {detail.map_let_go:%Y-%m-%d %H:%M:%S} UTC.")
    return detail.result, detail.map


def _kept(request: Request, tag: str, keep: str, kind: str, make: Callable[[], bytes]) -> Response:
    """Answer with what `make` gives, or with 304, nothing made, where the browser has it already."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": keep}
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if known & {headers["ETag"], "*"}:
        return Response(status_code=304, headers=headers)
    return Response(make(), headers=headers, media_type=kind)
