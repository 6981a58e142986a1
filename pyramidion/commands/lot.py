"""`pyramidion lot`: whether a lot is complete."""

from typing import TYPE_CHECKING, Annotated

import typer

from pyramidion.errors import UserError
from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from db.lots import Completeness


def lot(
    name: Annotated[str, typer.Argument(metavar="LOT", help="The lot.")],
    product: Annotated[str | None, typer.Option(help="Only this product's part of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count a lot: what was captured, judged, could not be judged, waits, was reviewed, let go."""
    from sqlalchemy.orm import Session

    from db import partitions
    from db.ledger.seal import snapshot
    from db.lots import completeness
    from pyramidion.context import open_context

    # What retention lets go between two queries would be counted twice.
    with snapshot(open_context().engine) as connection, Session(connection) as session:
        partitions.keep(connection)
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
        f"{found.error} error, {found.pending} pending, {found.let_go} let go",
        highlight=False,
        soft_wrap=True,
    )
    out.print(f"{found.reviewed} reviewed, {found.overridden} overridden", highlight=False)
    for act in found.acts:
        out.print(
            f"{act.inspections} {act.verdict} of {act.product} were let go by retention at "
            f"{act.at:%Y-%m-%d %H:%M:%S} UTC, act {act.act}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    out.print(_verdict(found), highlight=False, soft_wrap=True)


def _verdict(found: "Completeness") -> str:
    if found.pending:
        return f"not complete: {found.pending} wait for a verdict; `pyramidion doctor` says who should judge"
    if found.let_go == found.captured:
        return "not complete: each part had its verdict, and retention has let all of them go"
    if found.let_go:
        return f"not complete: each part had its verdict, and retention has let {found.let_go} of them go"
    return "complete: each part has its verdict"
