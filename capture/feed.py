"""The side of capturing that fills the spool: whatever the source gives goes to disk, then on to intake.

Two threads: one draws from the source, the other spools. While a file is being synced the next frames gather,
and go into the next file together: a sync costs the same for one frame and for many.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, TypeAlias
from uuid import UUID

from capture.frames import Frame
from capture.intake import Refusal
from capture.patience import Patience, StoppedError
from capture.room import Room
from capture.settings import CaptureSettings
from capture.sources import Candidate, Item, Skipped
from capture.spool import Spool, SpoolError, number_in, size_of
from capture.target import Target

_LOOKED_UP: Final = 64  # files whose ids are looked up in one query
_FILE_BYTES: Final = 16 * 1024 * 1024  # of images in a file of the spool, unless one is larger
_MEMORY_BYTES: Final = 64 * 1024 * 1024  # of images that wait for intake in memory as well
_ALARM_S: Final = 5.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True)
class Known:
    """So many files whose inspections are accepted already."""

    number: int


@dataclass(frozen=True)
class Spooled:
    """Frames and their file; no file where the spool failed and they are in memory only.

    No frames where those in memory are many already, or where an earlier run left them: they are in the file.
    `number` images of `size` bytes are what takes room in the spool.
    """

    path: Path | None
    frames: list[Frame]
    number: int
    size: int

    @classmethod
    def of(cls, path: Path | None, frames: list[Frame]) -> "Spooled":
        return cls(path, frames, len(frames), sum(len(frame.data) for frame in frames))

    @classmethod
    def left(cls, path: Path) -> "Spooled":
        return cls(path, [], number_in(path), size_of(path))


@dataclass(frozen=True)
class End:
    """The source gives no more, because it is through or because of an error."""

    error: BaseException | None


Passed: TypeAlias = Spooled | Refusal | Skipped | Known | End


@dataclass
class Feeder:
    """Fills the spool and passes on, in `passed`, what lies there.

    Draws from the source while there is `room` in the spool; intake says what it is `done` with. What an
    earlier run left in the spool, `leftover` by id, takes room and is on its way already.
    """

    spool: Spool
    room: Room
    leftover: frozenset[UUID]
    target: Target
    patience: Patience
    settings: CaptureSettings
    stop: Event
    say: Callable[[str], None]
    passed: Queue[Passed] = field(default_factory=Queue)

    def __post_init__(self) -> None:
        self._drawn: Queue[Frame | Refusal | Skipped | Known | End] = Queue(self.settings.intake_batch)
        self._failed = Event()
        self._let_go = 0  # bytes; by intake's thread alone
        self._done_at = time.monotonic()
        self._warned = 0
        self._kept = 0  # bytes; by the spool's alone

    def start(self, source: Iterable[Item]) -> list[Thread]:
        """Begin; the last thing passed on is an End with the error that ended it, if one did."""
        threads = [
            Thread(target=self._draw, args=(source,), name="source", daemon=True),
            Thread(target=self._spool_all, name="spool", daemon=True),
        ]
        for thread in threads:
            thread.start()
        return threads

    def done(self, spooled: Spooled) -> None:
        """Make room for as much as `spooled` took."""
        self._done_at = time.monotonic()
        self._let_go += spooled.size if spooled.frames else 0
        self.room.give_back(spooled.number, spooled.size)

    def _draw(self, source: Iterable[Item]) -> None:
        error: BaseException | None = None
        try:
            self._bring_all(source)
        except StoppedError:
            pass
        except BaseException as problem:  # noqa: BLE001  # the thread that empties the spool raises it again
            error = problem
        with suppress(StoppedError):
            self._hand_on(End(error))

    def _bring_all(self, source: Iterable[Item]) -> None:
        gathered: list[Candidate] = []
        for item in source:
            self._heed_stop()
            if isinstance(item, Candidate):
                if item.id not in self.leftover:
                    gathered.append(item)
            elif item is not None:
                self._hand_on(item)
            if item is None or len(gathered) >= _LOOKED_UP:
                self._bring_unknown(gathered)
                gathered = []
        self._bring_unknown(gathered)

    def _bring_unknown(self, candidates: list[Candidate]) -> None:
        if not candidates:
            return
        known = self.patience.call(lambda: self.target.known([one.id for one in candidates]))
        if known:
            self._hand_on(Known(len(known)))
        for one in candidates:
            self._heed_stop()
            if one.id not in known:
                self._hand_on(one.read())

    def _hand_on(self, item: Frame | Refusal | Skipped | Known | End) -> None:
        if isinstance(item, Frame):
            self._await_room(len(item.data))
        while True:
            try:
                return self._drawn.put(item, timeout=_LOOK_S)
            except Full:
                self._heed_stop()

    def _await_room(self, size: int) -> None:
        while not self.room.take(size, _LOOK_S):
            why = self.room.why_full(size)
            if why is not None:  # else room was made just now
                self._warn(
                    2,
                    f"the spool {self.spool.folder} is full: {why}. The source waits; nothing is lost or "
                    "overwritten",
                )
            self._heed_stop()
        filled = self.room.filled()
        if filled < 0.5:
            if self._warned == 2:
                self.say(f"the spool {self.spool.folder} has room again; the source goes on")
            self._warned = 0
        elif filled > 0.8:
            self._warn(1, f"the spool {self.spool.folder} fills: {self.room.said()}")

    def _behind(self) -> bool:
        """Whether intake has taken nothing for a while: a source that is faster than it fills any spool."""
        return time.monotonic() - self._done_at > _ALARM_S

    def _warn(self, level: int, text: str) -> None:
        if level > self._warned and self._behind():
            self._warned = level
            self.say(text)

    def _heed_stop(self) -> None:
        if self.stop.is_set() or self._failed.is_set():
            raise StoppedError

    def _spool_all(self) -> None:
        frames: list[Frame] = []
        try:
            while True:
                frames, other = self._gather()
                if frames:
                    self.passed.put(self._keep(Spooled.of(self.spool.put(frames), frames)))
                if other is not None:
                    self.passed.put(other)
                if isinstance(other, End):
                    return
        except SpoolError as error:
            self._failed.set()
            self.say(str(error))  # at once: intake may be waiting for its database
            self.passed.put(Spooled.of(None, frames + self._rest()))
            self.passed.put(End(error))
        except BaseException as error:  # noqa: BLE001  # as above
            self._failed.set()
            self.passed.put(End(error))

    def _keep(self, spooled: Spooled) -> Spooled:
        if self._kept - self._let_go + spooled.size > _MEMORY_BYTES:
            return replace(spooled, frames=[])
        self._kept += spooled.size
        return spooled

    def _gather(self) -> tuple[list[Frame], Refusal | Skipped | Known | End | None]:
        """Take what is drawn within `gather_s` of the first; what is no frame ends the gathering."""
        frames: list[Frame] = []
        size = 0
        wait_s = _LOOK_S
        until = 0.0
        while len(frames) < self.settings.intake_batch and size < _FILE_BYTES:
            try:
                item = self._drawn.get(timeout=wait_s) if wait_s > 0 else self._drawn.get_nowait()
            except Empty:
                if frames or not self.stop.is_set():
                    break
                return frames, End(None)  # the source's thread may hang in the source
            if not isinstance(item, Frame):
                return frames, item
            if not frames:
                until = time.monotonic() + self.settings.gather_s
            frames.append(item)
            size += len(item.data)
            wait_s = until - time.monotonic()
        return frames, None

    def _rest(self) -> list[Frame]:
        """What the source has given and no file holds."""
        rest = []
        with suppress(Empty):
            while True:
                item = self._drawn.get_nowait()
                if isinstance(item, Frame):
                    rest.append(item)
        return rest
