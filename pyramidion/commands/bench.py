"""`pyramidion bench`: how fast it is here."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from pyramidion.output import err, out, print_json

app = typer.Typer(
    help="Measure on this machine, with data made for it and removed afterwards.", no_args_is_help=True
)


@app.command()
def history(
    rows: Annotated[
        int, typer.Option(min=10_000, help="Inspections to make, each with its verdict.")
    ] = 1_000_000,
    database: Annotated[
        str,
        typer.Option(
            help="sqlite, postgresql (embedded, from the extra `dev`), or the URL of a PostgreSQL server, "
            "where a database of its own is made."
        ),
    ] = "sqlite",
    repeats: Annotated[int, typer.Option(min=10, help="How often each question is asked.")] = 200,
    plans: Annotated[bool, typer.Option("--plans", help="Show how the database answers as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make a long history, and ask it what auditors ask: at 100,000 rows, at a million, and at the end."""
    from benchmarks.history import run, table
    from pyramidion.errors import UserError

    try:
        with err.status(f"making {rows:,} inspections"):
            found = run(rows, database, repeats, with_plans=plans)
    except ModuleNotFoundError as error:
        raise UserError(f"{error}: give the URL of a server, or pip install 'pyramidion[dev]'") from None
    if as_json:
        print_json(found)
        return
    out.print(table(found), markup=False, highlight=False, soft_wrap=True)
    for name, plan in found["plans"].items():
        out.print(f"\n{name}\n{plan}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def pipeline(
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images to inspect; else parts of the simulated line.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of a trained model; else the default preset, trained for a moment.",
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=64, max=1024, help="Side in pixels of the simulated parts and of the model.")
    ] = 256,
    seconds: Annotated[float, typer.Option(min=1, help="How long each is measured in each turn.")] = 20,
    turns: Annotated[int, typer.Option(min=1, help="How often; medians are told.")] = 3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Scoring processes; else one a core.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that a model computes with.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure capture to committed verdict, beside the bare model, plain Celery and servers of models."""
    from benchmarks.pipeline import ours
    from benchmarks.pipeline.run import Asked, run, table
    from model import bundle
    from pyramidion.errors import UserError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it started ends with it
    try:
        made = None if model is None else bundle.paths(model)
        with err.status("") as status:
            asked = Asked(images, made, size, seconds, turns, workers or ours.cores(), threads, status.update)
            found = run(asked)
    except ModuleNotFoundError as error:
        raise UserError(f"{error}: pip install 'pyramidion[dev]'") from None
    if as_json:
        print_json(found)
        return
    out.print(table(found), markup=False, highlight=False, soft_wrap=True)
