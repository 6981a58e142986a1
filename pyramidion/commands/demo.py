"""`pyramidion demo`: the whole journey on a simulated line, through the real queue, worker and database."""

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from db import approvals
from db.history import search
from db.matching import Filter
from db.settings import DatabaseSettings
from pyramidion import services
from pyramidion.commands import ageing
from pyramidion.commands.up import stop_on_signals, tend_until
from pyramidion.context import Context
from pyramidion.errors import FAILED, INTERRUPTED, UserError
from pyramidion.output import err, out, print_json
from pyramidion.supervisor import Supervisor

if TYPE_CHECKING:
    from pyramidion.simulation import Report

GOOD_PARTS = 160
STALLED_S = 60.0  # no verdict for so long: something is wrong, and the report says so


def demo(
    parts: Annotated[int, typer.Option(min=1, max=1_000_000, help="Parts that pass the camera.")] = 200,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=10_000, help="Parts per second; unset: as fast as they are made."),
    ] = None,
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything after the report.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which parts pass.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, then stop everything.")
    ] = False,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Let the lamp fade: drift alarm, scheduled training, gate, shadow, promotion. Some minutes.",
        ),
    ] = False,
) -> None:
    """Train on a simulated line, stream parts through the real queue and worker, report what was caught."""
    from model.config import TrainingStoppedError

    if approvals.required("promotion"):
        raise UserError(
            "the demo lets the model that it trains judge, which takes a signature here: set "
            "PYRAMIDION_REQUIRE_SIGNATURE without promotion for the demo"
        )
    leave = leave or as_json
    stop, done = stop_on_signals(), Event()
    supervisor = Supervisor(DatabaseSettings().home)
    tending = Thread(target=tend_until, args=(done, supervisor), daemon=True)
    try:
        if retrain:
            ageing.hurry()
        context = services.start(supervisor, _say, stop, web=not leave, trainer=retrain)
        tending.start()  # what dies during the demo is started again, as in `up`
        show = ageing.show if retrain else _stream
        whole = show(context, supervisor, stop, parts=parts, rate=rate, seed=seed, as_json=as_json)
        if stop.is_set():
            raise typer.Exit(INTERRUPTED)
        if not whole:
            raise typer.Exit(FAILED)
        if not leave:
            _say("everything keeps running; Ctrl-C stops it")
            stop.wait()
    except TrainingStoppedError:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        done.set()
        try:
            if tending.is_alive():
                tending.join()
        finally:
            supervisor.stop()


def _stream(
    context: Context,
    supervisor: Supervisor,
    stop: Event,
    *,
    parts: int,
    rate: float | None,
    seed: int,
    as_json: bool,
) -> bool:
    """Train, stream, report; says whether every part was judged."""
    from pyramidion.simulation import PRODUCT, SIZE, good_parts, stream
    from pyramidion.training import train_images

    _say(f"line     simulating {GOOD_PARTS} good parts to learn from")
    note = f"{GOOD_PARTS} simulated parts, seed {seed}"
    model = train_images(PRODUCT, good_parts(GOOD_PARTS, seed, SIZE), note=note, stop=stop.is_set)
    _say(f"model    {model['version'][:12]}, threshold {model['threshold']:.3f}, {model['seconds']} s")
    services.await_worker(supervisor, stop)
    lot = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    report = stream(context, parts=parts, rate=rate, seed=seed + 1, lot=lot, stop=stop, stalled_s=STALLED_S)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report, context)
    return report.pending == 0 and report.judged == report.parts


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _print(report: "Report", context: Context) -> None:
    from pyramidion.simulation import PRODUCT

    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, value, note in (
        ("parts", report.parts, f"lot {report.lot}"),
        (
            "judged",
            report.judged,
            f"ok {report.ok}, ng {report.ng}, error {report.error}, pending {report.pending}",
        ),
        ("defective parts", report.defects, f"caught {report.caught}, escaped {report.escapes}"),
        ("false rejects", report.false_rejects, f"of {report.parts - report.defects} good parts"),
        (
            "images/s",
            report.images_per_s,
            "camera to committed verdict, camera simulated on the same processor",
        ),
    ):
        table.add_row(name, str(value), note)
    out.print(table)
    with context.reading() as session:
        worst = search(session, Filter(product=PRODUCT, lot=report.lot, verdict="ng"), limit=1)
    home = os.environ.get("PYRAMIDION_HOME")
    program = "pyramidion" if shutil.which("pyramidion") else Path(sys.argv[0])
    prefix = f"PYRAMIDION_HOME={home} {program}" if home else program
    out.print("where to look next:")
    for words in (
        f"results --product {PRODUCT} --lot {report.lot} --verdict ng",
        *(f"show {row.id} --save-map defect.png" for row in worst),
        "up                      # the page, on what the demo has left",
        "train PRODUCT --images DIR   # your own parts",
    ):
        out.print(f"  {prefix} {words}", markup=False, highlight=False, soft_wrap=True)
