"""Images of a request, as they come: what is large waits on disk, and nothing is stored yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from tempfile import SpooledTemporaryFile
from typing import Final

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from web.upload.documents import MOST_IMAGES, FrameDocument, QueryDocument

_FRAMES: Final = TypeAdapter(list[FrameDocument])
_DESCRIPTION_BYTES: Final = 4 * 1024 * 1024
_IN_MEMORY: Final = 1024 * 1024  # of an image, while it comes
_NAME: Final = 1000  # characters: the end of a path tells most
_SOURCES: Final = ("frames", "images")


class MisdescribedError(Exception):
    """Images and their description don't go together; the message says how they have to."""


class NoImageKindError(Exception):
    """The body is nothing that images come in."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            "images come as multipart/form-data with the parts `frames` and `images`, or one alone as "
            f"image/... or application/octet-stream, not as {kind[:80] or 'something without a Content-Type'}"
        )


@dataclass(frozen=True)
class Received:
    """An image that came, and what is said of it; `which` it is, in words, and `name` as people know it."""

    which: str
    name: str
    about: QueryDocument
    file: UploadFile


@asynccontextmanager
async def receive(request: Request, query: QueryDocument) -> AsyncIterator[list[Received]]:
    """Give the images of a request; what was kept of them goes afterwards.

    Raises MisdescribedError, NoImageKindError, and what reading a body raises.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        if query.model_fields_set:
            raise MisdescribedError("several images are described in the part `frames`, not in the query")
        form = await request.form(max_files=MOST_IMAGES + 1, max_fields=1, max_part_size=_DESCRIPTION_BYTES)
        try:
            yield await _described(form)
        finally:
            await form.close()
    elif kind.startswith("image/") or kind == "application/octet-stream":
        if not query.product:
            raise MisdescribedError("a single image is described in the query: ?product=...&captured_at=...")
        with SpooledTemporaryFile(_IN_MEMORY) as file:
            image = UploadFile(file, size=0)  # type: ignore[arg-type]  # as Starlette itself does
            async for piece in request.stream():
                await image.write(piece)
            yield [Received("the image", (query.name or "image")[-_NAME:], query, image)]
    else:
        raise NoImageKindError(kind)


def clock_ahead_s(request: Request) -> float | None:
    """Give by how much the sender's clock is ahead of ours, by its Date header; None where there is none."""
    try:
        sent_at = parsedate_to_datetime(request.headers.get("date", ""))
        # The header knows seconds only: half of one lies in between.
        return (sent_at - datetime.now(UTC)).total_seconds() + 0.5
    except (ValueError, TypeError, OverflowError):  # TypeError: a time without its zone
        return None


async def _described(form: FormData) -> list[Received]:
    parts = form.multi_items()
    unknown = sorted({name for name, _ in parts} - set(_SOURCES))
    if unknown:
        raise MisdescribedError(f"there is no part {unknown[0][:80]!r}; the parts are `frames` and `images`")
    said = [part for name, part in parts if name == "frames"]
    images = [part for name, part in parts if name == "images" and isinstance(part, UploadFile)]
    if len(said) != 1:
        raise MisdescribedError(f"there are {len(said)} parts `frames`, which describes the images, not one")
    frames = await _frames(said[0])
    if len(frames) != len(images) or not images:
        raise MisdescribedError(
            f"`frames` describes {len(frames)} images, and {len(images)} files came as `images`: the n-th "
            "describes the n-th, and at least one is needed"
        )
    if len(images) > MOST_IMAGES:
        raise MisdescribedError(f"{len(images)} images came at once; send at most {MOST_IMAGES}")
    return [
        Received(which, (about.name or image.filename or which)[-_NAME:], about, image)
        for which, about, image in zip(
            map("image {}".format, range(1, 1 + len(images))), frames, images, strict=True
        )
    ]


async def _frames(part: str | UploadFile) -> list[FrameDocument]:
    if isinstance(part, UploadFile):  # as curl sends -F frames=@frames.json
        content: str | bytes = await part.read(_DESCRIPTION_BYTES)
    else:
        content = part
    try:
        return await run_in_threadpool(_FRAMES.validate_json, content)
    except ValidationError as error:
        found = error.errors(include_url=False)[:5]
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in found)
        raise MisdescribedError(f"`frames` is not as it has to be, a list in JSON: {wrong}") from None
