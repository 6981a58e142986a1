"""Windows of what was seen, and the alarms that follow, whatever comes late, twice or not to its end."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, clock, drift, events, models, policies, runs
from db.drift import SCORE, Key, Seen, Taken
from db.leases import lease
from db.tables import Alarm, DriftSample, DriftWindow, Station
from model import drift as usual
from model.appearance import Look
from workers import drift_alarms
from workers.drift import close_ripe, look
from workers.drift_settings import DriftSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
SETTINGS = DriftSettings(drift_images=5, drift_wait_s=60)
LOOK = {"brightness": 0.5, "contrast": 0.3, "sharpness": 0.2, "saturation": 0.0}
MANY = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


class Killed(BaseException):
    """The process is gone, in the middle of what it did."""


class Time:
    now = NOON


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The database's clock, which a test moves on."""
    made = Time()
    monkeypatch.setattr(clock, "now", lambda _session: made.now)
    return made


def new_product(sessions: sessionmaker[Session], *manifests: dict[str, Any]) -> tuple[str, list[str]]:
    """A product with a model of each manifest, judged by the first, and the stations s1 and s2."""
    product = f"p{uuid4().hex[:12]}"
    versions = []
    with sessions.begin() as session:
        models.ensure_product(session, product)
        for name in ("s1", "s2"):
            if session.get(Station, name) is None:
                session.add(Station(name=name, line=None, created_at=NOON))
        for manifest in manifests or ({},):
            text = json.dumps({"product": product, **manifest})
            versions.append(hashlib.sha256(text.encode()).hexdigest())
            models.register(session, versions[-1], product, text, "0" * 64, 1)
        models.set_champion(session, product, versions[0], actor="test", why="test")
    return product, versions


def parts(product: str, at: datetime, verdicts: Sequence[str], station: str = "s1", **numbers: float) -> Any:
    """What a worker saw: of each verdict one part."""
    known = {SCORE: 1.0, **LOOK, **numbers}
    return [Seen(product, station, at, one, {} if one == "error" else known) for one in verdicts]


def see(sessions: sessionmaker[Session], version: str, seen: Sequence[Seen]) -> None:
    with sessions.begin() as session:
        drift.add(session, version, seen, SETTINGS.drift_window_s)


def windows(sessions: sessionmaker[Session], product: str) -> list[DriftWindow]:
    with sessions() as session:
        return list(reversed(drift.listed(session, product)))


def opened(sessions: sessionmaker[Session], product: str) -> dict[str, Alarm]:
    with sessions() as session:
        return {one.statistic: one for one in alarms.newest(session, product, only_open=True)}


