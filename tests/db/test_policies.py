"""What a product asks of a new model, kept in each kind of database."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import models, policies, runs
from db.approvals import SignatureRequiredError
from db.inspections import UnknownProductError
from db.policies import Rules
from db.tables import Event


def test_rules_are_changed_with_an_event_and_else_the_defaults(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        with pytest.raises(UnknownProductError):
            policies.change(session, "bolt", Rules(), "ada")
        assert policies.of(session, "tile") == Rules()
        policies.change(session, "tile", Rules(), "ada")  # nothing new, no event
        strict = Rules(false_reject_rate=0.01, promotion="automatic", hold_on_golden=True)
        policies.change(session, "tile", strict, "ada")
        policies.change(session, "tile", dataclasses.replace(strict, false_reject_rate=None), "eve")
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "policy")
    with pytest.raises(SignatureRequiredError), sessions.begin() as session:
        policies.change(session, "tile", Rules(), "ada")
    with sessions() as session:
        assert policies.of(session, "tile") == dataclasses.replace(strict, false_reject_rate=None)
        found = session.scalars(select(Event).where(Event.kind == policies.CHANGED).order_by(Event.id)).all()
    assert [one.actor for one in found] == ["ada", "eve"]
    assert found[1].detail["before"]["false_reject_rate"] == 0.01
    assert found[1].detail["after"]["false_reject_rate"] is None


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one writer
def test_two_changes_at_once_both_hold(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        models.ensure_product(session, "tile")

    def change_too() -> None:
        with sessions.begin() as session:
            assert policies.of(session, "tile").shadow_images == Rules().shadow_images  # what is old by then
            policies.change(session, "tile", {"shadow_images": 7}, "eve")

    with ThreadPoolExecutor(1) as threads:
        with sessions.begin() as session:
            policies.change(session, "tile", {"hold_on_golden": True}, "ada")
            other = threads.submit(change_too)
            with pytest.raises(FutureTimeout):
                other.result(0.5)
        other.result(30)
    with sessions() as session:
        assert policies.of(session, "tile") == Rules(hold_on_golden=True, shadow_images=7)
        (_, second) = session.scalars(select(Event).where(Event.kind == policies.CHANGED).order_by(Event.id))
    assert second.detail["before"]["hold_on_golden"] is True


def test_a_run_keeps_what_the_gate_said(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(
            session,
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "tile",
            "{}",
            "b" * 64,
            9,
        )
        run = runs.request(session, "tile", "on demand", "ada")
        held = runs.take(session, 60, 5)
        assert held is not None
        version = models.versions(session, "tile")[0].id
        runs.succeed(session, held, version, "", gate_passed=False, gate_said=("rejects 9 of 200",))
    with sessions() as session:
        found = runs.find(session, run)
        assert (found.state, found.gate_passed, found.gate_said) == ("succeeded", False, ["rejects 9 of 200"])
