"""Fits a model with several processes of this machine, one to each GPU, through torch's own launcher.

They read what is asked from a folder and leave a checkpoint (`model.checkpoint`); whoever asked goes on from
it as if it had fitted alone. So nothing but bytes, JSON and safetensors passes between them, and processes
that were killed are just another training that was cut off.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from model.config import Progress, TrainConfig, Watch

ASKED: Final = "asked.json"
TOLD: Final = "told.json"
STEPPED: Final = "stepped"  # touched by the first process with each step
_LOG: Final = "log.txt"
_LOOKS_EVERY_S: Final = 0.2
_ENDS_WITHIN_S: Final = 10.0


class TogetherError(RuntimeError):
    """The processes of a training ended without a model."""


def fit_together(
    images: Sequence[bytes],
    groups: Sequence[str] | None,
    config: TrainConfig,
    device: str,
    processes: int,
    watch: Watch,
    checkpoints: Path,
) -> None:
    """Let `processes` fit together; they leave the checkpoint of `train` with the same arguments.

    On CUDA each has a device of its own, from the first on. Raises TrainingStoppedError, and TogetherError
    for more processes than devices, or with the last words of a process that failed.
    """
    cuda = torch.device(device).type == "cuda"
    if cuda and processes > torch.cuda.device_count():
        raise TogetherError(
            f"{processes} processes shall train, but there are {torch.cuda.device_count()} CUDA devices: set "
            "PYRAMIDION_TRAINING_PROCESSES to that, then ask again"
        )
    with tempfile.TemporaryDirectory(prefix="pyramidion-training-") as name:
        folder = Path(name)
        _ask(folder, images, groups, config, cuda=cuda, checkpoints=checkpoints)
        with (folder / _LOG).open("wb") as log:
            launched = subprocess.Popen(
                _command(folder, processes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for whoever asked, who then ends these
            )
            try:
                _follow(launched, folder, watch)
            finally:
                _end(launched)
        if launched.returncode != 0:
            said = (folder / _LOG).read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise TogetherError(
                f"{processes} processes that trained together ended without a model; the last words:\n{said}"
            )


def _command(folder: Path, processes: int) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *launcher, "-m", "model.member", str(folder)]


def _ask(
    folder: Path,
    images: Sequence[bytes],
    groups: Sequence[str] | None,
    config: TrainConfig,
    *,
    cuda: bool,
    checkpoints: Path,
) -> None:
    for index, data in enumerate(images):
        (folder / f"{index:08d}.image").write_bytes(data)
    asked = {
        "config": dataclasses.asdict(config),
        "groups": None if groups is None else list(groups),
        "cuda": cuda,
        "checkpoints": str(checkpoints.absolute()),
        "asked_by": os.getpid(),
        "asked_by_since": psutil.Process().create_time(),  # a number may be another process's by then
    }
    (folder / ASKED).write_text(json.dumps(asked), encoding="utf-8")


def _follow(launched: "subprocess.Popen[bytes]", folder: Path, watch: Watch) -> None:
    """Pass on what the first process tells, and that it makes steps, until all have ended."""
    before: dict[str, Any] | None = None
    stepped_before: int | None = None
    while launched.poll() is None:
        watch.heed()  # that we look is no step: a team that hangs shall be seen to hang
        stepped = _stepped_at(folder / STEPPED)
        if stepped != stepped_before:
            watch.check()
            stepped_before = stepped
        now = _read(folder / TOLD)
        if now is not None and now != before and watch.progress is not None:
            watch.progress(Progress(**now))
            before = now
        time.sleep(_LOOKS_EVERY_S)


def _stepped_at(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _read(told: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _end(launched: "subprocess.Popen[bytes]") -> None:
    if launched.poll() is not None:
        return
    launched.terminate()  # the launcher ends its processes
    try:
        launched.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(launched.pid, signal.SIGKILL)
        launched.wait(_ENDS_WITHIN_S)
