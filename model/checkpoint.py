"""Where a training stands at the end of an epoch, so that one that was killed goes on from there.

One safetensors file: tensors, and everything else as JSON in its header. It is renamed into place, so a kill
at any moment leaves the one before or the new one, whole.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = 1  # of what `model.fitting` keeps: another release's does not fit
_KEPT_S = 7 * 86_400.0  # what nobody took up in a week is not waited for


@dataclass(frozen=True)
class Checkpoint:
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write(path: Path, checkpoint: Checkpoint) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        # Copies: safetensors refuses tensors that share memory, as a tied or expanded one does.
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in checkpoint.tensors.items()
        }
        save_file(tensors, draft, {"facts": json.dumps(checkpoint.facts)})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> Checkpoint | None:
    """Give the checkpoint, or None where there is none, or one that a full disk cut short: begin anew."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118  # not a dict
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None


def remove_stale(folder: Path, wanted: Path) -> None:
    """Remove what trainings left in `folder` that nobody went on with for a week, but never `wanted`.

    Drafts too: a kill in the middle of writing leaves one.
    """
    oldest = time.time() - _KEPT_S
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.draft")):
        try:
            if file != wanted and file.stat().st_mtime < oldest:
                file.unlink()
        except FileNotFoundError:  # another training was first
            continue
