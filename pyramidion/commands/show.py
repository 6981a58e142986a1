"""`pyramidion show`: one inspection, in words and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from db.history import Detail, UnknownInspectionError, find, inspection
from db.results import HELD, by_model
from db.said import said
from pyramidion.errors import UserError
from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.imagestore import ImageStore


def show(
    inspection_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    save_map: Annotated[
        Path | None,
        typer.Option(help="Save a picture here: the image, its anomaly map over it, the defects' boxes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show all there is about one inspection."""
    from pyramidion.context import open_context

    context = open_context()
    with context.reading() as session:
        detail = inspection(session, find_one(session, inspection_id))
    if as_json:
        print_json(as_dict(detail))
    else:
        _print(detail)
    if save_map is not None:
        _save(detail, context.store, save_map)
        if not as_json:
            out.print(f"picture saved to {save_map}")


def find_one(session: "Session", beginning: str) -> UUID:
    """Give the inspection whose id begins so; raises UserError and UnknownInspectionError."""
    try:
        found = find(session, beginning, limit=2)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not found:
        try:
            return inspection(session, UUID(beginning)).inspection.id  # which knows what retention let go
        except ValueError:
            raise UnknownInspectionError(beginning) from None
    if len(found) > 1:
        raise UserError(
            f"{beginning!r} begins more than one id ({found[0]}, {found[1]}, ...): give more of it"
        )
    return found[0]


def as_dict(detail: Detail) -> dict[str, Any]:
    """The rows as they stand, without the map's bytes."""
    return {
        "inspection": columns(detail.inspection),
        "result": columns(detail.result),
        "map": columns(detail.map),
        "reviews": [columns(review) for review in detail.reviews],
        "let_go": {"image": detail.image_let_go, "map": detail.map_let_go},
    }


def columns(row: Any) -> dict[str, Any] | None:
    if row is None:
        return None
    return {column.key: getattr(row, column.key) for column in row.__table__.columns if column.key != "data"}


def _print(detail: Detail) -> None:
    for part, values in as_dict(detail).items():
        if part in {"reviews", "let_go"} or values is None:
            continue
        out.print(f"[bold]{part}[/bold]")
        for name, value in values.items():
            if value is not None and name != "inspection_id":
                out.print(f"  {name:14} {_plain(value)}", markup=False, highlight=False, soft_wrap=True)
    for what, when in (("image", detail.image_let_go), ("anomaly map", detail.map_let_go)):
        if when is not None:
            out.print(f"retention let the {what} go at {when:%Y-%m-%d %H:%M:%S} UTC", highlight=False)
    if detail.result is None:
        out.print("no verdict yet: it waits for a worker (`pyramidion doctor` says whether one answers)")
    if detail.result is not None and HELD in detail.result.timings:
        said_by_model = by_model(detail.result)
        out.print(
            f"held: an alarm of its station was open (`pyramidion alarms`); its model said {said_by_model}",
            highlight=False,
            soft_wrap=True,
        )
    for review in detail.reviews:
        at = f"{review.created_at:%Y-%m-%d %H:%M:%S} UTC"
        out.print(f"review of {at}: {said(vars(review))}", markup=False, highlight=False, soft_wrap=True)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_plain(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
    return str(value)


def _save(detail: Detail, store: "ImageStore", file: Path) -> None:
    from web.inspections.overlay import UndrawableError, side_by_side

    if detail.result is None or detail.map is None:
        raise UserError(f"inspection {detail.inspection.id} has no anomaly map" + _why(detail))
    for what, when in (("image", detail.image_let_go), ("anomaly map", detail.map_let_go)):
        if when is not None:
            raise UserError(f"retention let the {what} of {detail.inspection.id} go at {when}")
    data = store.get(detail.inspection.image_sha256)
    scale = detail.map.low, detail.map.high, detail.result.threshold or 0.0
    try:
        picture = side_by_side(data, detail.map.data, *scale, detail.result.regions)
    except UndrawableError as error:
        raise UserError(f"inspection {detail.inspection.id} cannot be drawn: {error}") from None
    try:
        picture.save(file)
    except ValueError:
        raise UserError(
            f"cannot tell a picture's format from {file.name!r}: end it in .png or .jpg"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None


def _why(detail: Detail) -> str:
    if detail.result is None:
        return ": it is not judged yet"
    return f": it was judged {detail.result.verdict} ({detail.result.error})"
