"""`pyramidion golden`: parts that are known to be good or bad, sent through the pipeline to prove it."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.errors import FAILED, UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.golden_trials import Outcome
    from db.tables import GoldenSample, GoldenSchedule

_SHOWN = 20
_STALLED_S = 60.0
_PASSED = {True: "passed", False: "FAILED", None: "waits"}

app = typer.Typer(
    help="Known good and bad parts: add, list, send, their schedule and history.", no_args_is_help=True
)

Product = Annotated[str, typer.Argument(help="The product.")]
OfProduct = Annotated[str | None, typer.Argument(metavar="[PRODUCT]", help="Only of this product.")]
Station = Annotated[str, typer.Argument(help="The station that shows the part so.")]
Name = Annotated[str, typer.Argument(help="What the sample is called; once a station.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    product: Product,
    station: Station,
    name: Name,
    expect: Annotated[str, typer.Option(help="What its verdict has to be: ok or ng.")],
    file: Annotated[
        Path | None, typer.Argument(help="Its image, as the station takes it; or give --from.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="ID", help="Take the image of this inspection, by the start of its id."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a golden sample: FILE, or the image of an inspection that the station has made."""
    from db import golden
    from pyramidion.context import open_context
    from pyramidion.golden import of_file, of_inspection

    if expect not in ("ok", "ng"):
        raise UserError(f"--expect is ok for a good part or ng for a bad one, not {expect!r}")
    if (file is None) == (from_ is None):
        raise UserError("give the image once: a file, or an inspection by --from ID")
    context = open_context()
    context.require_images()
    if file is not None:
        data, image = of_file(file)
    else:
        data, image = of_inspection(context, product, station, from_ or "")
    context.store.put(data)  # also what is there: it becomes new, which retention leaves alone
    with context.sessions.begin() as session:
        wanted: golden.Expected = "ok" if expect == "ok" else "ng"
        sample = golden.add(session, product, station, name, wanted, image, getpass.getuser())
    if as_json:
        print_json(_as_dict(sample))
        return
    _say(f"golden sample {name} of {product} at {station} has to be judged {expect} from now on")


