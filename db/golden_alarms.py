"""What a golden sample's trial does to the sample's alarm: there is one at a time, which says the most."""

from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import alarms, policies
from db.golden import ACTOR, label
from db.tables import Alarm, GoldenSample, GoldenTrial

Failure = Literal["wrong", "error", "unjudged"]
_SAYS: Final[dict[str, int]] = {"unjudged": 0, "error": 1, "wrong": 2}  # what says more has more
_PARTS: Final = {"ok": "good", "ng": "bad"}


def passed(session: Session, sample: GoldenSample, trial: GoldenTrial) -> None:
    """Close the alarm, unless it holds verdicts: the sample may fail again, a person has to say it's over.

    A trial that was sent before one that failed closes nothing: it says how things were.
    """
    alarm = alarms.is_open(session, sample.product, sample.station, label(sample.name))
    if alarm is None or alarm.holds or alarm.since > trial.sent_at or _failed_since(session, trial):
        return
    alarms.close_unless_closed(session, alarm.id, ACTOR, f"it passed as inspection {trial.inspection_id}")


def failed(
    session: Session,
    sample: GoldenSample,
    trial: GoldenTrial,
    failure: Failure,
    said: str,
    detail: dict[str, Any],
) -> None:
    """Open the alarm, in place of one that says less: a wrong verdict before an error, that before none.

    None of a sample that is retired, nor where a person has closed one since the trial was sent. Where the
    product's policy says so, a wrong verdict holds those of the station. That a sample got none says nothing
    of those that others get.
    """
    if sample.retired_at is not None:
        return
    holds = failure == "wrong" and policies.of(session, sample.product).hold_on_golden
    before = alarms.is_open(session, sample.product, sample.station, label(sample.name))
    gave_way = False
    if before is not None:
        if before.holds or (_SAYS[before.detail["failure"]] >= _SAYS[failure] and not holds):
            return
        gave_way = alarms.close_unless_closed(session, before.id, ACTOR, f"instead: {said}")
    if not gave_way and _closed_since(session, sample, trial):
        return
    alarms.open_(
        session,
        "golden",
        sample.product,
        sample.station,
        label(sample.name),
        trial.sent_at,
        f"golden sample {sample.name!r} is a {_PARTS[sample.expected]} part: {said}",
        {"failure": failure, "sample": str(sample.id), **detail},
        holds=holds,
    )


def waits(session: Session, sample: GoldenSample, trial: GoldenTrial) -> None:
    """Open the alarm of a trial that has no verdict."""
    said = (
        f"it was sent at {trial.sent_at:%Y-%m-%d %H:%M:%S} UTC and has no verdict yet; does a scoring worker "
        "answer (`pyramidion doctor`)?"
    )
    failed(session, sample, trial, "unjudged", said, {"inspection": str(trial.inspection_id)})


def _failed_since(session: Session, trial: GoldenTrial) -> bool:
    query = select(GoldenTrial.inspection_id).where(
        GoldenTrial.sample == trial.sample,
        GoldenTrial.sent_at > trial.sent_at,
        GoldenTrial.passed.is_(False),
    )
    return session.scalar(query.limit(1)) is not None


def _closed_since(session: Session, sample: GoldenSample, trial: GoldenTrial) -> bool:
    """Whether a person knows: one that a passing trial has closed says nothing of this one."""
    query = select(Alarm.id).where(
        Alarm.product == sample.product,
        Alarm.station == sample.station,
        Alarm.statistic == label(sample.name),
        Alarm.closed_at >= trial.sent_at,
        Alarm.closed_by != ACTOR,
    )
    return session.scalar(query.limit(1)) is not None
