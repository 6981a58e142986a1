"""Training from what the line itself has produced: a run is taken, trained, and ended with a model.

A run that is cut off goes on from the last whole epoch of whoever had it before, on the same images.
"""

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from celery.utils.log import get_task_logger

from db import models, runs
from db.home import private_folder
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.outage import UNAVAILABLE
from db.settings import DatabaseSettings
from model import training
from model.bundle import BundleError
from model.config import TrainConfig
from model.together import TogetherError
from workers import snapshot
from workers.candidate import keep
from workers.pulse import Pulse
from workers.runtime import Runtime
from workers.snapshot_settings import SnapshotSettings

logger = get_task_logger(__name__)


def train_next(
    state: Runtime, stopping: threading.Event, progressed: Callable[[], None] = lambda: None
) -> UUID | None:
    """Take a run and train on its product's good parts; gives the run, None where none waits.

    Its model is examined: one that is no worse than the champion becomes challenger, and champion where the
    product has none (workers.candidate). Once `stopping` is set the run goes back, and on from there;
    `progressed` is called with each step.
    Raises what the database raises while it is away, or what nobody foresaw: the run has failed then.
    """
    settings = state.settings
    with state.sessions.begin() as session:
        held = runs.take(session, settings.training_lease_s, settings.training_attempts)
    if held is None:
        return None
    with Pulse(state.sessions, held, settings.training_lease_s, stopping, progressed) as pulse:
        try:
            with _unless_lost():
                _train_or_stop(state, pulse)
        except ImageStoreUnavailableError as error:
            pulse.say(f"{error}: it is tried again")
            with _unless_lost(), state.sessions.begin() as session:  # an outage is no attempt, however long
                pause_s = settings.training_lease_s
                runs.give_back(session, held, pulse.log, pause_s=pause_s, counts=False)
        except (
            training.TooFewImagesError,
            training.UnreadableImageError,
            training.UselessModelError,
            TogetherError,
            BundleError,
            models.ChampionChangedError,
            ImageStoreError,
        ) as error:
            _failed(state, pulse, str(error))
        except UNAVAILABLE:
            raise  # there is nowhere to note it: the lease lapses
        except Exception as error:
            pulse.say(traceback.format_exc())
            _failed(state, pulse, f"{type(error).__name__}: {error}")
            raise
    return held.id


@contextmanager
def _unless_lost() -> Iterator[None]:
    """Let a run be that was cancelled, or taken up by another, whatever was to be done with it."""
    try:
        yield
    except runs.RunLostError as error:
        logger.warning("%s: nothing is kept of this training", error)


def _train_or_stop(state: Runtime, pulse: Pulse) -> None:
    try:
        _train(state, pulse)
    except training.TrainingStoppedError:
        _stopped(state, pulse)


def _train(state: Runtime, pulse: Pulse) -> None:
    held = pulse.held
    taken = snapshot.of_run(state, pulse)
    pulse.say(
        f"attempt {held.attempt} by {held.holder}: {len(taken.train)} images to train on, "
        f"{len(taken.hold_out)} held out"
    )
    trained = training.train(
        taken.train,
        config_of(state, held.product),
        processes=state.settings.training_processes,
        device=state.device,
        progress=pulse.note,
        stop=pulse.is_unwanted,
        stepped=pulse.step,
        checkpoints=checkpoints(),
        keep_checkpoint=True,
        groups=taken.groups,
        trim=SnapshotSettings().dataset_tail,
        trusted=taken.trusted,
    )
    registered = keep(
        state,
        trained,
        held.product,
        actor="trainer",
        note=f"{len(taken.train)} images from the line's own history",
        pulse=pulse,
        snapshot=taken,
    )
    logger.info("trained %s: %s", held.product, registered.version)
    if registered.escapes is not None:
        logger.info("%s: %s", held.product, registered.escapes.note)


def config_of(state: Runtime, product: str) -> TrainConfig:
    """Give how the product's champion was trained, preset, size and all: its successor is of its kind.

    The default where there is no champion.
    """
    with state.reading() as session:
        champion = models.champion(session, product)
    if champion is None:
        return TrainConfig()
    return TrainConfig.from_json(json.loads(champion.manifest)["training"]["config"])


def _stopped(state: Runtime, pulse: Pulse) -> None:
    if pulse.is_lost():
        raise runs.RunLostError(pulse.held.id)
    pulse.say("its worker is told to stop: another goes on")
    with state.sessions.begin() as session:
        runs.give_back(session, pulse.held, pulse.log, counts=False)
    logger.info("training of %s goes back: run %s", pulse.held.product, pulse.held.id)


def _failed(state: Runtime, pulse: Pulse, reason: str) -> None:
    pulse.say(f"failed: {reason}")
    logger.error("training of %s failed: %s", pulse.held.product, reason)
    with _unless_lost(), state.sessions.begin() as session:
        runs.fail(session, pulse.held, reason, pulse.log)


def checkpoints() -> Path:
    """Give the folder of trainings in hand: the same one goes on from where it was stopped or killed."""
    return private_folder(DatabaseSettings().home / "training")
