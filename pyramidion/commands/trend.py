"""`pyramidion trend`: how production goes, by hour, shift or day."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from pyramidion.commands import filters
from pyramidion.errors import UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from db.trends import Figures, Period

_COUNTS = ("captured", "ok", "ng", "inconclusive", "error", "pending")
_RATES = ("first_pass_yield", "false_reject_rate", "escape_rate")


def trend(
    by: Annotated[Literal["hour", "shift", "day"], typer.Option(help="Length of a period.")] = "day",
    zone: Annotated[str, typer.Option(help="Time zone of the plant, such as Europe/Berlin.")] = "UTC",
    shifts: Annotated[str, typer.Option(help="When shifts begin.")] = "06:00,14:00,22:00",
    product: filters.Product = None,
    station: filters.Station = None,
    line: filters.Line = None,
    lot: filters.Lot = None,
    since: filters.Since = None,
    until: filters.Until = None,
    model: filters.Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Sum up periods: what was captured and judged, first-pass yield, and how often reviews overrule."""
    from db.ledger import released
    from db.trends import InvalidShiftsError, read_shifts, read_zone
    from db.trends import trend as sum_up
    from pyramidion.context import open_context

    wanted = filters.read(
        product=product, station=station, line=line, lot=lot, since=since, until=until, model=model
    )
    try:
        place, starts = read_zone(zone), read_shifts(shifts)
    except InvalidShiftsError as error:
        raise UserError(str(error)) from None
    with open_context().reading() as session:
        filters.require_there(session, wanted)
        try:
            periods = sum_up(session, wanted, by, place, starts)
        except InvalidShiftsError as error:
            raise UserError(str(error)) from None
        some_went = released.any_of(session, wanted.since, wanted.until, wanted.product)
    if as_json:
        print_json([{"begin": one.begin, "end": one.end, **one.figures.as_dict()} for one in periods])
    elif periods:
        _print(periods, by, zone)
    else:
        out.print("nothing was captured then; `pyramidion results` lists what was")
    if some_went:
        err.print(
            "retention has let some of that time go: counts and rates are of what is left",
            style="yellow",
            soft_wrap=True,
        )


def _print(periods: "list[Period]", by: str, zone: str) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column(f"{by} ({zone})", no_wrap=True)
    for name in (*_COUNTS, *_RATES):
        table.add_column(name.replace("_", " "), justify="right")
    form = "%Y-%m-%d" if by == "day" else "%Y-%m-%d %H:%M"
    for one in periods:
        table.add_row(one.begin.strftime(form), *_cells(one.figures))
    out.print(table)


def _cells(figures: "Figures") -> list[str]:
    rates = [getattr(figures, name) for name in _RATES]
    return [
        *(str(getattr(figures, name)) for name in _COUNTS),
        *("\N{EN DASH}" if rate is None else f"{rate:.1%}" for rate in rates),
    ]
