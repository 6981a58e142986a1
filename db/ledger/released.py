"""What retention has let go: facts, and bytes behind them, that are lawfully no longer there.

An act of retention is an event, sealed as any other. It states how many things it let go and the root of a
tree over them; `released_facts` names them, since a fact that is gone can't say which product it was of. A
row that nobody may delete may be deleted once it stands there (triggers of the migrations), and verify knows
it for lawful as long as what stands there makes the root that was sealed.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, exists, insert, or_, select
from sqlalchemy.orm import Session

from db.ids import first_id
from db.ledger import merkle
from db.ledger.facts import Kind
from db.tables import Event, ReleasedFact

ACT: Final = "retention.act"  # the kind of the event
POLICY: Final = "retention.policy"
HELD: Final = "retention.hold"
LIFTED: Final = "retention.hold_lifted"
# Beside the kinds of facts: the bytes of an inspection's image, and those of a result's map.
IMAGE: Final = 101
MAP: Final = 102
_AT_ONCE: Final = 500


def leaf(kind: int, fact: UUID) -> bytes:
    return merkle.leaf_hash(f"{kind}:{fact}".encode())


def add(session: Session, act: UUID, kind: int, facts: Iterable[UUID]) -> None:
    """Name what the act lets go, in its own transaction."""
    rows = iter(facts)
    while some := list(islice(rows, _AT_ONCE)):
        session.execute(insert(ReleasedFact), [{"kind": kind, "fact": fact, "act": act} for fact in some])


def of(connection: Connection, kind: int, facts: Collection[UUID]) -> set[UUID]:
    """Give those of the facts that were let go."""
    found: set[UUID] = set()
    left = iter(facts)
    while some := list(islice(left, _AT_ONCE)):
        query = select(ReleasedFact.fact).where(ReleasedFact.kind == kind, ReleasedFact.fact.in_(some))
        found.update(connection.scalars(query))
    return found


def any_of(session: Session, since: datetime | None, until: datetime | None, product: str | None) -> bool:
    """Whether inspections that were captured in a time were let go, of the product or perhaps of it."""
    gone = exists().where(ReleasedFact.act == Event.id, ReleasedFact.kind == Kind.INSPECTION.value)
    if since is not None:
        gone = gone.where(ReleasedFact.fact >= first_id(since))
    if until is not None:
        gone = gone.where(ReleasedFact.fact < first_id(until))
    query = select(Event.id).where(Event.kind == ACT, gone)  # acts are few, what they name is not
    if product is not None:  # a whole month is of all products
        query = query.where(or_(Event.subject.is_(None), Event.subject == product))
    return session.scalar(query.limit(1)) is not None


def acts(session: Session, fact: UUID) -> dict[int, Event]:
    """Give, by kind, the acts that let an inspection, its result, its image or its map go."""
    query = (
        select(ReleasedFact.kind, Event)
        .join(Event, Event.id == ReleasedFact.act)
        .where(ReleasedFact.kind.in_((Kind.INSPECTION, Kind.RESULT, IMAGE, MAP)), ReleasedFact.fact == fact)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def is_let_go(kind: int, fact: Any) -> ColumnElement[bool]:
    """Say, in SQL, of a column of ids that the fact was let go."""
    return exists().where(ReleasedFact.kind == kind, ReleasedFact.fact == fact)
