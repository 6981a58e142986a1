"""Golden samples on their way through the pipeline: sent as any part, and checked when they are judged.

A trial is an inspection of its own, with the sample's image and station, the serial `golden:NAME` and no lot.
What fails opens an alarm; where the product's policy says so, that holds the station's verdicts.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db import clock, events, golden, golden_alarms, inspections, models, results
from db.golden import ACTOR, GoldenError, label
from db.ids import uuid7
from db.imagestore import key_of
from db.inspections import NewInspection
from db.tables import GoldenSample, GoldenTrial, Result, Station

SENT: Final = "golden.sent"
PASSED: Final = "golden.passed"
FAILED: Final = "golden.failed"
JUDGED_WITHIN: Final = timedelta(minutes=10)  # what takes longer opens an alarm, too


@dataclass(frozen=True)
class Outcome:
    """A trial and what is known of it. `verdict` is the model's, also where the station was held.

    `passed` and `verdict` are None before it is judged; `verdict` also when retention has let it go.
    """

    trial: UUID
    sample: UUID
    product: str
    station: str
    name: str
    expected: str
    sent_at: datetime
    passed: bool | None
    verdict: str | None
    held: bool
    score: float | None
    threshold: float | None
    model_version: str | None
    error: str | None


def send(
    session: Session, product: str, by: str, why: str = "on demand", station: str | None = None
) -> list[UUID]:
    """Accept a trial of each sample of the product, of one station or all, and leave the event.

    Gives their ids: whoever commits then queues them (workers.queue). Raises UnknownProductError, and
    GoldenError where there is none to send, or no model to judge it.
    """
    inspections.require_product(session, product)
    if station is not None:
        golden.require_station(session, station)
    samples = golden.in_use(session, product, station)
    if not samples:
        where = "" if station is None else f" at {station!r}"
        raise GoldenError(
            f"{product!r} has no golden samples{where}: `pyramidion golden add {product} "
            f"{station or 'STATION'} NAME FILE --expect ok` adds one"
        )
    if models.champion(session, product) is None:
        raise GoldenError(
            f"no model judges {product!r} yet: `pyramidion train {product} --images DIR` makes one"
        )
    now = clock.now(session)
    lines = {name: session.get_one(Station, name).line for name in {one.station for one in samples}}
    new = {uuid7(now): one for one in samples}
    inspections.accept(session, [_inspection(id_, one, lines, now) for id_, one in new.items()], now)
    session.add_all(GoldenTrial(inspection_id=id_, sample=one.id, sent_at=now) for id_, one in new.items())
    told = [{"inspection": str(id_), "station": one.station, "name": one.name} for id_, one in new.items()]
    events.record(session, SENT, by, product, {"why": why, "trials": told})
    return list(new)


def _inspection(
    id_: UUID, sample: GoldenSample, lines: dict[str, str | None], now: datetime
) -> NewInspection:
    return NewInspection(
        id=id_,
        product=sample.product,
        station=sample.station,
        line=lines[sample.station],
        serial=label(sample.name),
        lot=None,
        captured_at=now,
        received_at=now,
        image_sha256=sample.image_sha256,
        image_key=key_of(sample.image_sha256),
        image_bytes=sample.image_bytes,
        image_width=sample.image_width,
        image_height=sample.image_height,
        image_format=sample.image_format,
    )


def check(session: Session) -> list[Outcome]:
    """Check the trials that have their verdict by now, and tell what waits too long; gives the former.

    Leaves an event of each, and opens and closes alarms. A sample that somebody else checks just now is left
    to them.
    """
    query = (
        _trials()
        .where(GoldenTrial.checked_at.is_(None))
        .order_by(GoldenTrial.inspection_id)
        .with_for_update(of=(GoldenTrial, GoldenSample), skip_locked=True, key_share=True)
    )
    found = session.execute(query).all()
    now = clock.now(session) if found else None
    checked = []
    for trial, sample, result in found:
        if result is None:
            if now is not None and now - trial.sent_at > JUDGED_WITHIN:
                golden_alarms.waits(session, sample, trial)
            continue
        trial.passed, trial.checked_at = passes(sample.expected, result), now
        outcome = _outcome(trial, sample, result)
        events.record(session, PASSED if trial.passed else FAILED, ACTOR, sample.product, _told(outcome))
        if trial.passed:
            golden_alarms.passed(session, sample, trial)
        elif result.verdict == "error":
            golden_alarms.failed(session, sample, trial, "error", str(result.error), _told(outcome))
        else:
            golden_alarms.failed(session, sample, trial, "wrong", _said(outcome), _told(outcome))
        checked.append(outcome)
    return checked


def passes(expected: str, result: Result) -> bool:
    """Whether a sample was judged as what it is: a bad part is caught also where a person has to look."""
    verdict = results.by_model(result)
    return verdict == "ok" if expected == "ok" else verdict in {"ng", "inconclusive"}


def _said(found: Outcome) -> str:
    score, threshold = found.score or 0.0, found.threshold or 0.0
    return f"it was judged {found.verdict}, with score {score:.4g} and threshold {threshold:.4g}"


def _told(found: Outcome) -> dict[str, Any]:
    return {
        "inspection": str(found.trial),
        "station": found.station,
        "name": found.name,
        "expected": found.expected,
        "verdict": found.verdict,
        "score": found.score,
        "threshold": found.threshold,
        "model": found.model_version,
    }


def newest(
    session: Session, product: str | None = None, limit: int | None = None, after: UUID | None = None
) -> list[Outcome]:
    """Give the trials, of one product or all, newest first, those older than `after`."""
    query = _trials().order_by(GoldenTrial.inspection_id.desc()).limit(limit)
    if product is not None:
        query = query.where(GoldenSample.product == product)
    if after is not None:
        query = query.where(GoldenTrial.inspection_id < after)
    return [_outcome(*row) for row in session.execute(query)]


def of(session: Session, ids: Collection[UUID]) -> list[Outcome]:
    """Give the trials of the ids, by station and name."""
    query = _trials().where(GoldenTrial.inspection_id.in_(ids))
    found = session.execute(query.order_by(GoldenSample.station, GoldenSample.name))
    return [_outcome(*row) for row in found]


def _trials() -> Select[GoldenTrial, GoldenSample, Any]:
    return (
        select(GoldenTrial, GoldenSample, Result)
        .join(GoldenSample, GoldenSample.id == GoldenTrial.sample)
        .outerjoin(Result, Result.inspection_id == GoldenTrial.inspection_id)
    )


def _outcome(trial: GoldenTrial, sample: GoldenSample, result: Result | None) -> Outcome:
    return Outcome(
        trial=trial.inspection_id,
        sample=sample.id,
        product=sample.product,
        station=sample.station,
        name=sample.name,
        expected=sample.expected,
        sent_at=trial.sent_at,
        passed=trial.passed,
        verdict=None if result is None else results.by_model(result),
        held=result is not None and results.HELD in result.timings,
        score=None if result is None else result.score,
        threshold=None if result is None else result.threshold,
        model_version=None if result is None else result.model_version,
        error=None if result is None else result.error,
    )
