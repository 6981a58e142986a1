"""Whatever is lost, doubled, shuffled, killed or away, in whatever order: one verdict for each inspection."""

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from capture.frames import Frame
from capture.images import Limits
from capture.intake import Intake
from capture.settings import CaptureSettings
from db import drift, inspections, models, results
from db.ids import uuid7
from db.imagestore import ImageStore, ImageStoreUnavailableError, open_image_store
from db.settings import DatabaseSettings
from db.tables import AnomalyMap, Attempt, DriftSample, Inspection, Result
from model.images import Decoded, UnreadableImageError
from model.inference import Scored
from workers import sweep
from workers.drift import close_ripe
from workers.drift_settings import DriftSettings
from workers.judge import Delivery, judge
from workers.queue import BrokerUnavailableError
from workers.runtime import Runtime
from workers.settings import WorkerSettings

KINDS = ("good", "good", "good", "undecodable", "fails", "kills")
ATTEMPTS = 3
_numbers = itertools.count()


class Killed(BaseException):
    """The worker is gone, in the middle of what it did."""


class StubScorer:
    """Judges by what is written behind an image: a real one would take most of the time."""

    threshold, size, channels = 1.0, (8, 8), 1

    def __init__(self, version: str) -> None:
        self.version = version

    def decode(self, data: bytes, *, max_pixels: int = 0) -> Decoded:
        kind = data.rsplit(b":", 2)[1].decode()
        if kind == "undecodable":
            raise UnreadableImageError("nobody can")
        return Decoded(np.full((8, 8, 1), KINDS.index(kind), np.uint8), 8, 8)

    def score(self, arrays: Sequence[Any]) -> list[Scored]:
        kinds = {KINDS[int(array[0, 0, 0])] for array in arrays}
        if "kills" in kinds:
            raise Killed
        if "fails" in kinds:
            raise RuntimeError("the model fails on it")
        return [Scored(0.5, np.full((8, 8), 0.5, np.float32)) for _ in arrays]


class StubRuntime(Runtime):
    def scorer(self, version: Any) -> Any:
        return StubScorer(version.id)


@dataclass(frozen=True)
class Message:
    ids: tuple[UUID, ...]
    at: datetime
    redelivered: bool = False


