"""Opens the server that a station uploads to, with the token that the station was given."""

from pathlib import Path

from capture.patience import AwayError
from capture.server import Server
from capture.settings import CaptureSettings
from capture.upload import Upload
from pyramidion.errors import UserError
from pyramidion.intake import warn


def open_upload(url: str, token_file: Path | None) -> Upload:
    """Give what images are handed to. A server that is away is waited for later.

    Raises UserError without a token, and UploadRefusedError where the server doesn't let the station in.
    """
    _token(token_file)

    def token() -> str:
        """Read it anew each time: a token that expires is replaced while the station runs."""
        try:
            return _token(token_file)
        except UserError as error:  # it was there at the start: somebody is replacing it
            raise AwayError(str(error)) from error

    server = Server(url, token, CaptureSettings().upload_ca_file)
    if server.is_in_clear:
        warn(f"{server.url} is plain http: token and images can be read and altered on their way; use https")
    upload = Upload(server)
    try:
        upload.known([])
    except AwayError as error:
        warn(f"{error}; images wait in the spool until the server is back")
    return upload


def _token(file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(f"the token file {file} can't be read: {reason}") from None
    secret = CaptureSettings().upload_token
    if secret is None:
        raise UserError(
            "who uploads shows a token: --token-file FILE, or PYRAMIDION_UPLOAD_TOKEN_FILE. On the "
            "server, `pyramidion tokens make NAME --scope upload --station STATION` makes one"
        )
    return secret.get_secret_value().strip()
