"""Capturing: one thread brings images into the spool, another takes them in from there."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Final

from capture.feed import Feeder, Known, Passed
from capture.frames import DamagedFrameError, Frame
from capture.intake import Intake, Refusal
from capture.patience import Patience, StoppedError
from capture.settings import CaptureSettings
from capture.sources import Item, Skipped
from capture.spool import Spool

_BATCH_BYTES: Final = 64 * 1024 * 1024  # of images that are held in memory at once
_KEPT_REASONS: Final = 1000


@dataclass(frozen=True)
class Progress:
    """What became of the images so far; each is counted once.

    `accepted` came from the source, `recovered` from the spool, where an earlier run had left them; `known`
    were accepted before. `unannounced` ones are accepted, and will be queued by the sweeper. `waiting` are in
    the spool. `left_out` names the refused and skipped ones with their reasons (the last 1000).
    """

    accepted: int = 0
    known: int = 0
    refused: int = 0
    skipped: int = 0
    recovered: int = 0
    unannounced: int = 0
    waiting: int = 0
    left_out: tuple[Refusal | Skipped, ...] = ()


def _ignore(_: object) -> None:
    pass


def run(
    source: Iterable[Item],
    spool: Spool,
    intake: Intake,
    settings: CaptureSettings,
    *,
    stop: Event,
    on_progress: Callable[[Progress], None] = _ignore,
    say: Callable[[str], None] = _ignore,
) -> Progress:
    """Take in what the spool holds and what the source gives, until it ends or `stop` is set.

    While database or image store are away it waits, and `say` is told so once; the source goes on filling the
    spool until `capture_ahead` frames wait. Whatever ends it, what is spooled and not accepted stays spooled.
    Raises SpoolError, UnknownProductError, and what the source raises; `stop` is set then.
    """
    patience = Patience(stop, settings.retry_max_s, say)
    passed: Queue[Passed] = Queue(settings.capture_ahead)
    leftover = spool.pending()
    line = _Intaking(spool, intake, patience, settings.intake_batch, passed, on_progress, deque(leftover))
    feeder = Feeder(spool, frozenset(path.stem for path in leftover), intake, patience, passed, stop, say)
    thread = Thread(target=feeder.feed, args=(source,), name="source", daemon=True)
    thread.start()
    try:
        while not line.ended and not stop.is_set():
            line.step()
    except StoppedError:
        pass
    except BaseException:
        stop.set()
        raise
    finally:
        if stop.is_set():
            thread.join(10)
    if line.error is not None:
        stop.set()
        raise line.error
    return replace(line.progress, waiting=len(spool.pending()))


@dataclass
class _Intaking:
    """The side that empties the spool."""

    spool: Spool
    intake: Intake
    patience: Patience
    batch: int
    passed: Queue[Passed]
    on_progress: Callable[[Progress], None]
    leftover: deque[Path]
    progress: Progress = field(default_factory=Progress)
    left_out: deque[Refusal | Skipped] = field(default_factory=lambda: deque(maxlen=_KEPT_REASONS))
    ended: bool = False
    error: BaseException | None = None

    def step(self) -> None:
        """Take in one batch of what waits; returns after a moment where nothing does."""
        if self.leftover:
            paths = [self.leftover.popleft() for _ in range(min(self.batch, len(self.leftover)))]
            self._take(paths, recovered=True)
            return
        paths, refusals, other = self._gather()
        if refusals:
            self.patience.call(lambda: self.intake.refuse(refusals))
            self._count(refused=len(refusals), left_out=refusals)
        if paths:
            self._take(paths, recovered=False)
        if paths or refusals or other:
            self.on_progress(self.progress)

    def _gather(self) -> tuple[list[Path], list[Refusal], bool]:
        """Collect what is there now, so that a busy line makes large batches and a slow one isn't delayed."""
        paths: list[Path] = []
        refusals: list[Refusal] = []
        other = False
        patience_s = 0.1
        while len(paths) + len(refusals) < self.batch and not self.ended:
            try:
                item = self.passed.get(timeout=patience_s) if patience_s else self.passed.get_nowait()
            except Empty:
                break
            patience_s = 0
            if isinstance(item, Path):
                paths.append(item)
            elif isinstance(item, Refusal):
                refusals.append(item)
            elif isinstance(item, Skipped):
                self._count(skipped=1, left_out=[item])
                other = True
            elif isinstance(item, Known):
                self._count(known=item.number)
                other = True
            else:
                self.ended, self.error = True, item.error
        return paths, refusals, other

    def _take(self, paths: list[Path], *, recovered: bool) -> None:
        frames: list[tuple[Path, Frame]] = []
        size = 0
        for path in paths:
            try:
                frame = self.spool.read(path)
            except DamagedFrameError as error:
                self._refuse_damaged(path, str(error))
                continue
            frames.append((path, frame))
            size += len(frame.data)
            if size > _BATCH_BYTES:
                self._accept(frames, recovered=recovered)
                frames, size = [], 0
        if frames:
            self._accept(frames, recovered=recovered)
        self.on_progress(self.progress)

    def _accept(self, frames: list[tuple[Path, Frame]], *, recovered: bool) -> None:
        report = self.patience.call(lambda: self.intake.take([frame for _, frame in frames]))
        reasons = {refusal.id: refusal.reason for refusal in report.refused}
        for path, frame in frames:
            if frame.id in reasons:
                self.spool.set_aside(path, reasons[frame.id], frame)
            else:
                self.spool.remove(path)
        taken = {"recovered" if recovered else "accepted": len(report.accepted)}
        self._count(
            **taken,
            known=len(report.known),
            refused=len(report.refused),
            unannounced=report.unannounced,
            left_out=report.refused,
        )

    def _refuse_damaged(self, path: Path, reason: str) -> None:
        why = f"the file in the spool is damaged: {reason}"
        refusal = Refusal(None, path.name, why, product="(unknown)", station=self.spool.folder.name)
        self.patience.call(lambda: self.intake.refuse([refusal]))
        self.spool.set_aside(path, why)
        self._count(refused=1, left_out=[refusal])

    def _count(self, *, left_out: Iterable[Refusal | Skipped] = (), **more: int) -> None:
        self.left_out.extend(left_out)
        sums = {name: getattr(self.progress, name) + number for name, number in more.items()}
        waiting = self.passed.qsize() + len(self.leftover)
        self.progress = replace(self.progress, **sums, waiting=waiting, left_out=tuple(self.left_out))
