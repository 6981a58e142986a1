"""`pyramidion schedule`: when products are trained again."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.errors import UserError
from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from db.tables import Schedule

app = typer.Typer(help="List and set when products are trained again.", invoke_without_command=True)


@app.callback()
def schedule(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from db import schedules
    from pyramidion.context import open_context

    with open_context().reading() as session:
        rows = [_as_dict(one) for one in schedules.every(session)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no schedule; `pyramidion schedule set PRODUCT --cron '0 2 * * *'` makes one")
        return
    table = Table("product", "cron", "zone", "new images", "next (UTC)", "changed by", "", box=None)
    for row in rows:
        due = row["next_due"]
        table.add_row(
            row["product"],
            row["cron"],
            row["time_zone"],
            str(row["min_new"]),
            "off" if due is None else f"{due:%Y-%m-%d %H:%M}",
            row["changed_by"],
            "" if row["last_skipped"] is None else f"no run: {row['last_skipped']}",
        )
    out.print(table)


@app.command("set")
def set_(
    product: Annotated[str, typer.Argument(help="The product.")],
    cron: Annotated[
        str | None,
        typer.Option(help="Minute, hour, day of month, month, day of week, such as '0 2 * * 1-5'."),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone of that, such as Europe/Berlin.")] = None,
    min_new: Annotated[
        int | None, typer.Option(min=0, help="Good images that there must be since the last run.")
    ] = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether it asks for trainings.")] = None,
) -> None:
    """Make or change the schedule of PRODUCT; what is not given stays (of a new one: UTC, 50 images, on)."""
    from db import schedules
    from pyramidion.context import open_context

    if cron is None and zone is None and min_new is None and on is None:
        raise UserError("nothing to change: give --cron, --zone, --min-new, --on or --off")
    with open_context().sessions.begin() as session:
        changed = schedules.change(
            session, product, getpass.getuser(), cron=cron, time_zone=zone, min_new=min_new, enabled=on
        )
        due = _as_dict(changed)["next_due"]
    when = (
        "off" if due is None else f"next due {due:%Y-%m-%d %H:%M} UTC, with {changed.min_new} new good images"
    )
    out.print(
        f"{product}: {changed.cron} in {changed.time_zone}, {when}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _as_dict(schedule: "Schedule") -> dict[str, Any]:
    from db import schedules

    row = {column.name: getattr(schedule, column.name) for column in schedule.__table__.columns}
    return row | {"next_due": next(iter(schedules.upcoming(schedule, datetime.now(UTC))), None)}
