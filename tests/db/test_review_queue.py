"""Who is given which part to review: no two people the same one, and every part that should be looked at."""

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from db import models, results, review_claims, review_queue, reviews, shadow
from db.again import again
from db.engine import session_factory
from db.ids import uuid7
from db.imagestore import open_image_store
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.retention import acts, policy
from db.review_queue import ANY, Wanted
from db.settings import DatabaseSettings
from db.tables import GoldenSample, GoldenTrial, ModelAlias, Review, ReviewClaim, ToReview

Sessions = sessionmaker[Session]
FOR = timedelta(minutes=5)
SCORED = {"error": None, "threshold": 1.0}


@pytest.fixture
def judge(sessions: Sessions, accepted: Any, new_result: Any, model_version: str) -> Callable[..., UUID]:
    """Accept and judge one more part of the product tile; by its score where no verdict is given."""

    def make(verdict: str | None = None, score: float = 2.0, **facts: Any) -> UUID:
        (id_,) = accepted(**facts)
        said = verdict or ("ng" if score > 1 else "ok")
        values: dict[str, Any] = {**SCORED, "score": score, "model_version": model_version}
        with sessions.begin() as session:
            models.register(session, model_version, "tile", '{"format":1}', "b" * 64, 100)
            results.record(session, [new_result(id_, verdict=said, **({} if said == "error" else values))])
        return id_

    return make


def let_go(database: DatabaseSettings, engine: Engine, terms: policy.Terms) -> None:
    """Let go what is due of rejected tiles."""
    store = open_image_store(database)
    store.put(b"some image")  # an empty store is taken for a disk that is away
    with session_factory(engine).begin() as session:
        policy.set_rule(session, "tile", "ng", terms, "engineer", "storage")
    assert list(acts.apply(engine, store, "retention", archive=False))


def waiting(sessions: Sessions, **wanted: Any) -> list[UUID]:
    with sessions() as session:
        return list(session.scalars(review_queue.matching(Wanted(**wanted))))


def given(sessions: Sessions, holder: str, after: UUID | None = None, **wanted: Any) -> UUID | None:
    out = again(
        sessions, lambda session: review_claims.hand_out(session, Wanted(**wanted), holder, FOR, after)
    )
    return None if out is None else out.claim.inspection_id


def say(sessions: Sessions, id_: UUID, verdict: str = "confirm", **more: Any) -> Review:
    return again(sessions, lambda session: reviews.record(session, id_, verdict, "ada", "defect", **more))


def test_parts_wait_for_each_reason_until_they_are_reviewed(sessions: Sessions, judge: Any) -> None:
    bad, odd, failed = judge("ng"), judge("inconclusive"), judge("error")
    nearly_good, nearly_bad = judge(score=1.04), judge(score=0.96)
    judge(score=0.9)
    assert waiting(sessions, source="ng") == [bad, nearly_good]
    assert waiting(sessions, source="inconclusive") == [odd]
    assert waiting(sessions, source="error") == [failed]
    assert waiting(sessions, source="borderline") == [nearly_good, nearly_bad]
    assert waiting(sessions) == [bad, odd, failed, nearly_good, nearly_bad]
    assert waiting(sessions, newest_first=True) == [nearly_bad, nearly_good, failed, odd, bad]
    with sessions() as session:
        assert review_queue.sources_of(session, nearly_good) == ["ng", "borderline"]
    say(sessions, nearly_good)
    with sessions() as session:
        counts = review_queue.counts(session, Wanted())
    assert {name: one.parts for name, one in counts.items()} == {
        ANY: 4,
        "ng": 1,
        "inconclusive": 1,
        "error": 1,
        "disagreement": 0,
        "borderline": 1,
    }


def test_product_line_and_lot_narrow_the_queue(sessions: Sessions, judge: Any) -> None:
    one = judge(line="A", lot="L1")
    other = judge(line="B", lot="L2")
    assert waiting(sessions, line="A") == waiting(sessions, lot="L1") == [one]
    assert waiting(sessions, product="tile") == [one, other]
    assert waiting(sessions, product="cube") == waiting(sessions, line="A", lot="L2") == []
    assert given(sessions, "ada", lot="L2", source="ng") == other
    with sessions() as session:
        assert review_queue.counts(session, Wanted(line="A"))["ng"].parts == 1


