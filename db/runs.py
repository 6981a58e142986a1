"""Training runs: rows that are the trainers' queue, one open run a product, each held by a lease.

All times are those of the database's clock. A trainer that was killed, or hangs, lets its lease lapse, and
another takes the run. One that lost it so, or to a cancellation, changes nothing any more: whatever it writes
goes only to a row that it still holds.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from db import clock, events, inspections
from db.ids import uuid7
from db.insert import insert_into
from db.tables import Dataset, TrainingRun

Why = Literal["on demand", "schedule", "drift"]
OPEN: Final = ("requested", "running")
LOG_CHARACTERS: Final = 4096


class RunThereError(Exception):
    """The product has an open run already."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        super().__init__(
            f"{run.product!r} has a training run already, {run.id}, {run.state} since "
            f"{run.started_at or run.requested_at:%Y-%m-%d %H:%M:%S} UTC: wait for it "
            f"(`pyramidion runs show {run.id}`), or end it with `pyramidion runs cancel {run.id}`"
        )


class UnknownRunError(Exception):
    """There is no such run."""

    def __init__(self, run: UUID) -> None:
        super().__init__(f"there is no training run {run}; `pyramidion runs` lists them")


class RunOverError(Exception):
    """A run that has ended can't be cancelled."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(f"training run {run.id} is {run.state} already: nothing was changed")


class RunLostError(Exception):
    """The run is another trainer's by now, or was cancelled."""

    def __init__(self, run: UUID) -> None:
        super().__init__(f"training run {run} was cancelled, or taken up by another trainer")


@dataclass(frozen=True)
class Held:
    """A run that this trainer has taken: `attempt` counts from 1, `log` is what former ones said."""

    id: UUID
    product: str
    attempt: int
    holder: str
    log: str

    def is_mine(self) -> ColumnElement[bool]:
        mine = TrainingRun.holder == self.holder
        return (TrainingRun.id == self.id) & (TrainingRun.state == "running") & mine


@dataclass(frozen=True)
class Standing:
    """How far a training is; `loss` is None before the first epoch, `eta_s` while unknown."""

    epoch: int
    epochs: int
    loss: float | None
    eta_s: float | None


def request(session: Session, product: str, why: Why, by: str) -> UUID:
    """Ask for a training; gives the run. Whoever commits then wakes the trainers (workers.queue).

    Raises UnknownProductError, and RunThereError where one is requested or running.
    """
    inspections.require_product(session, product)
    now = clock.now(session)
    row = {
        "id": uuid7(now),
        "product": product,
        "why": why,
        "requested_by": by,
        "requested_at": now,
        "state": "requested",
        "attempt": 0,
        "log": "",
    }
    asked = insert_into(session, TrainingRun).values(row).on_conflict_do_nothing().returning(TrainingRun.id)
    while (run := session.scalar(asked)) is None:
        there = session.scalar(
            select(TrainingRun).where(TrainingRun.product == product, TrainingRun.state.in_(OPEN))
        )
        if there is not None:  # else it ended between the two looks
            raise RunThereError(there)
    events.record(session, "training.requested", by, product, {"run": str(run), "why": why})
    return run


