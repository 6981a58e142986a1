"""`pyramidion bench`: how fast it is here."""

from typing import Annotated

import typer

from pyramidion.output import err, out, print_json

app = typer.Typer(
    help="Measure on this machine, with data made for it and removed afterwards.", no_args_is_help=True
)


@app.callback()
def bench() -> None:
    """Keep `history` a command of its own, as long as it is the only one."""


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
