"""What an admin sees of products and stations, and that one admin stays."""

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, models, products, schedules, stations, tokens, users
from db.ids import uuid7
from db.inspections import UnknownProductError
from db.tables import Event, User
from db.text import UnkeepableNameError

Sessions = sessionmaker[Session]
AT = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)


def accept(sessions: Sessions, number: int, product: str, station: str) -> None:
    at = AT + timedelta(seconds=number)
    sha256 = hashlib.sha256(f"{product} {number}".encode()).hexdigest()
    image = (sha256, f"images/{sha256}", 5, 1, 1, "PNG")
    new = inspections.NewInspection(uuid7(at), product, station, "line 1", None, "L1", at, at, *image)
    with sessions.begin() as session:
        models.ensure_product(session, product)
        inspections.accept(session, [new])


def test_a_product_says_what_depends_on_it(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    with sessions.begin() as session:
        assert products.create(session, " empty  one ", 250, "boss") == "empty one"
    for number in range(3):
        accept(sessions, number, "tile", "s1")
    with sessions.begin() as session, pytest.raises(products.ProductThereError):
        products.create(session, "tile", None, "boss")
    with sessions.begin() as session, pytest.raises(UnkeepableNameError):
        products.create(session, " ", None, "boss")
    manifest = "{}"
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.register(session, version, "tile", manifest, "0" * 64, 100)
        models.set_champion(session, "tile", version, "boss", "the first")
        schedules.change(session, "tile", "boss", cron="0 2 * * *")
    monkeypatch.setattr(products, "COUNTED_TO", 2)
    with sessions() as session:
        empty, tile = products.overview(session)
        assert (empty.name, empty.deadline_ms, empty.inspections, empty.last_received_at) == (
            "empty one",
            250,
            0,
            None,
        )
        assert (tile.inspections, tile.pending, tile.models, tile.champion) == (2, 3, 1, version)
        assert (tile.has_schedule, tile.has_golden_schedule, tile.has_policy) == (True, False, False)
        assert tile.last_received_at == AT + timedelta(seconds=2)
        assert products.overview(session, limit=1) == [empty]
        assert products.overview(session, after="empty one") == [tile] == [products.one(session, "tile")]
        with pytest.raises(UnknownProductError):
            products.one(session, "tyle")


def test_a_station_says_when_it_was_heard_of(sessions: Sessions) -> None:
    for number, station in enumerate(["s1", "s2", "s1"]):
        accept(sessions, number, "tile", station)
    with sessions.begin() as session:
        tokens.make(session, "one", ["upload"], "boss", station="s1")
        tokens.make(session, "other", ["upload"], "boss", station="s1")
        tokens.revoke(session, "other", "boss", "tried")
        stations.set_line(session, "s2", "  ", "boss")
        stations.set_line(session, "s2", None, "boss")  # which it has already
    with sessions() as session:
        s1, s2 = stations.overview(session)
        assert (s1.name, s1.line, s1.pending, s1.tokens) == ("s1", "line 1", 2, 1)
        assert s1.last_received_at == AT + timedelta(seconds=2)
        assert (s2.line, s2.tokens) == (None, 0)
        assert stations.overview(session, limit=1, after="s1") == [s2] == [stations.one(session, "s2")]
        with pytest.raises(stations.UnknownStationError):
            stations.one(session, "s3")
        told = session.scalars(select(Event).where(Event.kind == stations.LINE)).all()
        assert [(one.subject, one.detail) for one in told] == [("s2", {"before": "line 1", "after": None})]


def test_of_two_admins_who_disable_each_other_one_stays(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for name in ("ada", "bob"):
        with sessions.begin() as session:
            users.add(session, name, name, "given by somebody else", "root", ["admin"])
    both, refused = threading.Barrier(2), []

    def disable(name: str, by: str) -> None:
        both.wait(10)
        try:
            with sessions.begin() as session:
                users.disable(session, name, by, "a quarrel")
        except users.AccountError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=disable, args=pair) for pair in (("ada", "bob"), ("bob", "ada"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 1
    assert "is the only admin who can log in" in refused[0]
    with sessions() as session:
        assert len(users.admins(session)) == 1
        assert len([one for one in session.scalars(select(User)) if one.disabled_at is not None]) == 1
