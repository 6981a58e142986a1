"""Accounts of the people who sign and use the page: names, passwords, roles, and what follows a guess.

A name belongs to one person for ever: an account is disabled, never removed or given to somebody else. What
somebody else chose as its password only serves to choose one's own. Each change leaves an event with the
account's state, so that `audit verify` finds an account that was changed past the application.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import events
from db.engine import session_factory
from db.roles import roles as known_roles
from db.tables import Event, Login, User
from db.text import LONGEST_NAME, require_name

SHORTEST_PASSWORD: Final = 12  # characters
LONGEST_PASSWORD: Final = 1024
FAILURES: Final = 5  # wrong passwords in a row that lock an account ...
LOCKED_FOR: Final = timedelta(minutes=15)  # ... for so long
REFUSED: Final = "user.refused"
UNKNOWN: Final = "unknown"  # who it was that gave a wrong password, nobody knows
ADDED: Final = "user.added"
ADMIN: Final = "admin"  # of db.roles.ROLES
# The events that say what an account is, each with `state`.
CHANGES: Final = (
    ADDED,
    "user.password_changed",
    "user.password_reset",
    "user.disabled",
    "user.enabled",
    "user.roles_changed",
)

_WRONG: Final = "wrong password"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHER: Final = PasswordHasher()  # argon2id with the parameters of RFC 9106, 64 MiB
# Of a password that nobody knows: a user that there is none of costs as much time as one there is.
_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$txZhHJwmeoHxq/W37C6d2w$vdAh6SDjLKjkiwyekbJvPNy+RU3t0k+OzQK/Gh8JmcE"
)


class AccountError(Exception):
    """An account or a password that can't be; the message says why."""


class UnknownUserError(AccountError):
    """An account that there is none of."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user {name[:64]!r}; `pyramidion users list` lists those there are")


class WrongCredentialsError(Exception):
    """User and password are not those of somebody who may act; which of them is wrong, it doesn't say."""

    def __init__(self) -> None:
        super().__init__(
            f"user or password is wrong, or the account is disabled, or locked: {FAILURES} wrong passwords "
            f"lock it for {LOCKED_FOR.seconds // 60} minutes. The attempt was noted. `pyramidion users list` "
            "shows accounts, `pyramidion users password NAME --reset` gives one another password"
        )


def add(
    session: Session, name: str, full_name: str, password: str, actor: str, roles: Sequence[str] = ()
) -> User:
    """Open an account; its owner has to change the password before signing.

    `full_name` is what is printed in signatures, `roles` are those on the page; without one the account only
    signs. Raises AccountError and db.roles.UnknownRoleError.
    """
    name = plain(name)
    if not _NAME.fullmatch(name):
        raise AccountError(
            f"user {name!r}: a name is 1 to 64 letters a-z, digits, or ._@- and begins with a letter or digit"
        )
    full_name = " ".join(full_name.split())
    require_name("full name", full_name)
    before = select(Event.id).where(Event.kind == ADDED, Event.subject == name).limit(1)
    if session.get(User, name) is not None or session.scalar(before) is not None:
        raise AccountError(
            f"there is a user {name!r} already, or was; a name is never given to another person, choose "
            "another one"
        )
    user = User(
        name=name,
        full_name=full_name,
        created_at=datetime.now(UTC),
        failed_attempts=0,
        roles=known_roles(roles),
    )
    user.password_hash = _hash(name, password)
    session.add(user)
    _note(session, user, ADDED, actor)
    return user


def change_password(session: Session, name: str, present: str, new: str) -> None:
    """Change one's own password. Raises WrongCredentialsError and AccountError."""
    user = authenticate(session, name, present, "change of the password")
    if _is_right(user, new):
        raise AccountError("the new password is the present one: choose another")
    before = state(user)
    user.password_hash = _hash(user.name, new)
    user.password_changed_at = datetime.now(UTC)
    _end_logins(session, user)
    _note(session, user, "user.password_changed", user.name, before=before)


def reset_password(session: Session, name: str, new: str, actor: str) -> None:
    """Give an account a password that its owner then has to change, and unlock it. Raises AccountError."""
    user = _known(session, name)
    before = state(user)
    user.password_hash = _hash(user.name, new)
    user.password_changed_at = user.locked_until = None
    user.failed_attempts = 0
    _end_logins(session, user)
    _note(session, user, "user.password_reset", actor, before=before)


def disable(session: Session, name: str, actor: str, why: str) -> None:
    """Let nobody act by an account from now on; what was signed with it stays.

    Raises AccountError, also for the last admin who can log in.
    """
    _lock_all(session)
    user = _known(session, name)
    if user.disabled_at is not None:
        raise AccountError(
            f"user {user.name} is disabled already, since {user.disabled_at:%Y-%m-%d %H:%M} UTC"
        )
    _require_another_admin(session, user)
    before = state(user)
    user.disabled_at = datetime.now(UTC)
    _end_logins(session, user)
    _note(session, user, "user.disabled", actor, why, before)


def enable(session: Session, name: str, actor: str, why: str) -> None:
    """Let the same person act by an account again. Raises AccountError."""
    user = _known(session, name)
    if user.disabled_at is None:
        raise AccountError(f"user {user.name} is not disabled")
    before = state(user)
    user.disabled_at = None
    _note(session, user, "user.enabled", actor, why, before)


