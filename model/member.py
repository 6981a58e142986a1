"""One of several processes that fit a model together: what torch's launcher runs (see model.together)."""

import dataclasses
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
from torch import distributed

from model.config import Progress, TrainConfig, TrainingStoppedError
from model.together import ASKED, TOLD
from model.training import fit_only

_SILENT_FOR: Final = timedelta(minutes=10)  # another process, before one gives up


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

    def is_alone() -> bool:  # whoever asked was killed: its next attempt has processes of its own
        try:
            os.kill(asked["asked_by"], 0)
        except ProcessLookupError:
            return True
        return False

    try:
        fit_only(
            images,
            TrainConfig.from_json(asked["config"]),
            device=f"cuda:{rank}" if asked["cuda"] else "cpu",
            groups=asked["groups"],
            progress=tell if rank == 0 else None,
            stop=is_alone,
            checkpoints=Path(asked["checkpoints"]),
        )
    except TrainingStoppedError:
        sys.exit(1)
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    work(Path(sys.argv[1]))
