"""Logging in and out, and one's own password."""

import threading
from collections import OrderedDict, deque
from time import monotonic
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from db import logins, users
from web.access import COOKIE, NOBODY, Permission, Who, needs, require_same_origin
from web.site import Here, Site

router = APIRouter(include_in_schema=False)
LONGEST: Final = users.LONGEST_PASSWORD
# A wrong password locks its account after five; this is for who tries many accounts from one address.
FAILURES: Final = 20
WITHIN_S: Final = 300.0
_ADDRESSES: Final = 10_000  # that are remembered at most
_HASHES_AT_ONCE: Final = threading.BoundedSemaphore(2)  # each takes 64 MiB for a moment


class TooManyError(Exception):
    """Too many logins failed from one address."""

    def __init__(self) -> None:
        super().__init__(
            f"{FAILURES} logins from your address failed within {WITHIN_S / 60:.0f} minutes; wait that long, "
            "then try again"
        )


class Failures:
    """When logins failed lately, by address."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def require_few(self, address: str) -> None:
        """Raise TooManyError for an address from which too many failed."""
        with self._lock:
            times = self._times.get(address, deque())
            while times and times[0] < monotonic() - WITHIN_S:
                times.popleft()
            if len(times) >= FAILURES:
                raise TooManyError

    def add(self, address: str) -> None:
        with self._lock:
            self._times.setdefault(address, deque(maxlen=FAILURES)).append(monotonic())
            self._times.move_to_end(address)
            while len(self._times) > _ADDRESSES:
                self._times.popitem(last=False)


_failures = Failures()


@router.get("/login", dependencies=[needs(Permission.OPEN)])
def login(request: Request, site: Here, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Ask for name and password."""
    return site.page(request, "login/login.html", next=inside(wanted), name="", wrong=None)


@router.post("/login", dependencies=[needs(Permission.OPEN)])
def log_in(
    request: Request,
    site: Here,
    name: Annotated[str, Form(max_length=255)] = "",
    password: Annotated[str, Form(max_length=LONGEST)] = "",
    wanted: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    """Let somebody in, to where they wanted to go."""
    require_same_origin(request)
    address = _address(request)
    _failures.require_few(address)
    try:
        with _HASHES_AT_ONCE, site.writing() as session:
            _, token = logins.begin(session, name, password, address)
    except users.WrongCredentialsError:
        _failures.add(address)
        sentence = (
            "Name or password is wrong, or the account is disabled or locked "
            f"({users.FAILURES} wrong passwords lock it for {users.LOCKED_FOR.seconds // 60} minutes). "
            "The attempt was noted."
        )
        return site.page(request, "login/login.html", 401, next=inside(wanted), name=name, wrong=sentence)
    return with_login(site, RedirectResponse(inside(wanted), 303), token)


@router.post("/logout", dependencies=[needs(Permission.ACCOUNT)])
def log_out(request: Request, site: Here) -> Response:
    """End the login of this browser."""
    with site.writing() as session:
        logins.end(session, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/account", dependencies=[needs(Permission.ACCOUNT)])
def account(request: Request, site: Here, who: Who) -> Response:
    """Show whose login this is, and let the password be changed."""
    return site.page(request, "login/account.html", wrong=None, changed=False, must=who.must_change_password)


@router.post("/account", dependencies=[needs(Permission.ACCOUNT)])
def change_password(
    request: Request,
    site: Here,
    who: Who,
    present: Annotated[str, Form(max_length=LONGEST)] = "",
    new: Annotated[str, Form(max_length=LONGEST)] = "",
    again: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Change one's own password; other browsers have to log in again."""
    wrong, token = None, ""
    if new != again:
        wrong = "The two new passwords differ; nothing was changed."
    else:
        try:
            with _HASHES_AT_ONCE, site.writing() as session:
                users.change_password(session, who.name, present, new)
                _, token = logins.begin(session, who.name, new, _address(request))
        except users.WrongCredentialsError:
            wrong = "The present password is wrong, or too many wrong ones locked the account for a while."
        except users.AccountError as error:
            wrong = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if wrong is not None:
        must = who.must_change_password
        return site.page(request, "login/account.html", 422, wrong=wrong, changed=False, must=must)
    request.state.who = NOBODY  # its forms' token is that of the login that has just ended
    return with_login(site, RedirectResponse("/account/changed", 303), token)


@router.get("/account/changed", dependencies=[needs(Permission.ACCOUNT)])
def changed(request: Request, site: Here) -> Response:
    """Say that the password is changed."""
    return site.page(request, "login/account.html", wrong=None, changed=True, must=False)


def with_login(site: Site, answer: Response, token: str) -> Response:
    """Give the browser the cookie of a login."""
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(site.settings.web_login_hours * 3600),
        httponly=True,
        secure=site.settings.web_https,
        samesite="lax",
    )
    return answer


def inside(address: str) -> str:
    """Give the address where it is one of this page's, else that of its beginning."""
    parts = urlsplit(address)
    is_ours = not parts.scheme and not parts.netloc and address.startswith("/") and address.isprintable()
    return address if is_ours and not address.startswith(("//", "/\\")) and "\\" not in address else "/"


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
