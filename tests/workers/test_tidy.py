"""The task that removes what people and machines left open."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import answered, logins
from db.ids import uuid7
from db.tables import Answered, Login, ReviewClaim, User
from workers.tidy import tidy


def test_only_what_counts_no_more_is_removed(sessions: sessionmaker[Session]) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.add(User(name="ada", full_name="Ada", password_hash="x", created_at=now))
        session.flush()
        for name, seen in (("old", now - logins.LONGEST_IDLE - timedelta(hours=1)), ("new", now)):
            session.add(Login(id=name, user="ada", began_at=seen, seen_at=seen, address="::1"))
        for until in (now - timedelta(minutes=1), now + timedelta(minutes=1)):
            session.add(ReviewClaim(inspection_id=uuid7(until), holder="ada", until=until))
        for key, at in (("old", now - answered.KEPT_FOR), ("new", now)):
            answer = {"request_sha256": "0" * 64, "status": 200, "headers": {}, "body": b""}
            session.add(Answered(actor="ada", key=key, at=at, **answer))
    tidy.run()
    with sessions() as session:
        assert session.scalars(select(Login.id)).all() == ["new"]
        assert session.scalars(select(Answered.key)).all() == ["new"]
        assert session.scalars(select(ReviewClaim.until)).one() > now
