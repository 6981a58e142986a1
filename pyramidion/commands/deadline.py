"""`pyramidion deadline`: how long a product's parts may wait for their verdicts."""

from typing import Annotated

import typer

from db import models
from pyramidion.errors import UserError
from pyramidion.output import out


def deadline(
    product: Annotated[str, typer.Argument(help="The product.")],
    ms: Annotated[
        int | None,
        typer.Option(min=1, max=86_400_000, help="Milliseconds from acceptance to verdict; longer is late."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Have no deadline any more.")] = False,
) -> None:
    """Say within what time PRODUCT's parts are to be judged, or show it; a verdict that misses it is late."""
    import getpass

    from pyramidion.context import open_context

    if none and ms is not None:
        raise UserError(f"--ms {ms} and --none exclude each other")
    context = open_context()
    if none or ms is not None:
        with context.sessions.begin() as session:
            models.set_deadline(session, product, ms, getpass.getuser())
    with context.reading() as session:
        found = models.deadline(session, product)
    if found is None:
        out.print(f"{product} has no deadline", highlight=False)
    else:
        out.print(f"{product}: a verdict is late {found} ms after acceptance", highlight=False)
