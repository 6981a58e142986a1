"""The simulation that says how many workers a plant needs, against what queueing theory knows."""

import numpy as np
import pytest

from benchmarks.scaling import Service, latencies_ms, workers_for


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_worker_without_batches_is_the_queue_of_the_textbooks(load: float) -> None:
    """M/D/1 (Pollaczek and Khinchine): the mean wait is load / (2 (1 - load)) of a service."""
    service = Service(batch_ms=0, image_ms=10, intake_ms=5, batch_images=1)
    found = float(np.mean([latencies_ms(service, 1, load * 100, seed).mean() for seed in range(3)]))
    assert found == pytest.approx(5 + 10 + 10 * load / (2 * (1 - load)), rel=0.08)


def test_what_waits_is_taken_together() -> None:
    service = Service(batch_ms=50, image_ms=1, intake_ms=0)
    alone = Service(batch_ms=50, image_ms=1, intake_ms=0, batch_images=1)
    assert np.percentile(latencies_ms(service, 1, 100), 99) < 400
    assert np.percentile(latencies_ms(alone, 1, 100), 99) > 10_000, "it can't keep up image by image"


def test_it_names_the_least_number_of_workers() -> None:
    service = Service(batch_ms=4, image_ms=1.4)
    found = workers_for(service, 5000, 200)
    assert found is not None
    assert found * service.most_per_s() > 5000
    assert np.percentile(latencies_ms(service, found, 5000), 99) < 200
    fewer = found - 1
    too_few = fewer * service.most_per_s() <= 5000
    assert too_few or np.percentile(latencies_ms(service, fewer, 5000), 99) >= 200
    assert workers_for(service, 5000, 15) is None, "an image alone takes longer"
