"""What becomes of a trained model: saved, examined, and registered as champion, challenger, or neither."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session

from db import approvals, events, models, runs
from db.home import private_folder
from db.models import ChampionChangedError
from model import bundle, training
from model.bundle import BundlePaths
from model.training import Trained
from workers import escapes, exam
from workers.escapes import Escapes
from workers.exam import Examined
from workers.pulse import Pulse
from workers.runtime import Runtime
from workers.snapshot import Snapshot

logger = get_task_logger(__name__)

EXAMINED: Final = "model.examined"
_EXAMS: Final = 3  # who is promoted during one is compared with in the next


@dataclass(frozen=True)
class Kept:
    """A model that is registered.

    `escapes` is None where no defect has been reviewed, `examined` where it had no exam.
    """

    version: str
    escapes: Escapes | None
    promoted: bool
    challenger: bool = False
    examined: Examined | None = None


@dataclass(frozen=True)
class _New:
    """A saved model, and what its registration tells of it."""

    saved: BundlePaths
    product: str
    images: int
    actor: str
    note: str
    promote: bool
    escapes: Escapes | None
    examined: Examined | None


def keep(
    state: Runtime,
    trained: Trained,
    product: str,
    *,
    actor: str,
    note: str,
    promote: bool = False,
    pulse: Pulse | None = None,
    snapshot: Snapshot | None = None,
) -> Kept:
    """Save a trained model, store its weights and register it.

    With a `snapshot` it is examined first. Where a champion judges the product, a model that the gate passes
    becomes challenger, and one that it refuses nothing at all. A product without a champion takes it as
    champion unless the gate refuses it; so does any product with `promote`. But where a promotion takes a
    signature, nobody is promoted: `promoted` says what was done.

    Defects that people have found are scored with it, and how many escape stands in its note and in an event.
    The run of a `pulse` succeeds with it; where it was lost, nothing is registered, and RunLostError raised.
    Raises TrainingStoppedError where the pulse must stop meanwhile, BundleError for a bundle that was
    damaged, and ChampionChangedError where one champion after the other was promoted during the exams.
    """
    dataset = None if snapshot is None else snapshot.dataset
    saved = bundle.save(trained, private_folder(state.bundles), product=product, dataset=dataset)

    def going_on() -> None:
        if pulse is not None and pulse.must_stop():
            raise training.TrainingStoppedError("the training was stopped while its model was measured")

    escaping = escapes.count(state, saved.folder, product, going_on)
    if escaping is not None:
        note = f"{note}; {escaping.note}"
    state.store.put(saved.weights.read_bytes())  # before the transaction: it may take a while
    exams = 0
    while True:
        exams += 1
        examined = None if snapshot is None else _examine(state, saved, product, snapshot, pulse, going_on)
        new = _New(saved, product, trained.facts.images, actor, note, promote, escaping, examined)
        try:
            with state.sessions.begin() as session:
                kept = _register(session, new, pulse)
        except ChampionChangedError as error:
            if exams == _EXAMS:
                raise
            logger.warning("%s is examined again: %s", saved.version, error)
        else:
            if trained.checkpoint is not None:
                trained.checkpoint.unlink(missing_ok=True)  # not before: a kill until now goes on from it
            return kept


def _examine(
    state: Runtime,
    saved: BundlePaths,
    product: str,
    snapshot: Snapshot,
    pulse: Pulse | None,
    going_on: Callable[[], None],
) -> Examined:
    examined = exam.examine(state, saved.folder, product, snapshot, going_on)
    if pulse is not None:
        for line in (f"exam: {examined.word}", *examined.said):
            pulse.say(line)
    logger.info("%s of %s %s: %s", saved.version, product, examined.word, "; ".join(examined.said))
    return examined


def _register(session: Session, new: _New, pulse: Pulse | None) -> Kept:
    version, product, examined = new.saved.version, new.product, new.examined
    models.ensure_product(session, product)
    models.lock(session, product)  # no champion changes from here on
    before = models.champion(session, product)
    if examined is not None and examined.champion != (None if before is None else before.id):
        raise ChampionChangedError(product, examined.champion, None if before is None else before.id)
    models.register(
        session, version, product, new.saved.manifest, new.saved.weights_sha256, new.images, new.note
    )
    refused = examined is not None and examined.passed is False
    promoted = (new.promote or (before is None and not refused)) and not approvals.required("promotion")
    challenger = examined is not None and bool(examined.passed) and before is not None
    _end_run(session, new, pulse)
    if examined is not None:
        told = {"model": version, "run": None if pulse is None else str(pulse.held.id), **examined.as_json()}
        events.record(session, EXAMINED, new.actor, product, told)
        if challenger:
            shown = {"said": list(examined.said), "champion": examined.champion, **examined.evidence}
            models.set_challenger(session, product, version, new.actor, shown)
    if promoted:
        models.set_champion(session, product, version, actor=new.actor, why=new.note)
    if new.escapes is not None:
        measured = {"model": version, **new.escapes.as_json()}
        events.record(session, "model.measured", new.actor, product, measured)
    return Kept(version, new.escapes, promoted, challenger, examined)


def _end_run(session: Session, new: _New, pulse: Pulse | None) -> None:
    if pulse is None:
        return
    pulse.say(f"model {new.saved.version}")
    examined = new.examined
    runs.succeed(
        session,
        pulse.held,
        new.saved.version,
        pulse.log,
        gate_passed=None if examined is None else examined.passed,
        gate_said=None if examined is None else examined.said,
    )
