"""Times and ids come back from both databases as they went in, and sort there as they do here."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, inspections
from db.ids import uuid7
from db.tables import Event, Inspection, Product

Accept = Callable[..., list[UUID]]
TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


def test_times_keep_their_microseconds_and_their_order(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        for number, at in enumerate(reversed(TIMES)):
            session.add(Product(name=f"p{number}", created_at=at))
    with sessions() as session:
        found = session.scalars(select(Product.created_at).order_by(Product.created_at)).all()
        assert found == TIMES
        assert all(at.tzinfo is UTC for at in found)
        assert session.scalar(select(func.max(Product.created_at))) == TIMES[-1]
        later = session.scalars(select(Product.created_at).where(Product.created_at > TIMES[2]))
        assert set(later) == set(TIMES[3:])


def test_times_of_other_zones_are_kept_in_utc(sessions: sessionmaker[Session], engine: Engine) -> None:
    here = datetime(2026, 3, 1, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    with sessions.begin() as session:
        session.add(Product(name="p", created_at=here))
    with sessions() as session:
        found = session.get_one(Product, "p").created_at
        assert (found, found.utcoffset(), found.day) == (here, timedelta(0), 28)
        if engine.dialect.name == "sqlite":  # what other programs read there
            assert session.scalar(text("SELECT created_at FROM products")) == "2026-02-28T23:30:00.000005Z"


def test_naive_times_are_refused(
    sessions: sessionmaker[Session], new_inspection: Callable[..., inspections.NewInspection]
) -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="no time zone"), sessions.begin() as session:
        session.add(Product(name="p", created_at=naive))
    with pytest.raises(ValueError, match="no time zone"), sessions() as session:
        attempts.overdue(session, naive, 1)
    with pytest.raises(ValueError, match="without a zone"):
        new_inspection(captured_at=naive)


def test_ids_keep_their_order(sessions: sessionmaker[Session], accepted: Accept) -> None:
    accepted()
    ids = [uuid4() for _ in range(50)] + [uuid7() for _ in range(50)] + [UUID(int=0), UUID(int=2**128 - 1)]
    with sessions.begin() as session:
        for id_ in ids:
            session.add(Event(id=id_, at=TIMES[0], kind="k", actor="a", subject=None, detail={}))
    with sessions() as session:
        assert session.scalars(select(Event.id).order_by(Event.id)).all() == sorted(ids)
        assert session.scalars(select(Inspection.id)).one().version == 7
