"""`pyramidion runs`: trainings on what the line has produced, and how they go."""

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.tables import TrainingRun

_SHOWN = 20

app = typer.Typer(help="List training runs, show one, cancel one.", invoke_without_command=True)

RunId = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def runs(
    context: typer.Context,
    product: Annotated[str | None, typer.Option(help="Only of this product.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; people are shown {_SHOWN}, JSON has all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from db.runs import newest
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = newest(session, product, limit if as_json else limit or _SHOWN)
    if as_json:
        print_json([as_dict(run) for run in found])
        return
    if not found:
        out.print("no training run yet; `pyramidion retrain PRODUCT` asks for one")
        return
    table = Table("run", "product", "asked (UTC)", "by", "why", "state", "", box=None)
    for run in found:
        table.add_row(
            str(run.id)[:13],  # of its time, to the millisecond: enough to name it
            run.product,
            f"{run.requested_at:%Y-%m-%d %H:%M:%S}",
            run.requested_by,
            run.why,
            run.state,
            _told(run),
        )
    out.print(table)


@app.command()
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show all there is about one run, with the end of its log."""
    from db import datasets
    from pyramidion.context import open_context

    with open_context().reading() as session:
        run = find_one(session, run_id)
        dataset = None if run.dataset is None else datasets.find(session, run.dataset)
    if as_json:
        print_json({**as_dict(run), "dataset_summary": None if dataset is None else dataset.summary})
        return
    _say(f"run       {run.id}")
    _say(f"product   {run.product}")
    _say(f"asked     {run.requested_at:%Y-%m-%d %H:%M:%S} UTC by {run.requested_by}, {run.why}")
    _say(f"state     {run.state}, attempt {run.attempt}, {_told(run) or 'no trainer has it yet'}")
    for name, value in (("began", run.started_at), ("ended", run.ended_at), ("sign", run.heartbeat_at)):
        if value is not None:
            _say(f"{name:10}{value:%Y-%m-%d %H:%M:%S} UTC")
    if run.gate_said is not None:
        _say(f"gate      {gate_word(run)}")
        for reason in run.gate_said:
            _say(f"          {reason}")
    if run.holder is not None:
        _say(f"trainer   {run.holder}")
    if dataset is not None:
        _say(f"dataset   {dataset.sha256}")
        for line in _trained_on(dataset.summary):
            _say(f"          {line}")
    if run.log:
        _say(f"log       {run.log.rstrip().replace(chr(10), chr(10) + ' ' * 10)}")


@app.command()
def cancel(run_id: RunId) -> None:
    """Cancel a run: its trainer stops within seconds, no model comes of it, and who judges stays."""
    from db.runs import cancel as cancel_run
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        run = cancel_run(session, find_one(session, run_id).id, getpass.getuser())
    _say(f"run {run.id} of {run.product} is cancelled")


def find_one(session: "Session", beginning: str) -> "TrainingRun":
    """Give the run whose id begins so; raises UnknownIdError."""
    from db.ids import beginning_with
    from db.runs import find, newest

    ids = (run.id for run in newest(session))
    return find(session, beginning_with(ids, beginning, "training run", "pyramidion runs"))


def progress(run: "TrainingRun") -> str:
    """Say how far a run is; nothing before its first sign."""
    if run.epochs is None:
        return ""
    loss = "" if run.loss is None else f", loss {run.loss:.4g}"
    left = "" if run.eta_s is None else f", {run.eta_s:.0f} s left"
    return f"epoch {run.epoch} of {run.epochs}{loss}{left}"


def _trained_on(summary: dict[str, Any]) -> list[str]:
    """Say what a run trains on: by part and station, how it was split, and what was left out for what."""
    from db import datasets

    stations = summary["stations"]
    train, held_out = (sum(counts[part] for counts in stations.values()) for part in ("train", "hold_out"))
    lines = [f"{train} images to train on, {held_out} held out, split by {summary['split_by']}"]
    if summary["split_why"] is not None:
        lines.append(f"({summary['split_why']})")
    for station, counts in stations.items():
        lines.append(f"{station}: {counts['train']} and {counts['hold_out']}")
    left_out = datasets.left_out(summary)
    return lines + ([f"left out: {left_out}"] if left_out else [])


def _told(run: "TrainingRun") -> str:
    if run.state != "succeeded":
        return run.reason or progress(run)
    said = gate_word(run)
    if run.gate_passed is False and run.gate_said:
        said = f"{said}: {run.gate_said[0]}"
    return f"model {(run.model_version or '')[:12]}{said and f', {said}'}"


def gate_word(run: "TrainingRun") -> str:
    """Say in short what the gate said of a run's model; nothing where it was not asked."""
    if run.gate_said is None:
        return ""
    return "not examined" if run.gate_passed is None else "passed the gate" if run.gate_passed else "refused"


def as_dict(run: "TrainingRun") -> dict[str, Any]:
    return {column.name: getattr(run, column.name) for column in run.__table__.columns}


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
