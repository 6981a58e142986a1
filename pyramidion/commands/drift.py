"""`pyramidion drift`: whether a station's images are still like those that its model was trained on."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.commands import filters
from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from db.tables import DriftWindow

_SHOWN = 20


def drift(
    product: Annotated[str | None, typer.Argument(help="Only windows of this product.")] = None,
    station: filters.Station = None,
    since: Annotated[
        datetime | None, typer.Option(help="Windows that begin at or after this time (UTC).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; people are shown {_SHOWN}, JSON has all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List closed windows, newest first, with what is beyond its limit marked by `!`."""
    from db.drift import is_beyond, listed
    from db.inspections import require_product
    from pyramidion.context import open_context

    with open_context().reading() as session:
        if product is not None:
            require_product(session, product)
        number = limit if as_json else limit or _SHOWN
        found = listed(session, product, station, filters.utc(since), number)
    if as_json:
        beyond = [[name for name, one in window.statistics.items() if is_beyond(one)] for window in found]
        print_json([{**_as_dict(one), "beyond": names} for one, names in zip(found, beyond, strict=True)])
        return
    if not found:
        out.print(
            "no window is closed yet: one is some minutes after it is over (PYRAMIDION_DRIFT_WINDOW_S, "
            "PYRAMIDION_DRIFT_WAIT_S), by a housekeeping worker",
            soft_wrap=True,
        )
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("product", "station", "from (UTC)", "model", "images"):
        table.add_column(name, no_wrap=name not in {"product", "station"})
    table.add_column("value of each statistic, ! where beyond its limit")
    for window in found:
        told = ", ".join(_told(name, one) for name, one in window.statistics.items())
        table.add_row(
            window.product,
            window.station,
            f"{window.starts_at:%m-%d %H:%M:%S}",
            window.model_version[:6],
            str(window.images),
            told or "none: too few images, or nothing to compare with",
        )
    out.print(table)


def _told(name: str, statistic: Mapping[str, float]) -> str:
    from db.drift import is_beyond

    value = f"{statistic['value']:.2f}"
    return f"{name} {value}! (limit {statistic['limit']:.2g})" if is_beyond(statistic) else f"{name} {value}"


def _as_dict(window: "DriftWindow") -> dict[str, Any]:
    return {column.name: getattr(window, column.name) for column in window.__table__.columns}
