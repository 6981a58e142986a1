"""Model versions, the champion, and the events that tell who changed it."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import events, models
from db.tables import Event, ModelAlias


@pytest.fixture
def trained(sessions: sessionmaker[Session]) -> Callable[..., str]:
    def register(number: int, product: str = "tile") -> str:
        manifest = f'{{"number":{number}}}'
        version = hashlib.sha256(manifest.encode()).hexdigest()
        with sessions.begin() as session:
            models.ensure_product(session, product)
            assert models.register(session, version, product, manifest, "b" * 64, 100, "a note")
        return version

    return register


def test_registering_again_changes_nothing(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    version = trained(1)
    with sessions.begin() as session:
        assert not models.ensure_product(session, "tile")
        assert not models.register(session, version, "tile", '{"number":1}', "c" * 64, 5)
    with sessions() as session:
        (kept,) = models.versions(session, "tile")
    assert (kept.weights_sha256, kept.training_images, kept.note) == ("b" * 64, 100, "a note")
    assert hashlib.sha256(kept.manifest.encode()).hexdigest() == version


def test_a_manifest_that_is_not_its_id_is_refused(sessions: sessionmaker[Session]) -> None:
    with pytest.raises(ValueError, match="changed after training"), sessions.begin() as session:
        models.register(session, "f" * 64, "tile", "{}", "b" * 64, 100)


def test_the_champion_changes_with_an_event(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    first, second = trained(1), trained(2)
    with sessions() as session:
        assert models.champion(session, "tile") is None
    for version, why in ((first, "the first"), (second, "better")):
        with sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", why)
    with sessions() as session:
        champion = models.champion(session, "tile")
        assert champion is not None
        assert champion.id == second
        assert models.champions(session, ["tile", "gear"])["tile"].id == second
        trail = session.scalars(select(Event).order_by(Event.id)).all()
    assert {(event.kind, event.actor, event.subject) for event in trail} == {
        ("model.promoted", "ada", "tile")
    }
    assert [event.detail for event in trail] == [
        {"model": first, "before": None, "why": "the first"},
        {"model": second, "before": first, "why": "better"},
    ]


def test_only_a_version_of_the_product_becomes_its_champion(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    trained(1)
    other = trained(2, product="gear")
    for version in (other, "0" * 64):
        with pytest.raises(models.UnknownModelError, match="pyramidion models"), sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", "by mistake")
    with sessions() as session:
        assert models.champion(session, "tile") is None
        assert session.scalars(select(Event)).all() == []


def test_versions_come_newest_first(sessions: sessionmaker[Session], trained: Callable[..., str]) -> None:
    ids = [trained(number) for number in range(3)]
    gear = trained(9, product="gear")
    with sessions() as session:
        assert [version.id for version in models.versions(session, "tile")] == ids[::-1]
        assert [version.id for version in models.versions(session)] == [gear, *ids[::-1]]


def test_competing_promotions_leave_one_champion(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    ids = [trained(number) for number in range(4)]

    def promote(version: str) -> None:
        with sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", "race")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, ids))
    with sessions() as session:
        assert len(session.scalars(select(ModelAlias)).all()) == 1
        assert len(session.scalars(select(Event)).all()) == 4


def test_rolling_back_goes_back_one_champion_each_time(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    first, second, third = trained(1), trained(2), trained(3)
    for version in (first, second, second, third):
        with sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", "better")
    for now, former in ((third, second), (second, first)):
        with sessions.begin() as session:
            assert models.roll_back(session, "tile", now, "ada", "worse") == former
    with (
        pytest.raises(models.NoFormerChampionError, match="nothing to go back to"),
        sessions.begin() as session,
    ):
        models.roll_back(session, "tile", first, "ada", "worse")
    with sessions.begin() as session:
        models.set_champion(session, "tile", third, "ada", "after all")
        assert models.former_champion(session, "tile") == first
    with sessions() as session:
        trail = session.scalars(select(Event).order_by(Event.id)).all()
    assert trail[4].detail == {"model": second, "before": third, "why": "worse", "rolled_back": True}


def test_nobody_rolls_back_what_another_has_promoted_meanwhile(
    sessions: sessionmaker[Session], trained: Callable[..., str]
) -> None:
    """Two people who see a bad model both go back: the second must not go back from the first one's cure."""
    first, second, third = trained(1), trained(2), trained(3)
    for version in (first, second, third):
        with sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", "better")

    def roll_back(_: int) -> str:
        with sessions.begin() as session:
            return models.roll_back(session, "tile", third, "ada", "worse")

    with ThreadPoolExecutor(2) as pool:
        acts = [pool.submit(roll_back, number) for number in range(2)]
    refused = [act.exception() for act in acts if act.exception() is not None]
    assert [type(one) for one in refused] == [models.ChampionChangedError]
    with sessions() as session:
        champion = models.champion(session, "tile")
    assert champion is not None
    assert champion.id == second


def test_an_event_keeps_its_detail_readable(sessions: sessionmaker[Session]) -> None:
    detail = {"file": "caf\udce9.png", "reasons": ["nul \0"], "size": 0, "nested": {"none": None}}
    with sessions.begin() as session:
        id_ = events.record(session, "image.refused", "station s1", "caf\udce9.png", detail)
    with sessions() as session:
        event = session.get_one(Event, id_)
    assert event.subject == "caf\ufffd.png"
    assert event.detail == {
        "file": "caf\ufffd.png",
        "reasons": ["nul \ufffd"],
        "size": 0,
        "nested": {"none": None},
    }
    assert event.at.tzinfo is not None


def test_an_event_with_a_number_that_json_lacks_is_refused(sessions: sessionmaker[Session]) -> None:
    with pytest.raises(ValueError, match="JSON"), sessions.begin() as session:
        events.record(session, "test", "tester", None, {"score": float("nan")})
