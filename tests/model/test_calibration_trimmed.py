"""A threshold without the scores that may be defects', and what is promised then."""

import pytest

from model.calibration import calibrate, trimmed

SCORES = [0.01 * n for n in range(1, 100)] + [50.0]


def test_what_is_left_out_moves_no_threshold_but_counts_as_rejected() -> None:
    found = trimmed(SCORES, [99], 0.02)
    assert found.threshold == calibrate(SCORES[:99], 0.02).threshold < 1
    assert found.guaranteed_rate == pytest.approx(calibrate(SCORES[:99], 0.02).guaranteed_rate + 0.01)
    assert found.images == 99
    assert found.note.endswith("; 1 more were left out for scores far above the others")


def test_where_none_is_left_out_all_is_as_ever() -> None:
    assert trimmed(SCORES, [], 0.02) == calibrate(SCORES, 0.02)
