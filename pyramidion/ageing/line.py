"""The demo's line with a lamp that fades: one stream of parts in four stages.

A new lamp, one that fades, an old one until another model judges, and the first stage's parts once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Final
from uuid import UUID

from capture.frames import Frame
from capture.live import simulated_frames
from capture.simulator import SimulatedLine, SimulatedPart
from pyramidion.simulation import DEFECT_RATE, LINE, STATION

PRODUCT: Final = "demo-ageing"
NEW, FADING, OLD, AFTER = "new lamp", "lamp fades", "old lamp", "new model"
STAGES: Final = (NEW, FADING, OLD, AFTER)
_MANY: Final = 0.4  # defective of the parts that pass twice: recall is compared on them


@dataclass(frozen=True)
class Plan:
    """`parts` pass under the new lamp, twice as many while it fades to `light`, `rate` of them a second."""

    parts: int = 200
    rate: float = 10.0
    light: float = 0.7
    size: int = 128
    patience_s: float = 600.0


@dataclass
class Line:
    """The stream of frames, and the truth about each: its stage and defect, None for a good part."""

    plan: Plan
    seed: int
    lot: str
    stop: Event
    over: Event = field(default_factory=Event)  # the old lamp's stage
    truth: dict[UUID, tuple[str, str | None]] = field(default_factory=dict)
    stage: str = NEW

    def frames(self) -> Iterator[Frame]:
        plan, size = self.plan, self.plan.size
        fading = 2 * plan.parts

        def fades(index: int) -> float:
            return 1 - (1 - plan.light) * min(1, index / fading)

        new = SimulatedLine(self.seed, size, _MANY)
        yield from self._some(NEW, new, self.stop, plan.parts)
        old = SimulatedLine(self.seed + 1, size, DEFECT_RATE, light=fades)
        yield from self._some(FADING, old, self.stop, fading)
        yield from self._some(OLD, old, self.over, None, fading)
        again = SimulatedLine(self.seed, size, _MANY, light=plan.light)
        yield from self._some(AFTER, again, self.stop, plan.parts)

    def _some(
        self, stage: str, line: SimulatedLine, until: Event, count: int | None, first: int = 0
    ) -> Iterator[Frame]:
        self.stage = stage

        def note(frame: Frame, part: SimulatedPart) -> None:
            self.truth[frame.id] = (stage, part.defect)

        yield from simulated_frames(
            line,
            product=PRODUCT,
            station=STATION,
            stop=until,
            line_name=LINE,
            lot=self.lot,
            first=first,
            count=count,
            rate=self.plan.rate,
            on_part=note,
        )