class Wire:
    """The broker, as the sweeper and intake see it: it may be away, and forgets what a test takes from it."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []  # the head of the queue comes first
        self.held: list[Message] = []  # by a worker that was killed, until they come back or are lost
        self.away = False

    def enqueue(self, ids: Sequence[UUID], *, at: datetime | None = None) -> None:
        if self.away:
            raise BrokerUnavailableError("away")
        self.waiting.append(Message(tuple(ids), at or datetime.now(UTC)))

    def connect(self, _settings: WorkerSettings) -> Any:
        return nullcontext()

    def oldest_waiting(self, _client: object) -> datetime | None:
        return self.waiting[0].at if self.waiting else None

    def oldest_held(self, _client: object) -> datetime | None:
        return None  # nobody lives who holds anything: a kill ends its note


@dataclass
class World:
    """What outlives an example: one database, with the sweeper led to another wire by each example."""

    sessions: sessionmaker[Session]
    store: ImageStore
    home: Path
    threads: ThreadPoolExecutor
    patch: pytest.MonkeyPatch


def machine(world: World) -> type[RuleBasedStateMachine]:
    class DeliveryMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.product = f"p{uuid4().hex[:12]}"
            self.wire = Wire()
            world.patch.setattr(sweep, "queue", self.wire)
            self.settings = WorkerSettings(max_attempts=ATTEMPTS, sweep_after_s=1e-6, sweep_limit=3)
            self.runtime = StubRuntime(
                self.settings, world.sessions, world.sessions, world.store, world.home, "cpu", world.threads
            )
            self.intake = Intake(world.sessions, world.store, self.wire.enqueue, Limits.of(CaptureSettings()))
            self.kinds: dict[UUID, str] = {}
            self.frames: list[Frame] = []
            self.verdicts: dict[UUID, tuple[Any, ...]] = {}
            manifest = json.dumps({"product": self.product})
            version = hashlib.sha256(manifest.encode()).hexdigest()
            with world.sessions.begin() as session:
                models.ensure_product(session, self.product)
                models.register(session, version, self.product, manifest, "0" * 64, 1)
                models.set_champion(session, self.product, version, actor="test", why="test")

        @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), away=st.booleans())
        def images_are_taken_in(self, kinds: list[str], away: bool) -> None:
            """The broker may be away: accepted all the same, and left to the sweeper."""
            self.frames = [frame(self.product, kind) for kind in kinds]
            self.kinds |= {one.id: kind for one, kind in zip(self.frames, kinds, strict=True)}
            self.wire.away = away
            report = self.intake.take(self.frames)
            self.wire.away = False
            assert len(report.accepted) == len(kinds)
            assert report.unannounced == (len(kinds) if away else 0)

        @rule()
        def a_station_was_killed_and_takes_its_spool_in_again(self) -> None:
            assert self.intake.take(self.frames).accepted == ()

        @precondition(lambda self: self.wire.waiting)
        @rule(data=st.data())
        def a_message_is_lost_or_doubled_or_all_are_shuffled(self, data: st.DataObject) -> None:
            waiting = self.wire.waiting
            which = data.draw(st.integers(0, len(waiting) - 1))
            match data.draw(st.sampled_from(["lost", "doubled", "shuffled"])):
                case "lost":
                    del waiting[which]
                case "doubled":
                    waiting.append(waiting[which])
                case _:
                    self.wire.waiting = list(data.draw(st.permutations(waiting)))

        @rule()
        def the_broker_forgets_everything(self) -> None:
            self.wire.waiting.clear()
            self.wire.held.clear()

        @precondition(lambda self: self.wire.waiting)
        @rule(number=st.integers(1, 3))
        def a_worker_judges(self, number: int) -> None:
            """It dies where there is poison among them, and acknowledges nothing then."""
            taken = self._taken(number)
            try:
                self._judge(taken)
            except Killed:
                self.wire.held += taken

        @precondition(lambda self: self.wire.waiting)
        @rule(commits=st.integers(0, 2), acknowledges=st.booleans(), number=st.integers(1, 3))
        def a_worker_is_killed(self, commits: int, acknowledges: bool, number: int) -> None:
            """After so many commits, in the middle of the next; or when all is done but not acknowledged."""
            taken = self._taken(number)
            try:
                with failing_commit(world.patch, after=commits, error=Killed()):
                    self._judge(taken)
            except Killed:
                self.wire.held += taken
            else:
                self.wire.held += [] if acknowledges else taken

        @precondition(lambda self: self.wire.waiting)
        @rule(commits=st.integers(0, 2), tries=st.integers(1, 3))
        def the_database_goes_away_in_the_middle(self, commits: int, tries: int) -> None:
            """The worker tries again what it holds, and hands it back when it is told to stop."""
            taken = self._taken(1)
            delivery = delivery_of(taken)
            away = OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))
            try:
                for _ in range(tries):
                    try:
                        with failing_commit(world.patch, after=commits, error=away):
                            judge(self.runtime, delivery)
                    except OperationalError:
                        continue
                    return
            except Killed:
                self.wire.held += taken
            else:
                self._hand_back(taken)

        @precondition(lambda self: self.wire.waiting)
        @rule()
        def the_store_is_away(self) -> None:
            taken = self._taken(2)
            away = ImageStoreUnavailableError("nowhere", "gone")
            with world.patch.context() as patch:
                patch.setattr(ImageStore, "get_many", lambda _self, hashes: [away for _ in hashes])
                try:
                    self._judge(taken)
                except ImageStoreUnavailableError:
                    self._hand_back(taken)

        @rule(lost=st.booleans())
        def what_a_dead_worker_held_comes_back(self, lost: bool) -> None:
            self._hand_back([] if lost else self.wire.held)
            self.wire.held = []

        @rule()
        def the_sweeper_looks(self) -> None:
            sweep.sweep_once(world.sessions, self.settings)

        @rule()
        def the_watch_over_drift_closes_what_it_has(self) -> None:
            close_ripe(world.sessions, DriftSettings(), datetime.now(UTC) + timedelta(hours=1))

        def _taken(self, number: int) -> list[Message]:
            taken, self.wire.waiting = self.wire.waiting[:number], self.wire.waiting[number:]
            return taken

        def _judge(self, taken: list[Message]) -> None:
            for again in (False, True):
                some = [one for one in taken if one.redelivered is again]
                if some:
                    judge(self.runtime, delivery_of(some))

        def _hand_back(self, messages: Sequence[Message]) -> None:
            self.wire.waiting[:0] = [replace(one, redelivered=True) for one in messages]

        @invariant()
        def each_is_judged_once_or_pending(self) -> None:
            with world.sessions() as session:
                counts = inspections.counts(session, product=self.product)
                ours = select(Inspection.id).where(Inspection.product == self.product)
                found = list(session.scalars(select(Result).where(Result.inspection_id.in_(ours))))
                waiting = {
                    one.inspection_id: one.attempts
                    for one in session.scalars(select(Attempt).where(Attempt.inspection_id.in_(ours)))
                }
                maps = set(
                    session.scalars(
                        select(AnomalyMap.inspection_id).where(AnomalyMap.inspection_id.in_(ours))
                    )
                )
                windows = drift.listed(session, self.product)
                samples = session.scalars(select(DriftSample).where(DriftSample.product == self.product))
                counted = sum(one.late for one in windows)
                counted += sum(sum(one.verdicts.values()) for one in (*windows, *samples))
            now = {
                one.inspection_id: (one.verdict, one.score, one.attempts, one.judged_at, one.error)
                for one in found
            }
            assert counts.accepted == len(self.kinds)
            assert len(now) + len(waiting) == counts.accepted
            assert counted == len(now), "each verdict counts once in the watch over drift"
            assert counts.pending == len(waiting)
            assert now.keys() | waiting.keys() == self.kinds.keys()
            assert self.verdicts.items() <= now.items(), "a verdict that stands is never another one"
            assert maps == {id_ for id_, (verdict, *_) in now.items() if verdict != "error"}
            assert max([*waiting.values(), *(one[2] for one in now.values())], default=0) <= ATTEMPTS
            for id_, (verdict, _, attempts, *_) in now.items():
                if self.kinds[id_] != "good":
                    assert verdict == "error"
                else:
                    assert verdict == "ok" or attempts == ATTEMPTS, "given up too early"
            self.verdicts = now

        def teardown(self) -> None:
            """The faults end: what is delivered and swept from now on is judged, in bounded time."""
            patience = 2 * (ATTEMPTS + 2) * (1 + len(self.kinds))
            while self._pending() and patience:
                patience -= 1
                while self.wire.waiting:
                    self.a_worker_judges(2)
                self.what_a_dead_worker_held_comes_back(lost=True)
                self.the_sweeper_looks()
            assert not self._pending()
            self.each_is_judged_once_or_pending()

        def _pending(self) -> int:
            with world.sessions() as session:
                return inspections.counts(session, product=self.product).pending

    return DeliveryMachine


def delivery_of(messages: Sequence[Message]) -> Delivery:
    return Delivery(
        ids=[id_ for one in messages for id_ in one.ids],
        queued_at=min(one.at for one in messages),
        redelivered=messages[0].redelivered,
    )


@contextmanager
def failing_commit(patch: pytest.MonkeyPatch, *, after: int, error: BaseException) -> Iterator[None]:
    """Let the transaction that records verdicts end in an error, once `after` of them were committed."""
    record: Callable[..., Any] = results.record
    done = itertools.count()

    def fail(*args: Any) -> Any:
        recorded = record(*args)
        if next(done) >= after:
            raise error
        return recorded

    with patch.context() as patched:
        patched.setattr(results, "record", fail)
        yield


def frame(product: str, kind: str) -> Frame:
    number = next(_numbers)
    captured_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    out = io.BytesIO()
    Image.new("L", (8, 8), number % 256).save(out, "JPEG")
    return Frame(
        id=uuid7(captured_at),
        product=product,
        station="s1",
        line=None,
        serial=None,
        lot=None,
        captured_at=captured_at,
        name=f"part {number}",
        data=out.getvalue() + f":{kind}:{number}".encode(),
    )


def test_one_verdict_for_each_whatever_happens(
    database: DatabaseSettings,
    sessions: sessionmaker[Session],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYRAMIDION_IMAGE_STORE_URL", "memory://")
    with ThreadPoolExecutor(2) as threads:
        world = World(sessions, open_image_store(DatabaseSettings()), tmp_path, threads, monkeypatch)
        run_state_machine_as_test(
            machine(world),
            settings=settings(
                phases=[
                    Phase.reuse,
                    Phase.generate,
                ],  # shrinking takes minutes; its steps are few enough to read
                max_examples=15,
                stateful_step_count=14,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
