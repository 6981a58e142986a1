"""A new model is examined beside the champion: what is worse gets nowhere, and the reason is kept."""

import copy
import dataclasses
import io
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import golden, models, policies, results, runs
from db.golden import StoredImage
from db.ids import uuid7
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.policies import Rules
from db.settings import DatabaseSettings
from db.tables import Event, Review, TrainingRun
from model import bundle, training
from model.bundle import BundleError, BundlePaths
from model.training import Trained
from workers import candidate, exam
from workers.candidate import Kept
from workers.pulse import Pulse
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.snapshot import HeldOut, Snapshot

CONFIG = training.TrainConfig(size=(64, 64), epochs=1, options={"width": 4}, augment="none", seed=1)
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def state(
    database: DatabaseSettings,
    sessions: sessionmaker[Session],
    store: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Runtime]:
    monkeypatch.setattr(exam, "SYNTHESISED", 16)  # enough, and in a tenth of the time
    with ThreadPoolExecutor(2) as threads:
        yield Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)


@pytest.fixture(scope="module")
def good(make_picture: Any) -> Snapshot:
    """Two dozen good parts that no model of these tests has seen."""
    held_out = [HeldOut(f"part {seed}", make_picture(seed)) for seed in range(500, 524)]
    return Snapshot("d" * 64, [], [], held_out)


@pytest.fixture(scope="module")
def equal(trained: BundlePaths) -> Trained:
    """The champion's own network, with a threshold that fits the good parts."""
    champion = bundle.load(trained.folder)
    written = dict(champion.manifest["training"])
    config = training.TrainConfig.from_json(written.pop("config"))
    calibration = dataclasses.replace(champion.calibration, threshold=1.15 * champion.calibration.threshold)
    facts = training.TrainingFacts(**written)
    return Trained(champion.detector, config, calibration, facts, champion.manifest["drift"])


@pytest.fixture(scope="module")
def few(make_picture: Any) -> Trained:
    """Trained on a dozen parts for an epoch."""
    return training.train([make_picture(seed) for seed in range(100, 112)], CONFIG)


@pytest.fixture(scope="module")
def dark(make_picture: Any) -> Trained:
    """Trained on images whose light was nearly out."""

    def darkened(data: bytes) -> bytes:
        out = io.BytesIO()
        pixels = np.asarray(Image.open(io.BytesIO(data))).astype(np.float32) * 0.4
        Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
        return out.getvalue()

    return training.train([darkened(make_picture(seed)) for seed in range(100, 116)], CONFIG)


def blind(made: Trained) -> Trained:
    """The same with a threshold beyond every score."""
    return dataclasses.replace(made, calibration=dataclasses.replace(made.calibration, threshold=1e6))


def diverged(made: Trained) -> Trained:
    detector = copy.deepcopy(made.detector)
    for parameter in detector.parameters():
        parameter.data.fill_(float("nan"))
    return dataclasses.replace(made, detector=detector)


def pulse_of(state: Runtime) -> Pulse:
    """A run of `plate` that is in training."""
    with state.sessions.begin() as session:
        models.ensure_product(session, "plate")
        runs.request(session, "plate", "on demand", "ada")
    with state.sessions.begin() as session:
        held = runs.take(session, 60, 5)
    assert held is not None
    return Pulse(state.sessions, held, 60, threading.Event(), lambda: None)


def keep(
    state: Runtime, made: Trained, asked: Snapshot, pulse: Pulse | None = None
) -> tuple[Kept, TrainingRun]:
    pulse = pulse or pulse_of(state)
    kept = candidate.keep(state, made, "plate", actor="trainer", note="new", pulse=pulse, snapshot=asked)
    with state.sessions() as session:
        return kept, runs.find(session, pulse.held.id)


def details(state: Runtime, kind: str) -> list[dict[str, Any]]:
    with state.sessions() as session:
        return [one.detail for one in session.scalars(select(Event).where(Event.kind == kind))]


def aliases(state: Runtime) -> tuple[str | None, str | None]:
    with state.sessions() as session:
        champion, challenger = models.champion(session, "plate"), models.challenger(session, "plate")
        return champion and champion.id, challenger and challenger.model_version


def add_golden(state: Runtime, accept: Any, name: str, expected: Any, data: bytes) -> str:
    accept([data])  # makes its station known
    sha256 = Path(state.store.put(data)).name
    image = StoredImage(sha256, len(data), 64, 64, "PNG")
    with state.sessions.begin() as session:
        golden.add(session, "plate", "s1", name, expected, image, "ada")
    return sha256


