"""Routes of the API: the guard comes before the body is read, and what has an Idempotency-Key is done once.

A request with a key is answered as before where the same actor sent it with the same key within 24 hours.
Its mark is committed with what it did (web.once), so killing the server can't have it done twice; the answer
is kept right after. Where that didn't happen any more, the request is refused, saying so. An error that left
nothing done is not kept: the same request may be sent again with the same key.

Requests hold passwords, and an answer may hold a token. Neither can be had from the database: the key is kept
as a hash, the request as one that takes the key, and the answer encrypted with the key.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import anyio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from db import answered
from db.tables import Answered
from web import once
from web.access import SAFE, guard_of
from web.site import Site

HEADER: Final = "Idempotency-Key"
REPEATED: Final = "Idempotent-Replayed"  # in an answer that is one given before
SHORTEST_KEY: Final = 16  # else who reads the database could guess it
LONGEST_KEY: Final = 255
_NONCE: Final = 12
_PATIENCE_S: Final = 10.0  # for the answer to the same request that came a moment before
_LOOK_S: Final = 0.05
_LOST_AFTER: Final = timedelta(minutes=1)
_KEPT_HEADERS: Final = ("content-type", "location", "etag", "retry-after")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class WrongKeyError(Exception):
    """An Idempotency-Key that can't be one, or that another request had; the message says what to do."""


class UnansweredError(Exception):
    """What a request asks for was done, but what it was answered is not known."""

    def __init__(self, at: datetime) -> None:
        super().__init__(
            f"this request was done on {at:%Y-%m-%d at %H:%M:%S} UTC, but its answer wasn't kept: the server "
            "ended, or failed, before it could be. It was not done again; see the audit trail for what it did"
        )


class BeingDoneError(Exception):
    """The same request is being done."""

    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__("this request is being done already; send it again in a moment for its answer")


class GuardedRoute(APIRoute):
    """Looks whether somebody may before anything of the body is read."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        guard = guard_of(self)

        async def answer(request: Request) -> Response:
            await guard(request, request.app.state.site)
            return await handle(request)

        return answer


class OnceRoute(GuardedRoute):
    """Does a request with an Idempotency-Key once."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        guard = guard_of(self)
        if not (self.methods or set()) - SAFE:
            return handle

        async def answer(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method in SAFE:
                return await handle(request)
            await guard(request, request.app.state.site)
            return await _Once(request, key).answer(handle)

        return answer


class _Once:
    """One request with a key."""

    def __init__(self, request: Request, key: str) -> None:
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
            raise WrongKeyError(
                f"an {HEADER} has {SHORTEST_KEY} to {LONGEST_KEY} printable ASCII characters: take a new "
                "UUID for each request"
            )
        self._request = request
        self._site: Site = request.app.state.site
        self._key = key.encode("ascii")

    async def answer(self, handle: Handler) -> Response:
        asked = await self._asked()
        before = await run_in_threadpool(self._find, asked)
        if before is not None:
            return await self._as_before(asked, before)
        with once.doing(asked) as state:
            try:
                answer = await handle(self._request)
            except once.DoneBeforeError:
                before = await run_in_threadpool(self._find, asked)
                if before is None:  # it was let go of this very moment
                    raise UnansweredError(datetime.now(UTC)) from None
                return await self._as_before(asked, before)
        body = getattr(answer, "body", None)
        if isinstance(body, bytes) and (state.is_marked or answer.status_code < 400):
            await run_in_threadpool(self._keep, asked, answer, body)
        return answer

    async def _asked(self) -> answered.Request:
        request = self._request
        what = hmac.new(self._key, digestmod=hashlib.sha256)
        what.update(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
        what.update(await request.body())
        kept = hashlib.sha256(self._key).hexdigest()
        return answered.Request(request.state.who.name, kept, what.hexdigest())

    async def _as_before(self, asked: answered.Request, before: Answered) -> Response:
        if before.request_sha256 != asked.sha256:
            raise WrongKeyError(
                f"this {HEADER} came with another request on {before.at:%Y-%m-%d at %H:%M:%S} UTC; take a "
                "new one for each request"
            )
        until = monotonic() + _PATIENCE_S
        while before.status == answered.DONE:
            if datetime.now(UTC) - before.at > _LOST_AFTER:
                raise UnansweredError(before.at)
            if monotonic() > until:
                raise BeingDoneError
            await anyio.sleep(_LOOK_S)
            found = await run_in_threadpool(self._find, asked)
            before = before if found is None else found
        nonce, sealed = before.body[:_NONCE], before.body[_NONCE:]
        try:
            body = self._cipher().decrypt(nonce, sealed, None)
        except InvalidTag:  # somebody altered it
            raise UnansweredError(before.at) from None
        return Response(body, before.status, {**before.headers, REPEATED: "true"})

    def _find(self, asked: answered.Request) -> Answered | None:
        with self._site.reading() as session:
            return answered.find(session, asked)

    def _keep(self, asked: answered.Request, answer: Response, body: bytes) -> None:
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher().encrypt(nonce, body, None)
        with self._site.writing() as session:
            answered.keep(session, asked, answer.status_code, headers, sealed)

    def _cipher(self) -> AESGCM:
        return AESGCM(hashlib.sha256(b"answer\0" + self._key).digest())
