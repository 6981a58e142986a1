"""Whatever is changed behind the application's back is found, and named.

The tamperer rules the database (no trigger, no foreign key holds them) and the file system.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from db import events, inspections, models, results, reviews, signatures, users
from db.engine import make_engine, session_factory
from db.imagestore import ImageStore, key_of, open_image_store
from db.ledger import anchors, merkle
from db.ledger.blobs import Blobs
from db.ledger.facts import NEWEST, Kind, read
from db.ledger.heads import head_of
from db.ledger.keys import introduction
from db.ledger.seal import SealingError, seal, snapshot
from db.ledger.settings import LedgerSettings
from db.ledger.signers import Signer, make_key
from db.ledger.verify import Report, Wanted, verify
from db.migrate import upgrade
from db.settings import DatabaseSettings
from db.tables import Block, LedgerKey, Review, SealedFact, User

NOW = datetime.now(UTC)
PASSWORD = "analytical engine"


@dataclass
class History:
    """A small sealed history, in three blocks, and a superuser's way into it."""

    engine: Engine
    sessions: sessionmaker[Session]
    store: ImageStore
    home: Path
    ids: list[UUID]  # of inspections: 0 and 1 are ng with maps, 2 is an error, 3 is pending
    review: UUID
    event: UUID
    model: str

    def superuser(self, *statements: str, **values: Any) -> None:
        """Run statements with no trigger and no foreign key in force; UUIDs are given as :name."""
        if self.engine.dialect.name == "sqlite":
            given = {k: v.bytes if isinstance(v, UUID) else v for k, v in values.items()}
            with closing(sqlite3.connect(self.home / "pyramidion.db")) as connection, connection:
                for (trigger,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                ).fetchall():
                    connection.execute(f"DROP TRIGGER {trigger}")
                connection.execute("PRAGMA ignore_check_constraints = ON")
                for statement in statements:
                    assert connection.execute(statement, given).rowcount != 0, statement
            return
        with self.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            for statement in statements:
                psycopg = statement.replace("%", "%%")
                for name in values:
                    psycopg = psycopg.replace(f":{name}", f"%({name})s")
                assert connection.exec_driver_sql(psycopg, values).rowcount != 0, statement

    def blob(self, data: bytes) -> Path:
        return self.home / "images" / key_of(hashlib.sha256(data).hexdigest())

    def leaf(self, kind: Kind, fact: UUID) -> bytes:
        """The leaf that the fact, as it stands now, would have."""
        with snapshot(self.engine) as connection:
            key: Any = fact if self.engine.dialect.name == "postgresql" else fact.bytes
            found = next(
                read(
                    connection,
                    NEWEST[kind],
                    "sealed_facts",
                    "s.fact",
                    "s.kind = :kind AND s.fact = :f",
                    {"f": key},
                )
            )
        assert found.content is not None
        return merkle.leaf_hash(found.content)

    def block_of(self, kind: Kind, fact: UUID) -> Block:
        with self.sessions() as session:
            leaf = session.get_one(SealedFact, (kind.value, fact))
            return session.get_one(Block, leaf.block)

    def verify(self) -> Report:
        settings = LedgerSettings()
        reading = session_factory(self.engine, read_only=True)
        blobs = Blobs(self.store, reading, None)
        return verify(self.engine, Wanted(heads=[settings.anchor_file()]), blobs)


