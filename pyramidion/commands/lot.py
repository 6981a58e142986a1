"""`pyramidion lot`: whether a lot is complete."""

from typing import Annotated

import typer

from pyramidion.errors import UserError
from pyramidion.output import out, print_json


def lot(
    name: Annotated[str, typer.Argument(metavar="LOT", help="The lot.")],
    product: Annotated[str | None, typer.Option(help="Only this product's part of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count a lot: what was captured, judged, could not be judged, waits, was reviewed and overridden."""
    from db.lots import completeness
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = completeness(session, name, product)
    if not found.captured:
        of = "" if product is None else f" of product {product!r}"
        raise UserError(
            f"no inspection{of} has lot {name!r}; `pyramidion results --counts` lists the lots there are"
        )
    if as_json:
        print_json({"lot": name, "product": product, **found.as_dict()})
        return
    out.print(f"lot {name}: {found.captured} captured", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"{found.judged} judged ({found.ok} ok, {found.ng} ng, {found.inconclusive} inconclusive), "
        f"{found.error} error, {found.pending} pending",
        highlight=False,
        soft_wrap=True,
    )
    out.print(f"{found.reviewed} reviewed, {found.overridden} overridden", highlight=False)
    out.print(
        "complete: each part has its verdict"
        if found.is_complete
        else f"not complete: {found.pending} wait for a verdict; `pyramidion doctor` says who should judge",
        highlight=False,
        soft_wrap=True,
    )
