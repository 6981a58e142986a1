"""Letting people and machines in, as an admin does it at a terminal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import Result
from typer.testing import CliRunner

from db import tokens, users
from db.engine import make_engine, session_factory
from db.settings import DatabaseSettings
from pyramidion.cli import app
from pyramidion.errors import known_errors

FIRST = "of the administrator"
Type = Callable[..., Result]


@pytest.fixture
def type_(home: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Run a command in this process, with lines of standard input."""
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setenv("COLUMNS", "200")

    def run_it(*words: str, lines: tuple[str, ...] = ()) -> Result:
        return CliRunner().invoke(app, words, input="".join(f"{line}\n" for line in lines))

    return run_it


def open_account(type_: Type, name: str, *roles: str) -> Result:
    words = [word for role in roles for word in ("--role", role)]
    return type_("users", "add", name, "--full-name", name.capitalize(), *words, lines=(FIRST,))


def said(result: Result) -> str:
    """What main() tells of an error that a person can cure."""
    assert isinstance(result.exception, known_errors()), result.output
    return str(result.exception)


def events(type_: Type, kind: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(type_("audit", "events", "--kind", kind, "--json").stdout)
    return found


def test_an_account_has_the_roles_it_was_given(type_: Type) -> None:
    assert open_account(type_, "ada", "admin", "Inspector", "admin").exit_code == 0
    assert "'boss' is no role; there are viewer, inspector" in said(open_account(type_, "bob", "boss"))
    assert open_account(type_, "bob").exit_code == 0
    roles = {one["name"]: one["roles"] for one in json.loads(type_("users", "list", "--json").stdout)}
    assert roles == {"ada": ["inspector", "admin"], "bob": []}
    given = type_("users", "roles", "bob", "--role", "auditor", "--role", "viewer", "--why", "audits")
    assert "bob is auditor and viewer now" in given.stdout
    assert "has the roles viewer, auditor already" in said(
        type_("users", "roles", "bob", "--role", "viewer", "--role", "auditor", "--why", "audits")
    )
    assert "bob only signs now" in type_("users", "roles", "bob", "--why", "is done").stdout
    trail = type_("audit", "events", "--kind", "user.roles_changed").stdout
    assert "before (roles ['viewer', 'auditor']), after (roles [])" in " ".join(trail.split())
    assert "credential" not in trail
    assert "why is done" in " ".join(trail.split())


def test_the_last_admin_stays_one(type_: Type) -> None:
    open_account(type_, "ada", "admin")
    for words in (("roles", "ada", "--role", "viewer"), ("disable", "ada")):
        assert "is the only admin who can log in" in said(type_("users", *words, "--why", "left"))
    open_account(type_, "bob", "admin")
    assert type_("users", "disable", "ada", "--why", "left").exit_code == 0
    assert "is the only admin" in said(type_("users", "roles", "bob", "--why", "left"))
    assert type_("users", "enable", "ada", "--why", "back").exit_code == 0
    assert type_("users", "roles", "bob", "--why", "left").exit_code == 0
    assert type_("audit", "verify").exit_code == 0


def test_the_doctor_says_whether_anybody_can_log_in(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    def examined() -> tuple[int, str]:
        answer = type_("doctor", "--only", "accounts")
        return answer.exit_code, " ".join(answer.stdout.split())

    assert "nobody can log in to the page, which only this machine sees" in examined()[1]
    monkeypatch.setenv("PYRAMIDION_WEB_HOST", "0.0.0.0")
    code, told = examined()
    assert code == 1
    assert "users add NAME --role admin" in told
    open_account(type_, "bob", "viewer")
    assert examined()[0] == 0
    assert "no admin can log in" in examined()[1]
    open_account(type_, "ada", "admin")
    assert "1 can administrate on the page" in examined()[1]


def test_a_token_is_shown_once_and_revoked(type_: Type) -> None:
    made = type_("tokens", "make", "cam 1", "--scope", "upload", "--station", "s1", "--days", "30")
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert text.startswith("pyr_")
    assert "token cam 1: upload for station s1, until 20" in made.stderr
    (listed,) = json.loads(type_("tokens", "list", "--json").stdout)
    wanted = {"name": "cam 1", "scopes": ["upload"], "station": "s1", "used_at": None, "state": "in force"}
    assert wanted.items() <= listed.items()
    shown = type_("tokens", "list").stdout + json.dumps(listed) + json.dumps(events(type_, "token"))
    assert text not in shown
    assert "in force" in shown
    with session_factory(make_engine(DatabaseSettings()), read_only=True)() as session:
        assert tokens.find(session, text) is not None
    assert "there is a token 'cam 1' already" in said(type_("tokens", "make", "cam 1", "--scope", "read"))
    assert type_("tokens", "revoke", "cam 1", "--why", "replaced").exit_code == 0
    assert "there is no token 'cam 1'" in said(type_("tokens", "revoke", "cam 1", "--why", "again"))
    assert "revoked" in type_("tokens", "list").stdout
    with session_factory(make_engine(DatabaseSettings()), read_only=True)() as session:
        assert tokens.find(session, text) is None
    assert [one["kind"] for one in events(type_, "token")] == ["token.revoked", "token.made"]


def test_a_token_that_makes_no_sense_is_refused(type_: Type) -> None:
    assert "no token yet" in type_("tokens", "list").stdout
    assert "'write' is no scope; there are read" in said(type_("tokens", "make", "x", "--scope", "write"))
    for_station = type_("tokens", "make", "x", "--scope", "read", "--station", "s1")
    assert "only makes sense with the scope upload" in said(for_station)
    assert "Missing option '--scope'" in type_("tokens", "make", "x").stderr
    assert json.loads(type_("tokens", "list", "--json").stdout) == []