def test_counts_end_where_they_say(sessions: Sessions, judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_queue, "COUNTED", 2)
    judge(), judge()
    with sessions() as session:
        assert review_queue.counts(session, Wanted())["ng"] == review_queue.Count(2, complete=True)
    judge()
    with sessions() as session:
        assert review_queue.counts(session, Wanted())["ng"] == review_queue.Count(2, complete=False)


def test_the_share_of_the_threshold_is_that_of_the_settings(
    sessions: Sessions, accepted: Any, new_result: Any, model_version: str
) -> None:
    (id_,) = accepted()
    near = new_result(id_, verdict="ok", score=0.85, model_version=model_version, **SCORED)
    with sessions.begin() as session:
        results.record(session, [near], borderline=0.2)
    assert waiting(sessions, source="borderline") == [id_]


def test_a_golden_sample_is_no_part_to_review(
    sessions: Sessions, accepted: Any, new_result: Any, model_version: str
) -> None:
    (id_,) = accepted()
    with sessions.begin() as session:
        now = datetime.now(UTC)
        sample = GoldenSample(
            id=uuid7(now), product="tile", station="s1", name="scratch", expected="ng",
            image_sha256="a" * 64, image_bytes=1, image_width=1, image_height=1, image_format="PNG",
            added_by="ada", added_at=now,
        )  # fmt: skip
        session.add(sample)
        session.flush()
        session.add(GoldenTrial(inspection_id=id_, sample=sample.id, sent_at=now))
        session.flush()
        results.record(session, [new_result(id_)])
    assert waiting(sessions) == []


def disagree(sessions: Sessions, id_: UUID, verdict: str, model_version: str) -> None:
    """Let a challenger say something of a part, as its worker would."""
    challenger = hashlib.sha256(b"{}").hexdigest()
    with sessions.begin() as session:
        models.register(session, challenger, "tile", "{}", "c" * 64, 100)
        now = datetime.now(UTC)
        session.merge(
            ModelAlias(
                product="tile", alias="challenger", model_version=challenger, changed_at=now, changed_by="ada"
            )
        )
    with sessions.begin() as session:
        one = shadow.challengers(session)[0]
        said = results.NewResult(
            id_, verdict, 2.0, 1.0, challenger, "w1", 1, datetime.now(UTC), {}, [], None, None
        )
        assert shadow.record(session, one, [said])


def test_what_a_challenger_says_otherwise_waits_unless_somebody_reviewed_it(
    sessions: Sessions, judge: Any, model_version: str
) -> None:
    same, other, reviewed = judge(score=2), judge(score=0.5), judge(score=0.5)
    say(sessions, reviewed)
    for id_ in (same, other, reviewed):
        disagree(sessions, id_, "ng", model_version)
    assert waiting(sessions, source="disagreement") == [other]


def test_a_part_that_somebody_looks_at_is_given_to_nobody_else(sessions: Sessions, judge: Any) -> None:
    first, second, third = judge(), judge(), judge()
    assert given(sessions, "ada") == first
    assert given(sessions, "bob") == second
    assert given(sessions, "ada") == first  # asked again, the same
    assert given(sessions, "ada", after=first) == third
    assert given(sessions, "eve") is None
    with sessions.begin() as session:
        review_claims.free(session, "ada", first)
        holder = review_claims.holder_of(session, second)
        assert holder is not None
        assert holder.holder == "bob"
        assert review_claims.claim(session, second, "ada", FOR).holder == "bob"
    assert given(sessions, "eve") == first
    with sessions.begin() as session:
        review_claims.free(session, "eve")
        review_claims.free(session, "bob")
    say(sessions, second)
    assert given(sessions, "eve", newest_first=True) == first


