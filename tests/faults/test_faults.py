"""A minute of what `make faults` does for a quarter of an hour; FAULTS_SEED draws other faults."""

import os
from pathlib import Path
from unittest import mock

import pytest

from tests.faults.__main__ import say
from tests.faults.kinds import KINDS
from tests.faults.plant import Plant
from tests.faults.run import draw, run

# One of each thing that the pipeline stands on; the long run has them all.
SHORT = (
    "worker killed",
    "station killed",
    "sweeper killed",
    "broker emptied",
    "database killed",
    "poison kills",
)
# An isolation of poison takes four sweeps.
SOON = {
    "PYRAMIDION_SWEEP_AFTER_S": "2",
    "PYRAMIDION_SWEEP_EVERY_S": "1",
    "PYRAMIDION_RETRY_MAX_S": "2",
}


def test_the_same_seed_draws_the_same_faults() -> None:
    drawn = [draw(7, 40, list(KINDS)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert draw(8, 40, list(KINDS)) != drawn[0]
    for faults in drawn[0]:
        targets = [target for one in faults for target in KINDS[one.kind].targets]
        assert len(targets) == len(set(targets)), "one fault would end another"


@pytest.mark.timeout(600)  # a minute, where nothing else runs
def test_nothing_is_lost_and_nothing_judged_twice_whatever_dies(home: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("FAULTS_SEED", "6"))
    with mock.patch.dict(os.environ):
        plant = Plant(tmp_path / "plant", SOON)
        try:
            plant.start()
            report = run(
                plant, seed=seed, faults=len(SHORT), inspections=200, rate=12.0, kinds=SHORT, say=say
            )
        except Exception:
            say(f"FAULTS_SEED={seed}\n{plant.logs()}")
            raise
        finally:
            plant.remove()
    say(report.as_table())
    assert report.wrong == [], f"FAULTS_SEED={seed}"
    assert {one.kind for one in report.faults} == set(SHORT)
    assert report.accepted == report.given >= 200
    assert report.accepted == report.judged + report.error
