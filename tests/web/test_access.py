"""Every route with everybody: who is let in is what web.access says, and whoever is not changes nothing."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import Engine, select
from starlette.routing import BaseRoute, Mount

from db import logins, tokens, users
from db.migrate import upgrade
from db.roles import ROLES, SCOPES
from db.settings import DatabaseSettings
from db.tables import Base
from web.access import (
    COOKIE,
    FORM_HEADER,
    GRANTS,
    SAFE,
    SCOPE_GRANTS,
    THIS_MACHINE,
    Permission,
    permission_of,
)
from web.app import create_app
from web.settings import WebSettings

P = Permission
PASSWORD = "correct horse: battery"
FIRST = "chosen by somebody else"
REFUSED = {401, 403}
ANSWERED_WITHIN_S = 20.0
# Whoever adds to these lets everybody in: it takes a reason.
OPEN = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/healthz"),
    ("HEAD", "/healthz"),
    ("GET", "/drift/plotly-{named}.js"),  # a library's script, as anybody can have it
    ("HEAD", "/drift/plotly-{named}.js"),
}
NOT_GUARDED = ["/static"]


@dataclass(frozen=True)
class Asked:
    """A route with one of its methods, and an address with nonsense in it that is valid."""

    method: str
    path: str
    address: str
    permission: Permission

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE


def routes(app: FastAPI) -> list[Asked]:
    """Give all routes that the app has, with each of their methods."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            assert isinstance(route, Mount), route
            assert route.path in NOT_GUARDED
            continue
        path = context.path_format or route.path_format
        nonsense = {one.name: _nonsense(one.field_info.annotation) for one in route.dependant.path_params}
        address = path.format(**nonsense)
        found += [
            Asked(method, path, address, permission_of(route)) for method in sorted(context.methods or ())
        ]
    assert len(found) > 20
    return found


def _nonsense(annotation: Any) -> str:
    return {UUID: "019ca7fb-0000-7000-8000-000000000000", int: "1", float: "0.5"}.get(annotation, "nonsense")


async def ask(app: FastAPI, asked: Asked, headers: dict[str, str]) -> int:
    """Send a request without what it takes, and give the status; streams are left after their first word."""
    is_api = asked.path.startswith("/api/")
    body = b"" if asked.is_safe else b"{}" if is_api else b"more=1"
    kind = "application/json" if is_api else "application/x-www-form-urlencoded"
    sent = {"host": "localhost", "accept": "*/*", "content-type": kind, **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.address,
        "raw_path": asked.address.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    is_read = is_stream = False

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        if is_read:
            await status
            return {"type": "http.disconnect"}
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            is_stream = dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream")
            status.set_result(message["status"])

    task = asyncio.ensure_future(app(scope, receive, send))
    await asyncio.wait({task, status}, timeout=ANSWERED_WITHIN_S, return_when="FIRST_COMPLETED")
    if is_stream:  # which has no end
        task.cancel()
    await asyncio.wait({task}, timeout=ANSWERED_WITHIN_S)
    assert status.done(), f"{asked} is not answered"
    assert task.done(), f"{asked} does not end"
    return status.result()


def ask_all(app: FastAPI, questions: list[tuple[Asked, dict[str, str]]]) -> list[int]:
    async def work() -> list[int]:
        return [await ask(app, asked, headers) for asked, headers in questions]

    return asyncio.run(work())


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], FastAPI]]:
    """Give the app over a new database; that it finds out once what its routes take spares seconds."""
    found: list[BaseRoute] = []
    engines: list[Engine] = []
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("PYRAMIDION_", "AWS_"))]:
            patch.delenv(variable)
        patch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

        def make() -> FastAPI:
            home = tmp_path_factory.mktemp("access")
            patch.setenv("PYRAMIDION_HOME", str(home))
            patch.chdir(home)
            app = create_app(WebSettings(), DatabaseSettings())
            engines.append(app.state.site.acts.kw["bind"])
            upgrade(engines[-1])
            app.router.routes[:] = found or app.router.routes
            found[:] = app.router.routes
            return app

        yield make
        for engine in engines:
            engine.dispose()


@pytest.fixture(scope="module")
def app(plant: Callable[[], FastAPI]) -> FastAPI:
    """The app, with a user of each role, one without any, and one whose password somebody else chose."""
    app = plant()
    for name, roles in [*((role, [role]) for role in ROLES), ("signer", []), ("new", list(ROLES))]:
        with app.state.site.writing() as session:
            users.add(session, name, name, FIRST, "admin", roles)
        if name != "new":
            with app.state.site.writing() as session:
                users.change_password(session, name, FIRST, PASSWORD)
    return app


def login(app: FastAPI, name: str) -> dict[str, str]:
    """Give the headers of a new login, as a script of the page sends them."""
    with app.state.site.writing() as session:
        _, token = logins.begin(session, name, FIRST if name == "new" else PASSWORD, "127.0.0.1")
    return {"cookie": f"{COOKIE}={token}", FORM_HEADER: logins.form_token(token)}


