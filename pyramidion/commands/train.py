"""`pyramidion train`: from a folder of good parts to the product's champion."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from db import approvals
from db.text import require_name
from pyramidion.commands.training_options import (
    Augment,
    Device,
    EncoderSha256,
    PresetOptions,
    Tiles,
)
from pyramidion.errors import INTERRUPTED, UserError
from pyramidion.output import err, out, print_json

_LISTED = 10


def train(
    product: Annotated[str, typer.Argument(help="Name of the product; made when it is new.")],
    images: Annotated[Path | None, typer.Option(help="Folder with images of good parts only.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="What to train (`pyramidion presets` lists them); without it, pyramid.")
    ] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="File or URL of an encoder in torchvision's layout, for presets with one."),
    ] = None,
    encoder_sha256: EncoderSha256 = None,
    option: PresetOptions = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Pixels per side that images are scaled to, a multiple of 32.")
    ] = None,
    tiles: Tiles = None,
    augment: Augment = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most passes over the images.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes a training repeatable.")] = 0,
    false_reject_rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be rejected, such as 0.005.")
    ] = None,
    device: Device = None,
    promote: Annotated[
        bool,
        typer.Option(help="Let the new model judge from now on, unless that takes a signature."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a model of PRODUCT on good parts only, calibrate its threshold, and make it the champion.

    Ctrl-C stops it; the same command goes on from there, and so it does after a crash. `pyramidion retrain`
    has a training worker do it on what the line has produced.
    """
    require_name("product", product)
    if images is None:
        raise UserError(
            "name a folder of good parts (--images DIR); `pyramidion retrain PRODUCT` takes the line's newest"
        )
    from model.config import TrainingStoppedError
    from pyramidion.commands.up import stop_on_signals
    from pyramidion.context import open_context
    from pyramidion.presets import configured, options_of
    from pyramidion.training import read_folder, squashed, train_images
    from workers.train import checkpoints

    config = configured(
        preset,
        encoder_weights=encoder_weights,
        encoder_sha256=encoder_sha256,
        options=options_of(option or ()),
        size=None if size is None else (size, size),
        tiles=tiles,
        augment=augment,
        epochs=epochs,
        seed=seed,
        false_reject_rate=false_reject_rate,
    )
    if device is not None:
        os.environ["PYRAMIDION_DEVICE"] = device
    open_context()  # an unusable database is told before the training, not after it
    good, left_out, sizes = read_folder(images)
    note = squashed(sizes)
    if note is not None:
        err.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    stop = stop_on_signals()
    try:
        report = train_images(
            product,
            good,
            config,
            note=f"{len(good)} images" + f", preset {config.preset}" * (preset is not None),
            promote=promote,
            stop=stop.is_set,
            checkpoints=checkpoints(),
        )
    except TrainingStoppedError:
        raise typer.Exit(INTERRUPTED) from None
    report["left_out"] = [{"file": name, "reason": reason} for name, reason in left_out]
    report["notes"] = [] if note is None else [note]
    if as_json:
        print_json(report)
    else:
        _print(report, left_out)


def _print(report: dict[str, Any], left_out: Sequence[tuple[str, str]]) -> None:
    product, version = report["product"], report["version"][:12]
    out.print(
        f"trained [bold]{product}[/bold] on {report['images']} images in {report['seconds']} s: model "
        f"{version}, threshold {report['threshold']:.4g}",
        highlight=False,
    )
    out.print(report["calibration"], highlight=False)
    escapes = report["escapes"]
    if escapes is not None:
        share = f"{escapes['escapes']} of {escapes['defects']} reviewed defects escape at this threshold"
        unread = f" ({escapes['unread']} more could not be read)" if escapes["unread"] else ""
        out.print(share + unread, style="yellow" if escapes["escapes"] else None, highlight=False)
        for id_ in escapes["newest"][:_LISTED]:
            out.print(f"  pyramidion show {id_}", highlight=False)
    for name, reason in left_out[:_LISTED]:
        out.print(f"left out: {name}: {reason}", style="yellow", markup=False, highlight=False)
    if len(left_out) > _LISTED:
        out.print(f"... and {len(left_out) - _LISTED} more", style="yellow")
    if report["promoted"]:
        out.print(f"it judges from now on: pyramidion capture DIR --product {product} --station STATION")
    else:
        sign = " --sign-as USER" if approvals.required("promotion") else ""
        out.print(f"it does not judge yet: pyramidion models promote {product} {version}{sign}")
