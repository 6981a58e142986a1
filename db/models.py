"""Which models there are and which one judges a product."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from db import approvals, clock, events
from db.among import among
from db.engine import dialect_of
from db.insert import insert_into, insert_missing
from db.inspections import UnknownProductError
from db.tables import CHALLENGER, CHAMPION, Event, ModelAlias, ModelVersion, Product, Shadow
from db.text import require_name

PROMOTED = "model.promoted"
CHALLENGED = "model.challenger"  # a version became challenger
WITHDRAWN = "model.withdrawn"  # ... and is none any more, without having been promoted
WHOEVER = "whoever"  # judges


class ChampionChangedError(Exception):
    """Somebody else promoted a model meanwhile."""

    def __init__(self, product: str, expected: str | None, found: str | None) -> None:
        super().__init__(
            f"{product!r} is judged by {found or 'no model'}, no longer by {expected or 'none'}: somebody "
            "promoted a model meanwhile, and nothing was changed; `pyramidion audit events --kind model` "
            "tells who and why"
        )


class NoFormerChampionError(Exception):
    """There is nothing to go back to."""

    def __init__(self, product: str) -> None:
        super().__init__(
            f"{product!r} was judged by no other model before: there is nothing to go back to; "
            "`pyramidion models` lists its versions"
        )


class NoChallengerError(Exception):
    """Nobody scores beside the champion."""

    def __init__(self, product: str) -> None:
        super().__init__(
            f"{product!r} has no challenger: `pyramidion retrain {product}` trains one, and "
            "`pyramidion models` lists the versions there are"
        )


class UnknownModelError(Exception):
    """There is no such model version of the product."""

    def __init__(self, product: str, version_id: str) -> None:
        super().__init__(
            f"product {product!r} has no model {version_id!r}; `pyramidion models` lists those it has"
        )


def ensure_product(session: Session, name: str) -> bool:
    """Set the product up unless it is; gives True where it is new. Raises ValueError for no name."""
    require_name("product", name)
    row = {"name": name, "created_at": datetime.now(UTC)}
    return bool(insert_missing(session, Product, Product.name, [row]))


def register(
    session: Session,
    version_id: str,
    product: str,
    manifest: str,
    weights_sha256: str,
    training_images: int,
    note: str | None = None,
) -> bool:
    """Keep a model version; gives False where it is kept already, as it is.

    Raises ValueError where the id is not the manifest's sha256, and sqlalchemy.exc.IntegrityError for a
    product that isn't set up.
    """
    found = hashlib.sha256(manifest.encode()).hexdigest()
    if found != version_id:
        raise ValueError(
            f"model {version_id} has a manifest with the hash {found}: it was changed after training"
        )
    row = {
        "id": version_id,
        "product": product,
        "created_at": datetime.now(UTC),
        "manifest": manifest,
        "weights_sha256": weights_sha256,
        "training_images": training_images,
        "note": note,
    }
    return bool(insert_missing(session, ModelVersion, ModelVersion.id, [row]))


def deadline(session: Session, product: str) -> int | None:
    """Give the milliseconds from acceptance to verdict that a product allows, None where it has no deadline.

    Raises db.inspections.UnknownProductError.
    """
    found = session.execute(select(Product.deadline_ms).where(Product.name == product)).one_or_none()
    if found is None:
        raise UnknownProductError(product, products(session))
    return found[0]


def set_deadline(session: Session, product: str, ms: int | None, actor: str) -> None:
    """Change it for what is judged from now on, and leave the event product.deadline.

    Raises db.inspections.UnknownProductError.
    """
    lock(session, product)
    before = deadline(session, product)
    if before != ms:
        session.execute(update(Product).where(Product.name == product).values(deadline_ms=ms))
        events.record(session, "product.deadline", actor, product, {"before_ms": before, "ms": ms})


def champion(session: Session, product: str) -> ModelVersion | None:
    """Give the model that judges the product, or None where none does yet."""
    return session.scalar(
        select(ModelVersion)
        .join(ModelAlias, ModelAlias.model_version == ModelVersion.id)
        .where(ModelAlias.product == product, ModelAlias.alias == CHAMPION)
    )


def champions(session: Session, products: Collection[str]) -> dict[str, ModelVersion]:
    """Give the model that judges each of the products that has one, in one query."""
    found = session.execute(_champions(dialect_of(session)), {"products": list(products)})
    return {row[0]: row[1] for row in found}


@cache
def _champions(dialect: str) -> Select[str, ModelVersion]:
    return (
        select(ModelAlias.product, ModelVersion)
        .join(ModelVersion, ModelVersion.id == ModelAlias.model_version)
        .where(among(dialect, ModelAlias.product, "products"), ModelAlias.alias == CHAMPION)
    )


def champion_since(session: Session, product: str) -> datetime | None:
    """Tell when the model that judges the product was made its champion; None where none judges."""
    query = select(ModelAlias.changed_at)
    return session.scalar(query.where(ModelAlias.product == product, ModelAlias.alias == CHAMPION))


def challenger(session: Session, product: str) -> ModelAlias | None:
    """Give who scores beside the champion to take its place, and since when; None where nobody does."""
    return session.get(ModelAlias, (product, CHALLENGER), populate_existing=True)


def set_challenger(
    session: Session, product: str, version_id: str, actor: str, evidence: dict[str, Any]
) -> None:
    """Let a version score beside the champion from now on, and leave the event model.challenger.

    A former challenger is none any more, which the event model.withdrawn tells. Raises UnknownModelError.
    """
    lock(session, product)
    _require_version(session, product, version_id)
    beside = challenger(session, product)
    before = None if beside is None else beside.model_version
    detail = {"model": version_id, "before": before}
    _no_challenger(session, product)
    if before not in {None, version_id}:
        why = "a newer candidate passed the gate"
        events.record(session, WITHDRAWN, actor, product, {"model": before, "why": why})
    _point(session, product, CHALLENGER, version_id, actor)
    events.record(session, CHALLENGED, actor, product, {**detail, "evidence": evidence})


def withdraw_challenger(
    session: Session, product: str, actor: str, why: str, expected: str = WHOEVER
) -> str | None:
    """Let nobody score beside the champion; gives who did, None where nobody, or another than `expected`."""
    lock(session, product)
    before = challenger(session, product)
    if before is None or expected not in {WHOEVER, before.model_version}:
        return None
    version_id = before.model_version
    _no_challenger(session, product)
    events.record(session, WITHDRAWN, actor, product, {"model": version_id, "why": why})
    return version_id


def products(session: Session) -> list[str]:
    return list(session.scalars(select(Product.name).order_by(Product.name)))


def set_champion(
    session: Session,
    product: str,
    version_id: str,
    actor: str,
    why: str,
    signature: dict[str, Any] | None = None,
    *,
    expected: str | None = WHOEVER,
    evidence: dict[str, Any] | None = None,
) -> None:
    """Let a version judge the product from now on, and leave the event model.promoted, which is signed.

    `signature` is what db.signatures gives, `evidence` what spoke for it. Raises UnknownModelError where it
    is not a version of this product, ChampionChangedError where another than `expected` (None: nobody)
    judges by now, and db.approvals.SignatureRequiredError.
    """
    approvals.require("promotion", signature)
    lock(session, product)
    _require_champion(session, product, expected)
    detail = {"why": why, "signature": signature}
    if evidence is not None:
        detail["evidence"] = evidence
    _promote(session, product, version_id, actor, detail)


def roll_back(
    session: Session,
    product: str,
    expected: str,
    actor: str,
    why: str,
    signature: dict[str, Any] | None = None,
) -> str:
    """Let the champion before `expected`, the present one, judge again; gives its version.

    Once more goes one further back. Raises ChampionChangedError where another one judges by now,
    NoFormerChampionError, and db.approvals.SignatureRequiredError.
    """
    approvals.require("promotion", signature)
    lock(session, product)
    _require_champion(session, product, expected)
    former = former_champion(session, product)
    if former is None:
        raise NoFormerChampionError(product)
    _promote(session, product, former, actor, {"why": why, "rolled_back": True, "signature": signature})
    return former


def former_champion(session: Session, product: str) -> str | None:
    """Give the version that judged before the present champion was promoted, as the events tell it."""
    reigns: list[str] = []
    for event in promotions(session, product):
        if event.detail.get("rolled_back"):
            reigns.pop()
        elif reigns[-1:] != [event.detail["model"]]:
            reigns.append(event.detail["model"])
    return reigns[-2] if len(reigns) > 1 else None


def promotions(session: Session, product: str) -> Sequence[Event]:
    """Give the events that tell who was let judge a product, oldest first."""
    return session.scalars(
        select(Event).where(Event.kind == PROMOTED, Event.subject == product).order_by(Event.id)
    ).all()


def _promote(session: Session, product: str, version_id: str, actor: str, detail: dict[str, Any]) -> None:
    _require_version(session, product, version_id)
    before = champion(session, product)
    _point(session, product, CHAMPION, version_id, actor)
    beside = challenger(session, product)
    if beside is not None and beside.model_version == version_id:
        _no_challenger(session, product)  # whoever judges needs no longer show that it may
    detail = {"model": version_id, "before": None if before is None else before.id, **detail}
    events.record(session, PROMOTED, actor, product, detail)  # a signature of None is left out


def _require_version(session: Session, product: str, version_id: str) -> None:
    version = session.get(ModelVersion, version_id)
    if version is None or version.product != product:
        raise UnknownModelError(product, version_id)


def _require_champion(session: Session, product: str, expected: str | None) -> None:
    now = champion(session, product)
    found = None if now is None else now.id
    if expected not in {WHOEVER, found}:
        raise ChampionChangedError(product, expected, found)


def _no_challenger(session: Session, product: str) -> None:
    """Remove the alias, and what its version has yet to score."""
    of_product = (ModelAlias.product == product, ModelAlias.alias == CHALLENGER)
    quietly = {"synchronize_session": False}
    # The alias first: who records what a challenger said holds it, and lets go of what waited then.
    gone = session.scalar(delete(ModelAlias).where(*of_product).returning(ModelAlias.model_version))
    if gone is not None:
        session.execute(delete(Shadow).where(Shadow.model_version == gone), execution_options=quietly)


def _point(session: Session, product: str, alias: str, version_id: str, actor: str) -> None:
    change = {"model_version": version_id, "changed_at": clock.now(session), "changed_by": actor}
    session.execute(
        insert_into(session, ModelAlias)
        .values(product=product, alias=alias, **change)
        .on_conflict_do_update(index_elements=[ModelAlias.product, ModelAlias.alias], set_=change)
    )


def lock(session: Session, product: str) -> None:
    """Let one change of a product follow the other, so that each event's `before` is true."""
    session.execute(select(Product.name).where(Product.name == product).with_for_update())


def versions(
    session: Session, product: str | None = None, limit: int | None = None, after: ModelVersion | None = None
) -> Sequence[ModelVersion]:
    """Give the versions, of one product or all, newest first, those that follow `after`."""
    query = select(ModelVersion).order_by(ModelVersion.created_at.desc(), ModelVersion.id).limit(limit)
    if after is not None:
        at = ModelVersion.created_at
        query = query.where(
            or_(at < after.created_at, and_(at == after.created_at, ModelVersion.id > after.id))
        )
    return session.scalars(query if product is None else query.where(ModelVersion.product == product)).all()
