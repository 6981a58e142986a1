"""What retention has let go: facts, and bytes behind them, that are lawfully no longer there.

An act of retention is an event, sealed as any other. It states how many things it let go and the root of a
tree over them; `released_facts` names them, since a fact that is gone can't say which product it was of. A
row that nobody may delete may be deleted once it stands there (triggers of the migrations), and verify knows
it for lawful as long as what stands there makes the root that was sealed.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, exists, insert, select
from sqlalchemy.orm import Session

from db.ids import uuid7_time
from db.ledger import merkle
from db.ledger.bad import Bad
from db.ledger.facts import Kind
from db.tables import Event, ReleasedFact

ACT: Final = "retention.act"  # the kind of the event
POLICY: Final = "retention.policy"
# Beside the kinds of facts: the bytes of an inspection's image, and those of a result's map.
IMAGE: Final = 101
MAP: Final = 102
_AT_ONCE: Final = 500
_LIMIT: Final = 20


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


def acts_of_retention(session: Session) -> Iterator[Bad]:
    """Acts that let go other things than they say, or earlier than the policy they name had it."""
    acts: set[UUID] = set()
    for event in session.scalars(select(Event).where(Event.kind == ACT).order_by(Event.id)):
        acts.add(event.id)
        why = _wrong(session, event)
        if why is not None:
            yield Bad(why, "event", str(event.id))
    strays = select(ReleasedFact.act).distinct()
    for act in session.scalars(strays):
        if act not in acts:
            yield Bad(
                f"released_facts names an act of retention {act} that there is none of: facts were let "
                "go past the application",
                "event",
                str(act),
            )


def _wrong(session: Session, act: Event) -> str | None:
    query = (
        select(ReleasedFact.kind, ReleasedFact.fact)
        .where(ReleasedFact.act == act.id)
        .order_by(ReleasedFact.kind, ReleasedFact.fact)
    )
    number = 0

    def leaves() -> Iterator[bytes]:
        nonlocal number
        for kind, fact in session.execute(query, execution_options={"yield_per": 5000}):
            number += 1
            yield leaf(kind, fact)

    try:
        root = merkle.root_of(leaves()).hex()
    except ValueError:
        root = None
    if (number, root) != (act.detail.get("facts"), act.detail.get("root")):
        return (
            f"the act of retention let {act.detail.get('facts')} things go, released_facts names {number} "
            "or others: facts may have been deleted in its name"
        )
    return _unlawful(session, act)


def _unlawful(session: Session, act: Event) -> str | None:
    """Say why the act was not what the policy had, None where it was."""
    try:
        policy = session.get(Event, UUID(act.detail["policy"]))
        days = int(act.detail["days"])
        until = datetime.fromisoformat(act.detail["until"])
        what = act.detail["what"]
        terms: dict[str, Any] = {} if policy is None or policy.kind != POLICY else policy.detail
        allowed = [terms.get(f"{what}_days"), terms.get("rows_days")]
    except (KeyError, ValueError, TypeError, AttributeError):
        return "the act of retention does not say by which policy it was done"
    if days not in allowed:
        return f"the act of retention let go what was {days} days old, and the policy it names did not say so"
    if until + timedelta(days=days) > uuid7_time(act.id) + timedelta(minutes=1):
        return f"the act of retention let go what was younger than the {days} days of its policy"
    return None
