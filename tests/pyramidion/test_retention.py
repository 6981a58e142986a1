"""`pyramidion retention` as an engineer uses it."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db import partitions
from db.engine import make_engine, session_factory
from db.migrate import upgrade
from db.models import ensure_product
from db.settings import DatabaseSettings


@pytest.fixture(autouse=True)
def _product(home: Path) -> None:
    engine = make_engine(DatabaseSettings())
    upgrade(engine)
    with session_factory(engine).begin() as session:
        ensure_product(session, "tile")
    engine.dispose()


def events(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "pyramidion.db")) as database:
        return [kind for (kind,) in database.execute("SELECT kind FROM events ORDER BY id")]


def test_a_policy_is_set_shown_and_taken_back(run: Any, home: Path) -> None:
    done = run(
        "retention", "set", "--product", "tile", "--images-days", "90", "--rows-days", "3650", "--why", "x"
    )
    assert done.code == 0
    assert run("retention", "hold", "L7", "--why", "claim 7").code == 0
    found = run("retention", "--json").json()
    (rule,) = found["rules"]
    assert (rule["product"], rule["images_days"], rule["maps_days"], rule["rows_days"]) == (
        "tile",
        90,
        None,
        3650,
    )
    assert found["holds"][0]["lot"] == "L7"
    shown = run("retention").out
    assert "90 days" in shown
    assert "claim 7" in shown
    assert "nothing is due" in run("retention", "apply").out
    assert run("retention", "lift", "L7", "--why", "settled").code == 0
    assert run("retention", "remove", "--product", "tile", "--why", "y").code == 0
    assert "all is kept for ever" in run("retention").out
    assert events(home) == [
        "retention.policy",
        "retention.hold",
        "retention.hold_lifted",
        "retention.policy",
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", "--rows-days", "0", "--why", "x"), "rows_days is 0"),
        (("set", "--images-days", "9", "--rows-days", "8", "--why", "x"), "nothing can outlive its row"),
        (("set", "--product", "nut", "--rows-days", "9", "--why", "x"), "unknown product 'nut'"),
        (("remove", "--why", "x"), "there is no such rule"),
        (("lift", "L9", "--why", "x"), "lot 'L9' is not held (held: none)"),
    ],
)
def test_what_makes_no_sense_is_told_and_changes_nothing(
    run: Any, home: Path, words: tuple[str, ...], why: str
) -> None:
    answer = run("retention", *words)
    assert answer.code == 1
    assert why in answer.err
    assert events(home) == []


def test_a_policy_may_take_a_signature(run: Any, home: Path) -> None:
    env = {"PYRAMIDION_REQUIRE_SIGNATURE": "policy,retention"}
    words = ("retention", "set", "--rows-days", "9", "--why", "x")
    refused = run(*words, env=env)
    assert refused.code == 1
    assert "--sign-as USER" in refused.err
    assert events(home) == []
    refused = run("retention", "apply", env=env)
    assert "--sign-as USER" in refused.err


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_doctor_tells_that_no_month_was_made_ahead_and_migrate_makes_it(
    run: Any, engine: Engine, database: DatabaseSettings
) -> None:
    following = partitions.after(partitions.month_of(datetime.now(UTC)))
    with engine.begin() as connection:
        partitions.remove(connection, following, archive=False)
    answer = run("doctor", "--only", "database")
    assert answer.code == 1
    assert f"no partition is there for {following:%Y-%m}" in " ".join(answer.out.split())
    assert run("migrate").code == 0
    assert run("doctor", "--only", "database").code == 0
