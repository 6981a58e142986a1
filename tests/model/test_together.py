"""Training by two real processes of torch's launcher, over gloo."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from model import together as together_
from model.config import Progress, TrainConfig, TrainingStoppedError
from model.images import UnreadableImageError
from model.member import still_there
from model.together import TogetherError
from model.training import train

Parts = Callable[..., list[bytes]]


@pytest.fixture
def few(quick: TrainConfig) -> TrainConfig:
    return replace(quick, epochs=4, augment="none", options={"width": 4})


def children() -> list[psutil.Process]:
    """Give this process's children, but for those that start others for all tests (tests.forked)."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if "tests.forked" not in one.cmdline()]


def test_two_processes_go_on_from_where_one_was_stopped_and_fit_one_model(
    make_parts: Parts, few: TrainConfig, tmp_path: Path
) -> None:
    parts = make_parts(5, 32)
    seen: list[Progress] = []
    with pytest.raises(TrainingStoppedError):
        train(
            parts,
            few,
            progress=seen.append,
            stop=lambda: any(at.epoch >= 1 for at in seen),
            checkpoints=tmp_path,
        )
    again: list[Progress] = []
    steps: list[bool] = []
    together = train(
        parts,
        few,
        processes=2,
        progress=again.append,
        stepped=lambda: steps.append(bool(children())),
        checkpoints=tmp_path,
    )
    assert any(steps), "the team's own steps are told"
    assert not children()
    assert next(at.epoch for at in again if at.stage == "fit") == 1
    assert (together.facts.processes, together.facts.epochs) == (2, few.epochs)
    assert list(tmp_path.iterdir()) == []  # the checkpoint is done with
    alone = train(parts, few)
    same_data = (together.facts.data_sha256, together.facts.fitted, together.facts.calibrated)
    assert same_data == (alone.facts.data_sha256, alone.facts.fitted, alone.facts.calibrated)
    # Each drew other defects, so the weights differ; what was learnt of the good parts is as good.
    assert together.facts.losses[0] == alone.facts.losses[0]
    assert together.facts.losses[-1] == pytest.approx(alone.facts.losses[-1], rel=0.5)
    assert together.facts.losses[-1] != alone.facts.losses[-1]


def test_what_can_not_be_trained_together_is_said(
    make_parts: Parts, few: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts(5, 12)
    with pytest.raises(UnreadableImageError, match="image 3"):
        train([*parts[:3], parts[3][:100], *parts[4:]], few, processes=2)
    if not torch.cuda.is_available():
        with pytest.raises(
            TogetherError, match="there are 0 CUDA devices: set PYRAMIDION_TRAINING_PROCESSES"
        ):
            train(parts, few, processes=2, device="cuda")
    broken = [sys.executable, "-c", "raise SystemExit('no more memory')"]
    monkeypatch.setattr(together_, "_command", lambda _folder, _processes: broken)
    with pytest.raises(TogetherError, match="ended without a model; the last words:\nno more memory"):
        train(parts, few, processes=2)


def test_processes_end_when_the_training_is_stopped(
    make_parts: Parts, few: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(together_, "_command", lambda _folder, _processes: busy)
    looks: list[bool] = []
    steps: list[bool] = []

    def stop() -> bool:
        looks.append(bool(children()))
        return sum(looks) == 4

    with pytest.raises(TrainingStoppedError):
        train(make_parts(5, 12), few, processes=2, stop=stop, stepped=lambda: steps.append(bool(children())))
    assert not children()
    assert steps, "reading makes steps"
    assert not any(steps), "a team that does nothing makes none, however often one looks after it"


def test_who_asked_is_known_by_more_than_a_number_that_another_process_may_have() -> None:
    me = psutil.Process()
    assert still_there(me.pid, me.create_time()) == me
    assert still_there(me.pid, me.create_time() - 3600) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        since = psutil.Process(gone.pid).create_time()
    assert still_there(gone.pid, since) is None
