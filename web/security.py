"""Who may read, and what a browser may do with what it got."""

import base64
import binascii
import hmac
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.settings import is_loopback

OPEN_PATHS = {"/healthz"}
HEADERS = {
    # No script at all, and nothing from anywhere else: what a serial number smuggles in stays text.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "private, no-cache",  # unless the answer says otherwise
}


class SecurityHeaders:
    """Adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class ThisMachineOnly:
    """Refuses requests that were addressed to another name than this machine's own.

    Without a password, a foreign page could otherwise point its own name at 127.0.0.1 (DNS rebinding) and
    read everything through the browser of somebody who sits here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or is_loopback(_host(scope)):
            await self.app(scope, receive, send)
            return
        sentence = (
            "Without a password this page answers only to localhost. Open it as http://localhost, "
            "or set PYRAMIDION_WEB_PASSWORD and log in.\n"
        )
        await PlainTextResponse(sentence, 421)(scope, receive, send)


class BasicAuthentication:
    """Lets only those in who know user and password (RFC 7617), except to OPEN_PATHS."""

    def __init__(self, app: ASGIApp, user: str, password: SecretStr) -> None:
        self.app = app
        self._wanted = f"{user}:{password.get_secret_value()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        challenge = {"WWW-Authenticate": 'Basic realm="Pyramidion", charset="UTF-8"'}
        await PlainTextResponse("Log in with user and password.\n", 401, challenge)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(given, self._wanted)


def _host(scope: Scope) -> str:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
    except ValueError:  # a Host header that is none
        return ""
