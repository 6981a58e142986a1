"""The API, asked what its document allows and what it doesn't: it never fails, and answers as it says."""

import copy
import itertools
import os
import re
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import tokens
from db.roles import ROLES
from db.settings import DatabaseSettings
from db.tables import Inspection
from tests.web.conftest import PASSWORD, Plant
from web import openapi
from web.access import COOKIE
from web.app import create_app
from web.settings import WebSettings
from web.upload import uploads

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
EFFORT = int(os.environ.get("FUZZ_EFFORT", "1"))  # more of it asks more, and otherwise each time
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ODD = ["..%2f..%2fetc%2fpasswd", "C:\\x", "\0", "%", "*", "<script>alert(1)</script>"]


@pytest.fixture
def app(database: DatabaseSettings, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(uploads, "enqueue", lambda ids, at: None)
    for verdict in ("ok", "ng", "inconclusive", "error"):
        plant.inspect(verdict, line="north")
    plant.accept(serial="<script>alert(1)</script>")
    return create_app(WebSettings(), database)


@pytest.fixture
def ids(app: Any, sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        return [str(id_) for id_ in session.scalars(select(Inspection.id))]


Shown = tuple[dict[str, str], dict[str, str]]  # headers and cookies


def log_in(app: Any, name: str) -> Shown:
    with asgi.get_client(app) as client:
        answer = client.post("/login", data={"name": name, "password": PASSWORD}, allow_redirects=False)
        cookies = {COOKIE: answer.cookies[COOKIE]}
        page = client.get("/account", cookies=cookies)
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return {"X-Form-Token": found[1]}, cookies


def make_acceptable(case: Any) -> None:
    """Give an upload a product that is there, and what it takes besides."""
    good = {"product": "tile", "station": "s1", "captured_at": "2026-03-01T06:00:00Z"}
    if case.media_type != "multipart/form-data":
        case.query = good
    elif isinstance(case.body, dict) and isinstance(case.body.get("images"), list):
        case.query = {}
        case.body["frames"] = [good for _ in case.body["images"]]


def fuzz(
    app: Any, ids: list[str], examples: int, show: Callable[[], Shown], takes: Callable[[str], bool]
) -> Counter[int]:
    """Ask what `takes` such a permission `examples` times each, half of them for what is there.

    Gives the counts of statuses.
    """
    document = copy.deepcopy(openapi.document(app))
    for operations in document["paths"].values():
        for one in operations.values():
            del one["security"]  # else logins and tokens are made up, which test_login has
    schema = schemathesis.openapi.from_dict(document)
    schema.app = app
    known = {"id_": ids, "name": ["tile", "s1", "eve", *ODD], "lot": ["L1", *ODD], "form": ["csv", *ODD]}
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    shown = show()
    for result in schema.get_all_operations():
        operation = result.ok()
        if not takes(operation.definition.raw["x-permission"]):
            continue
        positive = operation.as_strategy(GenerationMode.POSITIVE)
        cases = st.one_of(positive, operation.as_strategy(GenerationMode.NEGATIVE))

        @settings(
            max_examples=examples * EFFORT,
            deadline=None,
            derandomize=EFFORT == 1,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, data=st.data())
        def ask(case: Any, data: st.DataObject) -> None:
            nonlocal shown
            for name in case.path_parameters or {}:
                there = known.get(name)
                if there and data.draw(st.booleans()):
                    case.path_parameters[name] = data.draw(st.sampled_from(there))
            if case.operation.label == "POST /api/v1/inspections" and data.draw(st.booleans()):
                make_acceptable(case)
            with asgi.get_client(app) as client:
                headers, cookies = shown
                answer = case.call(session=client, headers=headers, cookies=cookies)
            statuses[answer.status_code] += 1
            if answer.status_code == 401:  # it has ended its own login
                shown = show()
            case.validate_response(answer, checks=CHECKS)

        try:
            ask()
        except Exception as error:  # noqa: BLE001  # all that is wrong shall be told at once
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    return statuses


def test_whatever_somebody_with_all_roles_asks_nothing_fails(
    app: Any, ids: list[str], account: Callable[..., None]
) -> None:
    account("keeper", "admin")
    account("root", *ROLES)
    statuses = fuzz(app, ids, 3, lambda: log_in(app, "root"), lambda permission: permission != "upload")
    assert statuses[200] > 50, statuses
    assert statuses[401] < 20, statuses


def test_whatever_a_machine_asks_nothing_fails(
    app: Any, ids: list[str], sessions: sessionmaker[Session], account: Callable[..., None]
) -> None:
    account("keeper", "admin")
    shown = token(sessions)
    statuses = fuzz(app, ids, 15, lambda: (shown, {}), lambda permission: permission == "upload")
    statuses += fuzz(app, ids, 2, lambda: (shown, {}), lambda permission: permission in {"read", "export"})
    assert statuses[200] > 10, statuses
    assert statuses[202] > 0, statuses


def token(sessions: sessionmaker[Session]) -> dict[str, str]:
    with sessions.begin() as session:
        _, text = tokens.make(session, "mes", ["read", "upload"], "admin")
    return {"Authorization": f"Bearer {text}"}


def test_no_address_leads_out_of_what_is_served(page: httpx.Client, sessions: sessionmaker[Session]) -> None:
    names = ["../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "....//etc/passwd"]
    names += ["..%252f..%252fetc%252fpasswd", "/etc/passwd", "..\\etc", "%00", "%"]
    places = (
        "/static/{}",
        "/inspections/{}",
        "/api/v1/inspections/{}/image",
        "/api/v1/exports/inspections.{}",
    )
    shown = token(sessions)["Authorization"]
    for place, name in itertools.product(places, names):
        path = place.format(name)  # as it is: clients tidy addresses up
        ask = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {shown}\r\nConnection: close\r\n\r\n"
        with socket.create_connection((page.base_url.host, page.base_url.port), timeout=20) as raw:
            raw.sendall(ask.encode())
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
        assert answer.split(b" ", 2)[1] in {b"400", b"404", b"422"}, (path, answer[:200])
        assert b"root:" not in answer
