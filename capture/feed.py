"""The side of capturing that fills the spool: whatever the source gives goes to disk, then on to intake."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from threading import Event
from typing import Final, TypeAlias

from capture.frames import Frame
from capture.intake import Intake, Refusal
from capture.patience import Patience, StoppedError
from capture.sources import Candidate, Item, Skipped
from capture.spool import Spool, SpoolError

_LOOKED_UP: Final = 64  # files whose ids are looked up in one query


@dataclass(frozen=True)
class Known:
    """So many files whose inspections are accepted already."""

    number: int


@dataclass(frozen=True)
class End:
    """The source gives no more, because it is through or because of an error."""

    error: BaseException | None


Passed: TypeAlias = Path | Refusal | Skipped | Known | End


@dataclass(frozen=True)
class Feeder:
    """Fills the spool and passes on, in `passed`, where each frame lies; waits while that is full.

    What an earlier run left in the spool, `leftover` by id, is on its way already.
    """

    spool: Spool
    leftover: frozenset[str]
    intake: Intake
    patience: Patience
    passed: Queue[Passed]
    stop: Event
    say: Callable[[str], None]

    def feed(self, source: Iterable[Item]) -> None:
        """Bring in all that the source gives, then End with the error that ended it, if one did."""
        error: BaseException | None = None
        try:
            self._bring_all(source)
        except StoppedError:
            pass
        except SpoolError as problem:
            self.say(str(problem))  # at once: intake may be waiting for its database
            error = problem
        except BaseException as problem:  # noqa: BLE001  # the thread that empties the spool raises it again
            error = problem
        with suppress(StoppedError):
            self._pass_on(End(error))

    def _bring_all(self, source: Iterable[Item]) -> None:
        gathered: list[Candidate] = []
        for item in source:
            self._heed_stop()
            if isinstance(item, Candidate):
                if str(item.id) not in self.leftover:
                    gathered.append(item)
            elif item is not None:
                self._bring(item)
            if item is None or len(gathered) >= _LOOKED_UP:
                self._bring_unknown(gathered)
                gathered = []
        self._bring_unknown(gathered)

    def _bring_unknown(self, candidates: list[Candidate]) -> None:
        if not candidates:
            return
        known = self.patience.call(lambda: self.intake.known([one.id for one in candidates]))
        if known:
            self._pass_on(Known(len(known)))
        for one in candidates:
            self._heed_stop()
            if one.id not in known:
                self._bring(one.read())

    def _bring(self, item: Frame | Refusal | Skipped) -> None:
        self._pass_on(self.spool.put(item) if isinstance(item, Frame) else item)

    def _pass_on(self, item: Passed) -> None:
        while True:
            try:
                return self.passed.put(item, timeout=0.2)
            except Full:
                self._heed_stop()

    def _heed_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError
