"""Where bars stand, and how long."""

import pytest

from db.distribution import Scores
from web.inspections.charts import histogram, steps


def test_bars_stand_where_their_scores_are() -> None:
    found = histogram(Scores([0.1] * 8 + [0.05] * 2, [0.3, 5.0]), 0.2, 0.3)
    assert found
    assert found.ok == [(pytest.approx(0.125), 0.25), (pytest.approx(0.25), 1.0)]
    assert found.ng == [(pytest.approx(0.75, abs=0.02), 1.0), (pytest.approx(79 / 80), 1.0)]
    assert (found.threshold_at, found.score_at) == (0.5, pytest.approx(0.75))
    assert histogram(Scores([], []), 0.2, 0.3) is None
    odd = histogram(Scores([-1.0], [-1.0]), 0.0, -1.0)  # no threshold above 0, and all the same
    assert odd
    assert odd.ends == (-1.0, -1.0)


def test_steps_stand_in_their_order() -> None:
    found = steps(
        {"score_ms": 20.0, "late_ms": 9e9, "new_ms": 5.0, "queue_ms": 10.0, "held": 1, "total_ms": 50}
    )
    assert [(one.name, one.share) for one in found] == [
        ("queue_ms", 0.5),
        ("score_ms", 1.0),
        ("new_ms", 0.25),
    ]
