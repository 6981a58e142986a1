"""`pyramidion models lineage`: where a model comes from, and what became of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidion.commands.compare import say
from pyramidion.errors import UserError
from pyramidion.output import print_json

if TYPE_CHECKING:
    from db.lineage import Lineage, Reign
    from db.tables import Event


def lineage(
    product: Annotated[str, typer.Argument(help="The product.")],
    version: Annotated[
        str | None,
        typer.Argument(help="A version, or the beginning of it; the champion where none is given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell what a model was trained on, by which run, what the gate said, and who let it judge when."""
    from db import inspections, models
    from db import lineage as lines
    from db.tables import ModelVersion
    from pyramidion.commands.models import version_of
    from pyramidion.context import open_context

    with open_context().reading() as session:
        inspections.require_product(session, product)
        if version is None:
            champion = models.champion(session, product)
            if champion is None:
                raise UserError(f"no model judges {product} yet: name a version of `pyramidion models`")
        else:
            champion = session.get_one(ModelVersion, version_of(session, product, version))
        found = lines.of(session, champion)
        reigns = lines.reigns(session, product)
    if as_json:
        print_json(_as_dict(found, reigns))
    else:
        _print(found, reigns)


def _as_dict(found: "Lineage", reigns: "list[Reign]") -> dict[str, Any]:
    from db.beside import facts
    from pyramidion.commands.show import columns

    run = columns(found.run)
    if run is not None:
        run.pop("log")
    return {
        "product": found.version.product,
        "version": found.version.id,
        **facts(found),
        "training": found.manifest.get("training"),
        "run": run,
        "events": [columns(event) for event in found.events],
        "champions": [vars(one) for one in reigns],
    }


def _print(found: "Lineage", reigns: "list[Reign]") -> None:
    version, run = found.version, found.run
    say(f"model {version.id} of {version.product}")
    at = f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"
    say(f"trained {at} on {version.training_images} images: {version.note}")
    if run is None:
        say("by no run: it was trained at the command line")
    else:
        say(f"by run {run.id}, {run.why}, asked for by {run.requested_by}, attempt {run.attempt}")
    if found.dataset is None:
        say("its manifest names no dataset")
    else:
        say(f"dataset {found.dataset}")
        summary = {} if found.frozen is None else found.frozen.summary
        for name, value in summary.items():
            say(f"  {name} {_plain(value)}")
    for event in found.events:
        say(f"{event.at:%Y-%m-%d %H:%M:%S} {event.kind} by {event.actor}{_told(event, version.id)}")
    if reigns:
        say("who judged:")
    for one in reigns:
        until = "now" if one.until is None else f"{one.until:%Y-%m-%d %H:%M:%S}"
        back = " (rolled back)" if one.rolled_back else ""
        this = " <- this one" if one.version == version.id else ""
        since = f"{one.since:%Y-%m-%d %H:%M:%S}"
        say(f"  {one.version[:12]} {since} to {until} by {one.by}{back}: {one.why}{this}")


def _told(event: "Event", version: str) -> str:
    detail = event.detail
    if detail["model"] != version:
        return f": in its place came {detail['model'][:12]}"
    before = f", before it {detail['before'][:12]}" if detail.get("before") else ""
    why = detail.get("why") or detail.get("said")
    return before + (f": {_plain(why)}" if why else "")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return "; ".join(str(one) for one in value) if isinstance(value, list) else str(value)
