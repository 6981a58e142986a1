"""`pyramidion models compare`: two models beside each other, and what both say of the same images."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_ROWS = (
    ("plays", "plays"),
    ("trained (UTC)", "created_at"),
    ("images", "training_images"),
    ("preset", "preset"),
    ("size", "size"),
    ("epochs", "epochs"),
    ("threshold", "threshold"),
    ("false rejects", "false_reject_rate"),
    ("calibrated on", "calibrated_on"),
    ("dataset", "dataset"),
    ("gate", "gate"),
)


def compare(
    product: Annotated[str, typer.Argument(help="The product that both are models of.")],
    first: Annotated[
        str | None, typer.Argument(metavar="A", help="A version; of one, it is compared with the champion.")
    ] = None,
    second: Annotated[
        str | None, typer.Argument(metavar="B", help="Another version; without any: the challenger.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two models of PRODUCT: training, calibration, gate, and what both say of the same images."""
    from db import beside
    from db.tables import ModelVersion
    from pyramidion.context import open_context

    with open_context().reading() as session:
        versions = two(session, product, first, second)
        told = [beside.told(session, session.get_one(ModelVersion, one)) for one in versions]
        shadow = beside.shadow(session, *versions).as_dict()
    if as_json:
        print_json({"product": product, "models": told, "shadow": shadow if shadow["images"] else None})
        return
    _print(told)
    _print_shadow(product, shadow)


def two(session: "Session", product: str, first: str | None, second: str | None) -> tuple[str, str]:
    """Give the versions that are meant, by the beginnings of them; raises what db.beside.two raises."""
    from db import beside, inspections
    from pyramidion.commands.models import version_of

    inspections.require_product(session, product)
    given = [version_of(session, product, one) for one in (first, second) if one is not None]
    return beside.two(session, product, given)


def _print(told: list[dict[str, Any]]) -> None:
    table = Table("", *(one["version"][:12] for one in told), box=None)
    for title, name in _ROWS:
        table.add_row(title, *(_plain(name, one[name]) for one in told))
    out.print(table, highlight=False)
    for one in told:
        for line in (one["gate"] or {}).get("said", ()):
            say(f"{one['version'][:12]} at the gate: {line}")


def _print_shadow(product: str, shadow: dict[str, Any]) -> None:
    if not shadow["images"]:
        say("neither has scored beside the other: a challenger does, of the images that its champion judges")
        return
    say(f"{shadow['challenger'][:12]} scored {shadow['images']} images beside {shadow['champion'][:12]}:")
    said = sorted({one["challenger"] for one in shadow["verdicts"]})
    table = Table("champion", *(f"challenger {one}" for one in said), box=None)
    numbers = {(one["champion"], one["challenger"]): one["images"] for one in shadow["verdicts"]}
    for stands in sorted({one["champion"] for one in shadow["verdicts"]}):
        table.add_row(stands, *(str(numbers.get((stands, one), 0)) for one in said))
    out.print(table)
    versions = f"{shadow['champion'][:12]} {shadow['challenger'][:12]}"
    say(
        f"{shadow['disagreements']} disagreements: `pyramidion models disagreements {product} {versions}`\n"
        f"of {shadow['called_bad']} parts that people call bad it misses {shadow['called_bad_and_missed']}, "
        f"of {shadow['called_good']} that they call good it rejects {shadow['called_good_and_rejected']}"
    )


def _plain(name: str, value: Any) -> str:
    if value is None:
        return ""
    plain = {
        "created_at": lambda: f"{value:%Y-%m-%d %H:%M:%S}",
        "threshold": lambda: f"{value:.4g}",
        "false_reject_rate": lambda: f"at most {value:.2%}",
        "size": lambda: " x ".join(str(one) for one in value),
        "dataset": lambda: str(value)[:12],
        "gate": lambda: {True: "passed", False: "refused"}.get(value["passed"], "could not tell"),
    }
    return plain.get(name, lambda: str(value))()


def say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
