"""`pyramidion rescore`: score history again with another model, beside the verdicts that stand."""

import getpass
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.commands import filters
from pyramidion.errors import FAILED, UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from db.tables import Rescoring
    from pyramidion.context import Context

_LISTED = 20
_LOOKS_EVERY_S = 1.0

app = typer.Typer(
    help="Score history again with another model, in its own rows: verdicts stay as they are.",
    invoke_without_command=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The rescoring's id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def rescore(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from db import rescorings
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = rescorings.everyone(session)
    if as_json:
        print_json([_row(one) for one in found])
        return
    if not found:
        out.print("nothing was scored again yet; `pyramidion rescore start PRODUCT --model VERSION` does")
        return
    table = Table(box=None)
    for name in ("id", "asked (UTC)", "product", "model", "state", "images"):
        table.add_column(name, no_wrap=name != "product")  # in 80 columns as well
    for one in found:
        table.add_row(
            str(one.id)[:18],
            f"{one.requested_at:%Y-%m-%d %H:%M}",
            one.product,
            one.model_version[:12],
            one.state,
            f"{one.done} of {one.total}",
        )
    out.print(table)


@app.command()
def start(
    product: Annotated[str, typer.Argument(help="Whose judged inspections to score again.")],
    model: Annotated[str, typer.Option(help="The model version to score them with, or the beginning of it.")],
    station: filters.Station = None,
    line: filters.Line = None,
    lot: filters.Lot = None,
    verdict: filters.OfVerdict = None,
    since: filters.Since = None,
    until: filters.Until = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is done, and show the outcome.")
    ] = False,
) -> None:
    """Ask the scoring workers to score history again, whenever the line leaves them time."""
    from db import rescorings
    from pyramidion.commands.models import version_of
    from pyramidion.context import open_context

    if verdict is filters.Verdict.PENDING:
        raise UserError(
            "what is pending has no verdict to compare with: the line's own model judges it first"
        )
    wanted = filters.read(
        product=product, station=station, line=line, lot=lot, verdict=verdict, since=since, until=until
    )
    context = open_context()
    with err.status("looking for what matches"), context.sessions.begin() as session:
        version = version_of(session, product, model)
        one = rescorings.request(session, product, version, wanted, limit, getpass.getuser())
    _say(f"rescoring {one.id}: {one.total} inspections of {product} with model {version[:12]}")
    if not _scoring_workers():
        err.print(
            "no scoring worker answers, so it waits for one: start `pyramidion up`, or "
            "`pyramidion worker --queue score`",
            style="yellow",
            soft_wrap=True,
        )
    if not wait:
        _say(f"`pyramidion rescore show {str(one.id)[:18]}` tells how far it is, and what it found")
        return
    one = _wait(context, one)
    _tell(context, one)
    if one.state != rescorings.DONE:
        raise typer.Exit(FAILED)


@app.command()
def show(id_: Id, as_json: AsJson = False) -> None:
    """Show how far a rescoring is, and how what it said compares with the verdicts that stand."""
    from dataclasses import asdict

    from db import rescores, rescorings
    from pyramidion.context import open_context

    context = open_context()
    with context.reading() as session:
        one = rescorings.find(session, id_)
        if not as_json:
            _tell(context, one)
            return
        counts = rescores.compared(session, one)
        turned = [asdict(item) for item in rescores.turned(session, one)]
    comparison = [{"stands": stands, "rescored": said, "inspections": n} for stands, said, n in counts]
    print_json({**_row(one), "comparison": comparison, "turned": turned})


@app.command()
def cancel(id_: Id) -> None:
    """End a rescoring; what was scored stays."""
    from db import rescorings
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        one = rescorings.find(session, id_)
        rescorings.cancel(session, one.id, getpass.getuser())
    _say(f"rescoring {one.id} is cancelled; what was scored stays")


def _scoring_workers() -> bool:
    from kombu.exceptions import OperationalError

    from workers.celery import app as celery
    from workers.settings import NoBrokerError

    try:
        answers = celery.control.ping(timeout=2.0)
    except (OperationalError, NoBrokerError):
        return False
    return any(name.startswith("score-") for answer in answers for name in answer)


def _wait(context: "Context", one: "Rescoring") -> "Rescoring":
    from db import rescorings
    from db.tables import Rescoring

    with err.status("waiting") as status:
        while one.state in rescorings.ACTIVE:
            time.sleep(_LOOKS_EVERY_S)
            with context.reading() as session:
                one = session.get_one(Rescoring, one.id)
            status.update(_progress(one))
    return one


def _tell(context: "Context", one: "Rescoring") -> None:
    from db import rescores

    with context.reading() as session:
        counts = rescores.compared(session, one)
        turned = list(rescores.turned(session, one, _LISTED))
    _say(f"rescoring {one.id} of {one.product} with model {one.model_version}")
    only = "".join(f", {name} {value}" for name, value in one.filter.items())
    _say(f"asked for by {one.requested_by} at {one.requested_at:%Y-%m-%d %H:%M:%S} UTC{only}")
    _say(_progress(one))
    if one.error is not None:
        err.print(one.error, style="red", markup=False, highlight=False, soft_wrap=True)
    if not counts:
        return
    said = sorted({rescored for _, rescored, _ in counts})
    table = Table("verdict that stands", *(f"now {one}" for one in said), box=None)
    numbers = {(stands, rescored): number for stands, rescored, number in counts}
    for stands in sorted({stands for stands, _, _ in counts}):
        table.add_row(stands, *(str(numbers.get((stands, rescored), 0)) for rescored in said))
    out.print(table)
    number = sum(n for stands, rescored, n in counts if stands != rescored)
    _say(f"{number} of {sum(numbers.values())} turned")
    for item in turned:
        why = item.error or f"score {item.score:.4g}, threshold {item.threshold:.4g}"
        _say(f"{item.inspection_id} {item.stands} -> {item.rescored}: {why}")
    if number > len(turned):
        _say(f"... and {number - len(turned)} more; --json lists them")


def _progress(one: "Rescoring") -> str:
    from db.rescorings import images_per_s

    share = f" ({one.done / one.total:.0%})" if one.total else ""
    failed = f", {one.failed_images} could not be scored" if one.failed_images else ""
    rate = images_per_s(one)
    return f"{one.state}: {one.done} of {one.total}{share}{failed}" + (
        f", {rate:.1f} images/s" if rate else ""
    )


def _row(one: "Rescoring") -> dict[str, Any]:
    from db.rescorings import images_per_s
    from pyramidion.commands.show import columns

    inner = {"first", "last", "cursor", "trying_to", "tries"}
    row = {name: value for name, value in (columns(one) or {}).items() if name not in inner}
    return {**row, "images_per_s": images_per_s(one)}


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
