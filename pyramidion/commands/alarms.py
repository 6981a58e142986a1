"""`pyramidion alarms`: what a person should look at."""

import getpass
from typing import Annotated

import typer
from rich.table import Table

from pyramidion.errors import UserError
from pyramidion.output import out, print_json

_SHOWN = 20

app = typer.Typer(help="List alarms of drift and of golden samples, close one.", invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]


@app.callback()
def alarms(
    context: typer.Context,
    product: Annotated[str | None, typer.Option(help="Only of this product.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are closed as well.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"At most so many; people are shown {_SHOWN} with --all, else all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from db.alarms import as_dict, newest, number
    from db.inspections import require_product
    from pyramidion.context import open_context

    with open_context().reading() as session:
        if product is not None:
            require_product(session, product)
        if everything and not as_json:
            limit = limit or _SHOWN  # one that is open is never left out unasked
        found = newest(session, product, only_open=not everything, limit=limit)
        more = 0 if limit is None else number(session, product, only_open=not everything) - len(found)
    if as_json:
        print_json([as_dict(one) for one in found])
        return
    if not found:
        out.print("no alarm yet" if everything else "no alarm is open; --all lists those that were")
        return
    table = Table("alarm", "product", "station", "since (UTC)", "what", "state", box=None)
    for one in found:
        state = "open" if one.closed_at is None else f"closed by {one.closed_by}"
        table.add_row(
            str(one.id)[:13],  # of its time, to the millisecond: enough to name it
            one.product,
            one.station,
            f"{one.since:%Y-%m-%d %H:%M}",
            one.statistic,
            f"{state}, holds verdicts" if one.holds and one.closed_at is None else state,
        )
    out.print(table)
    if more > 0:
        _say(f"... and {more} more; --limit says how many are shown")
    for one in found:
        if one.closed_at is None:
            _say(f"{str(one.id)[:13]}: {one.said}")


@app.command()
def close(
    alarm_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    why: Annotated[str, typer.Option(help="What was found or done; kept in the audit trail.")],
) -> None:
    """Close an alarm; what was seen until now opens none again."""
    from db import alarms as kept
    from db.ids import beginning_with
    from pyramidion.context import open_context

    if not why.strip():
        raise UserError("--why is empty: say what was found or done, the audit trail keeps it")
    with open_context().sessions.begin() as session:
        ids = (one.id for one in kept.newest(session))
        id_ = beginning_with(ids, alarm_id, "alarm", "pyramidion alarms --all")
        alarm = kept.close(session, id_, getpass.getuser(), why)
    _say(f"alarm {alarm.id} ({alarm.statistic} of {alarm.product} at {alarm.station}) is closed")


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