def build(
    engine: Engine, new_inspection: Callable[..., Any], new_result: Callable[..., Any]
) -> dict[str, Any]:
    """Make the history and seal it; gives what a History knows of it."""
    sessions = session_factory(engine)
    settings = LedgerSettings()
    store = open_image_store(DatabaseSettings())
    for data in (b"image", b"weights"):
        store.put(data)
    manifest = json.dumps({"threshold": 0.5})
    model = hashlib.sha256(manifest.encode()).hexdigest()
    weights = hashlib.sha256(b"weights").hexdigest()
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, model, "tile", manifest, weights, 100)
        models.set_champion(session, "tile", model, actor="a", why="first")
    image = hashlib.sha256(b"image").hexdigest()
    new = [new_inspection(image_sha256=image, image_key=key_of(image), lot="L1") for _ in range(4)]
    with sessions.begin() as session:
        ids = sorted(inspections.accept(session, new))
    seal(engine, settings)
    judged = {"verdict": "ng", "score": 0.9, "threshold": 0.5, "model_version": model, "error": None}
    with sessions.begin() as session:
        for number, id_ in enumerate(ids[:2]):
            data = b"map%d" % number
            map_ = results.NewMap(8, 0.0, 1.0, 4, 4, data, hashlib.sha256(data).hexdigest())
            results.record(session, [new_result(id_, **{**judged, "score": 0.9 + number / 100}, map=map_)])
        results.record(session, [new_result(ids[2])])
    seal(engine, settings)
    with sessions.begin() as session:
        users.add(session, "ada", "Ada Lovelace", "a first password", actor="admin")
        users.change_password(session, "ada", "a first password", PASSWORD)
        signature = signatures.sign(session, "ada", PASSWORD, "review: confirm")
        review = reviews.record(session, ids[0], "confirm", "ada", "defect", "scratch", signature)
        event = events.record(session, "policy.changed", "engineer", "tile", {"band": 0.05})
    seal(engine, settings)
    assert anchors.tell(sessions, settings) == {}
    return {"ids": ids, "review": review.id, "event": event, "model": model}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Where a history of each kind of database is kept once it is made, and what is known of it."""
    return tmp_path_factory.mktemp("kept"), {}


@pytest.fixture(params=["sqlite", "postgresql"])
def history(
    request: pytest.FixtureRequest,
    home: Path,
    kept: tuple[Path, dict[str, dict[str, Any]]],
    new_inspection: Callable[..., Any],
    new_result: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[History]:
    kind, (folder, known) = request.param, kept
    monkeypatch.setenv(
        "PYRAMIDION_ANCHOR_PATH", str(folder / "heads.jsonl")
    )  # the database names it: one for all
    (folder / "heads.jsonl").unlink(missing_ok=True)
    if kind == "postgresql":
        template = f"kept_{folder.name}" if kind in known else request.getfixturevalue("migrated_template")
        monkeypatch.setenv(
            "PYRAMIDION_DATABASE_URL", request.getfixturevalue("new_postgres_database")(template)
        )
    if kind not in known:
        engine = make_engine(DatabaseSettings())
        upgrade(engine)
        known[kind] = build(engine, new_inspection, new_result)
        name = engine.url.database
        engine.dispose()
        shutil.copytree(home, folder / kind)
        shutil.copy(folder / "heads.jsonl", folder / f"{kind}.jsonl")
        if kind == "postgresql":
            server = request.getfixturevalue("postgres_server")
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE kept_{folder.name} TEMPLATE {name}")
    else:
        shutil.copytree(folder / kind, home)
        shutil.copy(folder / f"{kind}.jsonl", folder / "heads.jsonl")
    engine = make_engine(DatabaseSettings())
    yield History(engine, session_factory(engine), open_image_store(DatabaseSettings()), home, **known[kind])
    engine.dispose()


def test_what_nobody_has_tampered_with_is_as_it_was_sealed(history: History) -> None:
    report = history.verify()
    assert (report.bad, report.blobs) == ([], 4 + 2 + 1)


Tampering = tuple[Callable[[History], None], Callable[[History], tuple[str | None, Any]], str]
WAYS: dict[str, Tampering] = {}


def way(kind: str | None, id_: Callable[[History], Any], why: str) -> Callable[..., Any]:
    """Note a way of tampering, the fact that must be named, and a part of the reason that must be given."""

    def note(do: Callable[[History], None]) -> Callable[[History], None]:
        WAYS[do.__name__] = (do, lambda history: (kind, id_(history)), why)
        return do

    return note


def first(history: History) -> str:
    return str(history.ids[0])


def nobody(_: History) -> None:
    return None


@way("result", first, "was changed")
def a_score_is_changed(h: History) -> None:
    h.superuser("UPDATE results SET score = 0.9000000000000001 WHERE inspection_id = :id", id=h.ids[0])


@way("result", first, "was changed")
def a_verdict_is_turned(h: History) -> None:
    h.superuser("UPDATE results SET verdict = 'ok', regions = '[]' WHERE inspection_id = :id", id=h.ids[0])


@way("result", first, "was changed")
def a_threshold_is_lowered(h: History) -> None:
    h.superuser("UPDATE results SET threshold = 0.4 WHERE inspection_id = :id", id=h.ids[0])


@way("result", first, "was changed")
def two_scores_are_swapped(h: History) -> None:
    h.superuser("UPDATE results SET score = 1.81 - score WHERE verdict = 'ng'")


@way("result", first, "was deleted")
def a_verdict_is_deleted_with_its_map(h: History) -> None:
    h.superuser(
        "DELETE FROM anomaly_maps WHERE inspection_id = :id",
        "DELETE FROM results WHERE inspection_id = :id",
        id=h.ids[0],
    )


@way("inspection", lambda h: str(h.ids[3]), "was deleted")
def an_inspection_is_deleted(h: History) -> None:
    h.superuser(
        "DELETE FROM attempts WHERE inspection_id = :id",
        "DELETE FROM inspections WHERE id = :id",
        id=h.ids[3],
    )


@way("inspection", first, "was changed")
def a_part_is_moved_to_another_lot(h: History) -> None:
    h.superuser("UPDATE inspections SET lot = 'L2' WHERE id = :id", id=h.ids[0])


@way("inspection", first, "was changed")
def a_time_is_changed_by_a_microsecond(h: History) -> None:
    at = "2026-03-01T12:00:00.123457Z"
    h.superuser(f"UPDATE inspections SET captured_at = '{at}' WHERE id = :id", id=h.ids[0])


@way("inspection", first, "was changed")
def nothing_becomes_an_empty_text(h: History) -> None:
    h.superuser("UPDATE inspections SET serial = '' WHERE id = :id", id=h.ids[0])


@way("inspection", lambda h: str(UUID(int=7)), "never handed to be sealed")
def an_inspection_is_inserted(h: History) -> None:
    columns = (
        "product, station, line, serial, lot, captured_at, received_at, image_sha256, image_key, "
        "image_bytes, image_width, image_height, image_format"
    )
    h.superuser(
        f"INSERT INTO inspections (id, {columns}) SELECT :new, {columns} FROM inspections WHERE id = :id",
        new=UUID(int=7),
        id=h.ids[0],
    )


@way("result", lambda h: str(h.ids[3]), "never handed to be sealed")
def a_verdict_is_inserted(h: History) -> None:
    h.superuser(
        "INSERT INTO results SELECT :new, verdict, score, threshold, model_version, worker, attempts, "
        "judged_at, timings, regions, error FROM results WHERE inspection_id = :id",
        new=h.ids[3],
        id=h.ids[0],
    )


@way("result", lambda h: str(h.ids[2]), "was changed")
def a_map_is_inserted(h: History) -> None:
    h.superuser(
        "UPDATE anomaly_maps SET inspection_id = :to WHERE inspection_id = :id", to=h.ids[2], id=h.ids[1]
    )


@way("map", lambda h: str(h.ids[3]), "has no result")
def a_map_is_inserted_where_no_verdict_is(h: History) -> None:
    h.superuser(
        "INSERT INTO anomaly_maps SELECT :to, encoding, bits, low, high, width, height, data, sha256 "
        "FROM anomaly_maps WHERE inspection_id = :id",
        to=h.ids[3],
        id=h.ids[1],
    )


@way("result", first, "bytes of the anomaly map")
def a_map_is_painted_over(h: History) -> None:
    h.superuser("UPDATE anomaly_maps SET data = :data WHERE inspection_id = :id", data=b"clean", id=h.ids[0])


@way("result", first, "its map, was changed")
def a_map_is_painted_over_and_hashed_anew(h: History) -> None:
    h.superuser(
        "UPDATE anomaly_maps SET data = :data, sha256 = :hash WHERE inspection_id = :id",
        data=b"clean",
        hash=hashlib.sha256(b"clean").hexdigest(),
        id=h.ids[0],
    )


@way("result", first, "its map, was changed")
def the_scale_of_a_map_is_changed(h: History) -> None:
    h.superuser("UPDATE anomaly_maps SET high = 0.1 WHERE inspection_id = :id", id=h.ids[0])


@way("review", lambda h: str(h.review), "was changed")
def a_review_is_reworded(h: History) -> None:
    h.superuser("UPDATE reviews SET reason = 'dust' WHERE id = :id", id=h.review)


@way("review", lambda h: str(UUID(int=8)), "never handed to be sealed")
def a_review_is_inserted(h: History) -> None:
    h.superuser(
        "INSERT INTO reviews (id, inspection_id, verdict, reviewer, reason, created_at) "
        "SELECT :new, inspection_id, 'overrule', 'x', reason, created_at FROM reviews",
        new=UUID(int=8),
    )


@way("review", lambda h: str(h.review), "was changed")
def a_signature_is_made_somebody_elses(h: History) -> None:
    forged = json.dumps({**signature_of(h), "user": "eve", "name": "Eve"})
    h.superuser("UPDATE reviews SET signature = :forged WHERE id = :id", forged=forged, id=h.review)


@way("review", lambda h: str(h.review), "was changed")
def a_signature_is_cut_off(h: History) -> None:
    h.superuser("UPDATE reviews SET signature = NULL WHERE id = :id", id=h.review)


def signature_of(h: History) -> dict[str, Any]:
    with h.sessions() as session:
        signature = session.get_one(Review, h.review).signature
    assert signature is not None
    assert signature["name"] == "Ada Lovelace"
    return signature


@way("review", lambda h: str(h.review), "made for another record")
def a_signature_is_moved_to_another_review_before_that_is_sealed(h: History) -> None:
    moved = json.dumps(signature_of(h))
    with h.sessions.begin() as session:
        h.review = reviews.record(session, h.ids[1], "confirm", "ada", "defect", "scratch").id
    h.superuser("UPDATE reviews SET signature = :moved WHERE id = :id", moved=moved, id=h.review)
    seal(h.engine, LedgerSettings())


@way("event", lambda h: str(h.event), "made for another record")
def a_signature_is_moved_to_an_event_before_that_is_sealed(h: History) -> None:
    moved = json.dumps({"model": h.model, "signature": signature_of(h)})
    with h.sessions.begin() as session:
        h.event = events.record(session, "model.promoted", "ada", "tile")
    h.superuser("UPDATE events SET detail = :moved WHERE id = :id", moved=moved, id=h.event)
    seal(h.engine, LedgerSettings())


@way("user", lambda h: "ada", "was changed past the application")
def a_password_is_put_in_by_hand(h: History) -> None:
    with h.sessions.begin() as session:
        session.get_one(User, "ada").password_hash = users._HASHER.hash("a password that eve knows")


@way("user", lambda h: "eve", "was opened past the application")
def an_account_is_put_in_by_hand(h: History) -> None:
    with h.sessions.begin() as session:
        session.add(User(name="eve", full_name="Ada Lovelace", password_hash="x", created_at=NOW))


@way("user", lambda h: "ada", "was opened 2 times")
def an_account_is_opened_anew_under_a_name_that_is_taken(h: History) -> None:
    with h.sessions.begin() as session:
        ada = session.get_one(User, "ada")
        ada.password_hash = users._HASHER.hash("a password that eve knows")
        users._note(session, ada, users.ADDED, "eve")


@way("event", lambda h: str(h.event), "was deleted")
def an_event_is_deleted(h: History) -> None:
    h.superuser("DELETE FROM events WHERE id = :id", id=h.event)


@way("event", lambda h: str(h.event), "was changed")
def an_events_detail_is_changed(h: History) -> None:
    h.superuser("""UPDATE events SET detail = '{"band": 0.06}' WHERE id = :id""", id=h.event)


@way("model_version", lambda h: h.model[:32], "was changed")
def a_manifest_is_changed(h: History) -> None:
    h.superuser("UPDATE model_versions SET manifest = replace(manifest, '0.5', '0.6')")


@way("model_version", lambda h: "f" * 64, "changed past the application")
def the_champion_is_changed(h: History) -> None:
    h.superuser("UPDATE model_aliases SET model_version = :id", id="f" * 64)


@way("model_version", lambda h: h.model, "is judged by nobody")
def the_champion_is_taken_away(h: History) -> None:
    h.superuser("DELETE FROM model_aliases WHERE alias = 'champion'")


@way("inspection", first, "was altered")
def an_image_is_altered(h: History) -> None:
    h.blob(b"image").write_bytes(b"imago")


@way("inspection", first, "was removed")
def an_image_is_removed(h: History) -> None:
    h.blob(b"image").unlink()


@way("model_version", lambda h: h.model, "was altered")
def weights_are_altered(h: History) -> None:
    h.blob(b"weights").write_bytes(b"wights")


@way(None, nobody, "with or without their facts")
def a_verdict_is_turned_and_its_leaf_made_to_fit(h: History) -> None:
    h.superuser("UPDATE results SET verdict = 'ok' WHERE inspection_id = :id", id=h.ids[0])
    leaf = h.leaf(Kind.RESULT, h.ids[0])
    h.superuser("UPDATE sealed_facts SET leaf = :leaf WHERE kind = 2 AND fact = :id", leaf=leaf, id=h.ids[0])


def reroot(h: History, block: Block) -> None:
    """Make the head fit its leaves."""
    with h.sessions() as session:
        leaves = session.scalars(
            select(SealedFact.leaf).where(SealedFact.block == block.number).order_by(SealedFact.position)
        ).all()
    h.superuser(
        "UPDATE blocks SET root = :root, leaves = :leaves WHERE number = :number",
        root=merkle.root(leaves),
        leaves=len(leaves),
        number=block.number,
    )


@way(None, nobody, "not what was signed")
def a_verdict_is_turned_and_leaf_and_root_made_to_fit(h: History) -> None:
    block = h.block_of(Kind.RESULT, h.ids[0])
    h.superuser("UPDATE results SET verdict = 'ok' WHERE inspection_id = :id", id=h.ids[0])
    leaf = h.leaf(Kind.RESULT, h.ids[0])
    h.superuser("UPDATE sealed_facts SET leaf = :leaf WHERE kind = 2 AND fact = :id", leaf=leaf, id=h.ids[0])
    reroot(h, block)


def put_key(h: History, number: int, key: Signer, signature: bytes) -> None:
    h.superuser(
        "INSERT INTO ledger_keys "
        "(number, id, public_key, introduced_at, overlap_until, signature, acceptance) "
        f"SELECT {number}, :id, :public, introduced_at, NULL, :signature, :signature FROM ledger_keys",
        id=key.key_id,
        public=key.public_key,
        signature=signature,
    )


@way(None, nobody, "has not accepted the key before it")
def a_key_of_the_tamperers_own_is_put_before_the_plants(h: History) -> None:
    key = make_key(h.home / "theirs.pem")
    with h.sessions() as session:
        plants = session.get_one(LedgerKey, 1)
    h.superuser("UPDATE ledger_keys SET number = 2")
    put_key(h, 1, key, key.sign(introduction(1, key.key_id, None, plants.introduced_at, None)))
    introduced = key.sign(introduction(2, plants.id, key.key_id, plants.introduced_at, None))
    h.superuser("UPDATE ledger_keys SET signature = :signature WHERE number = 2", signature=introduced)


@way(None, nobody, "has not accepted the key before it")
def the_whole_chain_is_sealed_anew_with_a_key_of_the_tamperers_own(h: History) -> None:
    turned = h.block_of(Kind.RESULT, h.ids[0])
    h.superuser("UPDATE results SET verdict = 'ok' WHERE inspection_id = :id", id=h.ids[0])
    leaf = h.leaf(Kind.RESULT, h.ids[0])
    h.superuser("UPDATE sealed_facts SET leaf = :leaf WHERE kind = 2 AND fact = :id", leaf=leaf, id=h.ids[0])
    reroot(h, turned)
    key = make_key(h.home / "theirs.pem")
    with h.sessions() as session:
        at = session.get_one(LedgerKey, 1).introduced_at
    put_key(h, 2, key, key.sign(introduction(2, key.key_id, None, at, None)))
    h.superuser("UPDATE blocks SET key_id = :id", id=key.key_id)
    with h.sessions() as session:
        numbers = session.scalars(select(Block.number).order_by(Block.number)).all()
    previous = bytes(32)
    for number in numbers:
        h.superuser("UPDATE blocks SET previous = :p WHERE number = :n", p=previous, n=number)
        with h.sessions() as session:
            head = head_of(session.get_one(Block, number))
        h.superuser(
            "UPDATE blocks SET signature = :s WHERE number = :n", s=key.sign(head.content()), n=number
        )
        previous = head.hash()


@way("inspection", lambda h: str(h.ids[1]), "order of the block's leaves")
def two_leaves_are_swapped(h: History) -> None:
    number = h.block_of(Kind.INSPECTION, h.ids[0]).number
    h.superuser("UPDATE sealed_facts SET position = 1000 + position WHERE block = :n AND kind = 1", n=number)
    for place, id_ in enumerate((h.ids[1], h.ids[0], h.ids[2], h.ids[3])):
        h.superuser("UPDATE sealed_facts SET position = :p WHERE kind = 1 AND fact = :id", p=place, id=id_)


@way("review", lambda h: str(h.review), "leaf was changed")
def a_leaf_is_changed(h: History) -> None:
    h.superuser("UPDATE sealed_facts SET leaf = :leaf WHERE kind = 3", leaf=bytes(32))


@way("event", lambda h: str(UUID(int=9)), "claims block 999")
def a_fact_is_inserted_with_a_leaf_of_no_block(h: History) -> None:
    h.superuser(
        "INSERT INTO events (id, at, kind, actor, subject, detail) "
        "SELECT :new, at, kind, actor, subject, detail FROM events WHERE id = :id",
        "INSERT INTO sealed_facts (kind, fact, block, position, form, leaf) "
        "SELECT kind, :new, 999, 0, form, leaf FROM sealed_facts WHERE kind = 4 AND fact = :id",
        new=UUID(int=9),
        id=h.event,
    )


@way(None, nobody, "leaves, but")
def a_fact_is_inserted_with_a_leaf(h: History) -> None:
    h.superuser(
        "INSERT INTO events (id, at, kind, actor, subject, detail) "
        "SELECT :new, at, kind, actor, subject, detail FROM events WHERE id = :id",
        "INSERT INTO sealed_facts (kind, fact, block, position, form, leaf) "
        "SELECT kind, :new, block, 999, form, leaf FROM sealed_facts WHERE kind = 4 AND fact = :id",
        new=UUID(int=9),
        id=h.event,
    )


@way(None, nobody, "no kind of fact")
def the_waiting_room_is_stuffed(h: History) -> None:
    since = (NOW - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    h.superuser(f"INSERT INTO unsealed_facts (kind, fact, since) VALUES (4, :id, '{since}')", id=h.event)
    with pytest.raises(
        SealingError, match=f"event {h.event} is in block . already and stands in unsealed_fac"
    ):
        seal(h.engine, LedgerSettings())
    h.superuser("DELETE FROM unsealed_facts")
    h.superuser(f"INSERT INTO unsealed_facts (kind, fact, since) VALUES (9, :id, '{since}')", id=UUID(int=9))
    with pytest.raises(SealingError, match="name no kind of fact"):
        seal(h.engine, LedgerSettings())
    if h.engine.dialect.name == "sqlite":
        h.superuser("INSERT INTO unsealed_facts (kind, fact, since) VALUES (1, 'none', 'never')")
        with pytest.raises(SealingError, match="holds what is no id"):
            seal(h.engine, LedgerSettings(seal_block_facts=2))


@way(None, nobody, "leaves, but")
def a_fact_is_deleted_with_its_leaf(h: History) -> None:
    h.superuser("DELETE FROM reviews WHERE id = :id", "DELETE FROM sealed_facts WHERE kind = 3", id=h.review)


@way(None, nobody, "not what was signed")
def a_block_is_made_older(h: History) -> None:
    at = (NOW - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    h.superuser(f"UPDATE blocks SET sealed_at = '{at}' WHERE number = 2")


@way(None, nobody, "block 1 is missing before this")
def a_block_is_put_before_the_first(h: History) -> None:
    h.superuser(
        "INSERT INTO blocks (number, previous, root, leaves, sealed_at, key_id, signature) "
        "SELECT 0, previous, root, leaves, sealed_at, key_id, signature FROM blocks WHERE number = 1"
    )


@way(None, nobody, "block 2 is missing")
def a_block_is_taken_out(h: History) -> None:
    h.superuser(
        "DELETE FROM reviews WHERE 1 = 1",
        "DELETE FROM sealed_facts WHERE block = 2",
        "DELETE FROM blocks WHERE number = 2",
    )


@way(None, nobody, "the chain was cut")
def the_newest_blocks_are_cut_off_with_all_their_facts(h: History) -> None:
    last = h.block_of(Kind.REVIEW, h.review).number
    h.superuser(
        "DELETE FROM reviews WHERE 1 = 1",
        "DELETE FROM events WHERE id IN (SELECT fact FROM sealed_facts WHERE kind = 4 AND block = :n)",
        "DELETE FROM sealed_facts WHERE block = :n",
        "DELETE FROM blocks WHERE number = :n",
        n=last,
    )


@way(None, nobody, "it was cut")
def the_file_of_heads_is_removed(h: History) -> None:
    LedgerSettings().anchor_file().unlink()


@way(None, nobody, "it was sealed anew")
def the_file_of_heads_is_changed(h: History) -> None:
    file = LedgerSettings().anchor_file()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["hash"] = "0" * 64
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@way(None, nobody, "no longer there")
def a_head_in_the_file_is_blotted_out(h: History) -> None:
    file = LedgerSettings().anchor_file()
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], "#\n", *lines[2:]]))


@way("event", lambda h: str(h.event), "before it was sealed")
def a_fact_is_deleted_before_it_is_sealed(h: History) -> None:
    with h.sessions.begin() as session:
        h.event = events.record(session, "incriminating", "somebody")
    h.superuser("DELETE FROM events WHERE id = :id", id=h.event)
    seal(h.engine, LedgerSettings())


@way("event", lambda h: str(h.event), "never handed to be sealed")
def a_fact_is_taken_out_of_the_waiting_room(h: History) -> None:
    with h.sessions.begin() as session:
        h.event = events.record(session, "incriminating", "somebody")
    h.superuser("DELETE FROM unsealed_facts WHERE fact = :id", id=h.event)
    seal(h.engine, LedgerSettings())


TAMPERINGS = sorted(WAYS)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(name: str, history: History) -> None:
    do, named, why = WAYS[name]
    do(history)
    report = history.verify()
    assert not report.ok
    found = [(one.kind, one.id, one.why) for one in report.bad]
    kind, id_ = named(history)
    assert any(one[:2] == (kind, id_) and why in one[2] for one in found), found


@pytest.mark.parametrize("history", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blocks SET sealed_at = 'yesterday' WHERE number = 2",
        "UPDATE blocks SET leaves = 'many' WHERE number = 2",
        "UPDATE blocks SET root = 'green' WHERE number = 2",
        "UPDATE blocks SET signature = 7 WHERE number = 2",
        "UPDATE ledger_keys SET public_key = 'mine'",
        "UPDATE ledger_keys SET introduced_at = 'once'",
        "UPDATE sealed_facts SET leaf = 'oak' WHERE kind = 3",
        "UPDATE sealed_facts SET position = 'first' WHERE kind = 3",
        "UPDATE sealed_facts SET fact = 'none' WHERE kind = 3",
        "UPDATE sealed_facts SET form = 9 WHERE kind = 3",
        "UPDATE inspections SET lot = CAST(x'ff' AS TEXT)",
        "UPDATE inspections SET lot = x'ff', image_bytes = 'huge', captured_at = 1e300",
        # what is no JSON at all SQLite refuses there: an index looks into it
        "UPDATE results SET timings = '[7]', score = 'high'",
        "UPDATE events SET detail = 'none', at = 0 WHERE kind = 'model.promoted'",
    ],
)
def test_what_no_column_should_hold_is_a_fault_and_no_crash(statement: str, history: History) -> None:
    history.superuser(statement)
    report = history.verify()
    assert not report.ok
    assert all(one.why for one in report.bad)


def test_there_are_more_ways_than_a_dozen() -> None:
    assert len(TAMPERINGS) >= 12


def test_this_machines_key_tells_when_the_chain_was_sealed_anew_from_its_beginning(history: History) -> None:
    mine = make_key(LedgerSettings().key_path())
    assert verify(history.engine, Wanted(signer=mine)).ok
    theirs = make_key(history.home / "theirs.pem")
    assert "was sealed anew" in verify(history.engine, Wanted(signer=theirs)).bad[0].why
