"""The gate: may a candidate take the champion's place? Decided by what both say of the same frozen hold-out.

Each model is taken with its own threshold, as it would judge. But where the champion rejects more good parts
than it may, since light or parts have changed, the recall that this buys it is no measure: its defects are
told with the threshold that it would need (`fair_threshold`). Three things are asked, in this order:
1. Golden samples: none may be judged wrongly.
2. Good parts: no more of them may be rejected than chance alone would, if the candidate kept to its target.
3. Defects, reviewed and synthesised each for itself, so that many of the one can't hide the few of the other:
   the candidate's recall may not lie below the champion's confidence interval (Wilson, 1927). Reviewed ones
   that the champion did not score clearly are asked for together with the others (`_ask_borderline`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from scipy import special  # scipy.stats gives the same, and takes a worker a second to import

LEAST_GOOD: Final = 20  # fewer good parts say nothing about a rate of false rejects
REVIEWED: Final = "reviewed"  # a set of defects: mostly those that the champion caught
SYNTHESISED: Final = "synthesised"  # another, which nobody chose
_NAMED: Final = 20


class HoldOutError(ValueError):
    """A hold-out that can't decide."""


@dataclass(frozen=True)
class Rule:
    """`false_reject_rate` is the target, None for the candidate's own; `confidence` is both intervals'."""

    false_reject_rate: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        rate = self.false_reject_rate
        if rate is not None and not 0 < rate < 1:
            raise ValueError(f"a gate's false-reject rate lies between 0 and 1, not at {rate}")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"a gate's confidence is at least 0.5 and below 1, not {self.confidence}")


@dataclass(frozen=True)
class Trial:
    """What a model says of the hold-out, by the names of its images.

    `good` maps good parts to whether they were rejected, `defects` maps sets of defects, such as `reviewed`
    and `synthesised`, to whether each was caught. `golden_wrong` names the golden samples that it gets wrong,
    each with the reason. `borderline` are reviewed defects that the champion did not score clearly, and are
    in no other set. `threshold` is what its defects were told with, where that is not its own, and
    `caught_on_line` how many reviewed ones it catches with its own.
    """

    good: Mapping[str, bool]
    defects: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    golden_wrong: Mapping[str, str] = field(default_factory=dict)
    borderline: Mapping[str, bool] = field(default_factory=dict)
    threshold: float | None = None
    caught_on_line: int | None = None


@dataclass(frozen=True)
class Decision:
    """`reasons` say why a candidate was refused, or what it showed; `evidence` are the counts behind them."""

    passed: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def decide(
    candidate: Trial, champion: Trial | None, target_rate: float, rule: Rule | None = None
) -> Decision:
    """Say whether the candidate, which was calibrated for `target_rate`, may become challenger.

    Without a champion there is no recall to compare with. Raises HoldOutError where the hold-out has fewer
    than 20 good parts, or no defect to compare a champion by, and ValueError where both did not score the
    same one.
    """
    rule = rule or Rule()
    if champion is not None:
        _require_same(candidate, champion)
    if len(candidate.good) < LEAST_GOOD:
        raise HoldOutError(
            f"the hold-out has {len(candidate.good)} good parts, and {LEAST_GOOD} are the least that can "
            "tell a rate of false rejects: let the line judge more parts, or name more to train on"
        )
    if champion is not None and not any(candidate.defects.values()):
        raise HoldOutError(
            "the hold-out has no defect, and none could be put on its good parts so that a person would see "
            "it: nothing tells what the model would miss; review some defects (`pyramidion review`)"
        )
    target = rule.false_reject_rate or target_rate
    refused: list[str] = []
    shown: list[str] = []
    evidence: dict[str, Any] = {"rule": {**asdict(rule), "false_reject_rate": target}}
    for name, why in list(candidate.golden_wrong.items())[:_NAMED]:
        refused.append(f"golden sample {name}: {why}")
    evidence["golden_wrong"] = dict(candidate.golden_wrong)
    _ask_good(candidate, champion, target, rule, refused, shown, evidence)
    if champion is not None and champion.threshold is not None:
        evidence["champion_threshold"] = champion.threshold
        shown.append(
            f"the champion rejects {sum(champion.good.values())} of them: what it catches is told with a "
            f"threshold of {champion.threshold:.4g}, at which it would reject as few as it may"
        )
    for kind in candidate.defects:
        _ask_defects(kind, candidate, champion, rule, refused, shown, evidence)
    if champion is not None and candidate.borderline:
        _ask_borderline(candidate, champion, rule, refused, shown, evidence)
    return Decision(not refused, tuple(refused or shown), evidence)


def _ask_good(
    candidate: Trial,
    champion: Trial | None,
    target: float,
    rule: Rule,
    refused: list[str],
    shown: list[str],
    evidence: dict[str, Any],
) -> None:
    rejected, number = sum(candidate.good.values()), len(candidate.good)
    most = most_by_chance(number, target, rule.confidence)
    said = f"rejects {rejected} of {number} good parts, and a model that keeps to {target:.2%} at most {most}"
    (refused if rejected > most else shown).append(said)
    evidence["good"] = {
        "parts": number,
        "candidate_rejects": rejected,
        "champion_rejects": None if champion is None else sum(champion.good.values()),
        "most": most,
        "rejected": [name for name, was in candidate.good.items() if was][:_NAMED],
    }


