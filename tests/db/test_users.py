"""Accounts: who is let in, who is not, and what is left of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from db import events, signatures, users
from db.tables import Event, User

Sessions = sessionmaker[Session]
FIRST, OWN = "given by the administrator", "chosen by herself"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with the least effort, which the hashes themselves name."""
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def ada(sessions: Sessions) -> None:
    with sessions.begin() as session:
        users.add(session, "Ada", " Ada  Lovelace ", FIRST, "admin")
    with sessions.begin() as session:
        users.change_password(session, "ada", FIRST, OWN)


def sign(sessions: Sessions, name: str, password: str) -> dict[str, Any]:
    with sessions.begin() as session:
        return signatures.sign(session, name, password, "approval")


def told(sessions: Sessions) -> list[Event]:
    with sessions() as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def test_only_what_its_owner_chose_signs(sessions: Sessions) -> None:
    with sessions.begin() as session:
        users.add(session, "ada", "Ada Lovelace", FIRST, "admin")
    with pytest.raises(users.AccountError, match="pyramidion users password ada"):
        sign(sessions, "ada", FIRST)
    with sessions.begin() as session, pytest.raises(users.AccountError, match="is the present one"):
        users.change_password(session, "ada", FIRST, FIRST)
    with sessions.begin() as session:
        users.change_password(session, "ada", FIRST, OWN)
    signature = sign(sessions, " ADA", OWN)
    assert (signature["user"], signature["name"], signature["meaning"]) == ("ada", "Ada Lovelace", "approval")
    assert abs(datetime.fromisoformat(signature["at"]) - datetime.now(UTC)) < timedelta(seconds=10)
    with sessions.begin() as session:
        users.reset_password(session, "ada", FIRST, "admin")
    with pytest.raises(users.AccountError, match="somebody else chose"):
        sign(sessions, "ada", FIRST)


def test_every_change_is_told_and_no_password(sessions: Sessions, ada: None) -> None:
    with sessions.begin() as session:
        users.reset_password(session, "ada", "another that was given", "admin")
        users.disable(session, "ada", "admin", "left the plant")
        users.enable(session, "ada", "admin", "is back")
    found = told(sessions)
    assert [(one.kind, one.actor, one.subject) for one in found] == [
        ("user.added", "admin", "ada"),
        ("user.password_changed", "ada", "ada"),
        ("user.password_reset", "admin", "ada"),
        ("user.disabled", "admin", "ada"),
        ("user.enabled", "admin", "ada"),
    ]
    assert "argon2" not in str([one.detail for one in found])
    assert found[3].detail["why"] == "left the plant"


def act(sessions: Sessions, name: str, password: str) -> None:
    with sessions.begin() as session:
        events.record(session, "act.begun", "somebody")
        signatures.approval(session, "promotion", name, password, "approval: new model")


def test_whoever_is_refused_learns_no_reason_and_leaves_a_trace(sessions: Sessions, ada: None) -> None:
    for who, name, password in (
        ("wrong password", "ada", "guessed at random"),
        ("unknown user", "eve", OWN),
        ("disabled", "ada", OWN),
    ):
        if who == "disabled":
            with sessions.begin() as session:
                users.disable(session, "ada", "admin", "left the plant")
        with pytest.raises(users.WrongCredentialsError) as refused:
            act(sessions, name, password)
        assert str(refused.value) == str(users.WrongCredentialsError())
        last = told(sessions)[-1]
        assert (last.kind, last.actor, last.subject) == (users.REFUSED, "unknown", name)
        assert last.detail == {"purpose": "signature: approval: new model", "why": who}
    assert "act.begun" not in {one.kind for one in told(sessions)}


def test_an_unknown_user_costs_as_much_time_as_a_wrong_password() -> None:
    assert not PasswordHasher().check_needs_rehash(users._NOBODY)


def test_guessing_locks_the_account_for_a_time(sessions: Sessions, ada: None) -> None:
    for _ in range(users.FAILURES - 1):
        with pytest.raises(users.WrongCredentialsError):
            sign(sessions, "ada", "guessed at random")
    sign(sessions, "ada", OWN)  # which forgives
    for _ in range(users.FAILURES):
        with pytest.raises(users.WrongCredentialsError):
            sign(sessions, "ada", "guessed at random")
    assert told(sessions)[-1].kind == "user.locked"
    with pytest.raises(users.WrongCredentialsError):
        sign(sessions, "ada", OWN)
    assert told(sessions)[-1].detail["why"] == "locked"
    with sessions.begin() as session:
        until = session.get_one(User, "ada").locked_until
        assert until is not None
        assert timedelta(0) < until - datetime.now(UTC) <= users.LOCKED_FOR
        session.get_one(User, "ada").locked_until = datetime.now(UTC)  # and the time goes by
    assert sign(sessions, "ada", OWN)["user"] == "ada"


def test_an_account_that_cannot_be_is_refused_with_the_reason(sessions: Sessions, ada: None) -> None:
    for attempt, said in (
        (lambda s: users.add(s, "ada", "Another Ada", FIRST, "admin"), "never given to another person"),
        (lambda s: users.add(s, "a b", "A", FIRST, "admin"), "a name is"),
        (lambda s: users.add(s, "n\0", "A", FIRST, "admin"), "a name is"),
        (lambda s: users.add(s, "bob", " ", FIRST, "admin"), "full name"),
        (lambda s: users.add(s, "bob", "Bob", "short", "admin"), "has 5 characters"),
        (lambda s: users.add(s, "bob", "Bob", "this is Bob's own", "admin"), "holds the user's name"),
        (lambda s: users.add(s, "bob", "Bob", "a" * 20, "admin"), "few different"),
        (lambda s: users.disable(s, "nobody", "admin", "x"), "there is no user 'nobody'"),
        (lambda s: users.enable(s, "ada", "admin", "x"), "is not disabled"),
    ):
        with pytest.raises((users.AccountError, ValueError), match=said), sessions.begin() as session:
            attempt(session)
    assert len(told(sessions)) == 2


def test_what_can_be_no_name_is_refused_like_any_other(sessions: Sessions) -> None:
    for name in ("n\0\ud800", "x" * 300):
        with pytest.raises(users.WrongCredentialsError):
            sign(sessions, name, OWN)
    assert len(told(sessions)) == 2


def test_the_name_of_a_user_whom_somebody_removed_is_not_given_again(sessions: Sessions, ada: None) -> None:
    with sessions.begin() as session:
        session.execute(delete(User))  # past the application: verify says so as long as nobody takes the name
        with pytest.raises(users.AccountError, match="never given to another person"):
            users.add(session, "ada", "Ada Other", FIRST, "administrator")
