"""`pyramidion models compare`: two models beside each other, and what both say of the same images."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.errors import UserError
from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.lineage import Lineage

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
    from db import comparison
    from pyramidion.context import open_context

    with open_context().reading() as session:
        a, b = two(session, product, first, second)
        told = [_told(session, product, one) for one in (a, b)]
        champion, challenger = who_scored_beside(session, a, b)
        beside = comparison.seen(session, champion, challenger)
    shadow = {
        "champion": champion,
        "challenger": challenger,
        "images": beside.count(),
        "verdicts": beside.table(),
        "disagreements": beside.disagreements(),
        "called_bad": beside.count(called=("bad",)),
        "called_bad_and_missed": beside.count(challenger="ok", called=("bad",)),
        "called_good": beside.count(called=("good",)),
        "called_good_and_rejected": beside.count(challenger="ng", called=("good",)),
    }
    if as_json:
        print_json({"product": product, "models": told, "shadow": shadow if beside.count() else None})
        return
    _print(told)
    _print_shadow(product, shadow)


def two(session: "Session", product: str, first: str | None, second: str | None) -> tuple[str, str]:
    """Give the versions that are meant: of none the champion and the challenger, of one the champion and it.

    Raises UserError, UnknownProductError, UnknownModelError and NoChallengerError.
    """
    from db import inspections, models
    from pyramidion.commands.models import version_of

    inspections.require_product(session, product)
    given = [version_of(session, product, one) for one in (first, second) if one is not None]
    if len(given) < 2:
        champion = models.champion(session, product)
        if champion is None:
            raise UserError(f"no model judges {product} yet: name two versions of `pyramidion models`")
        given.insert(0, champion.id)
    if len(given) < 2:
        challenger = models.challenger(session, product)
        if challenger is None:
            raise models.NoChallengerError(product)
        given.append(challenger.model_version)
    if given[0] == given[1]:
        raise UserError(f"{given[0][:12]} would be compared with itself: name another version")
    return given[0], given[1]


def who_scored_beside(session: "Session", a: str, b: str) -> tuple[str, str]:
    """Give of two versions the one that judged, and the one that scored beside it: `b`, unless `a` did."""
    from db import comparison

    if comparison.seen(session, b, a).count() and not comparison.seen(session, a, b).count():
        return b, a
    return a, b


def _told(session: "Session", product: str, id_: str) -> dict[str, Any]:
    from db import lineage, models
    from db.tables import ModelVersion

    found = lineage.of(session, session.get_one(ModelVersion, id_))
    champion, challenger = models.champion(session, product), models.challenger(session, product)
    plays = "champion" if champion is not None and champion.id == id_ else None
    if challenger is not None and challenger.model_version == id_:
        plays = "challenger"
    return {"version": id_, "plays": plays, **facts(found)}


def facts(found: "Lineage") -> dict[str, Any]:
    """Give what a model's manifest, dataset and gate say, for people and for JSON; None: it was not told."""
    manifest = found.manifest
    training, calibration = manifest.get("training", {}), manifest.get("calibration", {})
    return {
        "created_at": found.version.created_at,
        "training_images": found.version.training_images,
        "note": found.version.note,
        "preset": manifest.get("network", {}).get("preset"),
        "size": manifest.get("network", {}).get("size"),
        "epochs": training.get("epochs"),
        "threshold": calibration.get("threshold"),
        "false_reject_rate": calibration.get("target_rate"),
        "calibrated_on": calibration.get("images"),
        "calibration": calibration.get("note"),
        "dataset": found.dataset,
        "dataset_summary": None if found.frozen is None else found.frozen.summary,
        "gate": found.examined,
    }


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