@app.command("list")
def list_(product: OfProduct = None, as_json: AsJson = False) -> None:
    """List the golden samples in use, and how they did when they were last sent."""
    from db import golden
    from pyramidion.context import open_context

    with open_context().reading() as session:
        _require_product(session, product)
        last = golden.last_sent(session)
        rows = [
            _as_dict(one) | dict(zip(("last_sent", "passed"), last.get(one.id, (None, None)), strict=True))
            for one in golden.in_use(session, product)
        ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no golden samples; `pyramidion golden add PRODUCT STATION NAME FILE --expect ok` adds one")
        return
    table = Table("product", "station", "name", "has to be", "last sent (UTC)", "", box=None)
    for row in rows:
        sent = row["last_sent"]
        table.add_row(
            *(row[column] for column in ("product", "station", "name", "expected")),
            "never" if sent is None else f"{sent:%Y-%m-%d %H:%M:%S}",
            "" if sent is None else _PASSED[row["passed"]],
        )
    out.print(table)


@app.command()
def retire(
    product: Product,
    station: Station,
    name: Name,
    why: Annotated[str, typer.Option(help="For the audit trail.")],
) -> None:
    """Send a golden sample no more; its history stays."""
    from db import golden
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        golden.retire(session, product, station, name, getpass.getuser(), why)
    _say(f"golden sample {name} of {product} at {station} is retired")


@app.command()
def send(
    product: Product,
    station: Annotated[str | None, typer.Option(help="Only those of this station.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the verdicts; exit with 1 unless all samples pass.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send the golden samples of PRODUCT through the pipeline now."""
    from db import golden_trials
    from pyramidion.context import open_context
    from pyramidion.golden import await_trials
    from workers import queue

    context = open_context()
    with context.sessions.begin() as session:
        trials = golden_trials.send(session, product, getpass.getuser(), station=station)
    try:
        queue.enqueue(trials)
    except queue.BrokerUnavailableError as error:
        _note(str(error))
    if wait:
        await_trials(context, trials, stalled_s=_STALLED_S)
    with context.reading() as session:
        found = golden_trials.of(session, trials)
    if as_json:
        print_json([vars(one) for one in found])
    elif wait:
        for one in found:
            _say(_told(one))
    else:
        _say(f"{len(found)} golden samples are sent; `pyramidion golden trials {product}` tells how they did")
    if wait and not all(one.passed for one in found):
        raise typer.Exit(FAILED)


def _told(one: "Outcome") -> str:
    score = "" if one.score is None else f" (score {one.score:.4g}, threshold {one.threshold:.4g})"
    if one.passed is None:
        said = "has no verdict yet: `pyramidion doctor` says whether a scoring worker answers"
    else:
        said = f"judged {one.verdict}{score}{': ' + one.error if one.error else ''}"
    return f"{_PASSED[one.passed]:8}{one.station} {one.name}, which has to be {one.expected}: {said}"


@app.command()
def trials(
    product: OfProduct = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; people are shown {_SHOWN}, JSON has all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List when golden samples were sent, and how they were judged, newest first."""
    from db import golden_trials
    from pyramidion.context import open_context

    with open_context().reading() as session:
        _require_product(session, product)
        found = golden_trials.newest(session, product, limit if as_json else limit or _SHOWN)
    if as_json:
        print_json([vars(one) for one in found])
        return
    if not found:
        out.print("no golden sample was sent yet; `pyramidion golden send PRODUCT` does")
        return
    table = Table("sent (UTC)", "product", "station", "name", "has to be", "judged", "", box=None)
    for one in found:
        table.add_row(
            f"{one.sent_at:%Y-%m-%d %H:%M:%S}",
            one.product,
            one.station,
            one.name,
            one.expected,
            (one.verdict or "") + (", held" if one.held else ""),
            _PASSED[one.passed],
        )
    out.print(table)


@app.command()
def schedule(
    product: OfProduct = None,
    cron: Annotated[
        str | None,
        typer.Option(
            help="Minute, hour, day of month, month, day of week: '0 6,14,22 * * *' for each shift."
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", "--zone", help="Of that, such as Europe/Berlin.")
    ] = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether samples are sent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say when golden samples are sent, or change it; what is not given stays (of a new one: UTC, on)."""
    from db import golden_schedules
    from pyramidion.context import open_context

    changes = {"cron": cron, "time_zone": time_zone, "enabled": on}
    context = open_context()
    if any(value is not None for value in changes.values()):
        if product is None:
            raise UserError("whose schedule? Give the PRODUCT")
        with context.sessions.begin() as session:
            golden_schedules.change(session, product, getpass.getuser(), **changes)  # type: ignore[arg-type]
    with context.reading() as session:
        _require_product(session, product)
        rows = [
            _due(one) for one in golden_schedules.every(session) if product is None or one.product == product
        ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no schedule; `pyramidion golden schedule PRODUCT --cron '0 6,14,22 * * *'` makes one")
    for row in rows:
        due = row["next_due"]
        when = "off" if due is None else f"next due {due:%Y-%m-%d %H:%M} UTC"
        _say(f"{row['product']}: {row['cron']} in {row['time_zone']}, {when}, set by {row['changed_by']}")


def _due(schedule: "GoldenSchedule") -> dict[str, Any]:
    from db.schedules import upcoming

    row = {column.name: getattr(schedule, column.name) for column in schedule.__table__.columns}
    return row | {"next_due": next(iter(upcoming(schedule, datetime.now(UTC))), None)}


def _require_product(session: "Session", product: str | None) -> None:
    from db import inspections

    if product is not None:
        inspections.require_product(session, product)


def _as_dict(sample: "GoldenSample") -> dict[str, Any]:
    return {column.name: getattr(sample, column.name) for column in sample.__table__.columns}


def _note(text: str) -> None:
    err.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
