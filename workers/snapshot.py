"""What a training run trains on: chosen and frozen when it is first taken, read again by whoever goes on."""

from dataclasses import dataclass

from workers.pulse import Pulse
from workers.runtime import Runtime


@dataclass(frozen=True)
class HeldOut:
    """A good part that training never sees; `name` is its inspection's id."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Snapshot:
    """`dataset` is the hash that the model's manifest states; `groups` names each image's group, in order."""

    dataset: str
    train: list[bytes]
    groups: list[str]
    hold_out: list[HeldOut]


def of_run(state: Runtime, pulse: Pulse) -> Snapshot:
    """Give what the run of the pulse trains on and is examined with.

    Raises model.training.TooFewImagesError, db.imagestore.ImageStoreUnavailableError, db.runs.RunLostError
    and model.training.TrainingStoppedError.
    """
    raise NotImplementedError
