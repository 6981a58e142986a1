"""Whether a challenger that has scored enough beside the champion takes its place, or waits for a person.

Decided once for each challenger: looked at again and again, chance alone would let a bad one through one day.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import approvals, comparison, events, models, policies, shadow
from db.comparison import Seen
from db.policies import Rules
from db.tables import Event, ModelAlias, ModelVersion

AWAITS: Final = "model.awaits"  # a person: a challenger has scored enough
ACTOR: Final = "shadow"


@dataclass(frozen=True)
class Decision:
    """`reasons` say why it waits, or what it showed; `evidence` are the counts behind them."""

    promote: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """How many images a challenger has scored of those that it takes, and why it waits, once it does."""

    images: int
    wanted: int
    waits: tuple[str, ...]


def decide(
    seen: Seen,
    rules: Rules,
    target_rate: float | None,
    *,
    signed: bool,
    shown: tuple[int, int] | None = None,
    unbiased: tuple[int, int] | None = None,
    against: Sequence[str] = (),
) -> Decision:
    """Say whether a challenger, calibrated for `target_rate`, may judge from what it and the champion said.

    What the champion accepted and nobody called bad are good parts: of those it may reject, or leave
    inconclusive, no more than chance allows, with the rules' confidence, for the rate of false rejects that
    it promises. Of what people called bad it may accept no more than chance allows for what the gate saw:
    `shown` is how many reviewed defects it caught there, of how many, `unbiased` how many synthesised ones
    the champion did; the better of both holds, and without one of them it may accept none. (People mostly
    see what the champion rejected, so a model that catches as many, but not the same ones, misses some of
    these.) `signed` says that a promotion takes a signature, which only people give, `against` is what else
    speaks for leaving it to one.
    """
    rate = rules.false_reject_rate or target_rate
    good = seen.count(champion="ok", called=("good", None))
    unsure = seen.count(champion="ok", challenger="inconclusive", called=("good", None))
    rejected = unsure + seen.count(champion="ok", challenger="ng", called=("good", None))
    bad, missed = seen.count(called=("bad",)), seen.count(challenger="ok", called=("bad",))
    errors = seen.count(challenger="error")
    most = None if rate is None else most_by_chance(good, rate, rules.confidence)
    missable = min(_missable(bad, share, rules.confidence) for share in (shown, unbiased))
    told = [
        f"rejects {rejected} of {good} parts that the champion accepts"
        + (f" ({unsure} are inconclusive)" if unsure else "")
        + ("" if rate is None else f", and a model that keeps to {rate:.2%} at most {most}"),
        f"misses {missed} of {bad} parts that people call bad, and by its exam may miss {missable}",
    ]
    waits = []
    if rules.promotion == "person":
        waits.append("the product's policy leaves the promotion to a person")
    if signed:
        waits.append("a promotion takes an electronic signature here")
    waits += against
    if good == 0:
        waits.append("the champion accepts none of these parts, so nothing tells of false rejects")
    if most is None:
        waits.append("neither the policy nor its manifest says which rate of false rejects is allowed")
    if most is not None and rejected > most:
        waits.append(f"it {told[0]}")
    if missed > missable:
        waits.append(f"it {told[1]}")
    if errors:
        waits.append(f"it could not score {errors} images that the champion could")
    evidence = {
        "images": seen.count(),
        "verdicts": seen.table(),
        "disagreements": seen.disagreements(),
        "good": good,
        "rejected": rejected,
        "inconclusive": unsure,
        "most": most,
        "false_reject_rate": rate,
        "confidence": rules.confidence,
        "bad": bad,
        "missed": missed,
        "missable": missable,
        "errors": errors,
    }
    return Decision(not waits, tuple(waits or told), evidence)


def _missable(bad: int, shown: tuple[int, int] | None, confidence: float) -> int:
    if shown is None or shown[1] == 0 or shown[0] == shown[1]:
        return 0
    caught, of = shown
    return bad if caught == 0 else most_by_chance(bad, 1 - caught / of, confidence)


def most_by_chance(images: int, rate: float, confidence: float) -> int:
    """Give how many of the images a model rejects at most, with this probability, that rejects this share.

    The quantile of the binomial distribution, as scipy.stats.binom.ppf.
    """
    import numpy as np  # noqa: PLC0415  # only who decides has to wait for them
    from scipy import special  # noqa: PLC0415

    at_most = special.bdtr(np.arange(images + 1), images, rate)
    return int(np.searchsorted(at_most, confidence))


def is_due(session: Session, one: ModelAlias) -> bool:
    """Say whether a challenger has scored enough, and nobody has decided yet: a look that locks nothing."""
    champion = models.champion(session, one.product)
    if champion is None or awaits(session, one) is not None:
        return False
    images = comparison.scored(session, champion.id, one.model_version, one.changed_at)
    return images >= policies.of(session, one.product).shadow_images


def settle(session: Session, one: ModelAlias) -> Decision | None:
    """Promote a challenger that may judge, or leave the event model.awaits, once; None where it is not due.

    Of two that do so at once the second finds nothing to decide.
    """
    models.lock(session, one.product)
    if not shadow.stands(session, one) or not is_due(session, one):
        return None
    champion = models.champion(session, one.product)
    version = session.get_one(ModelVersion, one.model_version)
    if champion is None:
        return None
    manifest = json.loads(version.manifest)
    exam = _exam(session, one)
    decision = decide(
        comparison.seen(session, champion.id, version.id, one.changed_at),
        policies.of(session, one.product),
        manifest.get("calibration", {}).get("target_rate"),
        signed=approvals.required("promotion"),
        shown=_caught(exam, "candidate_caught", "reviewed", "borderline"),
        unbiased=_caught(exam, "champion_caught", "synthesised"),
        against=_other_champion(exam, champion.id),
    )
    evidence = {
        **decision.evidence,
        "dataset": manifest.get("dataset"),
        "examined_beside": exam.get("champion"),
    }
    if decision.promote:
        why = "; ".join(decision.reasons)
        models.set_champion(
            session, one.product, version.id, ACTOR, why, expected=champion.id, evidence=evidence
        )
    else:
        detail = {
            "model": version.id,
            "champion": champion.id,
            "since": one.changed_at.isoformat(),
            "why": list(decision.reasons),
            "evidence": evidence,
        }
        events.record(session, AWAITS, ACTOR, one.product, detail)
    return decision


def _exam(session: Session, one: ModelAlias) -> dict[str, Any]:
    """Give the evidence with which a version became challenger."""
    query = (
        select(Event.detail)
        .where(
            Event.kind == models.CHALLENGED,
            Event.subject == one.product,
            Event.detail["model"].as_string() == one.model_version,
        )
        .order_by(Event.id.desc())
    )
    evidence: dict[str, Any] = (session.scalars(query).first() or {}).get("evidence", {})
    return evidence


def _caught(exam: dict[str, Any], by: str, *kinds: str) -> tuple[int, int] | None:
    """Give how many defects of these kinds somebody caught, and of how many; None where there were none."""
    found = [exam[kind] for kind in kinds if kind in exam]
    return (sum(one[by] for one in found), sum(one["defects"] for one in found)) if found else None


def _other_champion(exam: dict[str, Any], champion: str) -> tuple[str, ...]:
    beside = exam.get("champion")
    if beside == champion:
        return ()
    known = "no champion" if beside is None else f"the champion {beside[:12]}"
    return (f"its exam was beside {known}, and {champion[:12]} judges now",)


def awaits(session: Session, one: ModelAlias) -> Event | None:
    """Give the event that tells why a challenger waits for a person, None where it does not yet."""
    return session.scalars(
        select(Event).where(
            Event.kind == AWAITS,
            Event.subject == one.product,
            Event.detail["model"].as_string() == one.model_version,
            Event.detail["since"].as_string() == one.changed_at.isoformat(),
        )
    ).first()


def standing(session: Session, one: ModelAlias) -> Standing:
    """Tell how far a challenger is."""
    champion = models.champion(session, one.product)
    waits = awaits(session, one)
    return Standing(
        0 if champion is None else comparison.scored(session, champion.id, one.model_version, one.changed_at),
        policies.of(session, one.product).shadow_images,
        () if waits is None else tuple(waits.detail["why"]),
    )