def test_a_claim_lapses_and_a_window_that_closes_late_frees_no_newer_one(
    sessions: Sessions, judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = [judge()]
    assert given(sessions, "ada") == part
    with sessions.begin() as session:
        old = review_claims.holder_of(session, part)
        assert old is not None
        new = review_claims.claim(session, part, "ada", 2 * FOR)
        review_claims.free(session, "ada", part, old.until)
        assert review_claims.holder_of(session, part) == new
    later = datetime.now(UTC) + 3 * FOR
    monkeypatch.setattr(review_claims.clock, "now", lambda session: later)
    with sessions() as session:
        assert review_claims.holder_of(session, part) is None
    assert given(sessions, "bob") == part
    assert given(sessions, "ada") is None
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ReviewClaim)) == 1


def test_the_queue_begins_again_where_nothing_comes_behind(sessions: Sessions, judge: Any) -> None:
    first, last = judge(), judge()
    with sessions.begin() as session:
        out = review_claims.hand_out(session, Wanted(), "ada", FOR, after=last)
    assert out is not None
    assert (out.claim.inspection_id, out.came_round) == (first, True)
    say(sessions, first)
    assert given(sessions, "ada", after=last) is None  # it was skipped just now
    assert given(sessions, "ada") == last


def test_what_is_gone_or_reviewed_past_the_queue_is_not_given(
    sessions: Sessions, judge: Any, database: DatabaseSettings, engine: Engine
) -> None:
    gone, reviewed, there = judge(), judge(), judge()
    say(sessions, reviewed)
    with sessions.begin() as session:  # as if somebody's review and the verdict had crossed
        session.add(ToReview(inspection_id=reviewed, source="ng", product="tile"))
        session.add(
            ToReview(inspection_id=uuid7(datetime(2020, 1, 1, tzinfo=UTC)), source="ng", product="tile")
        )
    assert given(sessions, "ada", after=gone) == there
    assert reviewed not in waiting(sessions)
    let_go(database, engine, policy.Terms(images_days=1))
    assert given(sessions, "ada") is None
    assert waiting(sessions) == []


def test_retention_takes_rows_out_of_the_queue(
    sessions: Sessions, judge: Any, database: DatabaseSettings, engine: Engine
) -> None:
    judge()
    seal(engine, LedgerSettings())
    let_go(database, engine, policy.Terms(images_days=1, maps_days=1, rows_days=1))
    assert waiting(sessions) == []


