"""`pyramidion train`: from a folder of good parts to the product's champion."""

import os
from pathlib import Path
from typing import Annotated

import typer

from db.text import require_name
from pyramidion.errors import UserError
from pyramidion.output import out, print_json

_LISTED = 10


def train(
    product: Annotated[str, typer.Argument(help="Name of the product; made when it is new.")],
    images: Annotated[Path | None, typer.Option(help="Folder with images of good parts only.")] = None,
    from_history: Annotated[
        bool,
        typer.Option("--from-history", help="Train on the line's newest ok parts, in a training worker."),
    ] = False,
    size: Annotated[
        int | None, typer.Option(help="Pixels per side that images are scaled to, a multiple of 32.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes a training repeatable.")] = 0,
    false_reject_rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be rejected, such as 0.005.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    promote: Annotated[bool, typer.Option(help="Let the new model judge from now on.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a model of PRODUCT on good parts only, calibrate its threshold, and make it the champion."""
    require_name("product", product)
    if from_history == (images is not None):
        raise UserError("name a folder of good parts (--images DIR), or --from-history")
    if images is None:
        _refuse_beside_history(
            size=size is not None,
            seed=seed != 0,
            false_reject_rate=false_reject_rate is not None,
            device=device is not None,
            no_promote=not promote,
            json=as_json,
        )
        from db.inspections import require_product
        from pyramidion.context import open_context
        from workers.queue import request_training

        with open_context().reading() as session:
            require_product(session, product)
        request_training(product)
        out.print(
            f"asked for a training of {product}; `pyramidion models --product {product}` shows its result"
        )
        return
    from model.config import TrainConfig
    from pyramidion.context import open_context
    from pyramidion.training import read_folder, train_images

    wanted = {"size": None if size is None else (size, size), "false_reject_rate": false_reject_rate}
    try:
        config = TrainConfig(seed=seed, **{k: v for k, v in wanted.items() if v is not None})  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(str(error)) from None
    if device is not None:
        os.environ["PYRAMIDION_DEVICE"] = device
    open_context()  # an unusable database is told before the training, not after it
    good, left_out = read_folder(images)
    report = train_images(product, good, config, note=f"{len(good)} images", promote=promote)
    report["left_out"] = [{"file": name, "reason": reason} for name, reason in left_out]
    if as_json:
        print_json(report)
        return
    out.print(
        f"trained [bold]{product}[/bold] on {report['images']} images in {report['seconds']} s: model "
        f"{report['version'][:12]}, threshold {report['threshold']:.4g}",
        highlight=False,
    )
    out.print(report["calibration"], highlight=False)
    for name, reason in left_out[:_LISTED]:
        out.print(f"left out: {name}: {reason}", style="yellow", markup=False, highlight=False)
    if len(left_out) > _LISTED:
        out.print(f"... and {len(left_out) - _LISTED} more", style="yellow")
    if promote:
        out.print(f"it judges from now on: pyramidion capture DIR --product {product} --station STATION")
    else:
        out.print(f"it does not judge yet: pyramidion models promote {product} {report['version'][:12]}")


def _refuse_beside_history(**given: bool) -> None:
    """Raise UserError for an option that a training worker would not hear of."""
    unheard = [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]
    if unheard:
        raise UserError(
            f"a training worker takes its defaults, so {', '.join(unheard)} cannot go with --from-history: "
            "leave it out, or train from a folder (--images DIR)"
        )
