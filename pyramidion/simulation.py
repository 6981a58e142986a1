"""The demo's line: good parts to learn from, then a stream with known defects, and how they were judged."""

import time
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Event
from uuid import UUID

from capture.frames import Frame
from capture.live import simulated_frames
from capture.simulator import GOOD, SimulatedLine, SimulatedPart
from db import history, inspections
from db.matching import Filter
from pyramidion.context import Context
from pyramidion.intake import await_verdicts, count_pending, take_in

PRODUCT, STATION, LINE = "demo", "demo-camera", "demo-line"
DEFECT_RATE = 0.15
SIZE = 256


@dataclass
class Truth:
    """What really passed the camera: the defect of each frame, None for a good part."""

    defects: dict[UUID, str | None] = field(default_factory=dict)

    def note(self, frame: Frame, part: SimulatedPart) -> None:
        self.defects[frame.id] = part.defect


@dataclass(frozen=True)
class Report:
    """What became of the parts; `caught` defects were judged ng or inconclusive, `escapes` were judged ok."""

    parts: int
    judged: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int
    defects: int
    caught: int
    escapes: int
    false_rejects: int
    images_per_s: float
    lot: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def good_parts(count: int, seed: int, size: int) -> list[bytes]:
    """Give image files of good parts of the line, `size` pixels a side."""
    line = SimulatedLine(seed, size, 0.0)
    return [line.encode(line.part(index, GOOD)) for index in range(count)]


def stream(
    context: Context, *, parts: int, rate: float | None, seed: int, lot: str, stop: Event, stalled_s: float
) -> Report:
    """Let parts pass the camera into the real pipeline; hold the verdicts against the truth."""
    truth = Truth()
    frames = simulated_frames(
        SimulatedLine(seed, SIZE, DEFECT_RATE),
        product=PRODUCT,
        station=STATION,
        stop=stop,
        line_name=LINE,
        lot=lot,
        count=parts,
        rate=rate,
        on_part=truth.note,
    )
    started = time.perf_counter()
    take_in(context, STATION, frames, stop)
    await_verdicts(partial(count_pending, context, PRODUCT, STATION, lot), stop, stalled_s=stalled_s)
    return report(context, truth, lot, time.perf_counter() - started)


def report(context: Context, truth: Truth, lot: str, seconds: float) -> Report:
    with context.reading() as session:
        rows = list(history.stream(session, Filter(product=PRODUCT, lot=lot)))
        counts = inspections.counts(session, product=PRODUCT, lot=lot)
    rejected = {row.id for row in rows if row.verdict in {"ng", "inconclusive"}}
    passed = {row.id for row in rows if row.verdict == "ok"}
    defective = {id_ for id_, defect in truth.defects.items() if defect is not None}
    judged = counts.accepted - counts.pending
    return Report(
        parts=len(truth.defects),
        judged=judged,
        ok=counts.ok,
        ng=counts.ng,
        inconclusive=counts.inconclusive,
        error=counts.error,
        pending=counts.pending,
        defects=len(defective),
        caught=len(defective & rejected),
        escapes=len(defective & passed),
        false_rejects=len({row.id for row in rows if row.verdict == "ng"} - defective),
        images_per_s=round(judged / seconds, 1),
        lot=lot,
    )
