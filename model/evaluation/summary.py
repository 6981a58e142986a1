"""From runs to one report of plain values: means over seeds and classes, and their spread."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from model.evaluation.run import Run
from model.evaluation.sets import LabelledSet

# What is told with its spread over seeds.
SPREAD = ("image_auroc", "average_precision", "f1_max", "pixel_auroc", "aupro")


def summarise(
    sets: Mapping[str | None, LabelledSet], runs: Mapping[str | None, Sequence[Run]]
) -> dict[str, Any]:
    """The report, from the runs of each class, one a seed; the class of a set that has none is None.

    Every figure is the mean over seeds, and over classes where there are any. `spread` is the standard
    deviation over seeds, None for a single one.
    """
    by_class = {name: [run.figures for run in its_runs] for name, its_runs in runs.items()}
    per_seed = [mean([figures[i] for figures in by_class.values()]) for i in range(_seeds(by_class))]
    report: dict[str, Any] = mean(per_seed)
    report["spread"] = _spread(per_seed)
    names = [run.seed for run in next(iter(runs.values()))]
    report["seeds"] = [
        {"seed": seed, **_short(figures)} for seed, figures in zip(names, per_seed, strict=True)
    ]
    if None not in by_class:
        del report["defects"]  # what is a defect for one class is good for another
        report["classes"] = {
            str(name): {
                **mean(figures),
                "spread": _spread(figures),
                "seeds": [{"seed": s, **_short(f)} for s, f in zip(names, figures, strict=True)],
            }
            for name, figures in by_class.items()
        }
    report["calibration"] = next(iter(runs.values()))[0].calibration.note
    several = len(sets) > 1
    report["notes"] = [
        f"class {name}: {note}" if several else note for name, one in sets.items() for note in one.notes
    ] + _few_good(report)
    report["left_out"] = [
        {"file": bad.name, "reason": bad.reason} for one in sets.values() for bad in one.left_out
    ]
    report["overlap"] = [
        {"train": train, "test": test} for one in sets.values() for train, test in one.overlap
    ]
    return report


def mean(figures: Sequence[Any]) -> Any:
    """The mean, leaf by leaf; None where a leaf is None in any, words where they differ side by side."""
    first = figures[0]
    if isinstance(first, Mapping):
        return {
            key: mean([one[key] for one in figures if key in one])
            for key in dict.fromkeys(key for one in figures for key in one)
        }
    if any(one is None for one in figures):
        return None
    if isinstance(first, str):
        return ", ".join(dict.fromkeys(figures))
    if all(isinstance(one, int) and one == first for one in figures):
        return first
    return statistics.fmean(figures)


def _seeds(by_class: Mapping[str | None, Sequence[Any]]) -> int:
    return min(len(figures) for figures in by_class.values())


def _spread(figures: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    def deviation(name: str) -> float | None:
        values = [one[name] for one in figures]
        return None if len(values) < 2 or None in values else statistics.stdev(values)

    return {name: deviation(name) for name in SPREAD}


def _short(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key != "defects"}


def _few_good(report: Mapping[str, Any]) -> list[str]:
    """A rate below one image can't be measured, only bounded: say so."""
    count = report["good_images"]
    least = min(float(rate) for rate in report["recall_at_fpr"])
    if count * least >= 1:
        return []
    note = (
        f"with {count:g} good test images, a false-reject rate of {least:.1%} lets none of them be rejected: "
        f"{1 / least:.0f} or more would measure it"
    )
    return [note]
