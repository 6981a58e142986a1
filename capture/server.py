"""A Pyramidion server, as a station sees it: asked over HTTP, with a token, and often enough away."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from capture.patience import AwayError

_TIMEOUT: Final = httpx.Timeout(120, connect=10)
_WHERE: Final = "Is this the address of a Pyramidion server? See --to and PYRAMIDION_UPLOAD_URL"
_TOKEN: Final = "see --token-file, PYRAMIDION_UPLOAD_TOKEN and PYRAMIDION_UPLOAD_TOKEN_FILE"  # noqa: S105


class UploadRefusedError(Exception):
    """The server doesn't take what this station hands in; the message says why, and what to do."""


class TooMuchError(Exception):
    """A request is larger than the server takes."""


class Server:
    """Asked by many threads at once, if need be. `token` gives what to show, anew for each request.

    Raises UploadRefusedError for an address or a file of certificates that can't be used.
    """

    def __init__(self, url: str, token: Callable[[], str], ca_file: Path | None = None) -> None:
        self.url = _checked(url)
        self._token = token
        self._was_let_in = False
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1/", verify=_trusted(ca_file), timeout=_TIMEOUT
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    @property
    def is_in_clear(self) -> bool:
        """Whether token and images can be read on their way."""
        return urlsplit(self.url).scheme == "http"

    def ask(self, path: str, **request: Any) -> dict[str, Any]:
        """Post to the API and give the answer's document.

        Raises AwayError where it has to be asked again later, which is the cure for most once it has let us
        in. Raises TooMuchError, and UploadRefusedError where waiting is no cure.
        """
        token = self._token()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise UploadRefusedError(f"the token for {self.url} is empty, or no token; {_TOKEN}")
        headers = {
            "Authorization": f"Bearer {token}",
            "Date": format_datetime(datetime.now(UTC), usegmt=True),  # tells of a clock that is off
            "Accept": "application/json",
        }
        try:
            answer = self._client.post(path, headers=headers, **request)
        except httpx.RequestError as error:
            why = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in why:
                why += "; PYRAMIDION_UPLOAD_CA_FILE names the authority that vouches for it"
            raise AwayError(f"{self.url} can't be reached: {why}") from error
        if not answer.is_success:
            raise self._problem(answer)
        self._was_let_in = True
        return self._document(answer)

    def _problem(self, answer: httpx.Response) -> Exception:
        status, said = answer.status_code, _detail(answer)
        if status == 413:
            return TooMuchError(said)
        if status == 422:
            return UploadRefusedError(f"{self.url}: {said}")
        if status == 429 or status >= 500 or self._was_let_in:
            return AwayError(f"{self.url} takes no images: {said}", _retry_after_s(answer))
        if status in {401, 403}:
            said = f"{said}; {_TOKEN}"
        elif status < 400 or status in {404, 405}:
            said = f"{said}. {_WHERE}"
        return UploadRefusedError(f"{self.url}: {said}")

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise AwayError(f"{self.url} answered with no document. {_WHERE}")
        return found


def _checked(url: str) -> str:
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        usable = False
    if not usable:
        raise UploadRefusedError(
            "the address of the server to upload to is none: write https://inspection.plant.example, without "
            "name and password, in --to or PYRAMIDION_UPLOAD_URL"
        )
    return url


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # an ssl.SSLError is one
        raise UploadRefusedError(f"PYRAMIDION_UPLOAD_CA_FILE={ca_file} can't be used: {error}") from None


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return f"it answered {answer.status_code} {answer.reason_phrase}".rstrip()


def _retry_after_s(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() else 0.0
