"""Capturing: images go into the spool (capture.feed), and are taken in from there."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty
from threading import Event
from typing import Final

from capture.feed import Feeder, Known, Spooled
from capture.intake import Refusal
from capture.patience import Patience, StoppedError
from capture.pressure import Pressure
from capture.room import Room
from capture.settings import CaptureSettings
from capture.sources import Item, Skipped
from capture.spool import Spool
from capture.target import Target

_BATCH_BYTES: Final = 64 * 1024 * 1024  # of images that are held in memory at once
_KEPT_REASONS: Final = 1000


@dataclass(frozen=True)
class Progress:
    """What became of the images so far; each is counted once.

    `accepted` came from the source, `recovered` from the spool, where an earlier run had left them; `known`
    were accepted before. `unannounced` ones are accepted, and will be queued by the sweeper. `waiting` are in
    the spool, and take `waiting_bytes` there. `left_out` names the refused and skipped ones with reasons (the
    last 1000).
    """

    accepted: int = 0
    known: int = 0
    refused: int = 0
    skipped: int = 0
    recovered: int = 0
    unannounced: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    left_out: tuple[Refusal | Skipped, ...] = ()


def _ignore(_: object) -> None:
    pass


def run(
    source: Iterable[Item],
    spool: Spool,
    target: Target,
    settings: CaptureSettings,
    *,
    stop: Event,
    on_progress: Callable[[Progress], None] = _ignore,
    say: Callable[[str], None] = _ignore,
) -> Progress:
    """Take in what the spool holds and what the source gives, until it ends or `stop` is set.

    While `target` is away it waits, and `say` is told so once; the source goes on filling the
    spool while it has room (capture.room). Whatever ends it, what is spooled and not accepted stays spooled.
    Raises SpoolError, UnknownProductError or UploadRefusedError, and what the source raises; then `stop` is
    set.
    """
    patience = Patience(stop, settings.retry_max_s, say, target.described)
    leftover = deque(map(Spooled.left, spool.pending()))
    room = Room(spool.folder, settings)
    for one in leftover:
        room.occupy(one.number, one.size)
    ids = spool.ids() if leftover else frozenset()
    feeder = Feeder(spool, room, ids, target, patience, settings, stop, say)
    pressure = Pressure(target, settings, patience, stop, say)
    line = _Intaking(spool, target, patience, pressure, settings, feeder, on_progress, leftover)
    threads = feeder.start(source)
    try:
        while (not line.ended or line.unread) and not stop.is_set():
            line.step()
    except StoppedError:
        pass
    except BaseException:
        stop.set()
        raise
    finally:
        if stop.is_set():
            for thread in threads:
                thread.join(10)
    if line.error is not None:
        stop.set()
        raise line.error
    return replace(line.progress, waiting=spool.waiting(), waiting_bytes=spool.size())


@dataclass
class _Intaking:
    """The side that empties the spool."""

    spool: Spool
    target: Target
    patience: Patience
    pressure: Pressure
    settings: CaptureSettings
    feeder: Feeder
    on_progress: Callable[[Progress], None]
    leftover: deque[Spooled]
    unread: deque[Spooled] = field(default_factory=deque)
    progress: Progress = field(default_factory=Progress)
    left_out: deque[Refusal | Skipped] = field(default_factory=lambda: deque(maxlen=_KEPT_REASONS))
    ended: bool = False
    error: BaseException | None = None
    begun_at: float = 0.0  # the last batch

    def step(self) -> None:
        """Take in one batch of what waits; returns after a moment where nothing does."""
        for files, recovered in ((self.leftover, True), (self.unread, False)):
            if files:
                one = files.popleft()
                if one.path is not None:
                    self._take_file(one.path, recovered=recovered)
                self.feeder.done(one)
                self._tell()
                return
        spooled, refusals, other = self._gather()
        if refusals:
            self.patience.call(lambda: self.target.refuse(refusals))
            self._count(refused=len(refusals), left_out=refusals)
        if spooled:
            self._accept(spooled, recovered=False)
            for one in spooled:
                self.feeder.done(one)
        if spooled or refusals or other:
            self._tell()

    def _gather(self) -> tuple[list[Spooled], list[Refusal], bool]:
        """Collect what is there now, or comes within a moment of the last batch.

        So a busy line makes large batches, one part after a pause isn't delayed, and many that come one by
        one, each too late for the batch before, don't cost a transaction, a message and a batch each.
        """
        spooled: list[Spooled] = []
        refusals: list[Refusal] = []
        number, size = 0, 0
        other = False
        patience_s = 0.1
        passed = self.feeder.passed
        while number < self.settings.intake_batch and size < _BATCH_BYTES and not self.ended:
            try:
                item = passed.get(timeout=patience_s) if patience_s > 0 else passed.get_nowait()
            except Empty:
                break
            patience_s = self.begun_at + self.settings.intake_apart_s - time.monotonic()
            if isinstance(item, Spooled):
                if item.path is not None and not item.frames:
                    self.unread.append(item)
                    other = True
                    continue
                spooled.append(item)
                number += len(item.frames)
                size += item.size
            elif isinstance(item, Refusal):
                refusals.append(item)
                number += 1
            elif isinstance(item, Skipped):
                self._count(skipped=1, left_out=[item])
                other = True
            elif isinstance(item, Known):
                self._count(known=item.number)
                other = True
            else:
                self.ended, self.error = True, item.error
        return spooled, refusals, other

    def _take_file(self, path: Path, *, recovered: bool) -> None:
        frames, damage = self.spool.read(path)
        if frames:
            self._accept([Spooled.of(path if damage is None else None, frames)], recovered=recovered)
        if damage is not None:
            self._refuse_damaged(path, damage)

    def _accept(self, spooled: list[Spooled], *, recovered: bool) -> None:
        frames = [frame for one in spooled for frame in one.frames]
        self.begun_at = time.monotonic()
        self.pressure.heed()
        report = self.patience.call(lambda: self.target.take(frames))
        reasons = {refusal.id: refusal.reason for refusal in report.refused}
        for frame in frames:
            if frame.id in reasons:
                self.spool.set_aside(frame, reasons[frame.id])
        for one in spooled:
            if one.path is not None:
                self.spool.remove(one.path)
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
        self.patience.call(lambda: self.target.refuse([refusal]))
        self.spool.set_file_aside(path, why)
        self._count(refused=1, left_out=[refusal])

    def _count(self, *, left_out: Iterable[Refusal | Skipped] = (), **more: int) -> None:
        self.left_out.extend(left_out)
        sums = {name: getattr(self.progress, name) + number for name, number in more.items()}
        self.progress = replace(self.progress, **sums, left_out=tuple(self.left_out))

    def _tell(self) -> None:
        room = self.feeder.room
        self.progress = replace(self.progress, waiting=room.images, waiting_bytes=room.bytes)
        self.on_progress(self.progress)
