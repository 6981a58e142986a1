"""`pyramidion results`: what was judged, newest first."""

import csv
import dataclasses
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from db.export_files import harmless
from db.facets import Facets, facets
from db.history import Row, search, stream
from pyramidion.commands import filters
from pyramidion.errors import UserError
from pyramidion.output import out, print_json, print_json_array

SHOWN = 20
ID_SHOWN = 18  # up to here the time and 12 random bits: enough for `show` to know it by


_NONE = "\N{EN DASH}"
COLOURS = {"ng": "red", "error": "red", "inconclusive": "yellow", "pending": "dim"}


def results(
    product: filters.Product = None,
    station: filters.Station = None,
    line: filters.Line = None,
    lot: filters.Lot = None,
    serial: filters.Serial = None,
    verdict: filters.OfVerdict = None,
    reviewed: filters.ReviewedAs = None,
    since: filters.Since = None,
    until: filters.Until = None,
    model: filters.Model = None,
    min_score: filters.MinScore = None,
    max_score: filters.MaxScore = None,
    min_defect: filters.MinDefect = None,
    max_defect: filters.MaxDefect = None,
    late: filters.Late = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; a table shows {SHOWN}, JSON and CSV all.")
    ] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="Count the matches by product, lot, verdict and so on instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """List inspections with their verdicts, newest first."""
    from pyramidion.context import open_context

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other")
    wanted = filters.read(
        product=product,
        station=station,
        line=line,
        lot=lot,
        serial=serial,
        verdict=verdict,
        reviewed=reviewed,
        since=since,
        until=until,
        model=model,
        min_score=min_score,
        max_score=max_score,
        min_defect=min_defect,
        max_defect=max_defect,
        late=late,
    )
    if counts and (as_csv or limit is not None):
        raise UserError("--counts are a table or --json, and count all that match")
    with open_context().reading() as session:
        filters.require_there(session, wanted)
        if counts:
            _tell_counts(facets(session, wanted), as_json=as_json)
            return
        if as_json or as_csv:
            rows = stream(session, wanted) if limit is None else search(session, wanted, limit)
            if as_json:
                print_json_array(dataclasses.asdict(row) for row in rows)
            else:
                _print_csv(rows)
        else:
            _print_table(search(session, wanted, (limit or SHOWN) + 1), limit or SHOWN)


def _tell_counts(found: Facets, *, as_json: bool) -> None:
    if as_json:
        listed = {
            name: [{"value": value, "count": number} for value, number in values.items()]
            for name, values in found.values.items()
        }
        print_json({"counted": found.counted, "complete": found.complete, "more": found.more, **listed})
        return
    newest = "" if found.complete else "the newest "
    out.print(f"counted: {newest}{found.counted}", highlight=False)
    for name, values in found.values.items():
        words = [f"{_NONE if value is None else value} {number}" for value, number in values.items()]
        words += [f"and {found.more[name]} more"] if found.more[name] else []
        out.print(f"{name:14} {', '.join(words)}", markup=False, highlight=False, soft_wrap=True)


def _print_csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow([field.name for field in dataclasses.fields(Row)])
    for row in rows:
        values = {**dataclasses.asdict(row), "regions": len(row.regions)}
        writer.writerow([v.isoformat() if isinstance(v, datetime) else harmless(v) for v in values.values()])


def _print_table(rows: list[Row], limit: int) -> None:
    if not rows:
        out.print("no inspection matches; `pyramidion capture DIR --product P --station S` brings some in")
        return
    shown = rows[:limit]
    # What is the same in every row is said once: a terminal of 80 columns has no room to repeat it.
    varying = [
        name for name in ("product", "station", "lot", "serial") if len({getattr(r, name) for r in shown}) > 1
    ]
    said_once = [
        f"{name} {getattr(shown[0], name)}"
        for name in ("product", "station", "lot", "serial")
        if name not in varying and getattr(shown[0], name)
    ]
    out.print(", ".join(said_once), markup=False, highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name, width in (("id", ID_SHOWN), ("captured (UTC)", 14), ("verdict", 7), ("score", 6), ("limit", 6)):
        table.add_column(name, no_wrap=True, min_width=width)
    for name in varying:
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for row in shown:
        said = row.verdict or "pending"
        table.add_row(
            str(row.id)[:ID_SHOWN],
            row.captured_at.strftime("%m-%d %H:%M:%S"),
            f"[{COLOURS[said]}]{said}[/]" if said in COLOURS else said,
            "" if row.score is None else f"{row.score:.2f}",
            "" if row.threshold is None else f"{row.threshold:.2f}",
            *(escape(getattr(row, name) or "") for name in varying),
        )
    out.print(table)
    if len(rows) > limit:
        out.print(f"only the newest {limit} are shown; --limit, --json or --csv gives more")
