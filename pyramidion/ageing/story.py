"""What becomes of the ageing line: an inspector reviews each rejection, and the rows tell what follows.

An alarm opens, a scheduled training runs, the gate lets its model pass, which scores in the champion's shadow
and is promoted.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Event
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import alarms, history, models, policies, promotion, reviews, runs, schedules
from db.history import Row
from db.matching import Filter
from db.tables import CHAMPION, Alarm, ModelAlias, Rescore, Result, TrainingRun
from pyramidion.ageing.line import NEW, OLD, PRODUCT, Line, Plan
from pyramidion.context import Context
from pyramidion.intake import await_verdicts, count_pending, take_in
from pyramidion.simulation import STATION

INSPECTOR: Final = "demo-inspector"
ENGINEER: Final = "demo-engineer"
_LOOKS_EVERY_S: Final = 0.5
_SHIFT_S: Final = 5.0  # from promotion to every worker
_STALLED_S: Final = 60.0
_TRIES: Final = 3  # of the schedule: a gate of so few parts refuses a good model now and then


@dataclass
class Told:
    """What the story's rows said, and when; None for what never came."""

    alarm: Alarm | None = None
    run: TrainingRun | None = None
    refused: dict[UUID, str] = field(default_factory=dict)  # runs whose model the gate refused, and why
    challenger: str | None = None
    awaited: tuple[str, ...] = ()  # why a person was asked
    promoted_at: datetime | None = None
    promoted_by: str | None = None
    reviews: int = 0
    why_not: str | None = None  # nothing was promoted


