"""Draws faults from a seed, lets them happen round by round, and measures how long recovery takes.

A round is one to three faults that overlap. It has recovered when all that was accepted before its last cause
ended is judged, and the plant has caught up when all that its cameras had given by then is.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

from tests.faults import proof
from tests.faults.ground import wait_for
from tests.faults.kinds import KINDS
from tests.faults.line import Line
from tests.faults.plant import WORKERS, Plant

_MOST_AT_ONCE = 3
_RECOVERED_S = 90.0  # a run that takes longer is stuck
_CAUGHT_UP_S = 120.0
_ALL_ACCEPTED_S = 120.0


@dataclass
class Fault:
    """`after_s` into its round it begins. What follows is filled in as it happens, in seconds of the run."""

    kind: str
    after_s: float
    lasts_s: float
    detail: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0
    recovered_s: float = 0.0  # how long after the round's last cause ended
    caught_up_s: float = 0.0


@dataclass
class Report:
    """What happened; `wrong` says what did not hold, and is empty where all did."""

    seed: int
    faults: list[Fault] = field(default_factory=list)
    given: int = 0
    accepted: int = 0
    judged: int = 0
    error: int = 0
    pending: int = 0
    seconds: float = 0.0
    longest_wait_s: float = 0.0
    deaths: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def longest_recovery_s(self) -> float:
        return max((one.recovered_s for one in self.faults), default=0.0)

    @property
    def longest_catching_up_s(self) -> float:
        return max((one.caught_up_s for one in self.faults), default=0.0)

    def as_json(self) -> str:
        longest = {
            "longest_recovery_s": self.longest_recovery_s,
            "longest_catching_up_s": self.longest_catching_up_s,
        }
        return json.dumps({**asdict(self), **longest}, indent=1)

    def as_table(self) -> str:
        lines = [f"{'#':>3} {'at':>7}  {'fault':<20} {'lasted':>7} {'recovered':>10} {'caught up':>10}  what"]
        for number, one in enumerate(self.faults, 1):
            lines.append(
                f"{number:>3} {one.began_s:>6.1f}s  {one.kind:<20} {one.ended_s - one.began_s:>6.1f}s "
                f"{one.recovered_s:>9.1f}s {one.caught_up_s:>9.1f}s  {one.detail}"
            )
        deaths = ", ".join(f"{name} {number}" for name, number in sorted(self.deaths.items()))
        lines.append(
            f"seed {self.seed}, {len(self.faults)} faults in {self.seconds:.0f} s; ended and started again: "
            f"{deaths or 'none'}"
        )
        lines.append(
            f"{self.given} given = {self.accepted} accepted = {self.judged} judged + {self.error} error "
            f"+ {self.pending} pending"
        )
        lines.append(
            f"longest recovery {self.longest_recovery_s:.1f} s, longest catching up "
            f"{self.longest_catching_up_s:.1f} s; longest wait from acceptance to verdict, "
            f"outages included, {self.longest_wait_s:.1f} s"
        )
        lines += [f"WRONG: {one}" for one in self.wrong]
        return "\n".join(lines)


def draw(seed: int, faults: int, kinds: Sequence[str]) -> list[list[Fault]]:
    """Draw the rounds, alike for the same seed: each kind once, as far as `faults` goes, then by weight."""
    random = Random(seed)
    names = random.sample(kinds, min(faults, len(kinds)))
    names += random.choices(kinds, [KINDS[name].weight for name in kinds], k=faults - len(names))
    random.shuffle(names)
    rounds: list[list[Fault]] = []
    while names:
        size = random.randint(1, _MOST_AT_ONCE)
        chosen: list[Fault] = []
        targets: set[str] = set()
        for name in list(names):
            if len(chosen) < size and not targets & KINDS[name].targets:
                targets |= KINDS[name].targets
                names.remove(name)
                kind = KINDS[name]
                lasts = random.uniform(kind.shortest, kind.longest)
                chosen.append(Fault(name, random.uniform(0, 1.5) if chosen else 0.0, lasts))
        rounds.append(chosen)
    return rounds


@dataclass
class Run:
    plant: Plant
    line: Line
    report: Report
    say: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        return time.monotonic() - self.started

    def rounds(self, rounds: Sequence[Sequence[Fault]]) -> None:
        """Let the rounds happen; raises TimeoutError where the plant doesn't recover."""
        before: proof.Verdicts = {}
        for number, faults in enumerate(rounds):
            share = self.line.total * number // len(rounds)  # they come all along the way
            wait_for(lambda share=share: len(self.line.given) >= share, "more parts", _ALL_ACCEPTED_S)  # type: ignore[misc]
            self._let_happen(faults)
            self._recover(faults)
            self.report.faults.extend(faults)
            now = proof.verdicts(self.plant.postgres)
            self.report.wrong += proof.changed(before, now)
            before = now
            for one in faults:
                self.say(
                    f"{one.began_s:6.1f} s  {one.kind} ({one.detail}) for {one.ended_s - one.began_s:.1f} s, "
                    f"recovered after {one.recovered_s:.1f} s, caught up after {one.caught_up_s:.1f} s; "
                    f"{len(self.line.given)} given, {len(now)} judged"
                )

    def _let_happen(self, faults: Sequence[Fault]) -> None:
        problems: list[BaseException] = []

        def happen(fault: Fault, number: int) -> None:
            try:
                time.sleep(fault.after_s)
                random = Random(f"{self.report.seed}-{number}")
                fault.began_s = self.now()
                with KINDS[fault.kind].cause(self.plant, self.line, random) as fault.detail:
                    time.sleep(fault.lasts_s)
                fault.ended_s = self.now()
            except BaseException as problem:  # noqa: BLE001  # raised again by who waits for the thread
                problems.append(problem)

        first = len(self.report.faults)
        threads = [
            threading.Thread(target=happen, args=(fault, first + index), name=fault.kind)
            for index, fault in enumerate(faults)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    def _recover(self, faults: Sequence[Fault]) -> None:
        over = max(one.ended_s for one in faults)
        held_up, given = self.plant.pending(), list(self.line.given)
        kinds = " + ".join(one.kind for one in faults)
        wait_for(lambda: not held_up & self.plant.pending(), f"recovery from {kinds}", _RECOVERED_S)
        recovered_s = self.now() - over
        wait_for(
            lambda: proof.judged(self.plant.postgres, given[-1]) == len(given),
            f"the plant to catch up after {kinds}",
            _CAUGHT_UP_S,
        )
        for one in faults:
            one.recovered_s, one.caught_up_s = recovered_s, self.now() - over

    def finish(self) -> None:
        """Wait until all that was given is judged, stop the plant, and prove what has to hold."""
        self.line.end(_ALL_ACCEPTED_S)
        given = set(self.line.given)
        wait_for(
            lambda: proof.accepted(self.plant.postgres) >= len(given) and not self.plant.pending(),
            "the last verdicts",
            _ALL_ACCEPTED_S,
        )
        for name in WORKERS:
            self.plant.process(name)
        killed = self.plant.stop()
        self.report.wrong += [f"{name} did not stop when told to" for name in killed]
        counts, wrong = proof.prove(self.plant, self.line)
        self.report.given, self.report.accepted = len(given), counts.accepted
        self.report.error, self.report.pending = counts.error, counts.pending
        self.report.judged = counts.ok + counts.ng + counts.inconclusive
        self.report.longest_wait_s = proof.longest_wait_s(self.plant.postgres)
        self.report.wrong += wrong
        self.report.seconds = self.now()
        self.report.deaths = dict(self.plant.deaths)


def run(
    plant: Plant,
    *,
    seed: int,
    faults: int,
    inspections: int,
    rate: float,
    kinds: Sequence[str],
    say: Callable[[str], None],
) -> Report:
    """Run a started plant: `inspections` parts or more at `rate` per second, and `faults` faults meanwhile.

    Raises TimeoutError where the plant gets stuck.
    """
    if not plant.stores.mounted:
        kinds = [name for name in kinds if not KINDS[name].needs_disks]
        say("this user may not mount small disks, so none is filled")
    line = Line(plant.folders, rate, inspections, seed)
    done = Run(plant, line, Report(seed), say)
    line.start()
    try:
        wait_for(lambda: proof.verdicts(plant.postgres), "the first verdicts", 60)
        done.rounds(draw(seed, faults, kinds))
        done.finish()
    finally:
        line.stop()
    return done.report