def test_an_equal_model_becomes_challenger_and_the_champion_goes_on_judging(
    state: Runtime, champion: str, equal: Trained, good: Snapshot
) -> None:
    kept, run = keep(state, equal, good)
    assert aliases(state) == (champion, kept.version)
    assert (kept.challenger, kept.promoted) == (True, False)
    assert (run.state, run.model_version, run.gate_passed) == ("succeeded", kept.version, True)
    assert run.gate_said is not None
    assert "of 24 good parts" in run.gate_said[0]
    assert "synthesised defects, the champion" in run.gate_said[-1]
    (told,) = details(state, "model.examined")
    assert (told["model"], told["run"], told["champion"]) == (kept.version, str(run.id), champion)
    assert told["evidence"]["dataset"] == good.dataset
    assert 10 < told["evidence"]["synthesised"]["defects"] <= exam.SYNTHESISED
    assert told["evidence"]["rule"] == {"false_reject_rate": 0.005, "confidence": 0.95}
    shown = {"said": told["said"], "champion": champion, **told["evidence"]}
    assert details(state, "model.challenger")[0]["evidence"] == shown
    assert bundle.load(state.bundles / kept.version).manifest["dataset"] == good.dataset


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ("dark", "rejects 24 of 24 good parts"),
        ("few", "synthesised defects, the champion"),
        ("blind", "catches 0 of "),
        ("diverged", "no finite numbers: the training has diverged"),
    ],
)
def test_a_model_that_is_worse_is_registered_and_nothing_else(
    state: Runtime,
    champion: str,
    equal: Trained,
    dark: Trained,
    few: Trained,
    good: Snapshot,
    worse: str,
    why: str,
) -> None:
    made = {"dark": dark, "few": few, "blind": blind(equal), "diverged": diverged(equal)}[worse]
    kept, run = keep(state, made, good)
    assert aliases(state) == (champion, None)
    assert (run.state, run.model_version, run.gate_passed) == ("succeeded", kept.version, False)
    assert any(why in one for one in run.gate_said or ())
    (told,) = details(state, "model.examined")
    assert (told["passed"], told["said"]) == (False, run.gate_said)
    assert details(state, "model.challenger") == []
    assert "exam: is refused" in run.log


def test_a_model_of_another_product_and_the_champion_itself_are_refused(
    state: Runtime, champion: str, equal: Trained, good: Snapshot, tmp_path: Path
) -> None:
    other = bundle.save(equal, tmp_path, product="bolt")
    said = exam.examine(state, other.folder, "plate", good)
    assert (said.passed, said.said) == (False, ("it is a model of 'bolt', not of 'plate'",))
    with state.sessions() as session:
        state.scorer(models.versions(session, "plate")[0])  # brings its bundle here
    again = exam.examine(state, state.bundles / champion, "plate", good)
    assert again.passed is False
    assert "the very model that judges already" in again.said[0]


def test_a_bundle_that_was_altered_is_kept_out_altogether(
    state: Runtime, champion: str, equal: Trained, good: Snapshot
) -> None:
    saved = bundle.save(equal, state.bundles, product="plate", dataset=good.dataset)
    saved.weights.write_bytes(saved.weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="altered or damaged"):
        keep(state, equal, good)
    with state.sessions() as session:
        assert [one.id for one in models.versions(session, "plate")] == [champion]


def test_a_golden_sample_that_is_judged_wrongly_refuses_a_model_that_passes_else(
    state: Runtime, champion: str, equal: Trained, good: Snapshot, accept: Any, make_picture: Any
) -> None:
    add_golden(state, accept, "scratch", "ng", make_picture(700, defect=True))
    add_golden(state, accept, "clean", "ok", make_picture(701))
    lost = add_golden(state, accept, "lost", "ok", make_picture(702))
    (state.bundles.parent / "images" / "sha256" / lost[:2] / lost).unlink()
    kept, _ = keep(state, equal, good)
    assert not kept.challenger
    assert kept.examined is not None
    (said,) = kept.examined.said
    assert "golden sample s1/lost: its image can't be read" in said
    assert "`pyramidion golden retire plate s1 lost --why ...`" in said
    assert kept.examined.evidence["unread"] == {"golden": 1}
    with state.sessions.begin() as session:
        golden.retire(session, "plate", "s1", "lost", "ada", "its image is lost")
    assert exam.examine(state, state.bundles / kept.version, "plate", good).passed
    add_golden(state, accept, "swapped", "ok", make_picture(703, defect=True))
    refused = exam.examine(state, state.bundles / kept.version, "plate", good)
    assert refused.said == ("golden sample s1/swapped: known to be ok, judged ng",)
    assert refused.evidence["golden_samples"] == 3


