"""What a server of models answers: what a worker would record."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.pipeline.bare import load
from model import scoring
from model.maps import encode_map

BUNDLE = "PYRAMIDION_BENCH_BUNDLE"  # in the environment: both start their processes anew
BATCH, WAIT_S = 64, 0.02


class Served:
    """The model in a server's process."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._scorer = load(Path(os.environ[BUNDLE]))

    def answers(self, images: Sequence[bytes]) -> list[dict[str, Any]]:
        arrays = [self._scorer.decode(data).array for data in images]
        return [self._answer(said) for said in self._scorer.score(arrays)]

    def _answer(self, said: scoring.Scored) -> dict[str, Any]:
        return {
            "verdict": scoring.verdict(said.score, self._scorer.threshold),
            "score": said.score,
            "map": base64.b64encode(encode_map(said.map).data).decode(),
        }
