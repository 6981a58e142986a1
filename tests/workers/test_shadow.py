"""A challenger beside the champion: scored by the same workers, in the time that the line leaves, once."""

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from db import models, policies, promotion, rescorings
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.matching import Filter
from db.policies import Rules
from db.settings import DatabaseSettings
from db.tables import Event, Lease, ModelAlias, Rescore, Rescoring, Result, Shadow
from model.bundle import BundlePaths
from workers import queue, spare, stored
from workers.background import Background
from workers.judge import Delivery, judge
from workers.runtime import Runtime
from workers.settings import WorkerSettings

QUEUED = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Rules(promotion="automatic", shadow_share=1.0, shadow_images=6)

once = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def runtime(
    database: DatabaseSettings, sessions: sessionmaker[Session], store: ImageStore
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        settings = WorkerSettings(batch_images=2)
        yield Runtime(settings, sessions, sessions, store, database.home / "bundles", "cpu", threads)


@pytest.fixture
def challenger(
    sessions: sessionmaker[Session], store: ImageStore, champion: str, trained: BundlePaths
) -> ModelAlias:
    """A model of the same weights with a tenth of the threshold, which rejects all; nobody promotes it."""
    with sessions.begin() as session:
        policies.change(session, "plate", replace(RULES, shadow_images=10_000), "ada")
    return challenge(sessions, trained, 0.1)


def challenge(
    sessions: sessionmaker[Session], trained: BundlePaths, factor: float, **changes: str
) -> ModelAlias:
    manifest = {**json.loads(trained.manifest), **changes}
    manifest["calibration"]["threshold"] *= factor
    text = json.dumps(manifest)
    version = hashlib.sha256(text.encode()).hexdigest()
    with sessions.begin() as session:
        models.register(session, version, "plate", text, manifest["weights_sha256"], 48)
        champion = models.champion(session, "plate")
        assert champion is not None
        models.set_challenger(session, "plate", version, "ada", {"champion": champion.id})
        found = models.challenger(session, "plate")
    assert found is not None
    return found


@pytest.fixture
def line(runtime: Runtime, accept: Any, make_picture: Any) -> Callable[[int], list[UUID]]:
    """Let a number of parts be accepted and judged; each fifth is a defect."""

    def judge_them(number: int) -> list[UUID]:
        ids: list[UUID] = accept([make_picture(900 + one, defect=one % 5 == 4) for one in range(number)])
        assert judge(runtime, Delivery(ids, QUEUED)) == number
        return ids

    return judge_them


def background(runtime: Runtime) -> Background:
    return Background(lambda: runtime, lambda: False)


def scored(sessions: sessionmaker[Session], by: ModelAlias | None = None) -> dict[UUID, str]:
    """Give what challengers said, or one of them."""
    with sessions() as session:
        found = session.scalars(select(Rescore).where(Rescore.origin == "shadow"))
        mine = [one for one in found if by is None or one.model_version == by.model_version]
        return {one.inspection_id: one.verdict for one in mine}


def verdicts(sessions: sessionmaker[Session]) -> dict[UUID, tuple[Any, ...]]:
    with sessions() as session:
        found = session.scalars(select(Result))
        return {one.inspection_id: (one.verdict, one.score, one.model_version) for one in found}


def waiting(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(Shadow)).one()


def kinds(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        query = select(Event.kind).where(Event.actor == promotion.ACTOR).order_by(Event.id)
        return list(session.scalars(query))


def test_a_challenger_scores_what_the_champion_judged_and_decides_nothing(
    runtime: Runtime, line: Any, champion: str, trained: BundlePaths
) -> None:
    sessions = runtime.sessions
    earlier = line(2)
    with sessions.begin() as session:
        policies.change(session, "plate", replace(RULES, shadow_images=10_000), "ada")
    challenger = challenge(sessions, trained, 0.1)
    ids = line(5)
    before = verdicts(sessions)
    background(runtime).look()
    assert scored(sessions) == dict.fromkeys(ids, "ng")
    assert verdicts(sessions) == before
    assert {before[id_][0] for id_ in earlier + ids} == {"ok", "ng"}
    with sessions() as session:
        for one in session.scalars(select(Rescore)):
            assert one.model_version == challenger.model_version
            assert one.map is not None
            assert one.score == pytest.approx(before[one.inspection_id][1], rel=1e-3)
    assert (waiting(sessions), kinds(sessions)) == (0, [])
    assert before[ids[0]][2] == champion


@once
def test_no_worker_ends_for_ever_over_an_image(
    runtime: Runtime, line: Any, challenger: ModelAlias, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = line(5)
    real = stored.decoded

    def decoded(state: Any, scorer: Any, rows: Any) -> Any:
        if ids[2] in {row.id for row in rows}:
            raise SystemExit  # the process is gone: nothing here catches it
        return real(state, scorer, rows)

    monkeypatch.setattr(stored, "decoded", decoded)
    ends = 0
    while waiting(runtime.sessions):
        assert ends < 10
        try:
            background(runtime).look()
        except SystemExit:
            ends += 1
            let_go(runtime.sessions)
    assert scored(runtime.sessions) == {**dict.fromkeys(ids, "ng"), ids[2]: "error"}
    assert ends == runtime.settings.max_attempts


def let_go(sessions: sessionmaker[Session]) -> None:
    """Let a killed worker's lease lapse."""
    with sessions.begin() as session:
        session.execute(delete(Lease).where(Lease.name.startswith("shadow:")))


@once
def test_an_outage_is_no_try(
    runtime: Runtime, line: Any, challenger: ModelAlias, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = line(2)
    real, worker = stored.decoded, background(runtime)

    def away(*_: Any) -> Any:
        raise ImageStoreUnavailableError("the store", "it is away")

    monkeypatch.setattr(stored, "decoded", away)
    for _ in range(runtime.settings.max_attempts + 1):
        with pytest.raises(ImageStoreUnavailableError):
            worker.look()
    monkeypatch.setattr(stored, "decoded", real)
    worker.look()
    assert scored(runtime.sessions) == dict.fromkeys(ids, "ng")


@once
def test_a_challenger_that_is_replaced_stops_with_the_slice_in_hand(
    runtime: Runtime,
    line: Any,
    challenger: ModelAlias,
    trained: BundlePaths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line(6)
    real = stored.decoded
    other: list[ModelAlias] = []

    def decoded(state: Any, scorer: Any, rows: Any) -> Any:
        if not other:
            other.append(challenge(runtime.sessions, trained, 10.0))
        return real(state, scorer, rows)

    monkeypatch.setattr(stored, "decoded", decoded)
    background(runtime).look()
    assert (scored(runtime.sessions), waiting(runtime.sessions)) == ({}, 0)
    ids = line(3)
    background(runtime).look()
    assert scored(runtime.sessions) == dict.fromkeys(ids, "ok")


@once
@pytest.mark.parametrize(
    ("changes", "left", "told"),
    [
        ({"weights_sha256": "f" * 64}, 2, []),  # no more than a disk that is not mounted
        ({"format": "of a later release"}, 0, ["model.withdrawn"]),
        ({"weights_sha256": hashlib.sha256(b"no weights").hexdigest()}, 0, ["model.withdrawn"]),
    ],
)
def test_a_challenger_that_cannot_be_loaded_is_none(
    runtime: Runtime,
    line: Any,
    challenger: ModelAlias,
    trained: BundlePaths,
    changes: dict[str, str],
    left: int,
    told: list[str],
) -> None:
    runtime.store.put(b"no weights")
    challenge(runtime.sessions, trained, 1.0, **changes)
    line(2)
    background(runtime).look()
    assert (waiting(runtime.sessions), kinds(runtime.sessions)) == (left, told)


def test_a_challenger_that_showed_enough_judges_and_two_workers_promote_it_once(
    runtime: Runtime, line: Any, champion: str, trained: BundlePaths
) -> None:
    sessions = runtime.sessions
    with sessions.begin() as session:
        policies.change(session, "plate", RULES, "ada")
    challenger = challenge(sessions, trained, 1.2)
    line(5)
    background(runtime).look()
    assert (len(scored(sessions)), kinds(sessions)) == (5, []), "one is missing"
    line(3)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(background(runtime).look) for _ in range(2)]:
            done.result()
    background(runtime).look()  # where both waited for each other's lease
    assert kinds(sessions) == ["model.promoted"]
    assert waiting(sessions) == 0
    (id_, *_) = line(1)
    assert verdicts(sessions)[id_][2] == challenger.model_version
    assert waiting(sessions) == 0


@once
def test_a_challenger_that_was_altered_is_withdrawn_and_one_whose_weights_are_away_waits(
    runtime: Runtime, line: Any, champion: str, trained: BundlePaths
) -> None:
    sessions = runtime.sessions
    with sessions.begin() as session:
        policies.change(session, "plate", RULES, "ada")
    challenge(sessions, trained, 1.2)
    sha256 = trained.weights_sha256
    weights = runtime.bundles.parent / "images" / "sha256" / sha256[:2] / sha256
    line(5)
    background(runtime).look()
    line(3)
    whole = weights.read_bytes()
    weights.unlink()
    background(runtime).look()
    assert (len(scored(sessions)), waiting(sessions), kinds(sessions)) == (8, 0, [])
    weights.write_bytes(whole[:-1] + b"?")
    background(runtime).look()
    assert kinds(sessions) == ["model.withdrawn"]
    with sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "model.withdrawn"))
        now = models.champion(session, "plate")
    assert "was altered" in event.detail["why"]
    assert now is not None
    assert now.id == champion


@once
def test_history_and_challenger_have_their_turns(
    runtime: Runtime,
    line: Any,
    champion: str,
    challenger: ModelAlias,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However much of the one there is, the other is not left waiting."""
    monkeypatch.setattr("workers.rescore.TURN_S", 0.0)
    monkeypatch.setattr("workers.shadow.TURN_S", 0.0)
    line(6)
    with runtime.sessions.begin() as session:
        asked = rescorings.request(session, "plate", champion, Filter(product="plate"), None, "ada").id
    order: list[str] = []
    real = stored.decoded

    def decoded(state: Any, scorer: Any, rows: Any) -> Any:
        order.append(scorer.version)
        return real(state, scorer, rows)

    monkeypatch.setattr(stored, "decoded", decoded)
    background(runtime).look()
    assert order == [challenger.model_version, champion] * 3
    with runtime.sessions() as session:
        assert session.get_one(Rescoring, asked).state == "done"


@once
def test_a_worker_that_the_line_keeps_busy_leaves_the_challenger_to_others(
    runtime: Runtime, line: Any, challenger: ModelAlias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "PATIENCE_S", 0.05)
    line(2)
    Background(lambda: runtime, lambda: True).look()
    assert scored(runtime.sessions) == {}


@once
@pytest.mark.timeout(400)  # 20 s, where nothing else runs
def test_promoted_under_load_and_killed_in_the_shadow(
    use_broker: Any,
    champion: str,
    challenger: ModelAlias,
    trained: BundlePaths,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Callable[..., Any],
    wait: Callable[[Callable[[], Any], str, float], None],
    tmp_path: Path,
) -> None:
    """Two real workers judge a stream of parts while the challenger is promoted. Then one of them is killed
    while it scores for the next challenger, and the other goes on with that.
    """
    ids = accept([make_picture(seed % 8) for seed in range(160)])
    workers = {}
    for name in ("w1", "w2"):
        env, log = {"PYRAMIDION_BATCH_IMAGES": "4"}, tmp_path / f"{name}.log"
        named = f"import socket; socket.gethostname = lambda: {name!r}"
        workers[name] = processes("worker", log=log, env=env, first=named)
    logs = [tmp_path / f"{name}.log" for name in workers]
    wait(lambda: all(" ready." in log.read_text(errors="replace") for log in logs), "both workers", 90)
    for start in range(0, len(ids), 2):
        queue.enqueue(ids[start : start + 2])
    wait(lambda: judged(sessions) > 32, "the first verdicts", 60)
    with sessions.begin() as session:
        models.set_champion(session, "plate", challenger.model_version, "ada", "under load")
    promoted = datetime.now(UTC)

    def both_judge_by_it() -> bool:
        """Let parts come until they do: one may have judged all that was queued before the other had time."""
        if judged(sessions) < len(ids):
            return False
        with sessions() as session:
            mine = select(Result.worker).where(Result.model_version == challenger.model_version)
            if set(session.scalars(mine)) == set(workers):
                return True
        more = accept([make_picture(seed) for seed in range(8)])
        ids.extend(more)
        for start in range(0, len(more), 2):
            queue.enqueue(more[start : start + 2])
        return False

    wait(both_judge_by_it, "all verdicts, and some of the promoted model from either worker", 120)
    with sessions() as session:
        results = list(session.scalars(select(Result).order_by(Result.judged_at)))
    assert {one.inspection_id for one in results} == set(ids)
    assert {one.worker for one in results} == set(workers), "both judged"
    for name in workers:
        mine = [(one.model_version, one.judged_at) for one in results if one.worker == name]
        first = [version for version, _ in mine].index(challenger.model_version)
        assert {version for version, _ in mine[:first]} == {champion}
        # Three threads have a batch in hand: what was begun before ends with the version it began with.
        late = [at for version, at in mine[first:] if version == champion]
        assert len(late) <= 2 * 4, name
        assert all((at - promoted).total_seconds() < 5 for version, at in mine if version == champion)
    assert waiting(sessions) == 0, "there is no challenger any more"
    assert set(scored(sessions)) <= {one.inspection_id for one in results if one.model_version == champion}

    before = verdicts(sessions)
    following = challenge(sessions, trained, 10.0)
    with sessions.begin() as session:
        session.add_all(Shadow(inspection_id=id_, model_version=following.model_version) for id_ in ids)
    wait(lambda: len(scored(sessions, following)) > 3, "the first slices", 60)
    with sessions() as session:
        holder = session.scalars(select(Lease.holder).where(Lease.name.startswith("shadow:"))).one()
    killed = workers.pop(holder.split(":")[0])
    killed.kill()
    killed.wait(10)
    assert waiting(sessions), "it was killed too late to show anything"
    let_go(sessions)
    wait(lambda: waiting(sessions) == 0, "the other one to go on", 60)
    assert scored(sessions, following) == dict.fromkeys(ids, "ok")
    assert verdicts(sessions) == before
    (left,) = workers.values()
    left.send_signal(signal.SIGTERM)
    assert left.wait(30) == 0
    assert not any("Traceback" in log.read_text(errors="replace") for log in logs)


def judged(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(Result)).one()
