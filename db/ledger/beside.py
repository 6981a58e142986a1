"""What no leaf shows: rows that are in no block, and rows that contradict each other."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.ledger.bad import Bad
from db.ledger.facts import FORMS, Form, Kind, ids
from db.ledger.seal import VANISHED, as_uuid
from db.ledger.unsealed import key_of
from db.tables import (
    CHAMPION,
    AnomalyMap,
    Block,
    Event,
    ModelAlias,
    Result,
    SealedFact,
    UnsealedFact,
)

LATE: Final = timedelta(minutes=5)  # facts are sealed within a minute
_LIMIT: Final = 20


def look(session: Session) -> Iterator[Bad]:
    """Give what is wrong beside the chain, at most some of each sort."""
    for form in NEWEST_OF_TABLES:
        yield from _never_sealed(session, form)
    yield from _leaves_of_no_block(session)
    yield from _waiting(session)
    yield from _vanished(session)
    yield from _maps(session)
    yield from _champions(session)


NEWEST_OF_TABLES: Final = tuple({form.table: form for form in FORMS}.values())


def _never_sealed(session: Session, form: Form) -> Iterator[Bad]:
    """Facts that stand neither in a block nor in the waiting room: the application didn't insert them."""
    fact, ledger = ids(session.get_bind().dialect.name, form)
    query = (
        f"SELECT {fact} FROM {form.table} f WHERE NOT EXISTS "  # noqa: S608  # names of ours
        f"(SELECT 1 FROM sealed_facts s WHERE s.kind = :kind AND {fact} = {ledger}) "
        f"EXCEPT SELECT {ledger} FROM unsealed_facts s WHERE s.kind = :kind ORDER BY 1 LIMIT {_LIMIT}"
    )
    for (found,) in session.execute(text(query), {"kind": form.kind.value}):
        id_ = found if form.kind is Kind.MODEL_VERSION else key_of(form.kind, as_uuid(found))
        yield Bad(
            "the fact was never handed to be sealed: it was inserted past the application",
            form.kind.word,
            id_,
        )


def _leaves_of_no_block(session: Session) -> Iterator[Bad]:
    """Leaves that claim a block there is none of: they would make their facts seem sealed."""
    last = session.scalar(select(func.max(Block.number))) or 0
    stray = select(SealedFact).where((SealedFact.block > last) | (SealedFact.block < 1)).limit(_LIMIT)
    for leaf in session.scalars(stray):
        word = Kind(leaf.kind).word if leaf.kind in {kind.value for kind in Kind} else str(leaf.kind)
        yield Bad(f"the fact's leaf claims block {leaf.block}, which does not exist", word, str(leaf.fact))


def _waiting(session: Session) -> Iterator[Bad]:
    late = select(UnsealedFact).where(UnsealedFact.since < datetime.now(UTC) - LATE)
    first = session.scalar(late.order_by(UnsealedFact.number).limit(1))
    if first is not None and first.kind not in {kind.value for kind in Kind}:
        yield Bad(f"unsealed_facts holds a row of kind {first.kind}, which is no kind of fact")
    elif first is not None:
        kind = Kind(first.kind)
        why = (
            f"the fact has waited to be sealed since {first.since:%Y-%m-%d %H:%M:%S} UTC; is a housekeeping "
            "worker running? `pyramidion audit seal` seals now"
        )
        yield Bad(why, kind.word, key_of(kind, first.fact))


def _vanished(session: Session) -> Iterator[Bad]:
    told = select(Event).where(Event.kind == VANISHED).order_by(Event.id).limit(_LIMIT)
    for event in session.scalars(told):
        yield Bad(
            "the fact was deleted before it was sealed", event.detail.get("kind"), event.detail.get("id")
        )


def _maps(session: Session) -> Iterator[Bad]:
    orphans = (
        select(AnomalyMap.inspection_id)
        .outerjoin(Result, Result.inspection_id == AnomalyMap.inspection_id)
        .where(Result.inspection_id.is_(None))
        .limit(_LIMIT)
    )
    for id_ in session.scalars(orphans):
        yield Bad("the anomaly map has no result: it was inserted past the application", "map", str(id_))


def _champions(session: Session) -> Iterator[Bad]:
    """An alias is no fact, but what it was set to is: the newest event has to say the same."""
    for alias in session.scalars(select(ModelAlias).order_by(ModelAlias.product)):
        if alias.alias != CHAMPION:
            continue
        promoted = select(Event).where(Event.kind == "model.promoted", Event.subject == alias.product)
        newest = session.scalar(promoted.order_by(Event.id.desc()).limit(1))
        if newest is None or newest.detail.get("model") != alias.model_version:
            yield Bad(
                f"product {alias.product} is judged by {alias.model_version[:12]}, which no event says: the "
                "champion was changed past the application",
                "model_version",
                alias.model_version,
            )
