"""`pyramidion export`: any part of the history as a file."""

from pathlib import Path
from typing import Annotated

import typer

from db.export_files import Form
from pyramidion.commands import filters
from pyramidion.errors import UserError
from pyramidion.output import err, out, print_json


def export(
    file: Annotated[Path, typer.Option("--output", "-o", help="File to write: .csv, .jsonl or .parquet.")],
    form: Annotated[
        Form | None, typer.Option("--format", help="Where the file's name doesn't say it.")
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document about the file.")] = False,
) -> None:
    """Write inspections with verdicts and reviews to a file, newest first; one that was cut short goes on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pyramidion import exporting
    from pyramidion.context import open_context

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
    kind = exporting.form_of(file, form)
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file.absolute().parent} is no folder: make it, or name another place")
    if file.exists() and not file.is_file():  # whose place would be taken
        raise UserError(f"{file} is no file: name one to write; `pyramidion results --csv` writes to a pipe")
    columns = TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    context = open_context()
    with context.reading() as session:
        filters.require_there(session, wanted)
    with context.reading() as session, Progress(*columns, console=err) as bar:
        task = bar.add_task("", total=None)
        try:
            rows = exporting.export(
                session, wanted, file, kind, lambda done, total: bar.update(task, completed=done, total=total)
            )
        except OSError as error:
            raise UserError(
                f"cannot write {file}: {error.strerror or error}. What is written so far stays beside it: "
                "the same command goes on with it"
            ) from None
    report = {"file": str(file), "rows": rows, "sha256": exporting.sha256(file)}
    if as_json:
        print_json(report)
    else:
        none = "" if rows else ": no inspection matches"
        out.print(f"{rows} rows in {file}{none}, SHA-256 {report['sha256']}", markup=False, highlight=False)
