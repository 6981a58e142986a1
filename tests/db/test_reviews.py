"""Reviews, their signatures, and what they make of a lot."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session, sessionmaker

from db import approvals, inspections, lots, models, results, reviewed, reviews, signatures, users
from db.evidence.verify import completeness
from db.history import UnknownInspectionError
from db.ids import uuid7
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Wanted, verify
from db.settings import SettingsError
from db.tables import Event, Review

Sessions = sessionmaker[Session]
PASSWORD = "analytical engine"
VERDICTS = ("ok", "ng", "inconclusive", "error")


@pytest.fixture
def parts(
    sessions: Sessions, accepted: Callable[..., list[UUID]], new_result: Any, model_version: str
) -> dict[str, UUID]:
    """One part of lot L1 to each verdict, and one that is pending, each with an image of its own."""
    judged = {"score": 1.0, "threshold": 1.0, "model_version": model_version, "error": None}
    found = {}
    for number, verdict in enumerate((*VERDICTS, "pending")):
        (found[verdict],) = accepted(lot="L1", image_sha256=f"{number:064x}")
    with sessions.begin() as session:
        for verdict in VERDICTS:
            values = {} if verdict == "error" else judged
            results.record(session, [new_result(found[verdict], verdict=verdict, **values)])
    return found


@pytest.fixture
def ada(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    with sessions.begin() as session:
        users.add(session, "ada", "Ada Lovelace", "a first password", "admin")
        users.change_password(session, "ada", "a first password", PASSWORD)


def say(sessions: Sessions, id_: UUID, verdict: str, code: str | None = "defect", **more: Any) -> Review:
    with sessions.begin() as session:
        return reviews.record(session, id_, verdict, "ada", code, **more)


def test_the_newest_review_counts_wherever_it_is_asked_for(
    sessions: Sessions, parts: dict[str, UUID], ada: None
) -> None:
    def good() -> int:
        with sessions() as session:
            return inspections.count_ok(session, "tile", 10)

    def bad() -> list[UUID]:
        with sessions() as session:
            return [one.inspection_id for one in reviewed.defects(session, "tile", 10)]

    assert (good(), bad()) == (1, [])
    say(sessions, parts["ng"], "confirm")
    say(sessions, parts["ok"], "overrule")
    assert (good(), set(bad())) == (0, {parts["ok"], parts["ng"]})
    say(sessions, parts["ok"], "confirm", None)
    say(sessions, parts["ng"], "inconclusive", None)
    assert (good(), bad()) == (1, [])
    for verdict in ("inconclusive", "error"):
        say(sessions, parts[verdict], "confirm", "other", reason="scrapped")
    assert (good(), bad()) == (1, [])
    say(sessions, parts["ng"], "overrule", "lighting")
    assert (good(), bad()) == (2, [])  # what a person calls good, a training takes as well
    with sessions() as session:
        found = lots.completeness(session, "L1")
        assert found == lots.Completeness(5, 1, 1, 1, 1, 1, reviewed=4, overridden=1)
        assert lots.completeness(session, "L1", "tile") == found
        assert lots.completeness(session, "L1", "gear").captured == 0
        said = [vars(review) for review in session.scalars(select(Review))]
    # What evidence says of the same lot, by its own counting.
    judged = [{"inspection_id": parts[verdict], "verdict": verdict} for verdict in VERDICTS]
    counted = completeness([{} for _ in parts], judged, said)
    assert counted.items() <= found.as_dict().items()
    assert not found.is_complete


def test_a_review_that_cannot_be_is_refused_with_the_reason(
    sessions: Sessions, parts: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted, said in (
        ((parts["pending"], "confirm"), "no verdict yet"),
        ((parts["error"], "overrule"), "was judged error, neither ok nor ng"),
        ((parts["inconclusive"], "overrule"), "was judged inconclusive, neither ok nor ng"),
        ((parts["ng"], "overrule", None), "gives a reason code: one of defect"),
        ((parts["ng"], "overrule", "scratch"), "'scratch' is none of defect"),
        ((parts["ng"], "confirm", "other"), "takes the reason in words"),
        ((parts["ng"], "fine"), "not 'fine'"),
        ((uuid7(), "confirm"), "there is no inspection"),
    ):
        with pytest.raises((reviews.ReviewError, UnknownInspectionError), match=said):
            say(sessions, *wanted)
    with pytest.raises(reviews.ReviewError, match="4000 can be kept"):
        say(sessions, parts["ng"], "confirm", reason="x" * 4001)
    monkeypatch.setenv("PYRAMIDION_REASON_CODES", "D-017, D-018")
    assert say(sessions, parts["ng"], "confirm", "D-018").reason_code == "D-018"
    with sessions() as session:
        assert len(session.scalars(select(Review)).all()) == 1


def test_a_clock_that_is_slow_loses_no_review_silently(
    sessions: Sessions, parts: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = say(sessions, parts["ng"], "confirm").created_at

    class Slow:
        @staticmethod
        def now(zone: Any) -> Any:
            return last - timedelta(seconds=1)

    monkeypatch.setattr(reviews, "datetime", Slow)
    with pytest.raises(reviews.ReviewError, match="set this machine's clock"):
        say(sessions, parts["ng"], "overrule")


def test_only_what_the_settings_name_takes_a_signature(
    engine: Engine, sessions: Sessions, parts: dict[str, UUID], ada: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(sessions, parts["ng"], "overrule")
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "overrule, promotion")
    with pytest.raises(approvals.SignatureRequiredError, match=r"overruling an ng .*--sign-as USER"):
        say(sessions, parts["ng"], "overrule")
    say(sessions, parts["ng"], "confirm")  # only what lets a part pass is an act
    say(sessions, parts["ok"], "overrule")
    with sessions() as session:
        assert signatures.approval(session, "policy", None, None, "x") is None
        (version,) = models.versions(session, "tile")
    with (
        pytest.raises(approvals.SignatureRequiredError, match="names promotion"),
        sessions.begin() as session,
    ):
        models.set_champion(session, "tile", version.id, "ada", "newer")
    with sessions.begin() as session:
        signature = signatures.sign(session, "ada", PASSWORD, "review: overrule")
        signed = reviews.record(session, parts["ng"], "overrule", "ada", "lighting", "d\u00fcster", signature)
        with pytest.raises(reviews.ReviewError, match="ada can't sign what bob says"):
            reviews.record(session, parts["ng"], "overrule", "bob", "lighting", None, signature)
        approved = signatures.approval(session, "promotion", "ada", PASSWORD, "approval: newer")
        models.set_champion(session, "tile", version.id, "ada", "newer", approved)
    seal(engine, LedgerSettings())
    assert verify(engine, Wanted()).bad == []
    with sessions() as session:
        kept = session.get_one(Review, signed.id).signature
        event = session.scalar(select(Event).where(Event.kind == "model.promoted"))
    assert kept is not None
    assert event is not None
    for one, meaning in ((kept, "review: overrule"), (event.detail["signature"], "approval: newer")):
        assert (one["user"], one["name"], one["meaning"]) == ("ada", "Ada Lovelace", meaning)
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "everything")
    with pytest.raises(SettingsError, match="everything is none of promotion, policy, retention, overrule"):
        approvals.required("policy")


def test_what_is_put_beside_the_old_leaf_of_a_review_is_found(
    engine: Engine, sessions: Sessions, parts: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from db.ledger import facts
    from db.ledger import seal as sealing

    old = next(form for form in facts.FORMS if form.name == "review/1")
    review = say(sessions, parts["ng"], "confirm", None)
    with monkeypatch.context() as before_signatures:
        before_signatures.setattr(sealing, "NEWEST", {**facts.NEWEST, old.kind: old})
        seal(engine, LedgerSettings())
    assert verify(engine, Wanted()).bad == []
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        else:
            connection.exec_driver_sql("DROP TRIGGER reviews_no_update")
        connection.execute(update(Review).where(Review.id == review.id).values(signature={"name": "Ada"}))
    (bad,) = verify(engine, Wanted()).bad
    assert (bad.id, bad.why[:49]) == (str(review.id), "the fact was sealed without reason_code and signa")
