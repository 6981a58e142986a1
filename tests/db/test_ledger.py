"""Sealing: every fact once, in order, whoever commits when and however many seal."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import events, results
from db.engine import make_engine, session_factory
from db.ids import uuid7
from db.leases import lease
from db.ledger import keys, unsealed
from db.ledger import seal as sealing
from db.ledger.facts import Kind
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.signers import LedgerKeyError, make_key, open_signer
from db.ledger.verify import Report, Wanted, verify
from db.migrate import config, upgrade
from db.settings import DatabaseSettings
from db.tables import Block, Event, SealedFact, UnsealedFact

Accepted = Callable[..., list[UUID]]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def settings(database: DatabaseSettings) -> LedgerSettings:
    return LedgerSettings()


@pytest.fixture
def checked(engine: Engine) -> Callable[..., Report]:
    def check(**wanted: Any) -> Report:
        report = verify(engine, Wanted(**wanted))
        assert report.bad == []
        return report

    return check


def in_blocks(sessions: sessionmaker[Session]) -> list[tuple[int, int, Kind, UUID]]:
    with sessions() as session:
        rows = session.scalars(select(SealedFact).order_by(SealedFact.block, SealedFact.position))
        return [(one.block, one.position, Kind(one.kind), one.fact) for one in rows]


def test_facts_stand_in_blocks_by_kind_and_id_and_the_waiting_room_is_empty(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    model_version: str,
    new_result: Any,
    checked: Any,
) -> None:
    ids = accepted(3)
    with sessions.begin() as session:
        results.record(session, [new_result(id_) for id_ in reversed(ids)])
        event = events.record(session, "test", "tester")
    sealed = seal(engine, settings)
    first = [one for one in in_blocks(sessions) if one[0] == 1]
    assert [one[1] for one in first] == list(range(8))
    assert [one[2:] for one in first] == [
        *((Kind.INSPECTION, id_) for id_ in ids),
        *((Kind.RESULT, id_) for id_ in ids),
        (Kind.EVENT, event),
        (Kind.MODEL_VERSION, UUID(model_version[:32])),
    ]
    report = checked()
    assert (report.facts, report.blocks, report.unsealed) == (sealed.facts, sealed.blocks, 0)
    assert seal(engine, settings).facts == 0  # sealing makes no facts of its own for ever


def test_blocks_are_no_larger_than_the_setting(
    engine: Engine, sessions: sessionmaker[Session], accepted: Accepted, checked: Any
) -> None:
    accepted(10)
    assert seal(engine, LedgerSettings(seal_block_facts=4), seconds=0).left
    seal(engine, LedgerSettings(seal_block_facts=4))
    with sessions() as session:
        sizes = session.scalars(select(Block.leaves).order_by(Block.number)).all()
    assert max(sizes) == 4
    assert checked().facts == sum(sizes)


def test_a_commit_that_comes_late_with_an_earlier_time_is_sealed(
    new_postgres_database: Any, migrated_template: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On PostgreSQL: SQLite has one writer at a time, so that no commit can overtake another.
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL", new_postgres_database(migrated_template))
    engine = make_engine(DatabaseSettings())
    sessions = session_factory(engine)
    early = sessions()
    before = events.record(early, "early", "tester")  # its id, its time and its place in the room are first
    with sessions.begin() as session:
        after = events.record(session, "late", "tester")
    for _ in range(2):
        seal(engine, LedgerSettings())
    assert before < after
    assert before not in {one[3] for one in in_blocks(sessions)}
    early.commit()
    seal(engine, LedgerSettings())
    blocks = {one[3]: one[0] for one in in_blocks(sessions)}
    assert blocks[before] > blocks[after]
    report = verify(engine, Wanted())
    assert (report.bad, report.unsealed) == ([], 0)
    engine.dispose()


SEALER = """
import sys, time
from db.engine import make_engine
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.settings import DatabaseSettings
engine = make_engine(DatabaseSettings())
print("ready", flush=True)
sys.stdin.readline()
blocks = 0
until = time.monotonic() + 1.5
while time.monotonic() < until:
    blocks += seal(engine, LedgerSettings(seal_block_facts=16)).blocks
    time.sleep(0.01)
print(blocks)
"""


@pytest.fixture
def sealers() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are about to seal; a line on their input starts them."""
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", SEALER], stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY)
        for _ in range(2)
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    yield started
    for one in started:
        one.kill()
        one.communicate(timeout=10)


