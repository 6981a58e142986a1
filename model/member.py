"""One of several processes that fit a model together: what torch's launcher runs (see model.together)."""

import dataclasses
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil
import torch
from torch import distributed

from model.config import Progress, TrainConfig, TrainingStoppedError
from model.together import ASKED, STEPPED, TOLD
from model.training import fit_only

_SILENT_FOR: Final = timedelta(minutes=10)  # another process, before one gives up
_SAME_WITHIN_S: Final = 5.0  # processes reckon from when the machine started, which its clock's steps move


def work(folder: Path) -> None:
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    rank = int(os.environ["LOCAL_RANK"])
    if asked["cuda"]:
        torch.cuda.set_device(rank)
    distributed.init_process_group("nccl" if asked["cuda"] else "gloo", timeout=_SILENT_FOR)
    images = [file.read_bytes() for file in sorted(folder.glob("*.image"))]

    def tell(progress: Progress) -> None:
        draft = folder / f"{TOLD}.draft"
        draft.write_text(json.dumps(dataclasses.asdict(progress)), encoding="utf-8")
        draft.replace(folder / TOLD)

    asker = still_there(asked["asked_by"], asked["asked_by_since"])

    def stepped() -> None:
        (folder / STEPPED).touch()

    try:
        fit_only(
            images,
            TrainConfig.from_json(asked["config"]),
            device=f"cuda:{rank}" if asked["cuda"] else "cpu",
            groups=asked["groups"],
            progress=tell if rank == 0 else None,
            # Whoever asked was killed: its next attempt has processes of its own.
            stop=lambda: asker is None or not asker.is_running(),
            stepped=stepped if rank == 0 else None,
            checkpoints=Path(asked["checkpoints"]),
        )
    except TrainingStoppedError:
        sys.exit(1)
    finally:
        distributed.destroy_process_group()


def still_there(pid: int, since: float) -> psutil.Process | None:
    """Give the process that has had this number since then (Unix seconds), None where it is gone."""
    try:
        process = psutil.Process(pid)
        try:
            same = abs(process.create_time() - since) < _SAME_WITHIN_S
        except psutil.AccessDenied:  # nobody can tell: it isn't said to be gone
            same = True
    except psutil.NoSuchProcess:
        return None
    return process if same else None


if __name__ == "__main__":
    work(Path(sys.argv[1]))
