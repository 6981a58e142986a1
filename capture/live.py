"""The simulated line as a source: parts that pass a camera, at a given rate, from now on."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Event
from typing import Literal

from capture.frames import Frame
from capture.simulator import SimulatedLine, SimulatedPart
from db.ids import uuid7


def _ignore(_frame: Frame, _part: SimulatedPart) -> None:
    pass


def simulated_frames(
    line: SimulatedLine,
    *,
    product: str,
    station: str,
    stop: Event,
    line_name: str | None = None,
    lot: str | None = None,
    first: int = 0,
    count: int | None = None,
    rate: float | None = None,
    image_format: Literal["png", "jpeg"] = "png",
    on_part: Callable[[Frame, SimulatedPart], None] = _ignore,
) -> Iterator[Frame]:
    """Give `count` parts (None: without end) of the line from part `first` on, until `stop` is set.

    `rate` is in parts per second; None gives them as fast as they are made and taken. A line that was held up
    doesn't hurry afterwards. `on_part` hears the truth about each frame, in the source's thread, before the
    frame goes on its way.
    """
    index, due = first, time.monotonic()
    while not stop.is_set() and (count is None or index < first + count):
        part = line.part(index)
        data = line.encode(part, image_format)
        if rate is not None:
            due = max(due, time.monotonic() - 1 / rate)
            if stop.wait(max(due - time.monotonic(), 0)):
                return
            due += 1 / rate
        captured_at = datetime.now(UTC)
        frame = Frame(
            id=uuid7(captured_at),
            product=product,
            station=station,
            line=line_name,
            serial=part.serial,
            lot=lot,
            captured_at=captured_at,
            name=part.serial,
            data=data,
        )
        on_part(frame, part)
        yield frame
        index += 1