def test_a_review_made_meanwhile_is_told_and_not_passed_over(sessions: Sessions, judge: Any) -> None:
    part = judge()
    first = say(sessions, part, known=None)
    with pytest.raises(reviews.ReviewedMeanwhileError, match="ada said confirm") as told:
        say(sessions, part, "overrule", known=None)
    assert [one.id for one in told.value.reviews] == [first.id]
    with sessions() as session:
        assert len(reviews.of(session, part)) == 1
    second = say(sessions, part, "overrule", known=first.id)
    with sessions() as session:
        assert [one.id for one in reviews.of(session, part, first.id)] == [second.id]


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Do it in threads that begin together, and give what each gave or raised."""
    begin, found = threading.Barrier(number), [None] * number

    def one(place: int) -> None:
        begin.wait(10)
        try:
            found[place] = work(place)
        except Exception as error:  # noqa: BLE001  # told below
            found[place] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=one, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_people_who_ask_at_once_get_different_parts(sessions: Sessions, judge: Any) -> None:
    parts = [judge() for _ in range(8)]
    found = at_once(8, lambda place: given(sessions, f"p{place}", newest_first=place % 2 == 0))
    assert sorted(found) == parts


def test_of_two_reviews_at_once_the_second_is_told_of_the_first(sessions: Sessions, judge: Any) -> None:
    part = judge()
    found = at_once(4, lambda _: say(sessions, part, known=None))
    assert sorted(type(one).__name__ for one in found) == ["Review"] + ["ReviewedMeanwhileError"] * 3


def test_what_was_judged_before_the_queue_waits_as_well(sessions: Sessions, judge: Any) -> None:
    """The migration fills the queue as the line would have."""
    judge("ng"), judge("inconclusive"), judge("error"), judge(score=1.03), judge(score=0.97), judge(score=0.5)
    disagree(sessions, judge(score=0.5), "ng", "")
    say(sessions, judge("ng"))

    def queued(session: Session) -> list[Any]:
        columns = (ToReview.source, ToReview.inspection_id, ToReview.product, ToReview.line, ToReview.lot)
        return session.execute(select(*columns).order_by(*columns[:2])).all()  # type: ignore[return-value]

    with sessions.begin() as session:
        wanted = queued(session)
        assert len(wanted) == 7
        session.execute(delete(ToReview))
        for statement in fillings():
            session.connection().exec_driver_sql(statement)
        assert queued(session) == wanted


def fillings() -> list[str]:
    from importlib import import_module

    return list(import_module("db.migrations.versions.0010_let_people_in").fill_queue())


class Queue(RuleBasedStateMachine):
    """People ask, skip, leave, review and fall asleep, in any order; a model knows who may be given what."""

    sessions: Sessions
    judge: Callable[..., UUID]
    clock: Any

    def __init__(self) -> None:
        super().__init__()
        with self.sessions.begin() as session:
            session.execute(delete(ReviewClaim))
            session.execute(delete(ToReview))
        self.left: list[UUID] = []
        self.held: dict[UUID, tuple[str, datetime]] = {}
        self.last: dict[str, UUID] = {}

    people = st.sampled_from(["ada", "bob", "eve"])

    def others(self, person: str) -> set[UUID]:
        now = self.clock.now(None)
        return {id_ for id_, (holder, until) in self.held.items() if holder != person and until > now}

    @rule(number=st.integers(1, 3))
    def arrive(self, number: int) -> None:
        self.left += [self.judge() for _ in range(number)]

    @rule(person=people, newest_first=st.booleans(), goes_on=st.booleans())
    def ask(self, person: str, newest_first: bool, goes_on: bool) -> None:
        after = self.last.get(person) if goes_on else None
        got = given(self.sessions, person, after, newest_first=newest_first)
        free = [id_ for id_ in self.left if id_ not in self.others(person)]
        free.sort(reverse=newest_first)
        behind = [id_ for id_ in free if after is None or (id_ < after if newest_first else id_ > after)]
        round_ = [id_ for id_ in free if id_ != after]
        assert got == next(iter(behind or round_), None)
        if got is not None:
            self.held[got] = person, self.clock.now(None) + FOR
            self.last[person] = got

    @rule(person=people)
    def leave(self, person: str) -> None:
        with self.sessions.begin() as session:
            review_claims.free(session, person)
        self.held = {id_: one for id_, one in self.held.items() if one[0] != person}

    @precondition(lambda self: self.left)
    @rule(person=people, data=st.data())
    def look_directly(self, person: str, data: Any) -> None:
        id_ = data.draw(st.sampled_from(self.left))
        with self.sessions.begin() as session:
            stands = review_claims.claim(session, id_, person, FOR)
        if id_ in self.others(person):
            assert stands.holder == self.held[id_][0]
        else:
            assert stands.holder == person
            self.held[id_] = person, stands.until

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def review(self, data: Any) -> None:
        id_ = data.draw(st.sampled_from(self.left))
        say(self.sessions, id_)
        self.left.remove(id_)
        self.held.pop(id_, None)

    @rule(minutes=st.integers(1, 8))
    def wait(self, minutes: int) -> None:
        self.clock.time += timedelta(minutes=minutes)

    @invariant()
    def all_that_is_left_waits(self) -> None:
        assert waiting(self.sessions) == self.left


def test_whatever_people_do_no_part_is_given_twice_and_none_is_lost(
    sessions: Sessions, judge: Any, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    class Clock:
        time = datetime(2030, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, session: Any) -> datetime:
            return cls.time

    monkeypatch.setattr(review_claims, "clock", Clock)
    machine = type("Machine", (Queue,), {"sessions": sessions, "judge": staticmethod(judge), "clock": Clock})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10 if engine.dialect.name == "sqlite" else 4,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
