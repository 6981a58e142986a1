"""Exports over HTTP: exactly what is filtered, in pieces, and who took it."""

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import exports as rows_of
from db import tokens
from db.export_files import NAMES
from db.matching import Filter
from db.settings import DatabaseSettings
from db.tables import Event
from web.inspections import exports

Sessions = sessionmaker[Session]
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the rows' queries are db's


@pytest.fixture
def machine(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None], sessions: Sessions
) -> Iterator[httpx.Client]:
    account("ada", "admin")
    with sessions.begin() as session:
        _, secret = tokens.make(session, "mes", ["read"], "ada")
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=serve(database), headers=headers, timeout=30) as client:
        yield client


def events(sessions: Sessions) -> list[Event]:
    with sessions() as session:
        asked = select(Event).where(Event.kind.startswith("export.")).order_by(Event.id)
        return list(session.scalars(asked))


def parsed(form: str, content: bytes) -> list[dict[str, Any]]:
    if form == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    if form == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    return list(pq.read_table(io.BytesIO(content)).to_pylist())


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_is_filtered_is_what_is_sent(
    form: str, machine: httpx.Client, plant: Any, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 4)
    for n in range(10):
        plant.inspect("ng" if n % 3 else "ok", serial="=1+1" if n == 1 else f"\N{SNOWMAN},{n}")
    plant.accept(lot="other")
    with sessions() as session:
        expected = rows_of.page(session, Filter(lot="L1", verdict="ng"), 100)
    for place in ("/exports", "/api/v1/exports"):
        answer = machine.get(f"{place}/inspections.{form}?lot=L1&verdict=ng")
        assert answer.status_code == 200
        found = parsed(form, answer.content)
        assert [row["id"] for row in found] == [str(row.id) for row in expected]
        assert list(found[0]) == NAMES
        assert [float(row["score"]) for row in found] == [row.score for row in expected]
        guarded = "'=1+1" if form == "csv" else "=1+1"  # what a spreadsheet would compute
        assert found[-1]["serial"] == guarded
        assert found[0]["serial"] == f"\N{SNOWMAN},{8}"
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="inspections-')
        assert disposition.endswith(f'.{form}"')
        assert answer.headers["cache-control"] == "private, no-store"
    began, ended = events(sessions)[:2]
    assert (began.kind, began.actor, began.subject) == ("export.began", "token mes", f"inspections.{form}")
    assert began.detail == {"filter": {"lot": "L1", "verdict": "ng"}}
    assert (ended.kind, ended.actor) == ("export.ended", "token mes")
    told = {"export": str(began.id), "rows": len(expected), "is_whole": True}
    assert {name: ended.detail[name] for name in told} == told
    if form != "parquet":
        assert ended.detail["sha256"] == hashlib.sha256(answer.content).hexdigest()


def test_an_empty_export_is_a_file_all_the_same(machine: httpx.Client) -> None:
    assert parsed("csv", machine.get("/exports/inspections.csv?lot=none").content) == []
    assert machine.get("/exports/inspections.csv?lot=none").text.strip() == ",".join(NAMES)
    assert machine.get("/exports/inspections.jsonl").content == b""
    table = pq.read_table(io.BytesIO(machine.get("/exports/inspections.parquet").content))
    assert (table.num_rows, table.column_names) == (0, NAMES)


def test_who_goes_away_stops_the_reading(
    machine: httpx.Client, plant: Any, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.inspect("ok", serial="x" * 200)
    page, asked = rows_of.page, []

    def endless(session: Session, wanted: Filter, limit: int, after: Any = None) -> Any:
        asked.append(after)
        return page(session, wanted, limit) * 200

    monkeypatch.setattr(rows_of, "page", endless)
    with machine.stream("GET", "/exports/inspections.jsonl") as answer:
        next(answer.iter_raw())
    deadline = time.monotonic() + 20
    while len(found := events(sessions)) < 2:
        assert time.monotonic() < deadline, "the reading goes on"
        time.sleep(0.05)
    assert found[1].detail["is_whole"] is False
    assert found[1].detail["rows"] > 0
    read = len(asked)
    time.sleep(0.3)
    assert len(asked) == read


def test_exports_are_refused_in_a_sentence(machine: httpx.Client, sessions: Sessions) -> None:
    for address, status in {
        "/exports/inspections.xlsx": 422,
        "/exports/..%2f..%2fetc%2fpasswd": 404,
        "/exports/inspections.csv?verdict=bad": 422,
        "/api/v1/exports/inspections.csv?verdict=bad": 422,
        "/api/v1/exports/inspections.csv?lot=a&lot=b": 422,
        "/exports/inspections.csv?after=" + "0" * 32: 422,
    }.items():
        answer = machine.get(address)
        assert answer.status_code == status, address
        assert "content-disposition" not in answer.headers
    machine.headers.pop("authorization")
    assert machine.get("/exports/inspections.csv").status_code == 401
    assert events(sessions) == []
