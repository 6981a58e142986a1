"""Which candidates a training takes: the newest and some of the oldest, of all stations alike, none twice."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from db.snapshot import Candidate, Stretch
from model.alike import Seen, Sketch

LOOKS: Final = 3  # at a station's candidates for each that another one gives
_AT_ONCE: Final = 64

Look = Callable[[Sequence[Candidate]], Sequence[Sketch | None]]


class Choice:
    """What was chosen so far, and what was left out for which reason.

    `look` reads candidates and gives their sketches, None for one that can't be read.
    """

    def __init__(self, look: Look, alike: float) -> None:
        self.chosen: list[Candidate] = []
        self.left_out: Counter[str] = Counter()
        self._look = look
        self._seen = Seen(alike)
        self._of_station: Counter[str] = Counter()  # chosen
        self._looked_at: Counter[str] = Counter()
        self._known: set[object] = set()  # ids and hashes

    def take(self, queues: Mapping[str, deque[Candidate]], until: int) -> None:
        """Choose from the fronts of the stations' queues until there are so many, or no more."""
        reads = (LOOKS + 1) * (until - len(self.chosen))  # more is not worth the time
        while (lacking := min(until - len(self.chosen), reads, _AT_ONCE)) > 0:
            some = self._next(queues, lacking)
            if not some:
                return
            reads -= len(some)
            for candidate, sketch in zip(some, self._look(some), strict=True):
                self._decide(candidate, sketch)

    def _decide(self, candidate: Candidate, sketch: Sketch | None) -> None:
        if sketch is None:
            self.left_out["unreadable"] += 1
        elif not self._seen.add(sketch):
            self.left_out["duplicates"] += 1
        else:
            self.chosen.append(candidate)
            self._of_station[candidate.station] += 1

    def _next(self, queues: Mapping[str, deque[Candidate]], number: int) -> list[Candidate]:
        """Take candidates in turn, as if all were chosen: each time from the station that has the fewest."""
        expected = Counter(self._of_station)
        some: list[Candidate] = []
        while len(some) < number:
            there = [station for station, queue in queues.items() if queue]
            if not there:
                break
            # One that shows a part that lies still has few whatever is read: it must not get all the looks.
            station = min(there, key=lambda one: (max(expected[one], self._looked_at[one] / LOOKS), one))
            candidate = queues[station].popleft()
            if self._is_new(candidate):
                some.append(candidate)
                expected[station] += 1
                self._looked_at[station] += 1
        return some

    def _is_new(self, candidate: Candidate) -> bool:
        if candidate.id in self._known:  # among the newest and the oldest
            return False
        self._known.add(candidate.id)
        if candidate.against is not None:
            self.left_out[candidate.against] += 1
            return False
        if candidate.sha256 in self._known:
            self.left_out["duplicates"] += 1
            return False
        self._known.add(candidate.sha256)
        return True


def choose(
    stretches: Mapping[str, Stretch], look: Look, *, images: int, oldest: float, alike: float
) -> Choice:
    """Choose up to `images`, a share `oldest` of them from the oldest, the others from the newest."""
    choice = Choice(look, alike)
    newer = {station: deque(one.newest) for station, one in stretches.items()}
    older = {station: deque(one.oldest) for station, one in stretches.items()}
    choice.take(newer, images - round(oldest * images))
    choice.take(older, images)
    choice.take(newer, images)
    return choice
