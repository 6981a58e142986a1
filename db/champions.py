"""Choosing by hand who judges: with what a version showed beside the champion, and only if it is whole."""

from typing import Any

from sqlalchemy.orm import Session

from db import bundles, comparison, inspections, models
from db.imagestore import ImageStore
from db.tables import ModelVersion


class ChallengerChangedError(Exception):
    """Another version scores beside the champion by now."""

    def __init__(self, product: str, expected: str, found: str) -> None:
        super().__init__(
            f"{found} is the challenger of {product!r} by now, no longer {expected}; nothing was changed"
        )


def require_ready(session: Session, product: str, version_id: str, store: ImageStore) -> None:
    """Make sure that a worker could judge the product with the version: asked before the transaction.

    Raises UnknownProductError, UnknownModelError, db.bundles.AlteredModelError, and
    db.imagestore.ImageStoreError where its weights can't be had.
    """
    inspections.require_product(session, product)
    version = session.get(ModelVersion, version_id)
    if version is None or version.product != product:
        raise models.UnknownModelError(product, version_id)
    bundles.require_whole(session, version_id, store)


def require_challenger(session: Session, product: str) -> str:
    """Give the version that scores beside the champion; raises UnknownProductError and NoChallengerError."""
    inspections.require_product(session, product)
    found = models.challenger(session, product)
    if found is None:
        raise models.NoChallengerError(product)
    return found.model_version


def require_former(session: Session, product: str) -> tuple[str, str]:
    """Give who judges and who did before; raises UnknownProductError and NoFormerChampionError."""
    inspections.require_product(session, product)
    now, former = models.champion(session, product), models.former_champion(session, product)
    if now is None or former is None:
        raise models.NoFormerChampionError(product)
    return now.id, former


def promote(
    session: Session,
    product: str,
    version_id: str,
    expected: str | None,
    actor: str,
    why: str,
    signature: dict[str, Any] | None,
) -> None:
    """Let a version that is ready judge, with what it showed as evidence; raises what set_champion raises."""
    shown = evidence(session, product, version_id)
    models.set_champion(
        session, product, version_id, actor, why, signature, expected=expected, evidence=shown
    )


def withdraw(session: Session, product: str, expected: str, actor: str, why: str) -> None:
    """Let the challenger that somebody has seen score no more.

    Raises UnknownProductError, NoChallengerError, and ChallengerChangedError where it is another one by now.
    """
    inspections.require_product(session, product)
    models.lock(session, product)
    found = require_challenger(session, product)
    if found != expected:
        raise ChallengerChangedError(product, expected, found)
    models.withdraw_challenger(session, product, actor, why, expected)


def evidence(session: Session, product: str, version_id: str) -> dict[str, Any] | None:
    """Give what a version said beside the champion, None where it is not its challenger."""
    beside, champion = models.challenger(session, product), models.champion(session, product)
    if beside is None or champion is None or beside.model_version != version_id:
        return None
    seen = comparison.seen(session, champion.id, version_id, beside.changed_at)
    return {"images": seen.count(), "verdicts": seen.table(), "disagreements": seen.disagreements()}
