"""Rescorings: scoring inspections again with a chosen model, as somebody asked for. The rows are the queue.

Whoever works on one goes forward by ids, notes a slice before it tries it (`begin`), and records what it said
together with how far it is (`db.rescores.record`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.orm import Session

from db import events, models
from db.ids import beginning_with, uuid7
from db.inspections import UnknownProductError
from db.matching import Filter
from db.models import UnknownModelError
from db.rescores import asked_for, not_gone_on, to_do
from db.tables import Inspection, ModelVersion, Rescoring
from db.text import readable

REQUESTED, RUNNING, DONE, CANCELLED, FAILED = "requested", "running", "done", "cancelled", "failed"
ACTIVE: Final = (REQUESTED, RUNNING)
GIVEN: Final = ("station", "line", "lot", "verdict")  # of a filter, beside its times


class RescoringError(Exception):
    """What was asked for can't be done; the message says why."""


def request(
    session: Session, product: str, model_version: str, wanted: Filter, limit: int | None, actor: str
) -> Rescoring:
    """Ask for the judged inspections of a product, the newest `limit`, to be scored with a model.

    Those whose image retention let go are left out, and those that this model has scored already. Of the
    filter, station, line, lot, verdict and times count. Raises UnknownProductError, UnknownModelError where
    the product has no such model, and RescoringError where nothing matches.
    """
    products = models.products(session)
    if product not in products:
        raise UnknownProductError(product, products)
    version = session.get(ModelVersion, model_version)
    if version is None or version.product != product:
        raise UnknownModelError(product, model_version)
    given = {name: value for name in GIVEN if (value := getattr(wanted, name)) is not None}
    times = {name: at.isoformat() for name in ("since", "until") if (at := getattr(wanted, name)) is not None}
    now = datetime.now(UTC)
    one = Rescoring(
        id=uuid7(now),
        product=product,
        model_version=model_version,
        filter={**given, **times, **({} if limit is None else {"limit": limit})},
        first=UUID(int=0),
        last=UUID(int=2**128 - 1),
        requested_by=readable(actor),
        requested_at=now,
        state=REQUESTED,
        total=0,
        updated_at=now,
    )
    query = asked_for(session, one)
    newest = list(session.scalars(query.order_by(Inspection.id.desc()).limit(1 if limit is None else limit)))
    if not newest:
        raise RescoringError(
            f"no inspection of {product!r} that has a verdict, and whose image is kept, matches; "
            f"`pyramidion results --product {product} --counts` counts what there is"
        )
    one.last = newest[0]
    one.first = (
        newest[-1] if limit is not None else session.scalars(query.order_by(Inspection.id).limit(1)).one()
    )
    one.total = session.scalar(select(func.count()).select_from(to_do(session, one).subquery())) or 0
    session.add(one)
    session.flush()
    detail = {"model": model_version, "filter": one.filter, "inspections": one.total}
    _tell(session, one, REQUESTED, actor, detail)
    return one


def cancel(session: Session, id_: UUID, actor: str) -> None:
    """End a rescoring; what was scored stays. Raises RescoringError where it has ended already."""
    if not _end(session, id_, CANCELLED, actor, None):
        state = session.get_one(Rescoring, id_, populate_existing=True).state
        raise RescoringError(f"rescoring {id_} is {state} already: there is nothing to cancel")


def finish(session: Session, id_: UUID, actor: str, error: str | None = None) -> bool:
    """End a rescoring that is done, or with `error` has failed; says False where it had ended already."""
    return _end(session, id_, DONE if error is None else FAILED, actor, error)


def active(session: Session) -> Sequence[UUID]:
    """Give the rescorings that somebody has to work on, the oldest first."""
    return session.scalars(
        select(Rescoring.id).where(Rescoring.state.in_(ACTIVE)).order_by(Rescoring.id)
    ).all()


def everyone(
    session: Session, product: str | None = None, limit: int | None = None, after: UUID | None = None
) -> Sequence[Rescoring]:
    """Give the rescorings, of one product or all, newest first, those older than `after`."""
    query = select(Rescoring).order_by(Rescoring.id.desc()).limit(limit)
    if product is not None:
        query = query.where(Rescoring.product == product)
    return session.scalars(query if after is None else query.where(Rescoring.id < after)).all()


def images_per_s(one: Rescoring) -> float | None:
    """Give the rate since it was begun, the time in which the line went first included."""
    if one.started_at is None or one.updated_at <= one.started_at:
        return None
    return one.done / (one.updated_at - one.started_at).total_seconds()


def find(session: Session, beginning: str) -> Rescoring:
    """Give the rescoring whose id begins so; raises db.ids.UnknownIdError for none and for several."""
    ids = session.scalars(select(Rescoring.id))
    return session.get_one(Rescoring, beginning_with(ids, beginning, "rescoring", "pyramidion rescore"))


def begin(session: Session, one: Rescoring, trying_to: UUID) -> bool:
    """Count a try of what follows the cursor, before it is made; False where it is not to be made any more.

    A slice that ended its worker is then known by what it was, and gone through one by one.
    """
    now = datetime.now(UTC)
    begun = session.scalar(
        update(Rescoring)
        .where(Rescoring.id == one.id, Rescoring.state.in_(ACTIVE), not_gone_on(one))
        .values(
            state=RUNNING,
            trying_to=trying_to,
            tries=Rescoring.tries + 1,
            started_at=func.coalesce(Rescoring.started_at, literal(now, Rescoring.started_at.type)),
            updated_at=now,
        )
        .returning(Rescoring.id)
    )
    return begun is not None


def _end(session: Session, id_: UUID, state: str, actor: str, error: str | None) -> bool:
    ended = session.scalar(
        update(Rescoring)
        .where(Rescoring.id == id_, Rescoring.state.in_(ACTIVE))
        .values(
            state=state,
            error=None if error is None else readable(error),
            updated_at=datetime.now(UTC),
            trying_to=None,
        )
        .returning(Rescoring.id)
    )
    if ended is None:
        return False
    one = session.get_one(Rescoring, id_, populate_existing=True)
    detail = {"model": one.model_version, "scored": one.done, "of": one.total, "failed": one.failed_images}
    _tell(session, one, state, actor, detail if error is None else {**detail, "error": error})
    return True


def _tell(session: Session, one: Rescoring, what: str, actor: str, detail: dict[str, Any]) -> None:
    events.record(session, f"rescore.{what}", actor, one.product, {"rescoring": str(one.id), **detail})