def set_up(context: Context, plan: Plan) -> None:
    """Let the product promote by itself what passes the gate and agrees in its shadow.

    At 95 %, a gate of 28 good parts refuses one good model in nine whose threshold 29 others have set.
    """
    rules = {
        "promotion": "automatic",
        "confidence": 0.99,
        "shadow_share": 1.0,
        "shadow_images": max(30, plan.parts // 4),
    }
    with context.sessions.begin() as session:
        policies.change(session, PRODUCT, rules, "demo")


def play(
    context: Context, plan: Plan, seed: int, lot: str, stop: Event, say: Callable[[str], None]
) -> tuple[Line, Told]:
    """Let the parts pass and the story happen; ends when all are judged, or nothing moves any more."""
    line, told = Line(plan, seed, lot, stop), Told()
    with ThreadPoolExecutor(1) as beside:
        watching = beside.submit(_watch, context, line, told, say)
        try:
            take_in(context, STATION, line.frames(), stop)
        finally:
            line.over.set()
        watching.result(_STALLED_S)
    pending = partial(count_pending, context, PRODUCT, STATION, lot)
    await_verdicts(pending, stop, stalled_s=_STALLED_S)
    return line, told


def verdicts(context: Context, lot: str) -> list[Row]:
    """Give the line's verdicts, oldest first."""
    with context.reading() as session:
        return list(history.stream(session, Filter(product=PRODUCT, lot=lot)))[::-1]


def _watch(context: Context, line: Line, told: Told, say: Callable[[str], None]) -> None:
    """Review what was rejected, and move the story on; without it the old lamp's parts would never end."""
    try:
        _tell(context, line, told, say)
    finally:
        line.over.set()


def _tell(context: Context, line: Line, told: Told, say: Callable[[str], None]) -> None:
    reviewed: set[UUID] = set()
    first = _champion(context)
    begun: float | None = None
    while not line.stop.wait(_LOOKS_EVERY_S):
        told.reviews += _review(context, line, reviewed)
        if line.over.is_set():
            return
        if line.stage != OLD:
            continue
        begun = begun or time.monotonic()
        told.why_not = _move_on(context, line, told, first, say)
        deadline = begun + line.plan.patience_s * (1 + len(told.refused))
        if told.promoted_at is not None:
            line.stop.wait(_SHIFT_S)
            line.over.set()
        elif told.why_not is not None or time.monotonic() > deadline:
            told.why_not = told.why_not or f"nothing was promoted within {deadline - begun:g} s"
            line.over.set()


def _review(context: Context, line: Line, reviewed: set[UUID]) -> int:
    """Look at what was rejected as an inspector would, who sees what the part really is.

    Of the first stage also at what passed, as a plant does with parts that are defective on purpose: its
    escapes would be taken for good ones by the training.
    """
    with context.reading() as session:
        found = history.search(session, Filter(product=PRODUCT, lot=line.lot, verdict="ng"), limit=200)
        passed = history.search(session, Filter(product=PRODUCT, lot=line.lot, verdict="ok"), limit=200)
    escapes = [row for row in passed if _is_defect_of(line, row.id, NEW)]
    fresh = [row for row in (*found, *escapes) if row.id not in reviewed and row.id in line.truth]
    for row in fresh:
        good = line.truth[row.id][1] is None
        with suppress(reviews.ReviewError), context.sessions.begin() as session:
            reviews.record(session, row.id, *_said(row.verdict, good))
        reviewed.add(row.id)
    return len(fresh)


def _is_defect_of(line: Line, id_: UUID, stage: str) -> bool:
    found, defect = line.truth.get(id_, (None, None))
    return found == stage and defect is not None


def _said(verdict: str | None, good: bool) -> tuple[str, str, str | None, str | None]:
    """Give verdict, reviewer, reason code and reason of the inspector's review."""
    if good:
        return "overrule", INSPECTOR, reviews.OTHER, "the part is good: the light has changed"
    return ("overrule", INSPECTOR, "defect", None) if verdict == "ok" else ("confirm", INSPECTOR, None, None)


def _champion(context: Context) -> str | None:
    with context.reading() as session:
        found = models.champion(session, PRODUCT)
        return None if found is None else found.id


def _move_on(
    context: Context, line: Line, told: Told, first: str | None, say: Callable[[str], None]
) -> str | None:
    """Note what the rows say by now; gives why nothing will be promoted any more, None while it may."""
    with context.sessions.begin() as session:
        if told.alarm is None:
            _hear_alarm(session, line, told, say)
            return None
        run = next(iter(runs.newest(session, PRODUCT, limit=1)), None)
        # Until the schedule begins one, or another; an earlier demo's is none of this one's.
        if run is None or run.id in told.refused or run.requested_at < told.alarm.opened_at:
            return None
        if told.run is None or told.run.id != run.id:
            schedules.change(session, PRODUCT, "demo", enabled=False)  # one at a time is enough for a demo
            say(f"training run {run.id}, {run.why}; the line goes on")
        told.run = run
        if run.state in ("failed", "cancelled"):
            return f"the training run {run.state}: {run.reason}"
        if run.gate_passed is False:
            return _try_again(session, told, run, say)
        if run.state == "succeeded":
            return _follow(session, line, told, run, first, say)
    return None


def _try_again(session: Session, told: Told, run: TrainingRun, say: Callable[[str], None]) -> str | None:
    """Let the schedule train once more, as a plant's does; gives why the line has to stay as it is."""
    told.refused[run.id] = "; ".join(run.gate_said or [])
    if len(told.refused) == _TRIES:
        return f"the gate refused {_TRIES} candidates, the last because it {told.refused[run.id]}"
    schedules.change(session, PRODUCT, "demo", enabled=True)
    say(
        f"gate     refused it: {told.refused[run.id]}; the schedule trains another, once enough parts are new"
    )
    return None


def _hear_alarm(session: Session, line: Line, told: Told, say: Callable[[str], None]) -> None:
    told.alarm = next(iter(alarms.newest(session, PRODUCT, only_open=True, limit=1)), None)
    if told.alarm is not None:
        say(f"alarm    {told.alarm.said}")
        # When some hundred have passed the old lamp: a model of a lamp that still fades is soon out of date.
        schedules.change(session, PRODUCT, "demo", cron="* * * * *", min_new=5 * line.plan.parts)
        say("schedule a training, each minute, once enough good parts are new")


def _follow(
    session: Session,
    line: Line,
    told: Told,
    run: TrainingRun,
    first: str | None,
    say: Callable[[str], None],
) -> str | None:
    """See what becomes of the run's model; where a person is asked, be that person."""
    if told.challenger is None:
        told.challenger = run.model_version
        say(f"gate     passed; {str(run.model_version)[:12]} scores in the champion's shadow")
    challenger = models.challenger(session, PRODUCT)
    waits = None if challenger is None else promotion.awaits(session, challenger)
    if challenger is not None and waits is not None:
        told.awaited = tuple(waits.detail["why"])
        say("shadow   asks a person: " + "; ".join(told.awaited))
        before, after = _right(session, line, challenger.model_version)
        if after <= before:
            return f"the engineer found the champion right {before} times, and the challenger {after} times"
        why = f"of the parts that both judged, it is right about {after}, the champion about {before}"
        models.set_champion(session, PRODUCT, challenger.model_version, ENGINEER, why)
    champion = session.get_one(ModelAlias, (PRODUCT, CHAMPION), populate_existing=True)
    if champion.model_version != first:
        told.promoted_at, told.promoted_by = champion.changed_at, champion.changed_by
        say(f"promoted {champion.model_version[:12]} by {champion.changed_by}")
    return None


def _right(session: Session, line: Line, challenger: str) -> tuple[int, int]:
    """Count how often the champion and the challenger were right, as an engineer who looks at the parts."""
    query = (
        select(Rescore.inspection_id, Result.verdict, Rescore.verdict)
        .join(Result, Result.inspection_id == Rescore.inspection_id)
        .where(Rescore.model_version == challenger, Rescore.origin == "shadow")
    )
    before = after = 0
    for id_, stands, said in session.execute(query):
        good = line.truth[id_][1] is None
        before += (stands == "ok") == good
        after += (said == "ok") == good
    return before, after