def test_every_route_at_this_machine_without_accounts(plant: Callable[[], FastAPI]) -> None:
    app = plant()
    questions: list[tuple[Asked, dict[str, str]]] = [(one, {}) for one in _without_head(app)]
    _check(app, questions, THIS_MACHINE.permissions, 401)
    elsewhere = ask_all(app, [(one, {"host": "evil.example"}) for one in _guarded(app)])
    assert set(elsewhere) == {421}


def test_each_route_names_a_permission_and_few_are_open(app: FastAPI) -> None:
    assert set(GRANTS) == set(ROLES)
    assert set(SCOPE_GRANTS) == set(SCOPES)
    everything = frozenset[Permission]().union(*GRANTS.values(), *SCOPE_GRANTS.values())
    assert everything | {P.OPEN} == set(Permission)
    assert {(one.method, one.path) for one in routes(app) if one.permission is P.OPEN} == OPEN


@pytest.mark.parametrize("role", [*ROLES, "signer"])
def test_every_route_with_every_role(app: FastAPI, role: str) -> None:
    granted = GRANTS[role] if role in ROLES else frozenset({P.ACCOUNT})
    lasting = login(app, role)
    questions = [
        # Logging out, say, ends the login that asks for it.
        (one, login(app, role) if one.permission is P.ACCOUNT and not one.is_safe else lasting)
        for one in _without_head(app)
    ]
    _check(app, questions, granted, 403)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_route_with_every_scope(app: FastAPI, scope: str) -> None:
    with app.state.site.writing() as session:
        _, text = tokens.make(session, scope, [scope], "admin")
    headers = {"authorization": f"Bearer {text}"}
    _check(app, [(one, headers) for one in _without_head(app)], SCOPE_GRANTS[scope], 403)


def test_every_route_with_nobody(app: FastAPI) -> None:
    questions: list[tuple[Asked, dict[str, str]]] = [(one, {}) for one in _guarded(app)]
    for headers in ({"cookie": f"{COOKIE}=guessed"}, {"authorization": f"Bearer pyr_{'x' * 40}"}):
        questions += [(one, headers) for one in _without_head(app)]
    _check(app, questions, frozenset(), 401)


def test_who_has_to_choose_a_password_gets_nowhere_before(app: FastAPI) -> None:
    lasting = login(app, "new")
    asked = [one for one in _without_head(app) if one.permission is not P.ACCOUNT]
    statuses = ask_all(app, [(one, lasting) for one in asked])
    wrong = [
        (one.method, one.path, status)
        for one, status in zip(asked, statuses, strict=True)
        if status != (303 if one.is_safe and not one.path.startswith("/api/") else 403)
    ]
    assert wrong == []


def test_no_form_but_that_of_the_login_changes_anything(app: FastAPI) -> None:
    asked, questions = [], []
    own = {role: login(app, role) for role in ROLES}
    stale = {role: login(app, role)[FORM_HEADER] for role in ROLES}
    for one in _guarded(app):
        role = next((role for role in ROLES if one.permission in GRANTS[role]), None)
        if one.is_safe or role is None:
            continue
        for change in (
            {FORM_HEADER: stale[role]},
            {FORM_HEADER: ""},
            {"sec-fetch-site": "cross-site"},
            {"origin": "http://evil.example"},
        ):
            asked.append((one.method, one.path, change))
            questions.append((one, {**own[role], **change}))
    assert len(questions) > 8
    kept = _everything(app)
    statuses = ask_all(app, questions)
    wrong = [(*what, status) for what, status in zip(asked, statuses, strict=True) if status != 403]
    assert wrong == []
    assert _everything(app) == kept


def _guarded(app: FastAPI) -> list[Asked]:
    return [one for one in routes(app) if one.permission is not P.OPEN]


def _without_head(app: FastAPI) -> list[Asked]:
    """Give the routes without HEAD, which is GET without its body: that nobody may is asked of both."""
    return [one for one in _guarded(app) if one.method != "HEAD"]


def _check(
    app: FastAPI,
    questions: list[tuple[Asked, dict[str, str]]],
    granted: frozenset[Permission],
    refusal: int,
) -> None:
    """Ask everything: what isn't granted is answered with `refusal`, and what is with anything but one."""
    statuses = ask_all(app, questions)
    wrong = [
        (one.method, one.path, one.permission.value, status)
        for (one, _), status in zip(questions, statuses, strict=True)
        if (status in REFUSED or status == 500 if one.permission in granted else status != refusal)
    ]
    assert wrong == []


def _everything(app: FastAPI) -> dict[str, list[Any]]:
    with app.state.site.reading() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all()))
            for table in Base.metadata.sorted_tables
        }
