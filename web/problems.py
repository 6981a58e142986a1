"""What went wrong, in a sentence and with the status that says whose turn it is."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from db.history import UnknownInspectionError
from db.imagestore import CorruptBlobError, ImageStoreUnavailableError, MissingBlobError
from web.blobs import LetGoError, NoMapError
from web.filters import InvalidFilterError
from web.overlay import UndrawableError
from web.security import HEADERS
from web.site import Site

log = logging.getLogger(__name__)
STATUS: dict[type[Exception], int] = {
    UnknownInspectionError: 404,
    InvalidFilterError: 422,
    NoMapError: 404,
    LetGoError: 410,
    MissingBlobError: 404,
    UndrawableError: 404,  # there is no picture of it
    CorruptBlobError: 502,
    ImageStoreUnavailableError: 503,
}
TITLES = {
    404: "Not here",
    405: "Read only",
    410: "Let go by retention",
    422: "That filter makes no sense",
    500: "A fault in Pyramidion",
    502: "The stored image is damaged",
    503: "Not available now",
}


def answer_problems(app: FastAPI) -> None:
    """Make the app answer every error with a page that says what to do next."""
    for kind in STATUS:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _no_id)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(Exception, _fault)


def _known(request: Request, error: Exception) -> Response:
    return _page(request, STATUS[type(error)], str(error))


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentences = {404: "There is no such page.", 405: "Nothing can be changed here."}
    return _page(request, status, sentences.get(status, str(error)))


def _no_id(request: Request, _error: Exception) -> Response:
    """Answer for the one thing that FastAPI checks for us: ids in addresses."""
    text = str(request.path_params.get("id_", ""))[:64]
    return _page(request, 404, f"There is no inspection {text!r}; an id has 32 hexadecimal digits.")


def _database(request: Request, error: Exception) -> Response:
    log.error("the database failed on %s", request.url.path, exc_info=error)
    sentence = (
        "The database can't be read just now. On the server, `pyramidion doctor` says why "
        "and `pyramidion migrate` brings an old one up to date."
    )
    return _page(request, 503, sentence)


def _fault(request: Request, _error: Exception) -> Response:
    """Answer for a fault of ours; the server logs it."""
    sentence = "This is a fault in Pyramidion, not in what you asked for; its log has more."
    answer = _page(request, 500, sentence)
    answer.headers.update(HEADERS)  # this answer is made outside of the middleware
    return answer


def _page(request: Request, status: int, sentence: str) -> Response:
    site: Site = request.app.state.site
    sentence = sentence[:1].upper() + sentence[1:]
    if not sentence.endswith((".", ")")):
        sentence += "."
    title = TITLES.get(status, "Refused")
    return site.render("problem.html", status, code=status, title=title, sentence=sentence)
