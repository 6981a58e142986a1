"""Two models beside each other: what is told of each, and what both say of the same images."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from db import comparison, inspections, lineage, models
from db.comparison import Seen
from db.lineage import Lineage
from db.tables import CHALLENGER, CHAMPION, ModelVersion


class NothingToCompareError(Exception):
    """Two models were to be compared, and are not there, or are one; the message says what to name."""


@dataclass(frozen=True)
class Shadow:
    """What `challenger` said of what `champion` judged; `seen` has no images where it never scored beside."""

    champion: str
    challenger: str
    seen: Seen

    def as_dict(self) -> dict[str, Any]:
        seen = self.seen
        return {
            "champion": self.champion,
            "challenger": self.challenger,
            "images": seen.count(),
            "verdicts": seen.table(),
            "disagreements": seen.disagreements(),
            "called_bad": seen.count(called=("bad",)),
            "called_bad_and_missed": seen.count(challenger="ok", called=("bad",)),
            "called_good": seen.count(called=("good",)),
            "called_good_and_rejected": seen.count(challenger="ng", called=("good",)),
        }


def two(session: Session, product: str, given: list[str]) -> tuple[str, str]:
    """Give the versions that are meant: of none the champion and the challenger, of one the champion and it.

    Raises UnknownProductError, NoChallengerError and NothingToCompareError.
    """
    inspections.require_product(session, product)
    found = list(given)
    if len(found) < 2:
        champion = models.champion(session, product)
        if champion is None:
            raise NothingToCompareError(
                f"no model judges {product} yet: name two versions of `pyramidion models`"
            )
        found.insert(0, champion.id)
    if len(found) < 2:
        challenger = models.challenger(session, product)
        if challenger is None:
            raise models.NoChallengerError(product)
        found.append(challenger.model_version)
    if found[0] == found[1]:
        raise NothingToCompareError(f"{found[0][:12]} would be compared with itself: name another version")
    return found[0], found[1]


def shadow(session: Session, a: str, b: str) -> Shadow:
    """Give what the one that scored beside the other said: `b` beside `a`, unless only `a` did beside `b`."""
    seen = comparison.seen(session, a, b)
    if not seen.count():
        other = comparison.seen(session, b, a)
        if other.count():
            return Shadow(b, a, other)
    return Shadow(a, b, seen)


def told(session: Session, version: ModelVersion) -> dict[str, Any]:
    """Give a version's facts, and what it plays."""
    return {
        "version": version.id,
        "plays": plays(session, version),
        **facts(lineage.of(session, version)),
    }


def plays(session: Session, version: ModelVersion) -> str | None:
    """Say whether a version is its product's champion or challenger; None where it is neither."""
    challenger = models.challenger(session, version.product)
    if challenger is not None and challenger.model_version == version.id:
        return CHALLENGER
    champion = models.champion(session, version.product)
    return CHAMPION if champion is not None and champion.id == version.id else None


def facts(found: Lineage) -> dict[str, Any]:
    """Give what a model's manifest, dataset and gate say, for people and for JSON; None: it was not told."""
    manifest = found.manifest
    training, calibration = manifest.get("training", {}), manifest.get("calibration", {})
    return {
        "created_at": found.version.created_at,
        "training_images": found.version.training_images,
        "note": found.version.note,
        "preset": manifest.get("network", {}).get("preset"),
        "size": manifest.get("network", {}).get("size"),
        "epochs": training.get("epochs"),
        "threshold": calibration.get("threshold"),
        "false_reject_rate": calibration.get("target_rate"),
        "calibrated_on": calibration.get("images"),
        "calibration": calibration.get("note"),
        "dataset": found.dataset,
        "dataset_summary": None if found.frozen is None else found.frozen.summary,
        "gate": found.examined,
    }
