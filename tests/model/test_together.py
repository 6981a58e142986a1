"""Training by two real processes of torch's launcher, over gloo."""

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
from model.together import TogetherError
from model.training import train

Parts = Callable[..., list[bytes]]


@pytest.fixture
def few(quick: TrainConfig) -> TrainConfig:
    return replace(quick, epochs=4, augment="none", options={"width": 4})


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


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
    together = train(parts, few, processes=2, progress=again.append, checkpoints=tmp_path)
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
        with pytest.raises(ValueError, match="there are 0 CUDA devices: set PYRAMIDION_TRAINING_PROCESSES"):
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
    with pytest.raises(TrainingStoppedError):
        train(make_parts(5, 12), few, processes=2, stop=lambda: bool(children()))
    assert not children()
