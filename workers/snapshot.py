"""What a training run trains on: frozen when it is first taken, read again by whoever goes on with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db import datasets, runs
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from model.training import TrainingStoppedError
from workers.pulse import Pulse
from workers.runtime import Runtime
from workers.snapshot_freeze import HOLD_OUT, TRAIN, freeze
from workers.snapshot_settings import SnapshotSettings


@dataclass(frozen=True)
class HeldOut:
    """A good part that training never sees; `name` is its inspection's id."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Snapshot:
    """`dataset` is the hash that the model's manifest states; `groups` names each image's group, in order.

    `trusted` are the places of those to train on that people called good.
    """

    dataset: str
    train: list[bytes]
    groups: list[str]
    hold_out: list[HeldOut]
    trusted: frozenset[int] = frozenset()


def of_run(state: Runtime, pulse: Pulse) -> Snapshot:
    """Give what the run of the pulse trains on and is examined with; its first trainer chooses it.

    Raises model.training.TooFewImagesError with the numbers and the cure,
    db.imagestore.ImageStoreUnavailableError, db.runs.RunLostError and model.training.TrainingStoppedError.
    """

    def wanted() -> None:
        if pulse.must_stop():
            raise TrainingStoppedError("stopped while its images were chosen: whoever goes on chooses anew")

    held = pulse.held
    with state.reading() as session:
        kept = runs.dataset(session, held)
    if kept is not None:
        return _read(state, pulse, kept.sha256, kept.entries)
    frozen = freeze(state, held.product, SnapshotSettings(), wanted)
    with state.sessions.begin() as session:
        name = datasets.keep(session, held.product, frozen.entries, frozen.summary)
        runs.train_on(session, held, name)
    return _read(state, pulse, name, frozen.entries)


def _read(state: Runtime, pulse: Pulse, dataset: str, entries: Sequence[Mapping[str, Any]]) -> Snapshot:
    """Read the images; those that are gone or damaged since are missing, and the run's log says so."""
    there = []
    for entry, blob in zip(
        entries, state.store.get_many([entry["sha256"] for entry in entries]), strict=True
    ):
        if isinstance(blob, ImageStoreUnavailableError):
            raise blob
        if not isinstance(blob, ImageStoreError):
            there.append((entry, blob))
    if len(there) < len(entries):
        pulse.say(f"{len(entries) - len(there)} of {len(entries)} images can no longer be read")
    trained = [(entry, blob) for entry, blob in there if entry["part"] == TRAIN]
    return Snapshot(
        dataset=dataset,
        train=[blob for _, blob in trained],
        groups=[entry["group"] for entry, _ in trained],
        hold_out=[HeldOut(entry["id"], blob) for entry, blob in there if entry["part"] == HOLD_OUT],
        trusted=frozenset(n for n, (entry, _) in enumerate(trained) if entry.get("trusted")),
    )
