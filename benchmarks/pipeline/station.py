"""A station of the measurement: pictures from memory, at a rate, through spool and intake as ever.

    python -m benchmarks.pipeline.station FOLDER --count N [--rate R [--even]] [--name S]

Gaps between parts are drawn at random (exponential), which is harder on a queue than the even beat of one
line. Without a rate, parts come as fast as they are taken.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from uuid import uuid4

from capture.frames import Frame
from capture.images import Limits
from capture.intake import Intake
from capture.run import run
from capture.settings import CaptureSettings
from capture.spool import Spool
from db.ids import uuid7
from pyramidion.context import open_context
from workers.queue import enqueue

PRODUCT = "part"


def parts(
    pictures: list[bytes], count: int, rate: float | None, name: str, *, even: bool = False
) -> Iterator[Frame]:
    draw = random.Random(name)
    due = time.monotonic()
    for number in range(count):
        if rate is not None:
            due += 1 / rate if even else draw.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
        now = datetime.now(UTC)
        # Each part has its own bytes, as a camera's have: the same ones would be stored once.
        data = pictures[number % len(pictures)] + uuid4().bytes
        yield Frame(uuid7(now), PRODUCT, name, None, None, None, now, str(number), data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--even", action="store_true")
    parser.add_argument("--name", default="station")
    options = parser.parse_args()
    pictures = [file.read_bytes() for file in sorted(options.folder.iterdir())]
    settings, context = CaptureSettings(), open_context(hot=True)
    intake = Intake(context.sessions, context.store, enqueue, Limits.of(settings))
    with Spool(settings.spool(), options.name) as spool:
        source = parts(pictures, options.count, options.rate, options.name, even=options.even)
        begun = time.process_time()
        progress = run(source, spool, intake, settings, stop=Event(), say=print)
    print(json.dumps({"accepted": progress.accepted, "cpu_s": time.process_time() - begun}), flush=True)


if __name__ == "__main__":
    main()
