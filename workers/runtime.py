"""What a scoring process holds once it has started: database, store, threads and loaded models."""

import functools
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import torch
from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db.approvals import ApprovalSettings
from db.engine import make_engine, session_factory
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings
from db.tables import ModelVersion
from model import bundle
from model.scoring import Scorer
from workers import bundles
from workers.drift_settings import DriftSettings
from workers.settings import WorkerSettings

logger = get_task_logger(__name__)


class DeviceError(Exception):
    """The device asked for is not there."""


class DeviceLostError(Exception):
    """The device stopped working; only a new process can use it again."""


def end_for_want_of_device(error: DeviceLostError) -> None:
    """End this process in good order; whoever supervises it starts the next one."""
    logger.critical("the device failed, this worker ends: %s", error)
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Runtime:
    """One per worker process; made on first use, never at import."""

    settings: WorkerSettings
    sessions: sessionmaker[Session]
    reading: sessionmaker[Session]
    store: ImageStore
    bundles: Path
    device: str
    threads: ThreadPoolExecutor
    # One thread uses the device at a time: what the others prepare or record meanwhile needs none.
    using_device: Lock = field(default_factory=Lock)
    # How long the model took for an image lately; None before the first batch.
    image_s: float | None = None
    # Seconds of a window of db.drift; 0 where nothing is noted for it.
    drift_window_s: int = field(default_factory=lambda: DriftSettings().drift_window_s)
    # Share of the threshold within which people are asked to look at a part.
    borderline: float = field(default_factory=lambda: ApprovalSettings().review_borderline)
    _loading: Lock = field(default_factory=Lock)
    _scorers: OrderedDict[str, Scorer] = field(default_factory=OrderedDict)

    @contextmanager
    def on_device(self, waits: Callable[[], None]) -> Iterator[None]:
        """Use the device alone; `waits` is called each second until it is free, and once it is.

        To wait is no hanging: who has the device and hangs is told by its own silence.
        """
        while not self.using_device.acquire(timeout=1):
            waits()
        try:
            waits()
            yield
        finally:
            self.using_device.release()

    def note_speed(self, images: int, seconds: float) -> None:
        """Note how long the device took for so many images."""
        now = seconds / images
        self.image_s = now if self.image_s is None else 0.7 * self.image_s + 0.3 * now

    def images_at_once(self) -> int:
        """Give how many images make a batch that the model takes `batch_s` for, at most `batch_images`."""
        return self.images_ahead(1)

    def images_ahead(self, batches: int) -> int:
        """Give how many images to hold, at most so many full batches: what the model does in `batch_s`.

        More of a slow model's would wait here while another worker has nothing to do.
        """
        most = batches * self.settings.batch_images
        return most if not self.image_s else max(1, min(most, round(self.settings.batch_s / self.image_s)))

    def scorer(self, version: ModelVersion) -> Scorer:
        """Give the loaded model of a version, loading it at need and dropping the least recently used.

        Safe in threads.

        Raises model.bundle.BundleError for a bundle that is not what its id says and
        db.imagestore.ImageStoreError when its weights cannot be had.
        """
        with self._loading:
            return self._scorer(version)

    def _scorer(self, version: ModelVersion) -> Scorer:
        if version.id in self._scorers:
            self._scorers.move_to_end(version.id)
            return self._scorers[version.id]
        folder = bundles.fetch(version, self.store, self.bundles)
        try:
            checked = bundle.load(folder)
        except bundle.BundleError:
            # Our copy may have been damaged since: the store's is asked for once more before we give up.
            checked = bundle.load(bundles.fetch_again(version, self.store, self.bundles))
        loaded = self.scorer_of(checked)
        self._scorers[version.id] = loaded
        while len(self._scorers) > 1 and self._loaded_bytes() > self.settings.models_max_bytes:
            self._scorers.popitem(last=False)
        return loaded

    def _loaded_bytes(self) -> int:
        return sum(one.weights_bytes for one in self._scorers.values())

    def scorer_of(self, loaded: bundle.Bundle) -> Scorer:
        """Make a scorer that works as the settings say."""
        settings = self.settings
        return Scorer(loaded, self.device, bf16=settings.bf16, band=settings.inconclusive_band)


def choose_device(wanted: str) -> str:
    """Turn the setting `device` into a torch device; raises DeviceError where it cannot be had."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise DeviceError(
            f"PYRAMIDION_DEVICE={wanted!r} is no device: use auto, cpu, cuda or cuda:N"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"PYRAMIDION_DEVICE={wanted!r} but this process sees {torch.cuda.device_count()} CUDA devices: "
            "install a CUDA build of torch and its driver, or use cpu"
        )
    return wanted


def _cores() -> int:
    """The cores that this process may use: a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def runtime() -> Runtime:
    settings, database = WorkerSettings(), DatabaseSettings()
    engine = make_engine(database)
    # Measured on 2 cores, one of them busy: a training step took 14 times as long with 2 threads as with 1.
    torch.set_num_threads(settings.torch_threads or max(1, _cores() - 1))
    return Runtime(
        settings=settings,
        sessions=session_factory(engine),
        reading=session_factory(engine, read_only=True),
        store=open_image_store(database),
        bundles=database.home / "bundles",
        device=choose_device(settings.device),
        threads=ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode"),
    )


@functools.cache
def line_runtime() -> Runtime:
    """Give the same, device and models included, for what the line brings: a few statements, many times."""
    engine = make_engine(DatabaseSettings(), hot=True)
    sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
    return replace(runtime(), sessions=sessions, reading=reading)
