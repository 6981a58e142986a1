"""A training that never ends, with the share of the machine that a training worker would take.

python -m benchmarks.pipeline.training --size 128 --nice 10 --threads 1
"""

import argparse
import os

import torch

from capture.simulator import GOOD, SimulatedLine
from model import training
from model.presets import configure

_GOOD_PARTS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    line = SimulatedLine(seed=9, size=options.size)
    good = [line.encode(line.part(index, GOOD), "jpeg") for index in range(_GOOD_PARTS)]
    side = options.size
    config = configure("pyramid", size=(side, side), epochs=10_000, patience=10_000, augment="none")

    def tell(progress: training.Progress) -> None:
        if progress.epoch == 1:
            print("training", flush=True)

    training.train(good, config, progress=tell)


if __name__ == "__main__":
    main()
