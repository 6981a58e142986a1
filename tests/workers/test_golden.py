"""Golden samples go through the real pipeline, and what they show holds a station until a person says so."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, attempts, golden, golden_schedules, golden_trials, history, policies, results
from db.imagestore import ImageStore
from db.settings import DatabaseSettings
from db.tables import Alarm, Event, GoldenSchedule, GoldenTrial
from workers import golden as task
from workers import replay, sweep
from workers.judge import Delivery, judge
from workers.runtime import Runtime
from workers.settings import WorkerSettings

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def runtime(
    database: DatabaseSettings, sessions: sessionmaker[Session], store: ImageStore
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        yield Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)


@pytest.fixture
def add(
    sessions: sessionmaker[Session], store: ImageStore, champion: str, accept: Any
) -> Callable[[str, str, bytes], None]:
    """Add a golden sample of `plate` at station s1."""
    accept([b"what made the station known"])

    def add_one(name: str, expected: Any, image: bytes) -> None:
        sha256 = Path(store.put(image)).name
        stored = golden.StoredImage(sha256, len(image), 64, 64, "PNG")
        with sessions.begin() as session:
            golden.add(session, "plate", "s1", name, expected, stored, "ada")

    return add_one


def send(state: Runtime) -> list[UUID]:
    with state.sessions.begin() as session:
        return golden_trials.send(session, "plate", "ada")


def send_and_judge(state: Runtime) -> list[UUID]:
    ids = send(state)
    judge(state, Delivery(ids, datetime.now(UTC)))
    return ids


def passed(state: Runtime) -> dict[str, bool | None]:
    return {one.name: one.passed for one in task.check_all(state.sessions)}


def open_alarms(state: Runtime) -> list[Alarm]:
    with state.sessions() as session:
        return list(alarms.newest(session, only_open=True))


def events(state: Runtime, kind: str) -> list[dict[str, Any]]:
    with state.sessions() as session:
        return [one.detail for one in session.scalars(select(Event).where(Event.kind == kind))]


def verdicts(state: Runtime, ids: list[UUID]) -> list[str]:
    with state.sessions() as session:
        found = [history.inspection(session, one).result for one in ids]
    return [one.verdict for one in found if one is not None]


def hold_on_golden(state: Runtime) -> None:
    with state.sessions.begin() as session:
        policies.change(session, "plate", policies.Rules(hold_on_golden=True), "ada")


def test_a_wrong_verdict_holds_the_station_until_a_person_closes_the_alarm(
    runtime: Runtime, add: Any, accept: Any, make_picture: Any
) -> None:
    hold_on_golden(runtime)
    add("fine", "ok", make_picture(700))
    add("scratch", "ng", make_picture(701, defect=True))
    add("missed", "ng", make_picture(702))
    trials = send_and_judge(runtime)
    with runtime.sessions() as session:
        rows = [history.inspection(session, one).inspection for one in trials]
    assert {one.serial for one in rows} == {"golden:fine", "golden:scratch", "golden:missed"}
    assert {(one.station, one.lot) for one in rows} == {("s1", None)}
    assert passed(runtime) == {"fine": True, "scratch": True, "missed": False}
    assert passed(runtime) == {}, "each is checked once"
    (alarm,) = open_alarms(runtime)
    assert (alarm.kind, alarm.statistic, alarm.holds) == ("golden", "golden:missed", True)
    assert "'missed' is a bad part: it was judged ok" in alarm.said
    assert [one["name"] for one in events(runtime, golden_trials.FAILED)] == ["missed"]

    held = accept([make_picture(710), make_picture(711, defect=True), b"no image"])
    elsewhere = accept([make_picture(712)], station="s2")
    judge(runtime, Delivery([*held, *elsewhere], datetime.now(UTC)))
    assert verdicts(runtime, held) == ["inconclusive", "inconclusive", "error"]
    assert verdicts(runtime, elsewhere) == ["ok"]
    with runtime.sessions() as session:
        good, bad, _ = (history.inspection(session, one).result for one in held)
    assert good is not None
    assert bad is not None
    assert (good.timings["held"], results.by_model(good), good.regions) == (1.0, "ok", [])
    assert (results.by_model(bad), bad.regions != []) == ("ng", True)
    assert [one.differences for one in replay.replay(runtime, held[:2])] == [(), ()]

    send_and_judge(runtime)
    assert passed(runtime) == {"fine": True, "scratch": True, "missed": False}, "though all are held"
    assert [one.id for one in open_alarms(runtime)] == [alarm.id]

    send_and_judge(runtime)
    with runtime.sessions.begin() as session:
        alarms.close(session, alarm.id, "ada", "the lamp was changed")
    assert passed(runtime)["missed"] is False, "as it was when it was sent"
    assert open_alarms(runtime) == []
    after = accept([make_picture(713)])
    judge(runtime, Delivery(after, datetime.now(UTC)))
    assert verdicts(runtime, after) == ["ok"]
    send_and_judge(runtime)
    passed(runtime)
    assert [one.holds for one in open_alarms(runtime)] == [True], "it is not over"


@SQLITE
def test_without_that_policy_verdicts_stand_and_the_next_trial_that_passes_closes_the_alarm(
    runtime: Runtime, add: Any, accept: Any, make_picture: Any
) -> None:
    add("missed", "ng", make_picture(702))
    send_and_judge(runtime)
    assert passed(runtime) == {"missed": False}
    (alarm,) = open_alarms(runtime)
    ids = accept([make_picture(710)])
    judge(runtime, Delivery(ids, datetime.now(UTC)))
    assert verdicts(runtime, ids) == ["ok"]

    add("fine", "ok", make_picture(700))
    doubtful = runtime.settings.model_copy(update={"inconclusive_band": 0.9})
    send_and_judge(dataclasses.replace(runtime, settings=doubtful))
    # A bad part that a person has to look at is caught; a good one is a false reject.
    assert passed(runtime) == {"missed": True, "fine": False}
    assert [one.statistic for one in open_alarms(runtime)] == ["golden:fine"]
    with runtime.sessions() as session:
        assert session.get_one(Alarm, alarm.id).closed_by == "golden"

    hold_on_golden(runtime)
    send_and_judge(dataclasses.replace(runtime, settings=doubtful))
    passed(runtime)
    (held,) = open_alarms(runtime)
    assert held.holds, "the alarm that was open held nothing, and gave way"


@SQLITE
def test_a_sample_whose_image_is_gone_alarms_and_holds_nothing(
    runtime: Runtime, add: Any, make_picture: Any, database: DatabaseSettings
) -> None:
    hold_on_golden(runtime)
    image = make_picture(700)
    add("fine", "ok", image)
    (database.home / "images" / runtime.store.put(image)).unlink()
    once = runtime.settings.model_copy(update={"max_attempts": 1})
    state = dataclasses.replace(runtime, settings=once)
    (trial,) = send(state)
    with state.sessions.begin() as session:
        session.get_one(GoldenTrial, trial).sent_at -= timedelta(minutes=11)
    assert passed(state) == {}
    (alarm,) = open_alarms(state)
    assert "has no verdict yet" in alarm.said
    judge(state, Delivery([trial], datetime.now(UTC)))
    assert passed(state) == {"fine": False}
    (alarm,) = open_alarms(state)
    assert "was removed, or the store is another one" in alarm.said
    assert not alarm.holds


@SQLITE
def test_a_trial_without_a_verdict_alarms_once(runtime: Runtime, add: Any, make_picture: Any) -> None:
    add("fine", "ok", make_picture(700))
    (trial,) = send(runtime)
    assert passed(runtime) == {}
    assert open_alarms(runtime) == []
    with runtime.sessions.begin() as session:
        session.get_one(GoldenTrial, trial).sent_at -= timedelta(minutes=11)
    for _ in range(2):
        passed(runtime)
    (alarm,) = open_alarms(runtime)
    with runtime.sessions.begin() as session:
        alarms.close(session, alarm.id, "ada", "the worker is being repaired")
    passed(runtime)
    assert open_alarms(runtime) == [], "somebody knows"
    judge(runtime, Delivery([trial], datetime.now(UTC)))
    assert passed(runtime) == {"fine": True}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_is_due_is_sent_once_by_two_clocks_and_found_again_when_its_message_is_lost(
    use_broker: Any, runtime: Runtime, add: Any, make_picture: Any
) -> None:
    add("fine", "ok", make_picture(700))
    add("scratch", "ng", make_picture(701, defect=True))
    with runtime.sessions.begin() as session:
        made = golden_schedules.change(session, "plate", "ada", cron="*/5 * * * *")
        made.last_due -= timedelta(days=1)  # 288 times are missed
    both = Barrier(2)

    def tick() -> int:
        both.wait(10)
        return task.send_due(runtime.sessions)

    with ThreadPoolExecutor(2) as clocks:
        assert sorted(one.result(20) for one in [clocks.submit(tick) for _ in range(2)]) == [0, 2]
    with Redis.from_url(use_broker.url) as client:
        assert client.llen("score") == 1
        client.flushall()
        assert (
            sweep.sweep_once(runtime.sessions, WorkerSettings(sweep_after_s=0.001)) == 3
        )  # with the station's
        assert client.llen("score") == 1
    with runtime.sessions() as session:
        trials = golden_trials.newest(session)
        assert len(attempts.waiting(session, [one.trial for one in trials])) == 2
    (sent,) = events(runtime, golden_trials.SENT)
    assert sent["why"].startswith("due ")


@SQLITE
def test_the_clocks_task_checks_sends_and_survives_a_dead_broker(
    use_broker: Any, runtime: Runtime, add: Any, make_picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    add("fine", "ok", make_picture(700))
    with runtime.sessions.begin() as session:
        golden_schedules.change(session, "plate", "ada", cron="*/5 * * * *")
    send_and_judge(runtime)
    with runtime.sessions.begin() as session:
        session.get_one(GoldenSchedule, "plate").last_due -= timedelta(hours=1)
    use_broker.kill()
    task.golden.run()
    with runtime.sessions() as session:
        assert [one.passed for one in golden_trials.newest(session)] == [None, True]
    assert "cannot queue 1 inspections" in caplog.text


@SQLITE
def test_a_schedule_without_samples_says_so_once_a_due_time(
    sessions: sessionmaker[Session], runtime: Runtime, champion: str
) -> None:
    with sessions.begin() as session:
        made = golden_schedules.change(session, "plate", "ada", cron="*/5 * * * *", time_zone="Europe/Berlin")
        made.last_due -= timedelta(hours=1)
    assert [task.send_due(sessions) for _ in range(3)] == [0, 0, 0]
    (skipped,) = events(runtime, golden_schedules.SKIPPED)
    assert "has no golden samples" in skipped["reason"]
    with sessions.begin() as session:
        changed = golden_schedules.change(session, "plate", "ada", enabled=False)
        changed.last_due -= timedelta(hours=1)
    task.send_due(sessions)
    assert len(events(runtime, golden_schedules.SKIPPED)) == 1


@SQLITE
def test_a_retired_sample_is_sent_no_more_and_its_name_is_free(
    runtime: Runtime, add: Any, make_picture: Any
) -> None:
    add("missed", "ng", make_picture(702))
    with pytest.raises(golden.GoldenError, match="has a golden sample 'missed' at 's1' already"):
        add("missed", "ng", make_picture(701, defect=True))
    send_and_judge(runtime)
    on_its_way = send(runtime)
    assert passed(runtime) == {"missed": False}
    with runtime.sessions.begin() as session:
        golden.retire(session, "plate", "s1", "missed", "ada", "it is worn")
    assert open_alarms(runtime) == []
    judge(runtime, Delivery(on_its_way, datetime.now(UTC)))
    assert passed(runtime) == {"missed": False}
    assert open_alarms(runtime) == [], "nobody cares any more"
    with pytest.raises(golden.GoldenError, match="has no golden samples"):
        send(runtime)
    add("missed", "ng", make_picture(701, defect=True))
    send_and_judge(runtime)
    assert passed(runtime) == {"missed": True}
    assert [one["why"] for one in events(runtime, golden.RETIRED)] == ["it is worn"]