def machine(
    sessions: sessionmaker[Session], time: Time, patch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> type[RuleBasedStateMachine]:
    class Watch(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            time.now = NOON
            self.product, (self.version,) = new_product(sessions)
            self.seen: Counter[str] = Counter()

        @rule(
            back=st.integers(0, 3),
            station=st.sampled_from(["s1", "s2"]),
            verdicts=st.lists(st.sampled_from(["ok", "ng", "inconclusive", "error"]), max_size=8),
            killed=st.booleans(),
        )
        def a_batch_is_judged(self, back: int, station: str, verdicts: list[str], killed: bool) -> None:
            """Its judged_at may be long ago: of a worker that was suspended, or whose clock is wrong."""
            seen = parts(self.product, time.now - back * WINDOW, verdicts, station)
            with contextlib.suppress(Killed):
                with sessions.begin() as session:
                    drift.add(session, self.version, seen, SETTINGS.drift_window_s)
                    if killed:
                        die()
                self.seen.update(verdicts)

        @rule(minutes=st.integers(1, 20), killed=st.booleans())
        def windows_are_closed(self, minutes: int, killed: bool) -> None:
            time.now += timedelta(minutes=minutes)
            with patch.context() as patched:
                if killed:
                    patched.setattr(drift, "keep", die)
                with contextlib.suppress(Killed):
                    close_ripe(sessions, SETTINGS)

        @rule(minutes=st.integers(1, 20))
        def windows_are_closed_by_two_at_once(self, minutes: int) -> None:
            time.now += timedelta(minutes=minutes)
            for one in [threads.submit(close_ripe, sessions, SETTINGS) for _ in range(2)]:
                one.result(60)

        @invariant()
        def each_counts_once(self) -> None:
            with sessions() as session:
                samples = session.scalars(
                    select(DriftSample).where(DriftSample.product == self.product)
                ).all()
                closed = drift.listed(session, self.product)
            kept: Counter[str] = Counter()
            for one in (*samples, *closed):
                kept.update(one.verdicts)
            late = sum(one.late for one in closed)
            assert kept.total() + late == self.seen.total()
            assert all(kept[verdict] <= self.seen[verdict] for verdict in kept)
            for window in closed:
                assert window.images == sum(window.verdicts.values()) - window.verdicts.get("error", 0)
                assert window.ends_at <= time.now

        def teardown(self) -> None:
            time.now += timedelta(days=1)
            close_ripe(sessions, SETTINGS)
            self.each_counts_once()
            with sessions() as session:
                left = select(DriftSample.id).where(DriftSample.product == self.product)
                assert session.scalars(left).all() == []

    return Watch


def die(*_: Any) -> None:
    raise Killed


def test_each_image_counts_once(
    sessions: sessionmaker[Session], time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 8 if sessions.kw["bind"].dialect.name == "sqlite" else 3
    with ThreadPoolExecutor(2) as threads:
        run_state_machine_as_test(
            machine(sessions, time, monkeypatch, threads),
            settings=settings(MANY, max_examples=number, stateful_step_count=15),
        )


def test_what_comes_late_is_counted_and_changes_nothing(sessions: sessionmaker[Session], time: Time) -> None:
    product, (version,) = new_product(sessions)
    for verdicts in (["ok"] * 6, ["ng", "ng", "error"], ["ok"]):
        see(sessions, version, parts(product, NOON, verdicts))
        close_ripe(sessions, SETTINGS)
        time.now += WINDOW
        close_ripe(sessions, SETTINGS)
    (only,) = windows(sessions, product)
    assert (only.images, only.late, only.verdicts) == (6, 4, {"ok": 6})


VALUES = {"beyond": 1.5, "between": 0.9, "calm": 0.8}


def told_by_counting(story: Sequence[str]) -> Iterator[int | None]:
    """Say after each step since which window the alarm is open; None while it is closed.

    Whoever closes it does so while the next window runs, which counts for nothing then.
    """
    since: int | None = None
    streak: list[int] = []
    calm, counts_from = 0, 0
    for number, what in enumerate(story):
        if what == "a person closes it":
            if since is not None:
                since, streak, counts_from = None, [], number + 1
        elif what != "few":
            calm = calm + 1 if what == "calm" else 0
            streak = [*streak, number] if what == "beyond" and number >= counts_from else []
            if len(streak) > 1 and streak[-1] - streak[-2] > 5:  # more than an hour lies between
                streak = [number]
            if since is None and len(streak) >= 2:
                since = streak[0]
            elif since is not None and calm >= 3:
                since, streak, counts_from = None, [], number + 2
        yield since


STEPS = st.sampled_from([*VALUES, *VALUES, "beyond", "few", "a person closes it"])


def test_an_alarm_opens_once_says_since_when_and_closes_by_itself_or_by_a_person(
    sessions: sessionmaker[Session], time: Time
) -> None:
    number = 15 if sessions.kw["bind"].dialect.name == "sqlite" else 4

    @settings(MANY, max_examples=number)
    @given(st.lists(STEPS, min_size=6, max_size=16))
    def check(story: list[str]) -> None:
        time.now = started = NOON - timedelta(days=3)
        product, (version,) = new_product(sessions)
        for number, (what, since) in enumerate(zip(story, told_by_counting(story), strict=True)):
            at = started + number * WINDOW
            time.now = at + WINDOW + timedelta(minutes=2)  # the next one has begun
            there = opened(sessions, product).get("psi")
            with sessions.begin() as session:
                if what == "a person closes it":
                    time.now = at + timedelta(minutes=2)  # in the middle of this window, which nobody saw
                    if there is not None:
                        alarms.close(session, there.id, "ada", "a new lamp")
                else:
                    window(session, Key(product, "s1", version, at), what)
                    drift_alarms.heed(session, Key(product, "s1", version, at), 0)
            after = opened(sessions, product).get("psi")
            assert (after is not None) is (since is not None), (story, number)
            if after is not None and since is not None:
                assert after.since == started + since * WINDOW
                assert there is None or there.id == after.id

    check()


def window(session: Session, key: Key, what: str, *, name: str = "psi", limit: float = 1.0) -> None:
    """Write down a window whose statistic is so, as if it had been closed."""
    statistics = {} if what == "few" else {name: {"value": VALUES[what] * limit, "limit": limit}}
    drift.keep(session, key, key.starts_at + WINDOW, Taken(Counter(ok=9), {SCORE: [1.0] * 9}), statistics)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("places", "made_champion_at", "opens"),
    [((0, 5), 0, True), ((0, 6), 0, False), ((0, 6, 7), 0, True), ((0, 1), 1, False), ((0, 1, 2), 1, True)],
)
def test_two_windows_in_turn_are_near_each_other_and_of_one_champion(
    sessions: sessionmaker[Session],
    time: Time,
    database: Any,
    places: Sequence[int],
    made_champion_at: int,
    opens: bool,
) -> None:
    time.now = NOON + made_champion_at * WINDOW
    product, (version,) = new_product(sessions)
    for place in places:
        key = Key(product, "s1", version, NOON + place * WINDOW)
        with sessions.begin() as session:
            window(session, key, "beyond")
            drift_alarms.heed(session, key, 0)
    found = opened(sessions, product)
    assert list(found) == ["psi"] * opens
    if opens:
        assert found["psi"].since == NOON + (places[-2] if len(places) > 2 else 0) * WINDOW


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_alarm_that_a_person_closes_just_now_is_closed(
    sessions: sessionmaker[Session], time: Time, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, (version,) = new_product(sessions)
    seen = alarms.is_open

    def seen_and_then_closed(session: Session, *of: str) -> Alarm | None:
        found = seen(session, *of)
        if found is not None:
            alarms.close(session, found.id, "ada", "a new lamp")
        return found

    for number, what in enumerate(["beyond", "beyond", "calm", "calm", "calm"]):
        key = Key(product, "s1", version, NOON + number * WINDOW)
        with sessions.begin() as session, monkeypatch.context() as patch:
            window(session, key, what)
            if number == 4:
                patch.setattr(alarms, "is_open", seen_and_then_closed)
            drift_alarms.heed(session, key, 0)
    with sessions() as session:
        (alarm,) = alarms.newest(session, product)
    assert alarm.closed_by == "ada"


def test_what_is_closed_leaves_events_and_says_by_whom(sessions: sessionmaker[Session], time: Time) -> None:
    product, (version,) = new_product(sessions)
    for number, what in enumerate(["beyond", "beyond", "calm", "calm", "calm"]):
        key = Key(product, "s1", version, NOON + number * WINDOW)
        with sessions.begin() as session:
            window(session, key, what, name="sharpness", limit=4)
            drift_alarms.heed(session, key, 0)
    with sessions() as session:
        (alarm,) = alarms.newest(session, product)
        told = [(one.kind, one.actor) for one in events.told(session, events.Asked("alarm", product))]
    assert told == [("alarm.closed", "drift"), ("alarm.opened", "drift")]
    assert alarm.said == (
        f"sharpness of {product} at s1 is 6, beyond its limit of 4, since 2026-03-01 12:00:00 UTC: "
        "look at the lens: dirt, or focus"
    )
    assert (alarm.closed_by, alarm.detail["model"], alarm.holds) == ("drift", version, False)


def test_another_model_begins_afresh(sessions: sessionmaker[Session], time: Time) -> None:
    product, (first, second) = new_product(sessions, {}, {"second": True})
    for number in range(2):
        key = Key(product, "s1", first, NOON + number * WINDOW)
        with sessions.begin() as session:
            window(session, key, "beyond")
            drift_alarms.heed(session, key, 0)
    assert list(opened(sessions, product)) == ["psi"]
    with sessions.begin() as session:
        models.set_champion(session, product, second, actor="ada", why="better")
    time.now = NOON + 2 * WINDOW
    close_ripe(sessions, SETTINGS)
    assert opened(sessions, product) == {}
    with sessions() as session:
        (closed,) = events.told(session, events.Asked("alarm.closed", product))
    assert (closed.actor, closed.detail["why"]) == ("drift", "another model judges")
    for number in (3, 4):  # what the former one had judged, closed only now
        key = Key(product, "s1", first, NOON + number * WINDOW)
        with sessions.begin() as session:
            window(session, key, "beyond")
            drift_alarms.heed(session, key, 0)
    assert opened(sessions, product) == {}


def test_a_training_is_asked_for_once_a_day_where_the_policy_allows_it(
    sessions: sessionmaker[Session], time: Time
) -> None:
    product, (version,) = new_product(sessions)

    def an_alarm_opens(station: str, name: str, start: datetime) -> bool:
        time.now = start
        asked = False
        for number in range(2):
            key = Key(product, station, version, start + number * WINDOW)
            with sessions.begin() as session:
                window(session, key, "beyond", name=name)
                asked = drift_alarms.heed(session, key, 86400) or asked
        return asked

    def cancel() -> None:
        with sessions.begin() as session:
            runs.cancel(session, runs.newest(session, product)[0].id, "ada")

    assert not an_alarm_opens("s1", "psi", NOON)
    with sessions.begin() as session:
        policies.change(session, product, policies.Rules(retrain_on_drift=True), "ada")
    assert an_alarm_opens("s2", "psi", NOON)
    cancel()
    assert not an_alarm_opens("s2", "ks", NOON + timedelta(hours=23)), "a lens that is dirty trains all day"
    with sessions.begin() as session:
        runs.request(session, product, "on demand", "ada")
    assert not an_alarm_opens("s1", "ks", NOON + timedelta(days=2)), "there is one already"
    cancel()
    assert an_alarm_opens("s1", "sharpness", NOON + timedelta(days=4))
    with sessions() as session:
        found = [(one.why, one.requested_by) for one in runs.newest(session, product)]
        assert len(alarms.newest(session, product, only_open=True)) == 5
    assert found == [("drift", "drift"), ("on demand", "ada"), ("drift", "drift")]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_alarm_that_stays_open_asks_for_a_training_later_but_errors_for_none(
    sessions: sessionmaker[Session], time: Time, database: Any
) -> None:
    product, (version,) = new_product(sessions)
    with sessions.begin() as session:
        policies.change(session, product, policies.Rules(retrain_on_drift=True), "ada")
        alarms.open_(session, "drift", product, "s2", "error_rate", NOON, "no image", {"model": version})
    assert close_ripe(sessions, SETTINGS) == set(), "what can't be read teaches nothing"
    with sessions.begin() as session:
        there = runs.request(session, product, "on demand", "ada")
        alarms.open_(session, "drift", product, "s1", "psi", NOON, "it changed", {"model": version})
    assert close_ripe(sessions, SETTINGS) == set(), "there is a run"
    with sessions.begin() as session:
        runs.cancel(session, there, "ada")
    assert [close_ripe(sessions, SETTINGS) for _ in range(2)] == [{product}, set()]


def reference() -> dict[str, Any]:
    looks = [Look(**{**LOOK, "brightness": 0.5 + 0.001 * number}) for number in range(-20, 20)]
    return {"drift": usual.reference([1 + 0.001 * number for number in range(-50, 50)], looks)}


def scored(product: str, at: datetime, station: str = "s1", number: int = 40, **numbers: float) -> list[Seen]:
    """Parts with the scores of the calibration, as many as are asked for."""
    scores = [1 + 0.1 * place / number - 0.05 for place in range(number)]
    return [one for score in scores for one in parts(product, at, ["ok"], station, score=score, **numbers)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_light_that_fades_is_told_from_parts_that_change(
    sessions: sessionmaker[Session], time: Time, database: Any
) -> None:
    product, (version,) = new_product(sessions, reference())
    for number in range(2):
        at = NOON + number * WINDOW
        see(sessions, version, scored(product, at, "s1", brightness=0.35))  # the lamp is old
        see(sessions, version, parts(product, at, ["ok"] * 40, "s2", score=1.3))  # the light is as always
        time.now = at + WINDOW + timedelta(minutes=5)
        close_ripe(sessions, SETTINGS)
    with sessions() as session:
        found = {(one.station, one.statistic): one for one in alarms.newest(session, product)}
    assert sorted(found) == [("s1", "brightness"), ("s2", "ks"), ("s2", "psi")]
    assert "look at the lamp" in found["s1", "brightness"].said
    assert "parts or process changed" in found["s2", "ks"].said
    assert {one.since for one in found.values()} == {NOON}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_window_of_few_images_or_without_a_reference_says_only_what_it_can(
    sessions: sessionmaker[Session], time: Time, database: Any
) -> None:
    product, (old, new) = new_product(sessions, {}, reference())
    for number, (version, images) in enumerate([(old, 40), (old, 4), (old, 5), (new, 4), (new, 5)]):
        see(sessions, version, scored(product, NOON + number * WINDOW, number=images))
    time.now = NOON + timedelta(days=1)
    close_ripe(sessions, SETTINGS)
    rates = ["error_rate", "inconclusive_rate", "ng_rate"]
    found = [sorted(one.statistics) for one in windows(sessions, product)]
    new_ones = sorted([*LOOK, "error_rate", "ks", "psi"])
    assert found == [["error_rate"], [], rates, [], new_ones], "a first window has no rate to go by"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_rate_is_compared_with_what_was_usual_until_a_person_says_that_this_is(
    sessions: sessionmaker[Session], time: Time, database: Any
) -> None:
    product, (version,) = new_product(sessions)

    def hours(first: int, number: int, bad: int) -> None:
        for place in range(first, first + number):
            at = NOON + place * WINDOW
            see(sessions, version, parts(product, at, ["ng"] * bad + ["ok"] * (60 - bad)))
            time.now = at + WINDOW + timedelta(minutes=2)
            close_ripe(sessions, SETTINGS)

    hours(0, 4, bad=1)
    hours(4, 6, bad=20)
    alarm = opened(sessions, product)["ng_rate"]
    assert alarm.since == NOON + 4 * WINDOW
    assert drift.is_beyond(windows(sessions, product)[-1].statistics["ng_rate"]), "bad hours aren't usual"
    with sessions.begin() as session:
        alarms.close(session, alarm.id, "ada", "the new supplier's castings are so")
    hours(10, 4, bad=20)
    assert opened(sessions, product) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("usual", [0, 1])
def test_a_station_whose_images_all_fail_alarms(
    sessions: sessionmaker[Session], time: Time, database: Any, usual: int
) -> None:
    """Also one that never worked."""
    product, (version,) = new_product(sessions)
    for number, verdict in enumerate(["ok"] * usual + ["error"] * 2):
        see(sessions, version, parts(product, NOON + number * WINDOW, [verdict] * 40))
    time.now = NOON + timedelta(hours=2)
    close_ripe(sessions, SETTINGS)
    (alarm,) = opened(sessions, product).values()
    assert (alarm.statistic, alarm.since) == ("error_rate", NOON + usual * WINDOW)
    assert "look at the camera" in alarm.said


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_look_at_a_time_closes_so_many_windows_and_leaves_the_rest(
    sessions: sessionmaker[Session], time: Time, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, (version,) = new_product(sessions)
    for number in range(3):
        see(sessions, version, parts(product, NOON + number * WINDOW, ["ok"]))
    time.now = NOON + timedelta(hours=2)
    monkeypatch.setattr("workers.drift.MOST", 2)
    with lease(sessions, "drift", 60) as mine:
        assert mine is not None
        look.run()
    assert windows(sessions, product) == []
    look.run()
    assert len(windows(sessions, product)) == 2
    look.run()
    assert len(windows(sessions, product)) == 3


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_windows_go_after_their_time(sessions: sessionmaker[Session], time: Time, database: Any) -> None:
    product, (version,) = new_product(sessions)
    for at in (NOON, NOON + timedelta(days=100)):
        time.now = at
        see(sessions, version, parts(product, at, ["ok"]))
        time.now = at + timedelta(hours=1)
        close_ripe(sessions, SETTINGS)
    assert [one.starts_at for one in windows(sessions, product)] == [NOON + timedelta(days=100)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_number_that_is_none_keeps_no_verdict_from_being_recorded(
    sessions: sessionmaker[Session], time: Time, database: Any
) -> None:
    product, (version,) = new_product(sessions)
    see(sessions, version, parts(product, NOON, ["ok"], contrast=float("nan")))
    time.now = NOON + timedelta(hours=1)
    close_ripe(sessions, SETTINGS)
    assert [one.images for one in windows(sessions, product)] == [1]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_task_wakes_the_trainer_that_an_alarm_asks_for(
    sessions: sessionmaker[Session], time: Time, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, (version,) = new_product(sessions, reference())
    with sessions.begin() as session:
        policies.change(session, product, policies.Rules(retrain_on_drift=True), "ada")
    for number in range(2):
        see(sessions, version, scored(product, NOON + number * WINDOW, number=60, sharpness=0.02))
    time.now += timedelta(hours=1)
    woken: list[int] = []
    monkeypatch.setattr("workers.queue.wake_trainer", lambda: woken.append(len(opened(sessions, product))))
    monkeypatch.setenv("PYRAMIDION_DRIFT_WINDOW_S", "0")
    look.run()
    assert windows(sessions, product) == []
    monkeypatch.delenv("PYRAMIDION_DRIFT_WINDOW_S")
    for _ in range(2):
        look.run()
    assert woken == [1], "once, when all is committed"