def _ask_defects(
    kind: str,
    candidate: Trial,
    champion: Trial | None,
    rule: Rule,
    refused: list[str],
    shown: list[str],
    evidence: dict[str, Any],
) -> None:
    found = candidate.defects[kind]
    if not found:
        return
    caught, number = sum(found.values()), len(found)
    told: dict[str, Any] = {"defects": number, "candidate_caught": caught}
    said = f"catches {caught} of {number} {kind} defects"
    if champion is not None:
        before = champion.defects[kind]
        least = wilson_least(sum(before.values()), number, rule.confidence)
        escapes = [name for name, was in before.items() if was and not found[name]]
        told |= {
            "champion_caught": sum(before.values()),
            "least": round(least * number, 2),
            "newly_missed": escapes[:_NAMED],
        }
        said += f", the champion {sum(before.values())}, and no fewer than {least * number:.1f} will do"
        (refused if caught < least * number - 1e-9 else shown).append(said)
    else:
        shown.append(said)
    evidence[kind] = told


def _ask_borderline(
    candidate: Trial,
    champion: Trial,
    rule: Rule,
    refused: list[str],
    shown: list[str],
    evidence: dict[str, Any],
) -> None:
    """Ask for a share of the reviewed defects that the champion caught, clearly or not.

    Of what the champion caught, a model that is as good catches at least as large a share as of all defects.
    How large that is, the synthesised ones tell: the lower end of the interval of the champion's recall, as
    wide as so few of the one or the other make it. What the candidate catches besides makes up for others,
    and with the threshold that the champion would need no more is asked for than it catches itself.
    """
    caught, before = sum(candidate.borderline.values()), sum(champion.borderline.values())
    number = len(candidate.borderline)
    evidence["borderline"] = {"defects": number, "candidate_caught": caught, "champion_caught": before}
    clear, clear_before = candidate.defects.get(REVIEWED, {}), champion.defects.get(REVIEWED, {})
    said = f"catches {caught} of {number} reviewed defects that the champion did not score clearly"
    shown.append(said if clear else f"{said}, and it scored none clearly: they are asked for together only")
    made = champion.defects.get(SYNTHESISED, {})
    caught, number = caught + sum(clear.values()), number + len(clear)
    before += sum(clear_before.values())
    if not made or not before:
        return
    chosen = max(before, champion.caught_on_line or 0)
    fewer = min(len(made), chosen)
    least = chosen * wilson_least(fewer * sum(made.values()) / len(made), fewer, rule.confidence)
    least = min(least, before)
    evidence["reviewed_in_all"] = {
        "defects": number,
        "candidate_caught": caught,
        "champion_caught": before,
        "champion_caught_on_line": chosen,
        "least": round(least, 2),
    }
    line = f" ({chosen} as it judges now)" if chosen > before else ""
    said = (
        f"catches {caught} of all {number} reviewed defects, the champion {before}{line}, and for one that "
        f"catches {sum(made.values())} of {len(made)} synthesised ones no fewer than {least:.1f} will do"
    )
    (refused if caught < least - 1e-9 else shown).append(said)


def most_by_chance(number: int, rate: float, confidence: float) -> int:
    """Give the least count that a binomial variable of `number` draws does not exceed with `confidence`."""
    at_most = special.bdtr(np.arange(number + 1), number, rate)
    return int(np.searchsorted(at_most, confidence - 1e-9))  # where both are equal, rounding decides nothing


def fair_threshold(good: Sequence[float], threshold: float, most: int) -> float:
    """Give the threshold, or the least above it that rejects (score > threshold) at most so many of them."""
    descending = sorted(good, reverse=True)
    return threshold if len(good) <= most else max(threshold, descending[most])


def clearly_above(defects: Mapping[str, float], threshold: float, good: Sequence[float]) -> set[str]:
    """Name the defects that score farther above the threshold than the median good part scores below it."""
    margin = max(0.0, threshold - float(np.median(good))) if len(good) else 0.0
    return {name for name, score in defects.items() if score > threshold + margin}


def wilson_least(hits: float, number: int, confidence: float) -> float:
    """Give the lower end of the two-sided interval of a share (Wilson, 1927)."""
    z = float(special.ndtri(0.5 + confidence / 2))
    share = hits / number
    around = z * math.sqrt(z * z + 4 * number * share * (1 - share))
    return 0.0 if hits == 0 else (2 * hits + z * z - around) / (2 * (number + z * z))


def _require_same(candidate: Trial, champion: Trial) -> None:
    def named(trial: Trial) -> list[Sequence[str]]:
        return [sorted(trial.good), *(sorted([kind, *ones]) for kind, ones in sorted(trial.defects.items()))]

    if named(candidate) != named(champion):
        raise ValueError("candidate and champion have not scored the same hold-out")
