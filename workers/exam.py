"""The exam of a new model: it and the champion judge the same images, and model.gate decides.

Both judge as they would on the line, each with its own threshold (workers.sitting). They are asked what the
candidate did not train on: good parts that the run's dataset holds out, defects that people have found,
defects that are put on those good parts, and golden samples.

A good part is rejected where its score is above the threshold: that is what a threshold was calibrated for,
whatever band around it is looked at by people. A defect is caught unless it is judged ok. A champion that
rejects more of today's good parts than it may is asked for defects with the threshold that it would need.

People mostly look at what the champion rejected, so it has caught nearly all defects that they know: also
those that it caught by luck. A model that is as good catches others by luck. So what the champion scored as
little above its threshold as good parts lie below it is asked for together with the rest only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from db import golden, models, policies, reviewed
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.policies import Rules
from db.reviewed import Defect
from db.tables import GoldenSample, ModelVersion
from model import bundle, gate
from model.bundle import Bundle, BundleError
from model.gate import HoldOutError, Rule, Trial
from model.scoring import Scorer
from model.synthesis import put_defects
from workers.runtime import Runtime
from workers.sitting import Sitting
from workers.snapshot import Snapshot

REVIEWED: Final = 500  # the newest; more would hardly narrow the interval
SYNTHESISED: Final = 200
GOOD, FOUND, MADE, GOLDEN = "good", gate.REVIEWED, gate.SYNTHESISED, "golden"


@dataclass(frozen=True)
class Examined:
    """What the gate said. `passed` is None where a first model had too small a hold-out to tell.

    `champion` is the version that it was compared with, None for a first model; `evidence` holds the counts,
    the rule, and the hash of the dataset.
    """

    passed: bool | None
    said: tuple[str, ...]
    champion: str | None
    evidence: dict[str, Any]

    @property
    def word(self) -> str:
        return "could not be examined" if self.passed is None else "passes" if self.passed else "is refused"

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "said": list(self.said),
            "champion": self.champion,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class _Asked:
    """What there is to ask of a product's models, and by which rules."""

    champion: ModelVersion | None
    rules: Rules
    defects: Sequence[Defect]
    golden: Sequence[GoldenSample]


def examine(
    state: Runtime,
    folder: Path,
    product: str,
    snapshot: Snapshot,
    going_on: Callable[[], None] = lambda: None,
) -> Examined:
    """Examine the model whose bundle is `folder`; `going_on` is called with every few images, and may raise.

    Raises model.bundle.BundleError where the bundle is not what its name says, and ImageStoreUnavailableError
    while the store is away.
    """
    candidate = bundle.load(folder)
    with state.reading() as session:
        asked = _Asked(
            models.champion(session, product),
            policies.of(session, product),
            reviewed.defects(session, product, REVIEWED),
            golden.in_use(session, product),
        )
    champion = None if asked.champion is None else asked.champion.id
    evidence: dict[str, Any] = {"dataset": snapshot.dataset}
    scorers = _scorers(state, candidate, product, asked.champion)
    if isinstance(scorers, str):
        return Examined(False, (scorers,), champion, evidence)
    sitting = Sitting(state, scorers, going_on)
    target = asked.rules.false_reject_rate or candidate.calibration.target_rate
    trials = _trials(sitting, snapshot, asked, target)
    evidence["unread"] = dict(+sitting.unread)
    if sitting.not_finite:
        reason = f"{sitting.not_finite} of its scores are no finite numbers: the training has diverged"
        return Examined(False, (reason,), champion, evidence)
    passed, said, counts = _decided(trials, target, asked)
    return Examined(passed, said, champion, evidence | counts)


def _scorers(
    state: Runtime, candidate: Bundle, product: str, champion: ModelVersion | None
) -> list[Scorer] | str:
    """Give the candidate's scorer and the champion's, or why there is nothing to compare."""
    if candidate.product != product:
        return f"it is a model of {candidate.product!r}, not of {product!r}"
    if not math.isfinite(candidate.calibration.threshold):
        return f"its threshold is {candidate.calibration.threshold}: the training has diverged"
    scorers = [state.scorer_of(candidate)]
    if champion is None:
        return scorers
    if champion.id == candidate.version:
        return "it is the very model that judges already: nothing new was learnt"
    try:
        return [*scorers, state.scorer(champion)]
    except ImageStoreUnavailableError:
        raise
    except (BundleError, ImageStoreError) as error:
        return f"the champion {champion.id[:12]}, to compare it with, can't be had: {error}"


