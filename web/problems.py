"""What went wrong, in a sentence and with the status that says whose turn it is.

Pages answer with a page, the API with a problem document (RFC 9457).
"""

import logging
import math
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response

from db.alarms import AlarmClosedError, UnknownAlarmError
from db.approvals import SignatureRequiredError
from db.events import UnknownEventError
from db.evidence.collect import NothingThereError, TamperedActError, UnsettledError
from db.history import LetGoError as InspectionLetGoError
from db.history import UnknownInspectionError
from db.imagestore import CorruptBlobError, ImageStoreUnavailableError, MissingBlobError
from db.inspections import UnknownProductError
from db.ledger.proofs import NotAsSealedError
from db.ledger.seal import SealingError
from db.ledger.signers import LedgerKeyError
from db.ledger.verifications import (
    SenselessRangeError,
    UnknownVerificationError,
    VerificationThereError,
)
from db.logins import UnknownLoginError
from db.lot_details import UnknownLotError
from db.products import ProductThereError
from db.replays import NothingToReplayError
from db.retention.by_hand import RetentionBusyError
from db.retention.policy import RetentionError
from db.reviews import ReviewedMeanwhileError, ReviewError
from db.roles import UnknownRoleError
from db.saved_filters import TooManyFiltersError, UnknownFilterError
from db.stations import UnknownStationError
from db.text import UnkeepableNameError
from db.tokens import TokenError, UnknownTokenError
from db.users import AccountError, UnknownUserError, WrongCredentialsError
from web.access import (
    ForeignFormError,
    NoAccountYetError,
    NotAllowedError,
    NotLoggedInError,
    PasswordToChangeError,
)
from web.admin.api.products import NoProductError
from web.audit.evidence import BusyError, NoRoomError
from web.idempotency import BeingDoneError, UnansweredError, WrongKeyError
from web.inspections.blobs import LetGoError, NoMapError
from web.inspections.filters import InvalidFilterError
from web.inspections.overlay import UndrawableError
from web.live.alarms import InvalidAlarmsError, NoReasonError
from web.live.board import UnknownLineError
from web.live.hub import TooManyViewersError
from web.live.pages import InvalidWindowError
from web.login.pages import TooManyError
from web.models.problems import STATUS as MODELS
from web.review.saying import PasswordNeededError
from web.security import HEADERS
from web.site import Site
from web.upload.documents import UnidentifiedImageError
from web.upload.receiving import MisdescribedError, NoImageKindError
from web.upload.uploads import DamagedError, HeldUpError, OtherStationError

log = logging.getLogger(__name__)
API = "/api/"
STATUS: dict[type[Exception], int] = {
    NotLoggedInError: 401,
    PasswordToChangeError: 403,
    NotAllowedError: 403,
    ForeignFormError: 403,
    NoAccountYetError: 421,
    TooManyError: 429,
    WrongCredentialsError: 403,  # of a signature; a login answers by itself
    SignatureRequiredError: 403,
    AccountError: 422,
    UnknownUserError: 404,
    UnknownLoginError: 404,
    UnknownRoleError: 422,
    TokenError: 422,
    UnknownTokenError: 404,
    ProductThereError: 409,
    NoProductError: 404,
    UnknownStationError: 404,
    RetentionError: 422,
    RetentionBusyError: 409,
    UnkeepableNameError: 422,
    WrongKeyError: 422,
    BeingDoneError: 409,
    UnansweredError: 409,
    UnknownProductError: 422,
    HeldUpError: 503,
    OtherStationError: 403,
    MisdescribedError: 422,
    UnidentifiedImageError: 422,
    NoImageKindError: 415,
    DamagedError: 400,
    UnknownInspectionError: 404,
    InspectionLetGoError: 410,
    ReviewError: 422,
    ReviewedMeanwhileError: 409,
    PasswordNeededError: 403,
    InvalidFilterError: 422,
    UnknownFilterError: 404,
    TooManyFiltersError: 409,
    UnknownLineError: 404,
    InvalidWindowError: 422,
    TooManyViewersError: 503,
    UnknownAlarmError: 404,
    AlarmClosedError: 409,
    InvalidAlarmsError: 422,
    NoReasonError: 422,
    UnknownEventError: 404,
    UnknownLotError: 404,
    NothingThereError: 404,
    UnsettledError: 409,
    NotAsSealedError: 409,
    TamperedActError: 409,
    LedgerKeyError: 503,
    SealingError: 503,
    BusyError: 429,
    NoRoomError: 503,
    UnknownVerificationError: 404,
    VerificationThereError: 409,
    SenselessRangeError: 422,
    NothingToReplayError: 409,
    NoMapError: 404,
    LetGoError: 410,
    MissingBlobError: 404,
    UndrawableError: 404,  # there is no picture of it
    CorruptBlobError: 502,
    ImageStoreUnavailableError: 503,
    **MODELS,
}
TITLES = {
    400: "Not understood",
    401: "Log in first",
    403: "Not allowed",
    404: "Not here",
    405: "Not done this way",
    409: "It has changed meanwhile",
    410: "Let go by retention",
    413: "Too large",
    415: "Not a kind that is taken here",
    421: "Not shown here",
    422: "That makes no sense",
    429: "Too many",
    500: "A fault in Pyramidion",
    502: "The stored image is damaged",
    503: "Not available now",
}
_SENTENCES = {404: "There is no such page.", 405: "This address is not asked this way."}


