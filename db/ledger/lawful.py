"""Whether acts of retention were what the policy had, and let go what they say."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.ids import first_id, uuid7_time
from db.ledger import lots_let_go, merkle
from db.ledger.bad import Bad
from db.ledger.facts import Kind
from db.ledger.released import ACT, HELD, IMAGE, LIFTED, MAP, POLICY, leaf
from db.tables import Event, Inspection, ReleasedFact, ReleasedLot, Result

_KINDS: Final = {
    "images": {IMAGE},
    "maps": {MAP},
    "rows": {Kind.INSPECTION.value, Kind.RESULT.value, Kind.REVIEW.value},
}
_CLOCKS: Final = timedelta(minutes=1)  # by which those of machines may differ


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

    Of rows that are gone only their ids are left, which tell when they were captured, and the lots that the
    act has counted: whose they were otherwise can't be told any more.
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
    if until + timedelta(days=days) > uuid7_time(act.id) + _CLOCKS:
        yield f"the act of retention let go what was younger than the {days} days of its policy"
    by_month = "month" in act.detail  # of all products and verdicts; the policy is one of several
    if by_month and what != "rows":
        yield f"the act of retention let go {what} by the month, and only rows go by whole months"
    asked = (policy.subject, policy.detail.get("verdict")) if by_month else (act.subject, verdict)
    if _in_force(session, *asked, act.id) != policy.id:
        yield "the act of retention names a policy that was not the one in force"
    kinds = set(session.scalars(select(ReleasedFact.kind).where(ReleasedFact.act == act.id).distinct()))
    if not kinds <= _KINDS.get(what, set()):
        yield f"the act of retention was to let go {what}, and released_facts names other things"
    if _is_younger(session, act.id, until):
        yield f"the act of retention names what was captured after {until:%Y-%m-%d %H:%M} UTC"
    if not by_month and _is_of_another(session, act, verdict, until):
        yield "the act of retention names what is of another product or verdict, or judged later or never"
    held = _held_lot(session, act.id)
    if held is not None:
        yield f"the act of retention let go what is of lot {held}, which was held"


def _in_force(session: Session, product: str | None, verdict: str | None, at: UUID) -> UUID | None:
    """Give the policy that counted for a product and verdict at the time of an id (db.retention.policy)."""
    newest: dict[tuple[str | None, str | None], Event] = {}
    for event in session.scalars(select(Event).where(Event.kind == POLICY, Event.id < at).order_by(Event.id)):
        newest[event.subject, event.detail.get("verdict")] = event
    for key in ((product, verdict), (product, None), (None, verdict), (None, None)):
        if key in newest and not newest[key].detail.get("removed", False):
            return newest[key].id
    return None


def _held_lot(session: Session, act: UUID) -> str | None:
    """Give a lot of which the act let something go, though it was held."""
    at, held = uuid7_time(act), set[str]()
    told = select(Event).where(Event.kind.in_((HELD, LIFTED)), Event.id < first_id(at + _CLOCKS))
    for event in session.scalars(told.order_by(Event.id)):
        if event.kind == LIFTED:
            held.discard(event.subject or "")
        elif event.at < at - _CLOCKS:
            held.add(event.subject or "")
    if not held:
        return None
    gone = select(ReleasedLot.lot).where(ReleasedLot.act == act, ReleasedLot.lot.in_(held))
    there = (
        select(Inspection.lot)
        .join(ReleasedFact, ReleasedFact.fact == Inspection.id)
        .where(ReleasedFact.act == act, ReleasedFact.kind.in_((IMAGE, MAP)), Inspection.lot.in_(held))
    )
    return session.scalar(gone.limit(1)) or session.scalar(there.limit(1))


def _is_younger(session: Session, act: UUID, until: datetime) -> bool:
    of_capture = (Kind.INSPECTION.value, Kind.RESULT.value, IMAGE, MAP)  # whose ids tell of the capture
    newer = select(ReleasedFact.fact).where(
        ReleasedFact.act == act, ReleasedFact.kind.in_(of_capture), ReleasedFact.fact >= first_id(until)
    )
    return session.scalar(newer.limit(1)) is not None


def _is_of_another(session: Session, act: Event, verdict: str | None, until: datetime) -> bool:
    """Whether an image or a map is named whose row, which is still there, says that it was not meant."""
    meant = (Inspection.product == act.subject) & (Result.verdict == verdict) & (Result.judged_at < until)
    is_wrong = or_(Result.inspection_id.is_(None), ~meant)
    wrong = (
        select(Inspection.id)
        .join(ReleasedFact, ReleasedFact.fact == Inspection.id)
        .join(Result, Result.inspection_id == Inspection.id, isouter=True)
        .where(ReleasedFact.act == act.id, ReleasedFact.kind.in_((IMAGE, MAP)), is_wrong)
    )
    return session.scalar(wrong.limit(1)) is not None