def test_writers_and_sealers_at_once_leave_no_fact_out_and_seal_none_twice(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    checked: Any,
    request: pytest.FixtureRequest,
) -> None:
    accepted()
    seal(engine, settings)  # the key is there: see the next test for its race
    sealers = request.getfixturevalue("sealers")
    written: list[UUID] = []

    def write(writer: int) -> None:
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            with sessions.begin() as session:
                ids = [events.record(session, f"w{writer}", "tester") for _ in range(3)]
                time.sleep(0.002 * writer)  # commits in another order than it began
            written.extend(ids)

    for one in sealers:
        one.stdin.write("\n")
        one.stdin.flush()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, range(3)))
    made = [int(one.communicate(timeout=30)[0]) for one in sealers]
    assert [one.returncode for one in sealers] == [0, 0]
    assert sum(made) > 0
    seal(engine, settings)
    sealed = [one[3] for one in in_blocks(sessions)]
    assert len(sealed) == len(set(sealed))
    assert set(written) <= set(sealed)
    assert checked().unsealed == 0


def test_sealers_that_start_together_make_one_key(
    engine: Engine, settings: LedgerSettings, accepted: Accepted, checked: Any
) -> None:
    accepted(20)
    start = threading.Barrier(4)

    def first(_: int) -> int:
        start.wait(10)
        return seal(engine, LedgerSettings(seal_block_facts=4)).blocks

    with ThreadPoolExecutor(4) as threads:
        blocks = list(threads.map(first, range(4)))
    seal(engine, settings)
    report = checked()
    assert len(report.keys) == 1
    assert sum(blocks) <= report.blocks


def test_a_sealer_that_was_overtaken_seals_only_what_is_left(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    checked: Any,
) -> None:
    accepted()
    seal(engine, settings)
    accepted(3)
    with sealing.snapshot(engine) as connection:
        first = sealing._take(connection, 2)
    with sealing.snapshot(engine) as connection:
        second = sealing._take(connection, 100)  # the same two, and one more
    signer = open_signer(settings)
    assert first is not None
    assert second is not None
    assert signer is not None
    assert [sealing._write(sessions, signer, taken) for taken in (first, second)] == [2, 1]
    report = checked()
    assert (report.facts, report.unsealed) == (len({one[3] for one in in_blocks(sessions)}), 0)


def test_a_sealer_that_dies_before_its_commit_loses_nothing(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    checked: Any,
) -> None:
    class DyingSigner:
        def __init__(self, signer: Any) -> None:
            self.key_id, self.public_key = signer.key_id, signer.public_key

        def sign(self, content: bytes) -> bytes:
            raise KeyboardInterrupt

    accepted(2)
    seal(engine, settings)
    accepted(5)
    good = keys.signer_for
    keys.signer_for = lambda session, settings: DyingSigner(good(session, settings))  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            seal(engine, settings)
    finally:
        keys.signer_for = good
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UnsealedFact)) == 5
    seal(engine, settings)
    assert checked().unsealed == 0


def test_a_key_is_made_once_for_its_owner_alone_and_a_lost_one_is_never_replaced_in_silence(
    engine: Engine, settings: LedgerSettings, accepted: Accepted, checked: Any
) -> None:
    accepted()
    seal(engine, settings)
    assert settings.key_path().stat().st_mode & 0o777 == 0o600
    away = settings.key_path().rename(settings.key_path().with_name("away.pem"))
    accepted()
    with pytest.raises(LedgerKeyError, match=r"which is not at .* restore it from a backup"):
        seal(engine, settings)
    assert not settings.key_path().exists()
    make_key(settings.key_path())
    with pytest.raises(LedgerKeyError, match="the ledger does not know key"):
        seal(engine, settings)
    settings.key_path().write_text("no key")
    with pytest.raises(LedgerKeyError, match="no private Ed25519 key in PEM"):
        seal(engine, settings)
    away.rename(settings.key_path())
    seal(engine, settings)
    assert checked().unsealed == 0


def test_keys_rotate_with_an_overlap_and_the_old_one_is_retired_after_it(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    checked: Any,
    tmp_path: Path,
) -> None:
    accepted()
    seal(engine, settings)
    old = open_signer(settings)
    assert old is not None
    fresh = LedgerSettings(ledger_key_path=tmp_path / "new" / "key.pem")
    new = make_key(fresh.key_path())
    with sessions.begin() as session:
        keys.introduce(session, keys.known(session), old, new, timedelta(hours=1))
    for each in (settings, fresh, settings, fresh):  # both may sign for an hour
        accepted()
        assert seal(engine, each).blocks == 1
    assert checked(trusted=[new.key_id[:16]]).keys == [old.key_id, new.key_id]
    with sessions() as session:
        known = keys.known(session)
        told = session.scalars(
            select(Event.subject).where(Event.kind == "ledger.key").order_by(Event.id)
        ).all()
    assert told == [old.key_id, new.key_id]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(LedgerKeyError, match=rf"it was retired.* the file of {new.key_id[:16]}"):
        keys.require_valid(known, old, tomorrow)
    keys.require_valid(known, new, tomorrow)


