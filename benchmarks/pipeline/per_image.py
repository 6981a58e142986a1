"""What one would write first: plain Celery, one task an image, with the same model, tables and image store.

    python -m benchmarks.pipeline.per_image PROCESSES     # the worker
    python -m benchmarks.pipeline.per_image FOLDER --count N [--rate R]     # the producer

No spool, no batches, no attempts: it acknowledges a message when it arrives, as Celery does by default, and
is not durable. Each image is stored, inserted, committed and sent, and then scored and committed, alone.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from celery import Celery

from benchmarks.pipeline.station import parts
from capture.images import Limits, inspect
from capture.intake import row
from capture.settings import CaptureSettings
from db import attempts, inspections, models, results
from pyramidion.context import Context, open_context
from workers import bundles, outcome
from workers.settings import WorkerSettings

_QUEUE = "per_image"

app = Celery("per_image")
app.conf.update(task_default_queue=_QUEUE, task_ignore_result=True, worker_hijack_root_logger=False)


@functools.cache
def _opened() -> tuple[Context, Any, WorkerSettings]:
    import torch  # noqa: PLC0415  # in the pool's process, after the fork

    from model import bundle  # noqa: PLC0415
    from model.scoring import Scorer  # noqa: PLC0415

    torch.set_num_threads(1)
    context = open_context(hot=True)
    with context.reading() as session:
        version = models.champion(session, models.products(session)[0])
    if version is None:
        raise SystemExit("no model is promoted")
    folder = bundles.fetch(version, context.store, context.settings.home / "bundles")
    return context, Scorer(bundle.load(folder)), WorkerSettings()


@app.task(name="judge_one")
def judge_one(id_: str) -> None:
    context, scorer, settings = _opened()
    with context.reading() as session:
        waiting = attempts.waiting(session, [UUID(id_)])
    for one in waiting:
        image = scorer.decode(context.store.get(one.inspection.image_sha256))
        (said,) = scorer.score([image.array])
        result = outcome.judged(settings, scorer, one.inspection, image, said, 1)
        result.timings["batch_images"] = 1
        with context.sessions.begin() as session:
            results.record(session, [result])


def produce(folder: Path, count: int, rate: float | None) -> None:
    pictures = [file.read_bytes() for file in sorted(folder.iterdir())]
    context, limits = open_context(), Limits.of(CaptureSettings())
    begun = time.process_time()
    for frame in parts(pictures, count, rate, "per-image"):
        context.store.put(frame.data)
        with context.sessions.begin() as session:
            inspections.accept(session, [row(frame, inspect(frame.data, limits), frame.captured_at)])
        judge_one.delay(str(frame.id))
    print(json.dumps({"accepted": count, "cpu_s": time.process_time() - begun}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what")
    parser.add_argument("--count", type=int)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    app.conf.broker_url = os.environ["PYRAMIDION_BROKER_URL"]
    if options.count is not None:
        produce(Path(options.what), options.count, options.rate)
        return
    app.worker_main(["worker", f"--concurrency={options.what}", "--loglevel=warning", f"--queues={_QUEUE}"])


if __name__ == "__main__":
    main()