def test_a_first_model_judges_unless_a_golden_sample_speaks_against_it(
    state: Runtime, equal: Trained, good: Snapshot, accept: Any, make_picture: Any
) -> None:
    few = dataclasses.replace(good, hold_out=good.hold_out[:5])
    accept([make_picture(700)])
    add_golden(state, accept, "swapped", "ng", make_picture(700))
    kept, run = keep(state, equal, few)
    assert (kept.promoted, run.gate_passed, aliases(state)) == (False, False, (None, None))
    assert run.gate_said is not None
    assert run.gate_said[0] == "golden sample s1/swapped: known to be ng, judged ok"
    with state.sessions.begin() as session:
        golden.retire(session, "plate", "s1", "swapped", "ada", "it is good")
    kept, run = keep(state, equal, few)
    assert (kept.promoted, run.gate_passed, aliases(state)) == (True, None, (kept.version, None))
    assert run.gate_said is not None
    assert "5 good parts, and 20 are the least" in run.gate_said[0]


def test_a_hold_out_that_is_too_small_lets_nobody_take_the_champions_place(
    state: Runtime, champion: str, equal: Trained, good: Snapshot
) -> None:
    junk = [HeldOut("no image", b"GIF89a"), HeldOut("empty", b"")]
    kept, run = keep(state, equal, dataclasses.replace(good, hold_out=good.hold_out[:19] + junk))
    assert (run.gate_passed, aliases(state)) == (False, (champion, None))
    assert run.gate_said is not None
    assert "the hold-out has 19 good parts" in run.gate_said[0]
    assert kept.examined is not None
    assert kept.examined.evidence["unread"] == {"good": 2}


def test_reviewed_defects_are_asked_for_and_the_policy_is_heeded(
    state: Runtime, champion: str, equal: Trained, good: Snapshot, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(600 + seed, defect=True) for seed in range(4)])
    now = datetime.now(UTC)
    ng: dict[str, Any] = {"verdict": "ng", "score": 2.0, "threshold": 1.0, "model_version": champion}
    made: dict[str, Any] = {"worker": "w", "attempts": 1, "judged_at": now, "timings": {}, "regions": []}
    with state.sessions.begin() as session:
        results.record(session, [results.NewResult(one, **ng, **made, error=None, map=None) for one in ids])
        for one in ids:
            session.add(
                Review(id=uuid7(now), inspection_id=one, verdict="confirm", reviewer="ada", created_at=now)
            )
        policies.change(session, "plate", Rules(false_reject_rate=0.3, confidence=0.9), "ada")
    saved = bundle.save(blind(equal), state.bundles, product="plate")
    examined = exam.examine(state, saved.folder, "plate", good)
    assert any("catches 0 of 4 reviewed defects, the champion 4" in one for one in examined.said)
    assert sorted(examined.evidence["reviewed"]["newly_missed"]) == sorted(str(one) for one in ids)
    assert examined.evidence["rule"] == {"false_reject_rate": 0.3, "confidence": 0.9}


def test_who_is_promoted_during_an_exam_is_who_the_model_is_compared_with(
    state: Runtime,
    champion: str,
    equal: Trained,
    dark: Trained,
    good: Snapshot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, _ = keep(state, dark, good)
    whole, exams = exam.examine, []

    def examine(*asked: Any) -> exam.Examined:
        exams.append(whole(*asked))
        if len(exams) == 1:
            with state.sessions.begin() as session:
                models.set_champion(session, "plate", other.version, "ada", "by hand")
        return exams[-1]

    monkeypatch.setattr(exam, "examine", examine)
    kept, _ = keep(state, equal, good)
    assert [one.champion for one in exams] == [champion, other.version]
    assert kept.examined == exams[1]
    assert len(details(state, "model.examined")) == 2  # one for each of the models, none for the first exam


def test_a_run_that_was_cancelled_meanwhile_leaves_no_model_and_no_word(
    state: Runtime, champion: str, equal: Trained, good: Snapshot
) -> None:
    pulse = pulse_of(state)
    with state.sessions.begin() as session:
        runs.cancel(session, pulse.held.id, "ada")
    with pytest.raises(runs.RunLostError):
        keep(state, equal, good, pulse)
    with state.sessions() as session:
        assert [one.id for one in models.versions(session, "plate")] == [champion]
    assert details(state, "model.examined") == []
    assert aliases(state) == (champion, None)


def test_an_image_store_that_is_away_ends_no_exam(
    state: Runtime, champion: str, equal: Trained, good: Snapshot, accept: Any, make_picture: Any
) -> None:
    add_golden(state, accept, "clean", "ok", make_picture(701))
    saved = bundle.save(equal, state.bundles, product="plate")
    with state.sessions() as session:
        state.scorer(models.versions(session, "plate")[0])
    shutil.rmtree(state.bundles.parent / "images")
    with pytest.raises(ImageStoreUnavailableError):
        exam.examine(state, saved.folder, "plate", good)
