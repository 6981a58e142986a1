"""What a window of images says beside what its model was trained and calibrated on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from db.drift import SCORE, Taken
from model import drift
from workers.drift_settings import DriftSettings

ERRORS: Final = "error_rate"
RATES: Final = {"ng_rate": "ng", "inconclusive_rate": "inconclusive", ERRORS: "error"}
SCORES: Final = ("psi", "ks")
# Chance alone passes a limit so seldom; an alarm needs two windows in turn.
_ALPHA: Final = 1e-3

Statistics = dict[str, dict[str, float]]


def of(
    usual: dict[str, Any] | None, taken: Taken, before: dict[str, tuple[int, int]], settings: DriftSettings
) -> Statistics:
    """Give value and limit of each statistic that can be had; none of too few images: with a score, or of
    any verdict where errors are counted.

    `usual` is what the model's manifest says, `before` how many of how many images had the verdict of a rate
    in the station's earlier windows.
    """
    found = _rates(taken, before, settings)
    if taken.images < settings.drift_images:
        return found
    if usual is not None and usual.get("format") == drift.FORMAT:
        found |= _scores(usual["scores"], taken.numbers[SCORE], settings)
        found |= _looks(usual["images"], taken.numbers, settings)
    return found


def _rates(taken: Taken, before: dict[str, tuple[int, int]], settings: DriftSettings) -> Statistics:
    found = {}
    for name, verdict in RATES.items():
        images = images_of(name, taken.verdicts)
        had, of_all = before[name]
        if name == ERRORS:  # what never worked is no usual rate: as if a window had been, without an error
            of_all = max(of_all, settings.drift_images)
        if min(images, of_all) < settings.drift_images:  # as few as say nothing of a window
            continue
        limit = drift.rate_limit(had, of_all, images, settings.drift_rate_factor, _ALPHA)
        found[name] = {"value": taken.verdicts[verdict] / images, "limit": limit}
    return found


def images_of(rate: str, verdicts: Mapping[str, int]) -> int:
    """Count the images that a rate is a share of: errors of all, other verdicts of those with a score."""
    return sum(number for verdict, number in verdicts.items() if rate == ERRORS or verdict != RATES[ERRORS])


def _scores(calibration: Sequence[float], scores: Sequence[float], settings: DriftSettings) -> Statistics:
    inner = drift.edges(calibration)
    expected = drift.counts(calibration, inner)
    psi = drift.psi(expected, drift.counts(scores, inner))
    distance, p_value = drift.ks(calibration, scores)
    sizes = (len(calibration), len(scores))
    return {
        "psi": {
            "value": psi,
            "limit": drift.psi_limit(settings.drift_psi, len(expected), *sizes, _ALPHA),
        },
        "ks": {
            "value": distance,
            "limit": drift.ks_limit(settings.drift_ks, *sizes, _ALPHA),
            "p": p_value,
        },
    }


def _looks(
    usual: dict[str, dict[str, float]], seen: dict[str, list[float]], settings: DriftSettings
) -> Statistics:
    return {
        name: {"value": drift.robust_z(seen[name], drift.Usual(**one)), "limit": settings.drift_z}
        for name, one in usual.items()
        if seen.get(name)
    }
