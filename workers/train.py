"""Training from what the line itself has produced, in its own queue and worker process."""

from dataclasses import dataclass
from pathlib import Path

from celery.utils.log import get_task_logger

from db import approvals, events, inspections, models
from db.home import private_folder
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.settings import DatabaseSettings
from model import bundle, training
from model.training import Trained
from workers import escapes
from workers.celery import app
from workers.escapes import Escapes
from workers.runtime import Runtime, runtime

logger = get_task_logger(__name__)

# Enough for the default network; more only lengthens the training.
IMAGES = 1000


@dataclass(frozen=True)
class Kept:
    """A model that is registered; `escapes` is None where no defect has been reviewed."""

    version: str
    escapes: Escapes | None
    promoted: bool


# Acknowledged before it starts: a training may outlast the time after which the broker hands an
# unacknowledged message to the next trainer, and would be done again and again. Its events tell of it.
@app.task(name="workers.train", acks_late=False)
def train(product: str) -> None:
    """Train `product` on its newest parts that were judged ok, and register the model.

    It becomes champion only where the product has none: whether a new model may replace one is for a
    person to say (`pyramidion models promote`).
    """
    state = runtime()
    with state.sessions.begin() as session:
        events.record(session, "training.started", "trainer", product)
        hashes = inspections.newest_ok(session, product, IMAGES)
    blobs = state.store.get_many(hashes)
    images = [blob for blob in blobs if not isinstance(blob, ImageStoreError)]
    try:
        away = next((blob for blob in blobs if isinstance(blob, ImageStoreUnavailableError)), None)
        if away is not None:
            raise away
        trained = training.train(images, device=state.device, checkpoints=checkpoints())
    except (
        training.TooFewImagesError,
        training.UnreadableImageError,
        training.UselessModelError,
        ImageStoreError,
    ) as error:
        detail = {"reason": str(error), "images": len(images), "lost": len(blobs) - len(images)}
        with state.sessions.begin() as session:
            events.record(session, "training.failed", "trainer", product, detail)
        logger.error("training of %s failed: %s", product, error)  # noqa: TRY400  # the message says it all
        return
    kept = keep(
        state, trained, product, actor="trainer", note=f"{len(images)} images from the line's own history"
    )
    logger.info("trained %s: %s", product, kept.version)
    if kept.escapes is not None:
        logger.info("%s: %s", product, kept.escapes.note)


def checkpoints() -> Path:
    """Give the folder of trainings in hand: the same one goes on from where it was stopped or killed."""
    return private_folder(DatabaseSettings().home / "training")


def keep(
    state: Runtime, trained: Trained, product: str, *, actor: str, note: str, promote: bool = False
) -> Kept:
    """Save a trained model, store its weights and register it.

    `promote` makes it the champion at once; a product without a champion takes it in any case; but where a
    promotion takes a signature, neither does: `promoted` says what was done. Defects that
    people have found are scored with it, and how many escape stands in its note and in an event.
    """
    saved = bundle.save(trained, private_folder(state.bundles), product=product)
    state.store.put(saved.weights.read_bytes())  # before the transaction: it may take a while
    escaping = escapes.count(state, saved.folder, product)
    if escaping is not None:
        note = f"{note}; {escaping.note}"
    with state.sessions.begin() as session:
        models.ensure_product(session, product)
        models.register(
            session, saved.version, product, saved.manifest, saved.weights_sha256, trained.facts.images, note
        )
        promoted = (promote or models.champion(session, product) is None) and not approvals.required(
            "promotion"
        )
        if promoted:
            models.set_champion(session, product, saved.version, actor=actor, why=note)
        if escaping is not None:
            detail = {"model": saved.version, **escaping.as_json()}
            events.record(session, "model.measured", actor, product, detail)
    return Kept(saved.version, escaping, promoted)
