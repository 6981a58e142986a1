"""`pyramidion models`: what can judge, and what does."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from db import models as registry
from pyramidion.errors import UserError
from pyramidion.output import out, print_json
from pyramidion.passwords import SignAs, password_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(
    help="List model versions, and choose the one that judges a product.", invoke_without_command=True
)


@app.callback()
def models(
    context: typer.Context,
    product: Annotated[str | None, typer.Option(help="Only this product.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from pyramidion.context import open_context

    with open_context().reading() as session:
        versions = registry.versions(session, product)
        champions = {one.id for one in registry.champions(session, {v.product for v in versions}).values()}
    rows = [
        {
            "product": version.product,
            "version": version.id,
            "champion": version.id in champions,
            "created_at": version.created_at,
            "training_images": version.training_images,
            "threshold": json.loads(version.manifest).get("calibration", {}).get("threshold"),
            "note": version.note,
        }
        for version in versions
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no model yet; `pyramidion train PRODUCT --images DIR` makes one")
        return
    table = Table("product", "version", "judges", "trained (UTC)", "images", "threshold", "from", box=None)
    for row in rows:
        threshold = row["threshold"]
        table.add_row(
            row["product"],
            row["version"][:12],
            "yes" if row["champion"] else "",
            row["created_at"].strftime("%Y-%m-%d %H:%M:%S"),
            str(row["training_images"]),
            f"{threshold:.4g}" if isinstance(threshold, float) else "",
            row["note"] or "",
        )
    out.print(table)


@app.command()
def promote(
    product: Annotated[str, typer.Argument(help="The product it shall judge.")],
    version: Annotated[str, typer.Argument(help="The model version, or the beginning of it.")],
    why: Annotated[
        str, typer.Option(help="Reason, kept in the audit trail.")
    ] = "promoted at the command line",
    sign_as: SignAs = None,
) -> None:
    """Let a model version judge PRODUCT from now on; workers take it up with their next batch."""
    from pyramidion.context import open_context

    context = open_context()
    password = password_of(sign_as)
    with context.sessions.begin() as session:
        found = version_of(session, product, version)
        actor, signature = _who(session, sign_as, password, why)
        registry.set_champion(session, product, found, actor, why, signature)
    _say_who_judges(product, found)


@app.command()
def rollback(
    product: Annotated[str, typer.Argument(help="The product whose former model shall judge again.")],
    why: Annotated[
        str, typer.Option(help="Reason, kept in the audit trail.")
    ] = "rolled back at the command line",
    sign_as: SignAs = None,
) -> None:
    """Let the model that judged PRODUCT before judge it again; once more goes one further back."""
    from pyramidion.context import open_context

    context = open_context()
    with context.reading() as session:
        now = registry.champion(session, product)
        if now is None or registry.former_champion(session, product) is None:
            raise registry.NoFormerChampionError(product)
    password = password_of(sign_as)
    with context.sessions.begin() as session:
        actor, signature = _who(session, sign_as, password, why)
        former = registry.roll_back(session, product, now.id, actor, why, signature)
    _say_who_judges(product, former)


def version_of(session: "Session", product: str, beginning: str) -> str:
    """Give the version of the product that begins so; raises UserError and UnknownModelError."""
    found = [one.id for one in registry.versions(session, product) if one.id.startswith(beginning.lower())]
    if len(found) > 1:
        raise UserError(f"{beginning!r} begins {len(found)} versions of {product}: give more of it")
    if not found:
        raise registry.UnknownModelError(product, beginning)
    return found[0]


def _who(
    session: "Session", sign_as: str | None, password: str | None, why: str
) -> tuple[str, dict[str, Any] | None]:
    """Give the actor, and the signature where one is given."""
    import getpass

    from db import signatures

    signature = signatures.approval(session, "promotion", sign_as, password, f"approval: {why}")
    return (getpass.getuser() if signature is None else signature["user"]), signature


def _say_who_judges(product: str, version: str) -> None:
    out.print(f"{product} is judged by {version[:12]} from now on; workers take it up with their next batch")
