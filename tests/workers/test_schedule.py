"""The clock's look at schedules."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import models, runs, schedules
from db.tables import Schedule
from workers.schedule import serve_all


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_schedule_that_cannot_be_read_keeps_no_other_from_its_run(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        for product in ("bolt", "plate"):
            models.ensure_product(session, product)
            made = schedules.change(session, product, "ada", cron="*/5 * * * *", min_new=0)
            made.last_due -= timedelta(hours=1)
        session.get_one(Schedule, "bolt").time_zone = "Mars/Base"  # as of a machine that knows more of them
    assert serve_all(sessions) == ["plate"]
    assert serve_all(sessions) == []
    with sessions() as session:
        assert [(run.product, run.requested_by) for run in runs.newest(session)] == [("plate", "schedule")]