def set_roles(session: Session, name: str, roles: Sequence[str], actor: str, why: str) -> None:
    """Give an account these roles and no others; they count from its next request on.

    Raises AccountError, also where the last admin who can log in would be none, and
    db.roles.UnknownRoleError.
    """
    _lock_all(session)
    user = _known(session, name)
    wanted = known_roles(roles)
    if wanted == user.roles:
        raise AccountError(f"user {user.name} has the roles {', '.join(wanted) or '(none)'} already")
    if ADMIN not in wanted:
        _require_another_admin(session, user)
    before = state(user)
    user.roles = wanted
    _note(session, user, "user.roles_changed", actor, why, before)


def somebody_can_log_in(session: Session) -> bool:
    """Whether there is an account with a role: from then on the page asks who looks."""
    return any(user.roles for user in session.scalars(select(User)))


def everyone(session: Session) -> Sequence[User]:
    return session.scalars(select(User).order_by(User.name)).all()


def get(session: Session, name: str) -> User:
    """Give an account by its name. Raises UnknownUserError."""
    name = plain(name)
    user = session.get(User, name) if _NAME.fullmatch(name) else None
    if user is None:
        raise UnknownUserError(name)
    return user


def admins(session: Session) -> list[User]:
    """Give the accounts with which somebody can set up the others."""
    return [user for user in everyone(session) if ADMIN in user.roles and user.disabled_at is None]


def authenticate(session: Session, name: str, password: str, purpose: str) -> User:
    """Give the user whose name and password these are. Raises WrongCredentialsError.

    A failure rolls the session back, and is noted in a transaction of its own with what it was meant for:
    whoever guesses leaves a trace, whatever becomes of the act.
    """
    name = plain(name)
    user = _find(session, name)
    is_right = _is_right(user, password)
    now = datetime.now(UTC)
    if user is None:
        why = "unknown user"
    elif user.disabled_at is not None:
        why = "disabled"
    elif user.locked_until is not None and user.locked_until > now:
        why = "locked"
    elif not is_right:
        why = _WRONG
    else:
        user.failed_attempts = 0
        user.locked_until = None
        return user
    session.rollback()
    _note_failure(session, name, purpose, why)
    raise WrongCredentialsError


def plain(name: str) -> str:
    """Give a user's name as it is kept: people write it with capitals now and then."""
    return name.strip().lower()


def state(user: User) -> dict[str, Any]:
    """Give what the events say of an account; of the password a hash of its salted hash: nobody learns it."""
    return {
        "full_name": user.full_name,
        "credential": hashlib.sha256(user.password_hash.encode()).hexdigest(),
        "own": user.password_changed_at is not None,
        "disabled": user.disabled_at is not None,
        "roles": list(user.roles),
    }


def _lock_all(session: Session) -> None:
    """Let two admins who take each other's role away wait for each other: one of them is the last."""
    session.execute(select(User.name).order_by(User.name).with_for_update())


def _require_another_admin(session: Session, user: User) -> None:
    if [one.name for one in admins(session)] == [user.name]:
        raise AccountError(
            f"user {user.name} is the only admin who can log in: without one nobody could open accounts on "
            "the page. Make somebody else admin first"
        )


def _end_logins(session: Session, user: User) -> None:
    """Whoever was let in by what no longer counts has to show who it is again."""
    session.execute(delete(Login).where(Login.user == user.name))


def _find(session: Session, name: str) -> User | None:
    # Locked: two who guess at once wait for each other.
    return session.get(User, name, with_for_update=True) if _NAME.fullmatch(name) else None


def _known(session: Session, name: str) -> User:
    user = _find(session, plain(name))
    if user is None:
        raise UnknownUserError(name)
    return user


def _hash(name: str, password: str) -> str:
    password = unicodedata.normalize("NFKC", password)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountError(
            f"the password has {len(password)} characters; it takes {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}: a sentence is easy to remember"
        )
    if name in password.lower() or len(set(password)) < SHORTEST_PASSWORD // 3:
        raise AccountError("the password holds the user's name, or few different characters: choose another")
    return _HASHER.hash(password)


def _is_right(user: User | None, password: str) -> bool:
    password = unicodedata.normalize("NFKC", password[:LONGEST_PASSWORD])
    try:
        _HASHER.verify(_NOBODY if user is None else user.password_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return user is not None


def _note(
    session: Session,
    user: User,
    kind: str,
    actor: str,
    why: str | None = None,
    before: dict[str, Any] | None = None,
) -> None:
    session.flush()
    detail: dict[str, Any] = {"state": state(user)}
    if before is not None:
        detail["before"] = before
    events.record(session, kind, actor, user.name, detail | ({"why": why} if why else {}))


def _note_failure(session: Session, name: str, purpose: str, why: str) -> None:
    subject = name[:LONGEST_NAME] or None
    with session_factory(session.get_bind()).begin() as own:  # type: ignore[arg-type]  # of an engine
        events.record(own, REFUSED, UNKNOWN, subject, {"purpose": purpose, "why": why})
        user = _find(own, name)
        if user is None or why != _WRONG:
            return
        user.failed_attempts += 1
        if user.failed_attempts >= FAILURES:
            user.failed_attempts = 0
            user.locked_until = datetime.now(UTC) + LOCKED_FOR
            until = user.locked_until.isoformat(timespec="seconds")
            events.record(own, "user.locked", UNKNOWN, name, {"until": until, "purpose": purpose})
