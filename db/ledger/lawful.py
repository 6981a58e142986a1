"""Whether acts of retention were what the policy had, and let go what they say."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ids import first_id, uuid7_time
from db.ledger import lots_let_go, merkle
from db.ledger.bad import Bad
from db.ledger.facts import Kind
from db.ledger.released import ACT, IMAGE, MAP, POLICY, leaf
from db.tables import Event, Inspection, ReleasedFact, ReleasedLot, Result

_KINDS: Final = {
    "images": {IMAGE},
    "maps": {MAP},
    "rows": {Kind.INSPECTION.value, Kind.RESULT.value, Kind.REVIEW.value},
}


def acts_of_retention(session: Session) -> Iterator[Bad]:
    """Acts that let go other things than they say, or earlier than the policy they name had it."""
    acts: set[UUID] = set()
    for event in session.scalars(select(Event).where(Event.kind == ACT).order_by(Event.id)):
        acts.add(event.id)
        why = _wrong(session, event)
        if why is not None:
            yield Bad(why, "event", str(event.id))
    for table in (ReleasedFact, ReleasedLot):
        for act in session.scalars(select(table.act).distinct()):
            if act not in acts:
                yield Bad(
                    f"{table.__tablename__} names an act of retention {act} that there is none of: facts "
                    "were let go past the application",
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
    return _wrong_lots(session, act) or next(_unlawful(session, act), None)


def _wrong_lots(session: Session, act: Event) -> str | None:
    """Say whether released_lots tells of other lots, or other numbers, than the act has sealed."""
    went = lots_let_go.of_act(session, act.id)
    sealed = {"lots": act.detail.get("lots", 0), "lots_root": act.detail.get("lots_root")}
    if lots_let_go.told(went) != sealed:
        return (
            "released_lots says otherwise than the act of retention how many inspections of which lots went"
        )
    if sum(one.inspections for one in went) > act.detail.get("inspections", 0):
        return "the act of retention says that more inspections of lots went than it let go"
    if "month" not in act.detail:
        meant = (act.subject, act.detail.get("verdict"))
        if any((one.product, one.verdict) != meant for one in went):
            return "the act of retention counts lots of another product or verdict"
    return None


def _unlawful(session: Session, act: Event) -> Iterator[str]:
    """Say in what the act was not what the policy had.

    Of rows that are gone only their ids are left, which tell when they were captured: whose they were, and
    whether their lot was held, can't be told any more.
    """
    try:
        policy = session.get(Event, UUID(act.detail["policy"]))
        days = int(act.detail["days"])
        until = datetime.fromisoformat(act.detail["until"])
        what, verdict = act.detail["what"], act.detail["verdict"]
        terms: dict[str, Any] = {} if policy is None or policy.kind != POLICY else policy.detail
        allowed = [terms.get(f"{what}_days"), terms.get("rows_days")]
    except (KeyError, ValueError, TypeError, AttributeError):
        yield "the act of retention does not say by which policy it was done"
        return
    if policy is None or days not in allowed:
        yield f"the act of retention let go what was {days} days old, and the policy it names did not say so"
        return
    if until + timedelta(days=days) > uuid7_time(act.id) + timedelta(minutes=1):
        yield f"the act of retention let go what was younger than the {days} days of its policy"
    if _in_force(session, policy, act.id) != policy.id:
        yield "the act of retention names a policy that was no longer in force"
    kinds = set(session.scalars(select(ReleasedFact.kind).where(ReleasedFact.act == act.id).distinct()))
    if not kinds <= _KINDS.get(what, set()):
        yield f"the act of retention was to let go {what}, and released_facts names other things"
    if _is_younger(session, act.id, until):
        yield f"the act of retention names what was captured after {until:%Y-%m-%d %H:%M} UTC"
    if "month" in act.detail:
        return
    if policy.subject not in {None, act.subject} or terms.get("verdict") not in {None, verdict}:
        yield "the act of retention names a policy for another product or verdict"
    if _is_of_another(session, act, verdict, until):
        yield "the act of retention names what is of another product or verdict, or was judged later"


def _in_force(session: Session, policy: Event, at: UUID) -> UUID | None:
    """Give the policy for the same product and verdict that was the newest at the time of an id."""
    before = select(Event).where(Event.kind == POLICY, Event.id < at).order_by(Event.id.desc())
    for event in session.scalars(before):
        if (event.subject, event.detail.get("verdict")) == (policy.subject, policy.detail.get("verdict")):
            return event.id
    return None


def _is_younger(session: Session, act: UUID, until: datetime) -> bool:
    of_capture = (Kind.INSPECTION.value, Kind.RESULT.value, IMAGE, MAP)  # whose ids tell of the capture
    newer = select(ReleasedFact.fact).where(
        ReleasedFact.act == act, ReleasedFact.kind.in_(of_capture), ReleasedFact.fact >= first_id(until)
    )
    return session.scalar(newer.limit(1)) is not None


def _is_of_another(session: Session, act: Event, verdict: str | None, until: datetime) -> bool:
    """Whether an image or a map is named whose row, which is still there, says that it was not meant."""
    meant = (Inspection.product == act.subject) & (Result.verdict == verdict) & (Result.judged_at < until)
    wrong = (
        select(Inspection.id)
        .join(ReleasedFact, ReleasedFact.fact == Inspection.id)
        .join(Result, Result.inspection_id == Inspection.id)
        .where(ReleasedFact.act == act.id, ReleasedFact.kind.in_((IMAGE, MAP)), ~meant)
    )
    return session.scalar(wrong.limit(1)) is not None
