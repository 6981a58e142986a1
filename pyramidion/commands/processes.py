"""The commands that services run: worker, beat, serve, migrate."""

import os
from contextlib import suppress
from typing import Annotated

import typer

from pyramidion.errors import FAILED, UserError
from pyramidion.output import out
from workers.settings import WorkerSettings

_MODULES = {
    "score": ["workers.score"],
    "train": ["workers.trainer", "workers.replay", "workers.replays", "workers.verify", "workers.retain"],
    "housekeeping": [
        "workers.sweep",
        "workers.seal",
        "workers.schedule",
        "workers.golden",
        "workers.drift",
        "workers.tidy",
    ],
}
# Scoring: one batch is read, one is scored and one recorded at a time. Housekeeping: recovery depends on the
# sweeps, which don't wait for a long sealing. Training: beside the thread that trains (workers.trainer).
_THREADS = {"score": 3, "train": 1, "housekeeping": 2}


def worker(
    queue: Annotated[str, typer.Option(help="What it works on: score, train or housekeeping.")] = "score",
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; else the setting PYRAMIDION_DEVICE.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run one worker process until it is told to stop (Ctrl-C finishes the batch in hand)."""
    if queue not in _MODULES:
        raise UserError(f"no queue {queue!r}: use one of {', '.join(_MODULES)}")
    if device is not None:
        os.environ["PYRAMIDION_DEVICE"] = device
    from pyramidion.context import open_context
    from workers.celery import app
    from workers.messages import known_queues

    # A database or an image store that cannot be used is told now, not by every batch.
    context = open_context()
    if queue != "housekeeping":
        context.require_images()
        from workers.runtime import runtime

        state = runtime()
        if queue == "train":
            _share_the_machine(state.settings)
    app.conf.include = _MODULES[queue]
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(known_queues()) if queue == 'score' else queue}",
            f"--hostname={queue}-{os.getpid()}@%h",
            "--pool=threads",  # CUDA never meets a fork
            f"--concurrency={_THREADS[queue]}",
            f"--loglevel={log_level}",
            "--without-mingle",
            "--without-gossip",
            # Replays and retention are long: one that waits shall be another worker's.
            *(["--prefetch-multiplier=1"] if queue == "train" else []),
        ]
    )


def _share_the_machine(settings: WorkerSettings) -> None:
    """Let scoring go before training: by priority, of all threads made from here on, and in threads."""
    import torch

    os.nice(settings.training_nice)
    if settings.training_threads:
        torch.set_num_threads(settings.training_threads)


def beat() -> None:
    """Run the clock that sends the periodic tasks; one per plant is enough, more are harmless."""
    from workers.celery import app

    app.conf.include = []  # it only names the tasks: no need to load torch
    app.Beat(loglevel="info").run()


def migrate() -> None:
    """Bring the database's schema up to this release; safe to run twice and from several machines."""
    from db import migrate as migrations
    from db.engine import make_engine
    from db.settings import DatabaseSettings

    engine = make_engine(DatabaseSettings())
    before = migrations.revision(engine)
    migrations.upgrade(engine)
    after = migrations.revision(engine)
    out.print(
        f"database at revision {after}"
        + (" (nothing to do)" if before == after else f", was {before or 'empty'}")
    )


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; else PYRAMIDION_WEB_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; else PYRAMIDION_WEB_PORT.")] = None,
) -> None:
    """Serve the pages."""
    from web.app import create_app
    from web.server import Server
    from web.settings import WebSettings

    settings = WebSettings()
    address = host or settings.web_host
    server = Server(create_app(settings, host=address), address, settings.web_port if port is None else port)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise typer.Exit(FAILED)
