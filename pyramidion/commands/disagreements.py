"""`pyramidion models disagreements`: which images two models judge differently, with both maps."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyramidion.commands.compare import say, two
from pyramidion.errors import UserError
from pyramidion.output import err, print_json

if TYPE_CHECKING:
    from uuid import UUID

    from db.comparison import Disagreement
    from pyramidion.context import Context

_SHOWN = 20


def disagreements(
    product: Annotated[str, typer.Argument(help="The product.")],
    first: Annotated[str | None, typer.Argument(metavar="A", help="As of `models compare`.")] = None,
    second: Annotated[str | None, typer.Argument(metavar="B", help="As of `models compare`.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; people are shown {_SHOWN}, JSON has all.")
    ] = None,
    save_maps: Annotated[
        Path | None,
        typer.Option(help="Save two pictures of each in this folder: the image with the map of each model."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the images that PRODUCT's challenger judges differently, newest first, to be reviewed."""
    from db import beside, comparison
    from pyramidion.context import open_context

    context = open_context()
    shown = limit if as_json else limit or _SHOWN
    with context.reading() as session:
        pair = beside.shadow(session, *two(session, product, first, second))
        champion, challenger, number = pair.champion, pair.challenger, pair.seen.disagreements()
        found = list(comparison.disagreements(session, champion, challenger, shown))
    pictures = {} if save_maps is None else _save(context, found, challenger, save_maps)
    if as_json:
        print_json([{**asdict(one), "pictures": pictures.get(one.inspection_id)} for one in found])
        return
    for one in found:
        say(f"{one.inspection_id} {one.station}: {_said(one)}")
    if number > len(found):
        say(f"... and {number - len(found)} more; --limit or --json gives them")
    say(f"{number} disagreements of {challenger[:12]} with {champion[:12]}, beside which it scored")
    if found:
        say(f"`pyramidion review {found[0].inspection_id} overrule --reason-code CODE` says who is right")


def _said(one: "Disagreement") -> str:
    its = one.error or f"score {one.challenger_score:.4g}, threshold {one.challenger_threshold:.4g}"
    called = "" if one.called is None else f"; people call it {one.called}"
    return (
        f"{one.champion} (score {one.champion_score:.4g}, threshold {one.champion_threshold:.4g}), "
        f"challenger {one.challenger} ({its}){called}"
    )


@dataclass(frozen=True)
class _Map:
    """A model's anomaly map of an image; without data it is not kept."""

    data: bytes | None
    low: float | None
    high: float | None
    threshold: float | None
    regions: list[dict[str, float]]


def _save(
    context: "Context", found: "list[Disagreement]", version: str, folder: Path
) -> "dict[UUID, dict[str, str]]":
    """Draw what can be drawn, and say what can't: image or map may have been let go, or lost."""
    from db.imagestore import CorruptBlobError, MissingBlobError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror or error}") from None
    saved: dict[UUID, dict[str, str]] = {}
    for one in found:
        saved[one.inspection_id] = {}
        try:
            image, maps = _maps(context, one.inspection_id, version)
        except (MissingBlobError, CorruptBlobError) as error:
            _cannot(one.inspection_id, str(error))
            continue
        for who, map_ in maps.items():
            file = folder / f"{one.inspection_id}-{who}.png"
            if image is None or not map_.data:
                what = "image" if image is None else f"{who}'s map"
                _cannot(one.inspection_id, f"its {what} is not kept")
            elif _draw(image, map_, file):
                saved[one.inspection_id][who] = str(file)
    return saved


def _maps(context: "Context", id_: "UUID", version: str) -> tuple[bytes | None, dict[str, _Map]]:
    from db import history
    from db.tables import Rescore

    with context.reading() as session:
        detail = history.inspection(session, id_)
        rescore = session.get_one(Rescore, (id_, version))
    image = None if detail.image_let_go else context.store.get(detail.inspection.image_sha256)
    nothing = _Map(None, None, None, None, [])
    champion = nothing
    if detail.result is not None and detail.map is not None:
        stored, result = detail.map, detail.result
        champion = _Map(stored.data, stored.low, stored.high, result.threshold, result.regions)
    challenger = _Map(rescore.map, rescore.low, rescore.high, rescore.threshold, [])
    return image, {"champion": champion, "challenger": challenger}


def _cannot(id_: "UUID", why: str) -> None:
    err.print(f"{id_}: {why}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _draw(image: bytes, map_: _Map, file: Path) -> bool:
    from web.inspections.overlay import UndrawableError, side_by_side

    scale = map_.low or 0.0, map_.high or 0.0, map_.threshold or 0.0
    try:
        side_by_side(image, map_.data or b"", *scale, map_.regions).save(file)
    except UndrawableError as error:
        err.print(f"{file.stem} cannot be drawn: {error}", style="yellow", markup=False, soft_wrap=True)
        return False
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None
    return True
