"""Logins: which browsers act for whom, and for how long.

The cookie holds 256 random bits, the table their hash: whoever reads the database can't act for anybody. A
login ends when it was not used for a while, after a day's work at the latest, when its owner leaves, changes
the password, or loses the account.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import events, users
from db.tables import Login, User

NOTED_EVERY: Final = timedelta(minutes=1)  # more exactly it is not kept when a login was used
LONGEST_IDLE: Final = timedelta(days=7)  # after which a login has ended, whatever the settings say


class UnknownLoginError(Exception):
    """A login that has ended, or never began."""

    def __init__(self) -> None:
        super().__init__("that login has ended already")


def begin(session: Session, name: str, password: str, address: str) -> tuple[User, str]:
    """Log somebody in, and give the token for the cookie. Raises db.users.WrongCredentialsError."""
    user = users.authenticate(session, name, password, "login")
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    session.add(Login(id=id_of(token), user=user.name, began_at=now, seen_at=now, address=address[:255]))
    events.record(session, "login.began", user.name, user.name, {"address": address[:255]})
    return user, token


def find(session: Session, token: str, idle: timedelta, longest: timedelta) -> tuple[Login, User] | None:
    """Give the login of a cookie's token and its user, None where it has ended or never began."""
    found = session.execute(
        select(Login, User).join(User, User.name == Login.user).where(Login.id == id_of(token))
    ).one_or_none()
    if found is None:
        return None
    login, user = found
    now = datetime.now(UTC)
    if user.disabled_at is not None or now - login.seen_at > idle or now - login.began_at > longest:
        return None
    return login, user


def note(session: Session, login_id: str) -> None:
    """Note that a login is in use."""
    login = session.get(Login, login_id)
    if login is not None:
        login.seen_at = datetime.now(UTC)


def end(session: Session, token: str) -> None:
    """Log out."""
    login = session.get(Login, id_of(token))
    if login is None:
        return
    session.delete(login)
    events.record(session, "login.ended", login.user, login.user)


def active(session: Session, idle: timedelta, longest: timedelta) -> Sequence[Login]:
    """Give the logins that still let somebody in, last used first."""
    now = datetime.now(UTC)
    query = select(Login).join(User, User.name == Login.user).where(User.disabled_at.is_(None))
    query = query.where(Login.seen_at >= now - idle, Login.began_at >= now - longest)
    return session.scalars(query.order_by(Login.seen_at.desc(), Login.id)).all()


def end_id(session: Session, login_id: str, actor: str) -> None:
    """End somebody else's login, who has to log in again. Raises UnknownLoginError."""
    login = session.get(Login, login_id)
    if login is None:
        raise UnknownLoginError
    told = {"address": login.address, "began_at": login.began_at.isoformat()}
    session.delete(login)
    events.record(session, "login.ended", actor, login.user, told)


def forget_old(session: Session, unused: timedelta = LONGEST_IDLE) -> None:
    """Remove the rows of logins that ended by themselves."""
    session.execute(delete(Login).where(Login.seen_at < datetime.now(UTC) - unused))


def form_token(token: str) -> str:
    """Give what the forms of a login carry, so that no other site's form can act for it (CSRF)."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def id_of(token: str) -> str:
    """Give the id of the login whose cookie holds this token."""
    return hashlib.sha256(token.encode()).hexdigest()
