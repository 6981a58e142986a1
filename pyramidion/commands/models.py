"""`pyramidion models`: what can judge, and what does."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from db import models as registry
from pyramidion.commands.compare import compare, say
from pyramidion.commands.disagreements import disagreements
from pyramidion.commands.lineage import lineage
from pyramidion.errors import UserError
from pyramidion.output import out, print_json
from pyramidion.passwords import SignAs, password_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.promotion import Standing

app = typer.Typer(
    help="List model versions, compare them, and choose the one that judges a product.",
    invoke_without_command=True,
)


@app.callback()
def models(
    context: typer.Context,
    product: Annotated[str | None, typer.Option(help="Only this product.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from db import promotion, shadow
    from pyramidion.context import open_context

    with open_context().reading() as session:
        versions = registry.versions(session, product)
        champions = {one.id for one in registry.champions(session, {v.product for v in versions}).values()}
        challengers = {
            one.model_version: promotion.standing(session, one)
            for one in shadow.challengers(session)
            if product in {None, one.product}
        }
    rows = [
        {
            "product": version.product,
            "version": version.id,
            "champion": version.id in champions,
            "challenger": version.id in challengers,
            "shadow": vars(challengers[version.id]) if version.id in challengers else None,
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
    table = Table("product", box=None)
    for name in ("version", "plays", "trained (UTC)", "images", "threshold"):
        table.add_column(name, no_wrap=True)
    table.add_column("from")
    for row in rows:
        threshold = row["threshold"]
        table.add_row(
            row["product"],
            row["version"][:12],
            "champion" if row["champion"] else "challenger" if row["challenger"] else "",
            row["created_at"].strftime("%Y-%m-%d %H:%M:%S"),
            str(row["training_images"]),
            f"{threshold:.4g}" if isinstance(threshold, float) else "",
            row["note"] or "",
        )
    out.print(table)
    for row in rows:
        if row["shadow"] is not None:
            say(_standing(row["product"], row["version"], challengers[row["version"]]))


def _standing(product: str, version: str, found: "Standing") -> str:
    beside = f"challenger {version[:12]} of {product} has scored {found.images} images beside the champion"
    if not found.waits:
        return f"{beside}, and is decided on after {found.wanted}"
    return (
        f"{beside}, and waits for a person: {'; '.join(found.waits)}. `pyramidion models compare {product}` "
        f"shows both, `pyramidion models promote {product} --challenger` or `withdraw` ends it"
    )


@app.command()
def promote(
    product: Annotated[str, typer.Argument(help="The product it shall judge.")],
    version: Annotated[str | None, typer.Argument(help="The model version, or the beginning of it.")] = None,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="The version that scores beside the champion.")
    ] = False,
    why: Annotated[
        str, typer.Option(help="Reason, kept in the audit trail.")
    ] = "promoted at the command line",
    sign_as: SignAs = None,
) -> None:
    """Let a model version judge PRODUCT from now on; workers take it up with their next batch.

    Nothing is changed where it is not what it was when it was trained, or where somebody else promotes a
    model at the same time.
    """
    from db import champions
    from pyramidion.context import open_context

    if (version is None) is not challenger:
        raise UserError("name a version, or the challenger with --challenger")
    context = open_context()
    with context.reading() as session:
        found = (
            champions.require_challenger(session, product)
            if version is None
            else version_of(session, product, version)
        )
        champions.require_ready(session, product, found, context.store)
        now = registry.champion(session, product)
    password = password_of(sign_as)
    with context.sessions.begin() as session:
        actor, signature = _who(session, sign_as, password, why)
        expected = None if now is None else now.id
        champions.promote(session, product, found, expected, actor, why, signature)
    _say_who_judges(product, found)


@app.command()
def withdraw(
    product: Annotated[str, typer.Argument(help="The product whose challenger shall be none any more.")],
    why: Annotated[str, typer.Option(help="Reason, kept in the audit trail.")],
) -> None:
    """Let PRODUCT's challenger score no more; its version stays, and what it said."""
    import getpass

    from db import champions
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        champions.require_challenger(session, product)
        gone = registry.withdraw_challenger(session, product, getpass.getuser(), why)
    if gone is not None:
        say(f"{gone[:12]} is no challenger of {product} any more")


@app.command()
def rollback(
    product: Annotated[str, typer.Argument(help="The product whose former model shall judge again.")],
    why: Annotated[
        str, typer.Option(help="Reason, kept in the audit trail.")
    ] = "rolled back at the command line",
    sign_as: SignAs = None,
) -> None:
    """Let the model that judged PRODUCT before judge it again; once more goes one further back."""
    from db import champions
    from pyramidion.context import open_context

    context = open_context()
    with context.reading() as session:
        now, former = champions.require_former(session, product)
        champions.require_ready(session, product, former, context.store)
    password = password_of(sign_as)
    with context.sessions.begin() as session:
        actor, signature = _who(session, sign_as, password, why)
        former = registry.roll_back(session, product, now, actor, why, signature)
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
    say(f"{product} is judged by {version[:12]} from now on; workers take it up with their next batch")


for command in (compare, lineage, disagreements):
    app.command()(command)
