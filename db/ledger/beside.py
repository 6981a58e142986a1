"""What no leaf shows: rows that are in no block, and rows that contradict each other."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.engine import dialect_of
from db.ledger.accounts import accounts
from db.ledger.bad import Bad
from db.ledger.facts import FORMS, NEWEST, Form, Kind, ids
from db.ledger.lawful import acts_of_retention
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


def never_sealed(session: Session) -> Iterator[Bad]:
    """Facts that stand neither in a block nor in the waiting room: the application didn't insert them."""
    for form in {form.table: form for form in FORMS}.values():
        yield from _never_sealed(session, form)


def _never_sealed(session: Session, form: Form) -> Iterator[Bad]:
    fact, ledger = ids(dialect_of(session), form)
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


def added_to_sealed_facts(session: Session) -> Iterator[Bad]:
    """Columns that a fact's leaf is too old to hold: whatever stands there now was put in afterwards."""
    for form in FORMS:
        later = [name for name in NEWEST[form.kind].columns if name not in form.columns]
        if not later:
            continue
        fact, ledger = ids(dialect_of(session), form)
        is_there = " OR ".join(f"f.{name} IS NOT NULL" for name in later)
        query = (
            f"SELECT {ledger} FROM {form.table} f "  # noqa: S608  # names of ours
            f"JOIN sealed_facts s ON s.kind = :kind AND {fact} = {ledger} "
            f"WHERE s.form = :form AND ({is_there}) "
            f"ORDER BY 1 LIMIT {_LIMIT}"
        )
        for (found,) in session.execute(text(query), {"kind": form.kind.value, "form": form.number}):
            why = f"the fact was sealed without {' and '.join(later)}: that was added afterwards"
            yield Bad(why, form.kind.word, key_of(form.kind, as_uuid(found)))


def leaves_of_no_block(session: Session) -> Iterator[Bad]:
    """Leaves that claim a block there is none of: they would make their facts seem sealed."""
    last = session.scalar(select(func.max(Block.number))) or 0
    stray = select(SealedFact).where((SealedFact.block > last) | (SealedFact.block < 1)).limit(_LIMIT)
    for leaf in session.scalars(stray):
        word = Kind(leaf.kind).word if leaf.kind in {kind.value for kind in Kind} else str(leaf.kind)
        yield Bad(f"the fact's leaf claims block {leaf.block}, which does not exist", word, str(leaf.fact))


def facts_that_wait(session: Session) -> Iterator[Bad]:
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


def vanished_facts(session: Session) -> Iterator[Bad]:
    told = select(Event).where(Event.kind == VANISHED).order_by(Event.id).limit(_LIMIT)
    for event in session.scalars(told):
        yield Bad(
            "the fact was deleted before it was sealed", event.detail.get("kind"), event.detail.get("id")
        )


def anomaly_maps(session: Session) -> Iterator[Bad]:
    orphans = (
        select(AnomalyMap.inspection_id)
        .outerjoin(Result, Result.inspection_id == AnomalyMap.inspection_id)
        .where(Result.inspection_id.is_(None))
        .limit(_LIMIT)
    )
    for id_ in session.scalars(orphans):
        yield Bad("the anomaly map has no result: it was inserted past the application", "map", str(id_))


def champions(session: Session) -> Iterator[Bad]:
    """An alias is no fact, but what it was set to is: the newest event has to say the same."""
    promoted = select(Event.subject).where(Event.kind == "model.promoted").distinct()
    products = {subject for subject in session.scalars(promoted) if subject is not None}
    aliases = session.execute(
        select(ModelAlias.product, ModelAlias.model_version).where(ModelAlias.alias == CHAMPION)
    )
    judging = dict(row for row in aliases)
    for product in sorted(products | set(judging)):
        of_product = select(Event).where(Event.kind == "model.promoted", Event.subject == product)
        newest = session.scalar(of_product.order_by(Event.id.desc()).limit(1))
        said = None if newest is None else newest.detail.get("model")
        version = judging.get(product)
        if said != version:
            yield Bad(
                f"product {product} is judged by {(version or 'nobody')[:12]}, and the newest event says "
                f"{(said or 'nobody')[:12]}: the champion was changed past the application",
                "model_version",
                version or said,
            )


LOOKS: Final = (
    never_sealed,
    leaves_of_no_block,
    facts_that_wait,
    vanished_facts,
    anomaly_maps,
    champions,
    added_to_sealed_facts,
    accounts,
    acts_of_retention,
)