def _trials(sitting: Sitting, snapshot: Snapshot, asked: _Asked, target: float) -> list[Trial]:
    """Let all of them judge; gives a trial for each of the models."""
    good = [(one.name, one.data) for one in snapshot.hold_out]
    number = SYNTHESISED if len(good) >= gate.LEAST_GOOD else 0  # else nothing is decided by them
    made = put_defects(good, number, max_pixels=sitting.state.settings.max_image_pixels)
    found = [(str(one.inspection_id), one.image_sha256) for one in asked.defects]
    samples = {f"{one.station}/{one.name}": one for one in asked.golden}
    hashes = [(name, one.image_sha256) for name, one in samples.items()]
    good_scores = sitting.scored(GOOD, good)
    found_scores = sitting.scored(FOUND, sitting.stored(FOUND, found))
    thresholds = [scorer.threshold for scorer in sitting.scorers]
    clear = set(found_scores[0])
    if len(thresholds) > 1:  # the champion, which may have got out of step with the line
        scores = list(good_scores[1].values())
        most = gate.most_by_chance(len(scores), target, asked.rules.confidence)
        thresholds[1] = gate.fair_threshold(scores, thresholds[1], most)
        clear = gate.clearly_above(found_scores[1], thresholds[1], scores)
    of_each = zip(
        sitting.scorers,
        thresholds,
        good_scores,
        found_scores,
        sitting.scored(MADE, made),
        sitting.scored(GOLDEN, sitting.stored(GOLDEN, hashes)),
        strict=True,
    )
    trials: list[Trial] = []
    for scorer, threshold, of_good, of_found, of_made, of_golden in of_each:
        own = scorer.threshold
        caught, caught_made = (
            {name: sitting.verdict(score, threshold) != "ok" for name, score in of_kind.items()}
            for of_kind in (of_found, of_made)
        )
        golden_said = {name: sitting.verdict(score, own) for name, score in of_golden.items()}
        trials.append(
            Trial(
                good={name: score > own for name, score in of_good.items()},
                defects={
                    FOUND: {name: was for name, was in caught.items() if name in clear},
                    MADE: caught_made,
                },
                borderline={name: was for name, was in caught.items() if name not in clear},
                golden_wrong={
                    name: f"known to be {samples[name].expected}, judged {said}"
                    for name, said in golden_said.items()
                    if (said == "ok") != (samples[name].expected == "ok")
                }
                | {name: _unread(one) for name, one in samples.items() if name not in golden_said},
                threshold=None if threshold == own else threshold,
                caught_on_line=sum(sitting.verdict(score, own) != "ok" for score in of_found.values()),
            )
        )
    return trials


def _unread(one: GoldenSample) -> str:
    named = f"{one.product} {one.station} {one.name}"
    return (
        f"its image can't be read: `pyramidion golden retire {named} --why ...`, and `pyramidion golden add "
        f"{named} FILE --expect {one.expected}`"
    )


def _decided(
    trials: Sequence[Trial], target: float, asked: _Asked
) -> tuple[bool | None, tuple[str, ...], dict[str, Any]]:
    """Give whether the candidate passes, why, and the counts; None where nothing tells of a first model."""
    candidate, champion = trials[0], trials[1] if len(trials) > 1 else None
    try:
        decision = gate.decide(candidate, champion, target, Rule(confidence=asked.rules.confidence))
    except HoldOutError as error:
        wrong = tuple(f"golden sample {name}: {why}" for name, why in candidate.golden_wrong.items())
        unknown = champion is None and not wrong
        return None if unknown else False, (*wrong, str(error)), {}
    return decision.passed, decision.reasons, {**decision.evidence, "golden_samples": len(asked.golden)}
