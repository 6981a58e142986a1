"""Which models there are and which one judges a product."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import approvals, events
from db.insert import insert_into, insert_missing
from db.tables import ModelAlias, ModelVersion, Product
from db.text import require_name

CHAMPION = "champion"


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


def champion(session: Session, product: str) -> ModelVersion | None:
    """Give the model that judges the product, or None where none does yet."""
    return session.scalar(
        select(ModelVersion)
        .join(ModelAlias, ModelAlias.model_version == ModelVersion.id)
        .where(ModelAlias.product == product, ModelAlias.alias == CHAMPION)
    )


def champions(session: Session, products: Collection[str]) -> dict[str, ModelVersion]:
    """Give the model that judges each of the products that has one, in one query."""
    found = session.execute(
        select(ModelAlias.product, ModelVersion)
        .join(ModelVersion, ModelVersion.id == ModelAlias.model_version)
        .where(ModelAlias.product.in_(products), ModelAlias.alias == CHAMPION)
    )
    return {row[0]: row[1] for row in found}


def products(session: Session) -> list[str]:
    return list(session.scalars(select(Product.name).order_by(Product.name)))


def set_champion(
    session: Session,
    product: str,
    version_id: str,
    actor: str,
    why: str,
    signature: dict[str, Any] | None = None,
) -> None:
    """Let a version judge the product from now on, and leave the event model.promoted, which is signed.

    `signature` is what db.signatures gives. Raises UnknownModelError where it is not a version of this
    product, and db.approvals.SignatureRequiredError.
    """
    approvals.require("promotion", signature)
    version = session.get(ModelVersion, version_id)
    if version is None or version.product != product:
        raise UnknownModelError(product, version_id)
    before = champion(session, product)
    change = {"model_version": version_id, "changed_at": datetime.now(UTC), "changed_by": actor}
    session.execute(
        insert_into(session, ModelAlias)
        .values(product=product, alias=CHAMPION, **change)
        .on_conflict_do_update(index_elements=[ModelAlias.product, ModelAlias.alias], set_=change)
    )
    detail: dict[str, Any] = {
        "model": version_id,
        "before": None if before is None else before.id,
        "why": why,
    }
    detail["signature"] = signature  # events.record leaves out what is None
    events.record(session, "model.promoted", actor, product, detail)


def versions(session: Session, product: str | None = None) -> Sequence[ModelVersion]:
    """Give the versions, of one product or all, newest first."""
    query = select(ModelVersion).order_by(ModelVersion.created_at.desc(), ModelVersion.id)
    return session.scalars(query if product is None else query.where(ModelVersion.product == product)).all()
