"""How statements are carried out: none may go through all facts for each block, or for each fact."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, sessionmaker

from db import events, results
from db.ledger import released
from db.ledger import verify as verifying
from db.ledger.facts import FORMS
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Wanted, verify
from db.retention.images import _unneeded

Statement = tuple[str, Any]


@pytest.fixture
def asked(
    engine: Engine,
    sessions: sessionmaker[Session],
    accepted: Callable[..., list[UUID]],
    new_result: Any,
    model_version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Statement]:
    """What verify asks the database of a history of several blocks, each in a batch of its own."""
    monkeypatch.setattr(verifying, "_FACTS_AT_ONCE", 2)
    ids = accepted(6)
    with sessions.begin() as session:
        results.record(session, [new_result(id_) for id_ in ids[:4]])
    seal(engine, LedgerSettings(seal_block_facts=2))
    statements: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    report = verify(engine, Wanted())
    event.remove(engine, "before_cursor_execute", note)
    assert (report.bad, report.blocks > 3) == ([], True)
    return statements


@dataclass(frozen=True)
class Step:
    """A table that is read, by which columns of an index: none where it is read whole."""

    table: str
    by: str
    for_each: bool  # row of something else


def plan(engine: Engine, statement: Statement) -> list[Step]:
    query, parameters = statement
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters).all()
            return list(steps_of_sqlite(rows))
        # So few rows are read whole, whatever the index; a scan that is left now is one that no index spares.
        connection.exec_driver_sql("SET enable_seqscan = off")
        (found,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", parameters).one()
        return list(steps_of_postgresql(found[0]["Plan"], for_each=False))


def steps_of_sqlite(rows: Sequence[Any]) -> Iterator[Step]:
    correlated = {row.id for row in rows if row.detail.startswith("CORRELATED")}
    for row in rows:
        found = re.match(r"(?:SCAN|SEARCH) (\w+)[^(]*(\(.*)?", row.detail)
        if found:
            yield Step(found[1], found[2] or "", row.parent in correlated)


def steps_of_postgresql(node: dict[str, Any], *, for_each: bool) -> Iterator[Step]:
    if "Relation Name" in node:
        yield Step(node["Alias"], node.get("Index Cond", node.get("Recheck Cond", "")), for_each)
    for number, child in enumerate(node.get("Plans", ())):
        inner = node["Node Type"] == "Nested Loop" and number == 1
        yield from steps_of_postgresql(child, for_each=for_each or inner)


def test_a_block_is_read_by_its_number_and_its_facts_by_their_ids(
    engine: Engine, asked: list[Statement]
) -> None:
    of_blocks = [one for one in asked if "FROM sealed_facts s LEFT JOIN" in one[0]]
    assert len(of_blocks) > 3 * len(FORMS)
    for statement in of_blocks:
        read = plan(engine, statement)
        leaves = [step for step in read if step.table == "s"]
        assert [step for step in leaves if "block" not in step.by] == [], read
        assert leaves != []
        if "JOIN model_versions" not in statement[0]:  # by the beginning of their ids: there are few
            assert [step for step in read if step.by == ""] == [], read


def test_each_fact_is_looked_for_among_the_leaves_by_its_id(engine: Engine, asked: list[Statement]) -> None:
    never = [one for one in asked if "NOT EXISTS" in one[0] and "sealed_facts s" in one[0]]
    assert len(never) == len({form.table for form in FORMS})
    for statement in never:
        if "FROM model_versions" not in statement[0]:
            read = plan(engine, statement)
            assert [step for step in read if step.for_each and "fact" not in step.by] == [], read
            assert engine.dialect.name != "sqlite" or [step for step in read if step.for_each] != []


def test_who_else_needs_images_is_looked_for_in_one_pass_over_all_inspections(
    engine: Engine, sessions: sessionmaker[Session], accepted: Callable[..., list[UUID]]
) -> None:
    ids = accepted(6)
    with sessions.begin() as session:
        act = events.record(session, released.ACT, "retention", None, {})
        released.add(session, act, released.IMAGE, ids)
    statements: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    with sessions() as session:
        _unneeded(session, [act])
    event.remove(engine, "before_cursor_execute", note)
    read = [plan(engine, one) for one in statements if "inspections" in one[0]]
    whole = [step for steps in read for step in steps if step.by == "" and "inspections" in step.table]
    assert [step.for_each for step in whole] == [False] * len(whole), read
    # Each partition is one, SQLite has one table
    assert len({step.table for step in whole}) == len(whole) > 0, read
