"""The long run: python -m tests.faults --seed S [--faults N] [--inspections N] [--json FILE]."""

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.kinds import KINDS
from tests.faults.plant import Plant
from tests.faults.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="which faults, when; the report names it")
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--inspections", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=12.0, help="parts per second, of both stations")
    parser.add_argument("--json", type=Path, help="where the report goes, beside the table on the screen")
    wanted = parser.parse_args()
    seed = secrets.randbelow(10**6) if wanted.seed is None else wanted.seed
    home = Path(tempfile.mkdtemp(prefix="pyramidion-faults-home-"))
    for name in list(os.environ):
        if name.startswith(("PYRAMIDION_", "AWS_")):
            del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the plant ends with it
    say(f"seed {seed}; everything lies in {home}")
    plant = Plant(home)
    try:
        plant.start()
        report = run(
            plant,
            seed=seed,
            faults=wanted.faults,
            inspections=wanted.inspections,
            rate=wanted.rate,
            kinds=list(KINDS),
            say=say,
        )
    except BaseException:
        say(plant.logs())
        raise
    finally:
        plant.remove()
    sys.stdout.write(report.as_table() + "\n")
    if wanted.json is not None:
        wanted.json.write_text(report.as_json() + "\n", encoding="utf-8")
    if report.wrong:
        say(f"what the processes said stands in {home}/logs")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
