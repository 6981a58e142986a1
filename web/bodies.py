"""How large a request may be: what comes is counted while it is read, and refused beyond that."""

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM_BYTES: Final = 1_000_000  # what a form or a document of the API holds at most
UPLOADS: Final = frozenset(
    {"/api/v1/inspections", "/api/v1/golden", "/models/golden"}
)  # where images may come


class BodyLimits:
    """Answers 413 to who sends more than `upload_bytes` of images, or FORM_BYTES of anything else."""

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self.app = app
        self.upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"] in UPLOADS
        limit = self.upload_bytes if is_upload else FORM_BYTES
        stated = Headers(scope=scope).get("content-length", "")
        too_large = stated.isdecimal() and int(stated[:20]) > limit
        read = 0

        async def receive_no_more() -> Message:
            nonlocal read
            if too_large:
                raise _too_large(limit, is_upload=is_upload)
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _too_large(limit, is_upload=is_upload)
            return message

        await self.app(scope, receive_no_more, send)


def _too_large(limit: int, *, is_upload: bool) -> HTTPException:
    sentence = f"a request here has at most {limit:,} bytes; nothing of it was taken"
    if is_upload:
        sentence += (
            ". Send fewer images at once, or have the server take more with PYRAMIDION_WEB_UPLOAD_MAX_BYTES"
        )
    return HTTPException(413, sentence)
