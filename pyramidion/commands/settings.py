"""`pyramidion settings`: what is in force, and the reference page."""

import dataclasses
from typing import Annotated

import typer
from rich.table import Table

from pyramidion.output import out, print_json


def settings(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference page instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every setting that is in force, without secrets."""
    from pyramidion import all_settings

    if as_markdown:
        typer.echo(all_settings.markdown(), nl=False)
        return
    found = list(all_settings.settings())
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    table = Table("setting", "in force", "from", "what it says", box=None)
    for one in found:
        from_ = "" if one.source == "default" else one.source
        table.add_row(all_settings.PREFIX + one.name.upper(), one.value or "-", from_, one.description)
    out.print(table)