def test_a_key_that_introduced_itself_is_a_fault_unless_who_verifies_trusts_it(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    tmp_path: Path,
) -> None:
    accepted()
    seal(engine, settings)
    forged = make_key(tmp_path / "forged.pem")
    with sessions.begin() as session:
        keys.introduce(session, keys.known(session), forged, forged, None)
    seal(engine, LedgerSettings(ledger_key_path=tmp_path / "forged.pem"))
    assert "is not signed for by key" in verify(engine, Wanted()).bad[0].why
    assert verify(engine, Wanted(trusted=[forged.key_id[:16]])).bad == []
    assert "which you trust" in verify(engine, Wanted(trusted=["ab" * 8])).bad[0].why


def test_the_signer_may_be_somewhere_else(
    engine: Engine, accepted: Accepted, checked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plant_kms.py").write_text(
        "from pathlib import Path\n"
        "from db.ledger.signers import make_key\n"
        f"def signer():\n    return make_key(Path({str(tmp_path / 'vault.pem')!r}))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    accepted()
    settings = LedgerSettings(ledger_signer="plant_kms:signer")
    assert seal(engine, settings).blocks
    assert not settings.key_path().exists()
    assert checked(signer=open_signer(settings)).unsealed == 0
    with pytest.raises(LedgerKeyError, match="PYRAMIDION_LEDGER_SIGNER=plant_kms:nobody gives no signer"):
        open_signer(LedgerSettings(ledger_signer="plant_kms:nobody"))


def test_facts_of_before_the_ledger_are_sealed_too(empty_database: DatabaseSettings) -> None:
    engine = make_engine(empty_database)
    alembic = config()
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
    id_ = uuid7()
    key: object = id_ if engine.dialect.name == "postgresql" else id_.bytes
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO events VALUES (:id, '2026-03-01T12:00:00.000000Z', 'old', 'a', NULL, '{}')"),
            {"id": key},
        )
        connection.execute(text("INSERT INTO products VALUES ('p', '2026-03-01T12:00:00.000000Z')"))
        connection.execute(
            text(
                "INSERT INTO model_versions "
                "VALUES (:id, 'p', '2026-03-01T12:00:00.000000Z', '{}', :id, 1, NULL)"
            ),
            {"id": "ab" * 32},
        )
    upgrade(engine)
    assert seal(engine, LedgerSettings()).facts == 3  # and the event of the new key
    assert verify(engine, Wanted()).bad == []
    engine.dispose()


def test_the_same_facts_have_the_same_leaves_on_both_databases(
    new_postgres_database: Any, migrated_template: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 120, tzinfo=UTC)
    id_ = uuid7(at, bytes(10))
    odd = {
        "floats": [1.0, 1e16, 1e23, 1e-7, 0.1 + 0.2, -0.0, 5e-324],
        "é": "ü\u2028\x01",
        "big": 2**60,
        "n": None,
    }
    leaves = []
    for url in (None, new_postgres_database(migrated_template)):
        if url is not None:
            monkeypatch.setenv("PYRAMIDION_DATABASE_URL", url)
        engine = make_engine(DatabaseSettings())
        upgrade(engine)
        with session_factory(engine).begin() as session:
            session.add(Event(id=id_, at=at, kind="k", actor="ä", subject=None, detail=odd))
            session.flush()
            unsealed.add(session, Kind.EVENT, [id_])
        seal(engine, LedgerSettings(ledger_key_path=home / f"{len(leaves)}.pem"))
        with session_factory(engine)() as session:
            leaves.append(session.scalar(select(SealedFact.leaf).where(SealedFact.fact == id_)))
        engine.dispose()
    assert leaves[0] == leaves[1]


def test_a_stretch_of_time_can_be_verified_alone(
    engine: Engine,
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    accepted: Accepted,
    checked: Any,
) -> None:
    accepted(5)
    seal(engine, settings)
    between = datetime.now(UTC)
    accepted(3)
    seal(engine, settings)
    assert checked(since=between).facts == 3
    assert checked(until=between).facts == checked().facts - 3
    assert checked(since=between).blocks == checked().blocks  # the chain is verified whole


def test_a_lease_is_one_holders_until_it_ends_or_lapses(sessions: sessionmaker[Session]) -> None:
    with lease(sessions, "seal", 60) as mine:
        assert mine is not None
        assert mine()
        with lease(sessions, "seal", 60) as also_mine, lease(sessions, "other", 60) as other:
            assert not also_mine
            assert other
    with lease(sessions, "seal", -1) as lapsed:
        assert lapsed is not None
        with lease(sessions, "seal", 60) as taken_over:
            assert taken_over
            assert not lapsed()