def answer_problems(app: FastAPI) -> None:
    """Make the app answer every error with what to do next."""
    for kind in STATUS:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(NotLoggedInError, _not_logged_in)
    app.add_exception_handler(PasswordToChangeError, _password_to_change)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _fault)


def problem(status: int, sentence: str, **more: Any) -> JSONResponse:
    """Give a problem document: `title` says what kind it is, `detail` what to do about this one."""
    document = {
        "type": "about:blank",
        "title": TITLES.get(status, "Refused"),
        "status": status,
        "detail": sentence,
    }
    return JSONResponse({**document, **more}, status, media_type="application/problem+json")


def _known(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)  # as the handler was found
    answer = _answer(request, status, str(error))
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return answer


def _not_logged_in(request: Request, error: Exception) -> Response:
    """Lead people who open a page to the login; tell everything else."""
    if request.url.path.startswith(API) or "text/html" not in request.headers.get("accept", ""):
        answer = _answer(request, 401, str(error))
        answer.headers["WWW-Authenticate"] = 'Bearer realm="Pyramidion"'
        return answer
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    next_ = {"next": here} if request.method == "GET" and here != "/" else {}
    return RedirectResponse("/login" + (f"?{urlencode(next_)}" if next_ else ""), 303)


def _password_to_change(request: Request, _error: Exception) -> Response:
    if request.url.path.startswith(API) or request.method not in {"GET", "HEAD"}:
        return _answer(
            request, 403, "Somebody else chose your password: change it on the page /account first"
        )
    return RedirectResponse("/account", 303)


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else str(error)
    answer = _answer(request, status, _SENTENCES.get(status, str(said)))
    answer.headers.update(getattr(error, "headers", None) or {})  # such as Allow
    return answer


def _gone(_request: Request, _error: Exception) -> Response:
    """Answer nobody: who asked went away while the request was read, and nothing was done."""
    return Response(status_code=400)


def _invalid(request: Request, error: Exception) -> Response:
    """Answer for what FastAPI checks for us: ids in addresses, fields of forms, documents of the API."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    if any(one["loc"][:2] == ("path", "id_") for one in found):
        text = str(request.path_params.get("id_", ""))[:64]
        return _answer(
            request, 404, f"There is nothing with the id {text!r}; an id has 32 hexadecimal digits."
        )
    wrong = [{"at": ".".join(map(str, one["loc"])), "why": one["msg"]} for one in found]
    said = "; ".join(f"{one['at']}: {one['why']}" for one in wrong[:5])
    if request.url.path.startswith(API):
        return problem(422, f"The request is not as it has to be: {said}", errors=wrong)
    return _answer(request, 422, f"The form is not as it has to be: {said}")


def _database(request: Request, error: Exception) -> Response:
    log.error("the database failed on %s", request.url.path, exc_info=error)
    sentence = (
        "The database can't be read just now. On the server, `pyramidion doctor` says why "
        "and `pyramidion migrate` brings an old one up to date."
    )
    return _answer(request, 503, sentence)


def _fault(request: Request, _error: Exception) -> Response:
    """Answer for a fault of ours; the server logs it."""
    sentence = "This is a fault in Pyramidion, not in what you asked for; its log has more."
    answer = _answer(request, 500, sentence)
    answer.headers.update(HEADERS)  # this answer is made outside of the middleware
    return answer


def _answer(request: Request, status: int, sentence: str) -> Response:
    sentence = sentence[:1].upper() + sentence[1:]
    if not sentence.endswith((".", ")")):
        sentence += "."
    if request.url.path.startswith(API):
        return problem(status, sentence)
    site: Site = request.app.state.site
    title = TITLES.get(status, "Refused")
    return site.page(request, "problem.html", status, code=status, title=title, sentence=sentence)
