"""Retention: what the policy lets go goes, nothing else does, and verify knows the difference."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import (
    events,
    golden,
    history,
    inspections,
    lots,
    models,
    partitions,
    results,
    reviews,
    sample,
    snapshot,
)
from db.again import again
from db.engine import session_factory
from db.golden import StoredImage
from db.history import LetGoError
from db.ids import uuid7
from db.imagestore import ImageStore, ImageStoreUnavailableError, MissingBlobError, key_of, open_image_store
from db.ledger import lawful, lots_let_go, merkle, released, unsealed
from db.ledger.blobs import Blobs
from db.ledger.facts import Kind
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Report, Wanted, verify
from db.matching import Filter
from db.retention import acts, images, policy, samples
from db.retention.due import Act, Due
from db.retention.policy import RetentionError, Terms
from db.settings import DatabaseSettings
from db.tables import AnomalyMap, Attempt, Event, Inspection, ReleasedFact, Result, Review

OLD = datetime(2026, 3, 1, 12, tzinfo=UTC)  # of the tests' inspections
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has no partitions


@dataclass
class Line:
    """A line whose images are stored, whose parts are judged and whose history is sealed."""

    engine: Engine
    sessions: sessionmaker[Session]
    store: ImageStore
    new_inspection: Callable[..., Any]
    new_result: Callable[..., Any]
    model: str

    def judged(
        self,
        verdict: str = "ok",
        image: bytes | None = None,
        judged_at: datetime = OLD + timedelta(seconds=5),
        **changes: Any,
    ) -> UUID:
        """Store an image, accept it, and judge it with a map unless the verdict is pending."""
        data = image or f"image {changes} {uuid7()}".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        self.store.put(data)
        one = self.new_inspection(image_sha256=sha256, image_key=key_of(sha256), **changes)
        with self.sessions.begin() as session:
            inspections.accept(session, [one])
            if verdict == "pending":
                return UUID(str(one.id))
            map_ = results.NewMap(8, 0.0, 1.0, 4, 4, b"map" + data, hashlib.sha256(b"map" + data).hexdigest())
            said = {"verdict": verdict, "score": 0.5, "threshold": 1.0, "error": None, "map": map_}
            if verdict == "error":
                said = {"verdict": verdict, "error": "unreadable", "map": None}
            results.record(
                session,
                [self.new_result(one.id, model_version=self.model, judged_at=judged_at, **said)],
            )
        return UUID(str(one.id))

    def policy(self, product: str | None = None, verdict: str | None = None, **days: int) -> None:
        with self.sessions.begin() as session:
            policy.set_rule(session, product, verdict, Terms(**days), "engineer", "storage")

    def apply(self, *, age: timedelta = timedelta(days=2), archive: bool = False) -> list[Act]:
        """Seal, let go, seal. Blobs of the tests are new: they are made `age` older."""
        seal(self.engine, LedgerSettings())
        young = images.YOUNG
        images.YOUNG = young - age
        try:
            found = list(acts.apply(self.engine, self.store, "retention", archive=archive))
        finally:
            images.YOUNG = young
        seal(self.engine, LedgerSettings())
        return found

    def verify(self) -> Report:
        reading = session_factory(self.engine, read_only=True)
        return verify(self.engine, Wanted(), Blobs(self.store, reading, None))

    def count(self, table: Any) -> int:
        with self.sessions() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def has_image(self, id_: UUID) -> bool:
        with self.sessions() as session:
            sha256 = session.get_one(Inspection, id_).image_sha256
        try:
            self.store.get(sha256)
        except MissingBlobError:
            return False
        return True


@pytest.fixture
def line(
    engine: Engine,
    sessions: sessionmaker[Session],
    new_inspection: Callable[..., Any],
    new_result: Callable[..., Any],
) -> Line:
    store = open_image_store(DatabaseSettings())
    store.put(b"weights")
    manifest = '{"threshold":1}'
    model = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        for product in ("tile", "cube"):
            models.ensure_product(session, product)
        models.register(session, model, "tile", manifest, hashlib.sha256(b"weights").hexdigest(), 100)
    return Line(engine, sessions, store, new_inspection, new_result, model)


def test_without_a_policy_all_is_kept(line: Line) -> None:
    line.judged()
    assert line.apply() == []


def test_images_and_maps_go_on_their_terms_and_the_verdict_stays_proved(line: Line) -> None:
    ok, ng = line.judged(), line.judged("ng")
    line.policy(verdict="ok", images_days=30, maps_days=60)
    done = line.apply()
    assert [(act.what, act.product, act.verdict, act.inspections) for act in done] == [
        ("images", "tile", "ok", 1),
        ("maps", "tile", "ok", 1),
    ]
    assert (line.has_image(ok), line.has_image(ng)) == (False, True)
    with line.sessions() as session:
        detail = history.inspection(session, ok)
        assert detail.map is not None
        assert (detail.map.data, detail.map.high) == (b"", 1.0)
        assert detail.image_let_go is not None
        assert detail.map_let_go is not None
        assert sample.judged(session, 10) == [ng]  # what can't be replayed is not drawn
        (stretch,) = snapshot.stretches(session, "tile", ["s1"], 10, 10).values()  # ... nor trained on
        assert (stretch.newest, stretch.oldest) == ([], [])
    report = line.verify()
    assert (report.bad, report.released) == ([], 0)
    assert line.apply() == []


def test_rows_go_with_all_that_was_said_of_them(line: Line) -> None:
    gone = line.judged("ng", serial="S1")
    kept = line.judged("ng", product="cube")
    now = datetime.now(UTC)
    with line.sessions.begin() as session:
        review = Review(
            id=uuid7(now),
            inspection_id=gone,
            verdict="confirm",
            reviewer="r",
            created_at=now,
            reason="scratch",
        )
        session.add(review)
        session.flush()
        unsealed.add(session, Kind.REVIEW, [review.id])
    line.policy("tile", rows_days=90)
    assert [act.what for act in line.apply()] == ["images", "maps", "rows"]
    assert [line.count(table) for table in (Inspection, Result, AnomalyMap, Review)] == [1, 1, 1, 0]
    with line.sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [kept]
        with pytest.raises(LetGoError, match=r"let go by retention at .*90 days"):
            history.inspection(session, gone)
    report = line.verify()
    assert (report.bad, report.released) == ([], 3)


def test_what_was_never_judged_and_what_was_judged_lately_stays(line: Line) -> None:
    # A station whose clock is years behind hands over images that look old.
    waiting = line.judged("pending")
    late = line.judged(judged_at=datetime.now(UTC) - timedelta(days=1))
    line.policy(rows_days=30)
    assert line.apply() == []
    assert line.has_image(waiting)
    assert line.has_image(late)
    assert line.count(Attempt) == 1


def test_a_plan_says_what_would_go(line: Line) -> None:
    line.judged("ng")
    line.judged("ok", lot="L1")
    line.policy(rows_days=30)
    with line.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "claim 7")
    with line.sessions() as session:
        due = acts.plan(session, datetime.now(UTC))
    done = line.apply()
    assert [(act.what, act.verdict, act.inspections) for act in due] == [
        (act.what, act.verdict, act.inspections) for act in done
    ]
    assert len(due) == 3


def test_nothing_goes_by_a_clock_that_is_behind_the_newest_rule(line: Line) -> None:
    # What was taken back for a product later would seem to count still, and the act to have broken it.
    line.policy("tile", rows_days=3650)
    line.policy(rows_days=30)
    before = datetime.now(UTC)
    with line.sessions.begin() as session:
        policy.set_rule(session, "tile", None, None, "engineer", "a mistake")
    with pytest.raises(RetentionError, match="from the future: it was set or taken back at"):
        list(acts.apply(line.engine, line.store, "retention", archive=False, now=before))


def test_what_is_in_no_block_yet_stays(line: Line) -> None:
    # The sealer would find it vanished: a part may be reviewed in the minute in which its term ends.
    reviewed, other = line.judged("ng"), line.judged("ok")
    line.policy(images_days=30)
    line.apply()
    line.policy(rows_days=30)
    with line.sessions.begin() as session:
        reviews.record(session, reviewed, "confirm", "r", "defect", "scratch")
    list(acts.apply(line.engine, line.store, "retention", archive=False))
    with line.sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [reviewed]
        with pytest.raises(LetGoError):
            history.inspection(session, other)
    line.apply()
    assert line.count(Inspection) == 0
    assert line.verify().bad == []


def test_a_lot_that_is_held_stays_until_the_hold_is_lifted(line: Line) -> None:
    held, other = line.judged(lot="L1"), line.judged(lot="L2")
    line.policy(rows_days=30)
    with line.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "claim 7")
        with pytest.raises(RetentionError, match="held already"):
            policy.hold(session, "L1", "counsel", "claim 8")
    assert [act.inspections for act in line.apply()] == [1, 1, 1]
    with line.sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [held]
        assert policy.holds(session)["L1"].why == "claim 7"
        with pytest.raises(LetGoError):
            history.inspection(session, other)
    with line.sessions.begin() as session:
        policy.lift(session, "L1", "counsel", "settled")
        with pytest.raises(RetentionError, match="not held"):
            policy.lift(session, "L1", "counsel", "settled")
    line.apply()
    assert line.count(Inspection) == 0
    assert line.verify().bad == []


def test_an_image_that_another_inspection_has_stays(line: Line) -> None:
    ok, ng = line.judged(image=b"same"), line.judged("ng", image=b"same")
    line.policy(verdict="ok", images_days=30)
    line.apply()
    assert line.has_image(ok)
    line.policy(verdict="ng", images_days=30)
    line.apply()
    assert not line.has_image(ng)
    assert line.verify().bad == []


def test_an_image_that_was_stored_today_stays_until_tomorrow(line: Line) -> None:
    # The row of another inspection with it may be about to be committed; or a backup was restored.
    id_ = line.judged()
    line.policy(rows_days=30)
    assert [act.what for act in line.apply(age=timedelta(0))] == ["images", "maps"]
    assert line.has_image(id_)
    assert [act.what for act in line.apply()] == ["rows"]
    weights = hashlib.sha256(b"weights").hexdigest()
    images = [file.name for file in (DatabaseSettings().home / "images").rglob("*") if file.is_file()]
    assert images == [weights]


def test_the_image_of_a_golden_sample_in_use_stays(line: Line) -> None:
    data = b"a good part"
    known, other = line.judged(image=data), line.judged()
    image = StoredImage(hashlib.sha256(data).hexdigest(), len(data), 8, 8, "PNG")
    with line.sessions.begin() as session:
        golden.add(session, "tile", "s1", "fine", "ok", image, "ada")
    line.policy(images_days=30)
    line.apply()
    assert (line.has_image(known), line.has_image(other)) == (True, False)
    assert line.verify().bad == []
    with line.sessions.begin() as session:
        golden.retire(session, "tile", "s1", "fine", "ada", "worn")
    line.apply()
    assert not line.has_image(known)
    assert line.verify().bad == []


def test_the_image_of_a_retired_sample_goes_once_nothing_needs_it(line: Line) -> None:
    lone, shared = b"of a file, never sent", b"of a part that is kept"
    kept = line.judged(image=shared)
    line.store.put(lone)
    with line.sessions.begin() as session:
        for name, data in (("lone", lone), ("shared", shared)):
            image = StoredImage(hashlib.sha256(data).hexdigest(), len(data), 8, 8, "PNG")
            golden.add(session, "tile", "s1", name, "ok", image, "ada")
            golden.retire(session, "tile", "s1", name, "ada", "worn")
    sha256 = hashlib.sha256(lone).hexdigest()
    line.apply(age=timedelta(0))
    assert line.store.get(sha256) == lone  # stored today
    line.apply()
    with pytest.raises(MissingBlobError):
        line.store.get(sha256)
    assert line.has_image(kept)
    line.policy(images_days=30)  # from now on it is the inspection's alone
    line.apply()
    assert not line.has_image(kept)
    with line.sessions() as session:
        told = session.scalars(select(Event.detail).where(Event.kind == samples.SETTLED)).all()
    assert sorted(one["removed"] for one in told) == [False, True]


def test_images_whose_removal_was_cut_short_are_removed_the_next_time(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = line.judged()
    line.policy(images_days=30)

    def away(*_: Any, **__: Any) -> int:
        raise ConnectionError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(ImageStore, "remove", away)
        with pytest.raises(ConnectionError):
            line.apply()
    assert line.has_image(id_)
    assert line.verify().bad == []
    line.apply()
    assert not line.has_image(id_)


def test_images_of_a_disk_that_is_away_are_not_taken_for_removed(line: Line) -> None:
    id_ = line.judged()
    line.policy(rows_days=30)
    folder, away = DatabaseSettings().home / "images", DatabaseSettings().home / "away"
    folder.rename(away)
    folder.mkdir()  # its mount point
    for store in (line.store, open_image_store(DatabaseSettings())):  # opened before, and after
        line.store, kept = store, line.store
        with pytest.raises(ImageStoreUnavailableError, match="disk mounted"):
            line.apply()
        line.store = kept
    folder.rmdir()
    away.rename(folder)
    assert line.has_image(id_)
    assert [act.what for act in line.apply()] == ["rows"]
    weights = hashlib.sha256(b"weights").hexdigest()
    assert [file.name for file in folder.rglob("*") if file.is_file()] == [weights]


def test_the_narrowest_rule_counts_and_can_be_taken_back(line: Line) -> None:
    line.judged("ng")
    line.policy(rows_days=30)
    line.policy("tile", images_days=3650)
    assert line.apply() == []
    with line.sessions.begin() as session:
        policy.set_rule(session, "tile", None, None, "engineer", "a mistake")
        with pytest.raises(RetentionError, match="no such rule"):
            policy.set_rule(session, "tile", None, None, "engineer", "twice")
        assert [(rule.product, rule.terms) for rule in policy.rules(session)] == [(None, Terms(rows_days=30))]
    assert [act.what for act in line.apply()] == ["images", "maps", "rows"]


@pytest.mark.parametrize(
    ("days", "why"),
    [
        ({"rows_days": 0}, "rows_days is 0"),
        ({"images_days": -1}, "images_days is -1"),
        ({"images_days": 91, "rows_days": 90}, "nothing can outlive its row"),
    ],
)
def test_terms_that_make_no_sense_are_refused(days: dict[str, int], why: str) -> None:
    with pytest.raises(RetentionError, match=why):
        Terms(**days)


def test_nobody_deletes_a_fact_that_no_act_names(line: Line) -> None:
    line.judged()
    line.judged()
    line.policy(images_days=30)
    line.apply()  # names images, not rows
    for statement in ("DELETE FROM anomaly_maps", "UPDATE anomaly_maps SET data = ''", "DELETE FROM results"):
        with pytest.raises(IntegrityError, match="insert-only"), line.engine.begin() as connection:
            connection.execute(text(statement))


def superuser(line: Line, statement: str, **values: Any) -> None:
    with line.engine.begin() as connection:
        if line.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        else:
            names = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (trigger,) in connection.exec_driver_sql(names).fetchall():
                connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.execute(text(statement), values)


def key(line: Line, id_: UUID) -> Any:
    return id_ if line.engine.dialect.name == "postgresql" else id_.bytes


def test_a_deletion_in_the_name_of_an_act_is_found(line: Line) -> None:
    line.judged("ng")
    other = line.judged("ok", product="cube")
    line.policy("tile", rows_days=90)
    act = line.apply()[-1]
    insert = "INSERT INTO released_facts (kind, fact, act) VALUES (2, :fact, :act)"
    superuser(line, insert, fact=key(line, other), act=key(line, act.id or other))
    superuser(line, "DELETE FROM anomaly_maps WHERE inspection_id = :fact", fact=key(line, other))
    superuser(line, "DELETE FROM results WHERE inspection_id = :fact", fact=key(line, other))
    (bad,) = line.verify().bad
    assert (bad.kind, bad.id) == ("event", str(act.id))
    assert "may have been deleted in its name" in bad.why


def test_an_act_that_was_earlier_than_its_policy_is_found(line: Line) -> None:
    line.judged("ng")
    line.policy("tile", rows_days=90)
    seal(line.engine, LedgerSettings())
    list(
        acts.apply(
            line.engine, line.store, "thief", archive=False, now=datetime.now(UTC) + timedelta(days=900)
        )
    )
    seal(line.engine, LedgerSettings())
    assert {bad.why for bad in line.verify().bad} == {
        "the act of retention let go what was younger than the 90 days of its policy"
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE released_lots SET inspections = 1",
        "UPDATE released_lots SET lot = 'L8'",
        "DELETE FROM released_lots",
    ],
)
def test_a_lot_of_which_less_should_seem_to_have_gone_is_found(line: Line, statement: str) -> None:
    for _ in range(2):
        line.judged("ng", lot="L7")
    line.policy("tile", rows_days=90)
    act = line.apply()[-1]
    assert line.verify().bad == []
    superuser(line, statement)
    (bad,) = line.verify().bad
    assert (bad.kind, bad.id) == ("event", str(act.id))
    assert "released_lots says otherwise" in bad.why


def forge(line: Line, id_: UUID, kind: int = released.IMAGE, **changes: Any) -> str:
    """Let go the image of one part of the product tile that is ok and 90 days old, or so it says."""
    until = datetime.now(UTC) - timedelta(days=90)
    with line.sessions.begin() as session:
        rule = policy.rules(session)[0]
        root = merkle.root_of([released.leaf(kind, id_)])
        told = Due("images", rule, 90, "tile", "ok", until).told(1, 1, root, None)
        act = events.record(session, released.ACT, "thief", "tile", {**told, **changes})
        released.add(session, act, kind, [id_])
    seal(line.engine, LedgerSettings())
    return str(act)


@pytest.mark.parametrize(
    ("named", "kind", "changes", "why"),
    [
        ("late", released.IMAGE, {}, "another product or verdict, or judged later or never"),
        ("other", released.IMAGE, {}, "another product or verdict, or judged later or never"),
        ("pending", released.IMAGE, {}, "another product or verdict, or judged later or never"),
        ("young", released.IMAGE, {}, "captured after"),
        ("late", released.MAP, {}, "released_facts names other things"),
        ("other", released.IMAGE, {"month": "2026-03"}, "only rows go by whole months"),
    ],
)
def test_a_forged_act_is_found(line: Line, named: str, kind: int, changes: dict[str, str], why: str) -> None:
    # The application's own account may write events: what they name has to be what the policy had.
    now = datetime.now(UTC)
    ids = {
        "late": line.judged("ok", judged_at=now),
        "other": line.judged("ng"),
        "pending": line.judged("pending"),
        "young": line.judged("ok", captured_at=now, judged_at=now),
    }
    line.policy("tile", "ok", images_days=90)
    act = forge(line, ids[named], kind, **changes)
    (bad,) = line.verify().bad
    assert bad.id == act
    assert why in bad.why


def test_an_act_by_a_rule_for_all_where_the_product_has_its_own_is_found(line: Line) -> None:
    id_ = line.judged("ok")
    line.policy(images_days=90)
    line.policy("tile", images_days=3650)
    act = forge(line, id_)
    (bad,) = line.verify().bad
    assert (bad.id, bad.why) == (act, "the act of retention names a policy that was not the one in force")


def test_what_went_of_a_lot_that_was_held_is_found(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.judged("ok", lot="L1")
    line.judged("ng")
    line.policy(images_days=30)
    with line.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "claim 7")
    monkeypatch.setattr(lawful, "_CLOCKS", timedelta(0))  # the tests don't wait for it
    line.apply()
    assert line.verify().bad == []
    monkeypatch.setattr("db.retention.due.holds", lambda _session: {})
    act = line.apply()[0]
    (bad,) = line.verify().bad
    assert (bad.id, bad.why) == (str(act.id), "the act of retention let go what is of lot L1, which was held")
    line.policy(rows_days=30)
    act = line.apply()[-1]
    assert (act.what, line.count(Inspection)) == ("rows", 0)
    assert "of lot L1, which was held" in line.verify().bad[-1].why


def test_a_rule_that_is_taken_back_ends_what_follows_it(line: Line) -> None:
    line.judged("ok")
    line.policy(rows_days=30)
    acting = acts.apply(line.engine, line.store, "retention", archive=False)
    assert next(acting).what == "images"
    with line.sessions.begin() as session:
        policy.set_rule(session, None, None, None, "engineer", "stop")
    assert list(acting) == []
    assert line.apply() == []
    assert line.count(Inspection) == 1


def test_a_hold_keeps_files_that_are_still_there(line: Line) -> None:
    id_ = line.judged("ok", lot="L1")
    line.policy(images_days=30)
    line.apply(age=timedelta(0))  # the act is done, the file is young
    with line.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "claim 7")
    line.apply()
    assert line.has_image(id_)
    with line.sessions.begin() as session:
        policy.lift(session, "L1", "counsel", "settled")
    line.apply()
    assert not line.has_image(id_)


def test_a_hold_that_is_set_while_files_are_removed_keeps_the_rest(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [line.judged("ok", lot="L1") for _ in range(3)]
    line.policy(images_days=30)
    monkeypatch.setattr(images, "_FILES_AT_ONCE", 1)
    remove = ImageStore.remove

    def remove_and_hold(store: ImageStore, hashes: list[str], older_than: datetime) -> int:
        if hashes:
            with line.sessions.begin() as session:
                policy.hold(session, "L1", "counsel", "claim 7")
        return remove(store, hashes, older_than)

    with monkeypatch.context() as patched:
        patched.setattr(ImageStore, "remove", remove_and_hold)
        line.apply()
    assert sum(line.has_image(id_) for id_ in ids) == 2
    line.apply()
    assert sum(line.has_image(id_) for id_ in ids) == 2


def test_a_lot_that_is_held_after_it_was_found_due_stays(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    held, other = line.judged("ok", lot="L1"), line.judged("ok")
    line.policy(maps_days=30)
    lock = policy.lock

    def hold_first(session: Session) -> None:
        lock(session)
        if not policy.holds(session):
            policy.hold(session, "L1", "counsel", "claim 7")

    monkeypatch.setattr(acts, "lock", hold_first)
    assert [(act.what, act.inspections) for act in line.apply()] == [("maps", 1)]
    with line.sessions() as session:
        assert session.get_one(AnomalyMap, held).data != b""
        assert session.get_one(AnomalyMap, other).data == b""


def waits_for_a_lock(line: Line) -> bool:
    """Whether somebody does, on PostgreSQL; on SQLite nobody can tell."""
    if line.engine.dialect.name == "sqlite":
        return True
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with line.engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def test_whoever_reviews_a_part_while_it_goes_is_told_that_it_went(
    line: Line, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = line.judged("ng")
    line.policy(rows_days=30)
    delete, said = acts._delete, list[Future[Review]]()

    def review_meanwhile(session: Session, act: UUID, what: str) -> None:
        delete(session, act, what)  # type: ignore[arg-type]
        if what == "rows":
            said.append(pool.submit(again, line.sessions, review_of(id_)))
            wait(lambda: waits_for_a_lock(line), "the review to wait", 10)

    monkeypatch.setattr(acts, "_delete", review_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        assert [act.what for act in line.apply()] == ["images", "maps", "rows"]
        with pytest.raises(LetGoError, match="let go by retention"):
            said[0].result(timeout=20)
    assert line.verify().bad == []


def review_of(id_: UUID) -> Callable[[Session], Review]:
    return lambda session: reviews.record(session, id_, "confirm", "r", "defect", "scratch")


@POSTGRESQL
def test_a_review_that_is_ended_for_a_month_that_goes_is_made_again(line: Line, wait: Any) -> None:
    id_ = line.judged("ng")
    with line.engine.begin() as month, ThreadPoolExecutor(1) as pool:
        month.execute(text("SET LOCAL deadlock_timeout = '20s'"))  # so that the review is the one to be ended
        month.execute(text("LOCK TABLE reviews IN SHARE ROW EXCLUSIVE MODE"))
        said = pool.submit(again, line.sessions, review_of(id_))
        wait(lambda: waits_for_a_lock(line), "the review to wait", 10)
        month.execute(text("LOCK TABLE inspections, results IN ACCESS EXCLUSIVE MODE"))
        month.commit()
        assert said.result(timeout=20).verdict == "confirm"
    assert line.count(Review) == 1


def test_what_was_let_go_is_not_taken_in_again(line: Line) -> None:
    # Its file may still lie in a station's folder, and its id follows from the file.
    id_ = line.judged("ok")
    line.policy(rows_days=30)
    line.apply()
    with line.sessions.begin() as session:
        assert inspections.known_ids(session, [id_]) == {id_}
        assert inspections.accept(session, [line.new_inspection(id=id_)]) == []
    seal(line.engine, LedgerSettings())
    assert line.count(Inspection) == 0
    assert line.verify().bad == []


def test_what_is_being_let_go_is_not_taken_in_again(
    line: Line, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would be a fact that a block has already, and nothing could be sealed any more.
    id_ = line.judged("ok")
    line.policy(rows_days=30)
    delete, said = acts._delete, list[Future[list[UUID]]]()

    def accept() -> list[UUID]:
        with line.sessions.begin() as session:
            return inspections.accept(session, [line.new_inspection(id=id_)])

    def accept_meanwhile(session: Session, act: UUID, what: str) -> None:
        delete(session, act, what)  # type: ignore[arg-type]
        if what == "rows":
            said.append(pool.submit(accept))
            wait(lambda: waits_for_a_lock(line), "the intake to wait", 10)

    monkeypatch.setattr(acts, "_delete", accept_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        line.apply()
        assert said[0].result(timeout=20) == []
    seal(line.engine, LedgerSettings())
    assert line.count(Inspection) == 0
    assert line.verify().bad == []


def test_a_map_that_was_emptied_without_an_act_is_found(line: Line) -> None:
    id_ = line.judged("ng")
    seal(line.engine, LedgerSettings())
    superuser(line, "UPDATE anomaly_maps SET data = :nothing", nothing=b"")
    (bad,) = line.verify().bad
    assert (bad.kind, bad.id, bad.why) == ("result", str(id_), "the bytes of the anomaly map were changed")


@POSTGRESQL
@pytest.mark.parametrize("archive", [False, True])
def test_a_month_of_which_all_is_due_goes_as_a_whole(line: Line, archive: bool) -> None:
    march, april = OLD.replace(day=1, hour=0), OLD.replace(month=4, day=1, hour=0)
    with line.engine.begin() as connection:
        assert partitions.make(connection, [march, april]) == [march, april]
    ids = [line.judged("ng", lot="L1"), line.judged("ok", lot="L1"), line.judged("error", product="cube")]
    line.judged("ng", lot="L1", product="cube")
    with line.sessions.begin() as session:
        reviews.record(session, ids[0], "confirm", "r", "defect", "scratch")
    later = OLD.replace(month=4)
    kept = line.judged("ok", captured_at=later, judged_at=later)
    line.policy(rows_days=90)
    with line.sessions.begin() as session:  # April stays
        policy.set_rule(session, None, "ok", Terms(rows_days=(datetime.now(UTC) - april).days - 15), "e", "w")
    done = line.apply(archive=archive)
    whole = [act for act in done if act.month is not None]
    assert [(act.month, act.inspections) for act in whole] == [(march, 4)]
    with line.sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [kept]
        assert partitions.months(session.connection())[0] == april
        detail = session.get_one(Event, whole[0].id).detail
        assert (detail["month"], detail["archived"], detail["facts"]) == ("2026-03", archive, 9)
        found = lots.completeness(session, "L1")
        assert (found.captured, found.let_go) == (3, 3)
        assert [tuple(went) for went, _ in lots_let_go.of_lot(session, "L1", "tile")] == [
            ("L1", "tile", "ng", 1),
            ("L1", "tile", "ok", 1),
        ]
        schemas = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'results_2026_03'"
        assert list(session.scalars(text(schemas))) == (["archive"] if archive else [])
        if archive:
            kept_rows = text("SELECT table_name, data ->> 'reason' FROM archive.rows")
            assert session.execute(kept_rows).all() == [("reviews", "scratch")]
        with pytest.raises(LetGoError):
            history.inspection(session, ids[0])
    report = line.verify()
    assert (report.bad, report.released) == ([], 9)


def test_rows_that_go_one_by_one_are_archived_with_their_reviews(line: Line) -> None:
    id_ = line.judged("ng", serial="S1")
    with line.sessions.begin() as session:
        reviews.record(session, id_, "confirm", "r", "defect", "scratch")
    line.policy(rows_days=30)
    if line.engine.dialect.name == "sqlite":
        with pytest.raises(RetentionError, match="RETENTION_ARCHIVE is set, and SQLite"):
            line.apply(archive=True)
        assert (line.count(Inspection), line.has_image(id_)) == (1, True)
        return
    act = line.apply(archive=True)[-1]
    with line.sessions() as session:
        assert session.get_one(Event, act.id).detail["archived"]
        rows = session.execute(
            text("SELECT table_name, data FROM archive.rows WHERE act = :act"), {"act": act.id}
        )
        found = {row[0]: row[1] for row in rows}
        restored = "SELECT score, judged_at FROM jsonb_populate_record(NULL::results, CAST(:data AS jsonb))"
        assert session.execute(text(restored), {"data": json.dumps(found["results"])}).one() == (
            0.5,
            OLD + timedelta(seconds=5),
        )
    assert sorted(found) == ["anomaly_maps", "inspections", "results", "reviews"]
    assert (found["inspections"]["serial"], found["reviews"]["reason"]) == ("S1", "scratch")
    assert line.verify().bad == []


@POSTGRESQL
def test_a_month_that_somebody_reads_waits_for_the_next_time(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PATIENCE", "200ms")
    march = OLD.replace(day=1, hour=0)
    with line.engine.begin() as connection:
        partitions.make(connection, [march])
    line.judged("ng")
    line.policy(rows_days=90)
    with line.engine.begin() as reading:
        reading.execute(select(Inspection.id))
        assert [act.what for act in line.apply()] == ["images", "maps"]
    assert [(act.what, act.month) for act in line.apply()] == [("rows", march)]
    assert line.verify().bad == []


@POSTGRESQL
def test_a_month_that_goes_while_the_ledger_is_verified_is_no_fault(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A dropped table is gone for every snapshot, the act that dropped it is in none from before.
    monkeypatch.setattr(partitions, "PATIENCE", "200ms")
    with line.engine.begin() as connection:
        partitions.make(connection, [OLD.replace(day=1, hour=0)])
    line.judged("ng")
    line.policy(rows_days=90)
    done = list[Act]()
    seal(line.engine, LedgerSettings())
    with monkeypatch.context() as patched:
        patched.setattr("db.ledger.verify._verify_keys", lambda *_: done.extend(line.apply()))
        assert line.verify().bad == []
    done += line.apply()
    assert [act.what for act in done] == ["images", "maps", "rows"]
    assert line.verify().bad == []


@POSTGRESQL
def test_a_month_that_was_emptied_row_by_row_goes_at_last(line: Line) -> None:
    march = OLD.replace(day=1, hour=0)
    with line.engine.begin() as connection:
        partitions.make(connection, [march])
    line.judged("ok")
    waiting = line.judged("pending")
    line.policy(rows_days=90)
    line.apply()
    error = line.new_result(waiting, judged_at=OLD, error="lost", model_version=None)
    with line.sessions.begin() as session:
        results.record(session, [error])
    with line.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "nothing of it is here")
    line.apply()
    line.apply()
    with line.sessions() as session:
        assert march not in partitions.months(session.connection())
    assert line.count(Inspection) == 0
    assert line.verify().bad == []


@POSTGRESQL
def test_a_month_with_something_that_stays_loses_the_rest_row_by_row(line: Line) -> None:
    with line.engine.begin() as connection:
        partitions.make(connection, [OLD.replace(day=1, hour=0)])
    line.judged("ng", lot="L1")
    line.judged("ok")
    waiting = line.judged("pending")
    line.policy(rows_days=90)
    assert [(act.what, act.month) for act in line.apply()][-1] == ("rows", None)
    with line.sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [waiting]
        assert session.scalar(select(func.count()).select_from(ReleasedFact)) == 2 + 2 + 4
    assert line.verify().bad == []