def take(session: Session, lease_s: float, attempts: int) -> Held | None:
    """Take the run that waits longest, or whose lease has lapsed; None where there is none.

    One that was tried `attempts` times already fails.
    """
    now = clock.now(session)
    free = or_(TrainingRun.lease_until.is_(None), TrainingRun.lease_until < now)
    query = (
        select(TrainingRun)
        .where(TrainingRun.state.in_(OPEN), free)
        .order_by(TrainingRun.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (run := session.scalar(query)) is not None:
        if run.attempt < attempts:
            break
        reason = (
            f"its trainer was killed, hung or lost the database {run.attempt} times "
            "(PYRAMIDION_TRAINING_ATTEMPTS): see the trainers' logs, then ask again"
        )
        _end(session, run, "failed", reason=reason)
        session.flush()
        events.record(session, "training.failed", "trainer", run.product, _detail(run))
    if run is None:
        return None
    run.state, run.attempt = "running", run.attempt + 1
    run.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"[-255:]
    run.lease_until, run.heartbeat_at = now + timedelta(seconds=lease_s), now
    run.started_at = run.started_at or now
    events.record(
        session, "training.started", "trainer", run.product, {"run": str(run.id), "attempt": run.attempt}
    )
    return Held(run.id, run.product, run.attempt, run.holder, run.log)


def dataset(session: Session, held: Held) -> Dataset | None:
    """Give what a run trains on, None where its first trainer has not chosen it yet."""
    name = session.scalar(select(TrainingRun.dataset).where(TrainingRun.id == held.id))
    return None if name is None else session.get_one(Dataset, name)


def train_on(session: Session, held: Held, dataset: str) -> None:
    """Note which dataset a run trains on, for whoever takes it up later; raises RunLostError."""
    _mine(session, held, held.log).dataset = dataset


def beat(session: Session, held: Held, lease_s: float, standing: Standing | None, log: str) -> bool:
    """Renew the lease and say how far the training is; False where the run is no longer this trainer's."""
    now = clock.now(session)
    values: dict[str, Any] = {"heartbeat_at": now, "lease_until": now + timedelta(seconds=lease_s)}
    if standing is not None:
        values |= {
            "epoch": standing.epoch,
            "epochs": standing.epochs,
            "loss": standing.loss,
            "eta_s": standing.eta_s,
        }
    values["log"] = log[-LOG_CHARACTERS:]
    renewed = update(TrainingRun).where(held.is_mine()).values(values).returning(TrainingRun.id)
    return session.scalar(renewed) is not None


def succeed(
    session: Session,
    held: Held,
    version: str,
    log: str,
    *,
    gate_passed: bool | None = None,
    gate_said: Sequence[str] | None = None,
) -> None:
    """End a run with its model, in the transaction that registers it; raises RunLostError.

    What the gate said of the model is kept where it was asked.
    """
    run = _mine(session, held, log)
    _end(session, run, "succeeded", model_version=version)
    run.gate_passed, run.gate_said = gate_passed, None if gate_said is None else list(gate_said)
    events.record(
        session, "training.succeeded", "trainer", run.product, {"run": str(run.id), "model": version}
    )


def fail(session: Session, held: Held, reason: str, log: str) -> None:
    """End a run without a model; raises RunLostError."""
    run = _mine(session, held, log)
    _end(session, run, "failed", reason=reason)
    events.record(session, "training.failed", "trainer", run.product, _detail(run))


def give_back(session: Session, held: Held, log: str, *, pause_s: float = 0, counts: bool = True) -> None:
    """Let another trainer take the run, after a pause; an attempt that doesn't count is none.

    Raises RunLostError.
    """
    run = _mine(session, held, log)
    run.state, run.attempt = "requested", held.attempt if counts else held.attempt - 1
    run.lease_until = clock.now(session) + timedelta(seconds=pause_s) if pause_s else None


def cancel(session: Session, id_: UUID, by: str) -> TrainingRun:
    """Cancel a run; its trainer, where it has one, stops within seconds.

    Raises UnknownRunError and RunOverError.
    """
    run = session.get(TrainingRun, id_, with_for_update=True)
    if run is None:
        raise UnknownRunError(id_)
    if run.state not in OPEN:
        raise RunOverError(run)
    _end(session, run, "cancelled")
    events.record(session, "training.cancelled", by, run.product, {"run": str(run.id)})
    return run


def find(session: Session, id_: UUID) -> TrainingRun:
    """Give a run; raises UnknownRunError."""
    run = session.get(TrainingRun, id_)
    if run is None:
        raise UnknownRunError(id_)
    return run


def newest(
    session: Session, product: str | None = None, limit: int | None = None, after: UUID | None = None
) -> Sequence[TrainingRun]:
    """Give the runs, of one product or all, newest first, those older than `after`."""
    query = select(TrainingRun).order_by(TrainingRun.id.desc()).limit(limit)
    if after is not None:
        query = query.where(TrainingRun.id < after)
    return session.scalars(query if product is None else query.where(TrainingRun.product == product)).all()


def unended(session: Session) -> Sequence[TrainingRun]:
    """Give the runs that are requested or running, of all products, oldest first."""
    query = select(TrainingRun).where(TrainingRun.state.in_(OPEN))
    return session.scalars(query.order_by(TrainingRun.id)).all()


def last_succeeded_at(session: Session, product: str) -> datetime | None:
    """Tell when the product's newest run that succeeded began, and so which images it could know."""
    query = (
        select(TrainingRun.started_at)
        .where(TrainingRun.product == product, TrainingRun.state == "succeeded")
        .order_by(TrainingRun.id.desc())
        .limit(1)
    )
    return session.scalar(query)


def is_open(session: Session, product: str) -> bool:
    """Say whether a run of the product is requested or running, without waiting for its trainer."""
    query = select(TrainingRun.id).where(TrainingRun.product == product, TrainingRun.state.in_(OPEN))
    return session.scalar(query) is not None


def last_requested_at(session: Session, product: str, why: Why) -> datetime | None:
    """Tell when a run of the product was last asked for, for that reason."""
    query = select(TrainingRun.requested_at).where(TrainingRun.product == product, TrainingRun.why == why)
    return session.scalar(query.order_by(TrainingRun.id.desc()).limit(1))


def _mine(session: Session, held: Held, log: str) -> TrainingRun:
    run = session.scalar(select(TrainingRun).where(held.is_mine()).with_for_update())
    if run is None:
        raise RunLostError(held.id)
    run.log = log[-LOG_CHARACTERS:]
    return run


def _end(
    session: Session,
    run: TrainingRun,
    state: str,
    *,
    reason: str | None = None,
    model_version: str | None = None,
) -> None:
    run.state, run.reason, run.model_version = state, reason, model_version
    run.ended_at, run.lease_until, run.eta_s = clock.now(session), None, None


def _detail(run: TrainingRun) -> dict[str, Any]:
    return {"run": str(run.id), "reason": run.reason}
