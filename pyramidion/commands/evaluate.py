"""`pyramidion evaluate`: how well a preset, or a model, finds the defects of a labelled folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidion.commands.training_options import (
    Augment,
    Device,
    EncoderSha256,
    PresetOptions,
    Tiles,
    flags,
)
from pyramidion.errors import UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from model.config import TrainConfig
    from model.evaluation.evaluate import Evaluation, Sets
    from model.evaluation.run import Told

_LISTED = 10  # files named on the screen; the JSON document and the page name all


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder with train/good, test/good, test/<defect> and, for pixel figures, "
            "ground_truth/<defect>; or with the four IDX files of MNIST or Fashion-MNIST.",
        ),
    ],
    preset: Annotated[str | None, typer.Option(help="What to train; without it the default.")] = None,
    encoder_weights: Annotated[
        str | None, typer.Option(help="File or URL, for presets with an encoder of torchvision's layout.")
    ] = None,
    encoder_sha256: EncoderSha256 = None,
    option: PresetOptions = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="One training each; repeat it.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings with the seeds 0, 1, ...")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Of IDX files: the classes that are good in turn, such as 0,3.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Pixels per side that images are scaled to.")
    ] = None,
    tiles: Tiles = None,
    augment: Augment = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs of a training.")] = None,
    device: Device = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a bundle to measure as it is, instead of training.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with curves and the worst mistakes here.")
    ] = None,
) -> None:
    """Train on DIR's good images, and measure on its test images, which nothing is learnt or chosen from.

    A training that was stopped or killed goes on from its last whole epoch when the same command is given.
    """
    if seed and seeds:
        raise UserError("give either --seed, for each seed, or --seeds, their number")
    for_training = {
        "preset": preset,
        "encoder_weights": encoder_weights,
        "encoder_sha256": encoder_sha256,
        "option": option,
        "seed": seed,
        "seeds": seeds,
        "epochs": epochs,
        "size": size,
        "tiles": tiles,
        "augment": augment,
    }
    unheard = flags(**{name: bool(value) for name, value in for_training.items()})
    if bundle is not None and unheard:
        raise UserError(f"a bundle is measured as it is: leave {', '.join(unheard)} out")
    if html is not None and not html.resolve().parent.is_dir():
        raise UserError(f"{html.parent} is no folder: make it, or name another place for the page")

    from model.evaluation.evaluate import open_sets
    from model.evaluation.sets import SetError
    from pyramidion.presets import options_of

    place = _device(device)
    try:
        sets = open_sets(folder, _words(classes), training=bundle is None)
        _warn(sets)
        if bundle is not None:
            done = _measure(sets, bundle, place)
        else:
            config = configured_for(
                sets,
                preset,
                encoder_weights=encoder_weights,
                encoder_sha256=encoder_sha256,
                options=options_of(option or ()),
                size=None if size is None else (size, size),
                epochs=epochs,
                tiles=tiles,
                augment=augment,
            )
            done = _train(sets, config, seed or list(range(seeds or 1)), place)
    except SetError as error:
        raise UserError(str(error)) from None
    if html is not None:
        from pyramidion.report import write

        write(done, html)
    if as_json:
        print_json(done.report)
        return
    from pyramidion.evaluation import show

    show(done.report)
    if html is not None:
        out.print(f"page written to {html}", markup=False, highlight=False)


def configured_for(sets: "Sets", preset: str | None, **given: Any) -> "TrainConfig":
    """Give the preset's config for these sets, digits being measured at their own size.

    Raises what pyramidion.presets.configured raises.
    """
    from model.evaluation.evaluate import IDX_SIZE
    from pyramidion.presets import configured

    if next(iter(sets.values())).layout == "idx" and given.get("size") is None:
        try:
            return configured(preset, **{**given, "size": IDX_SIZE})
        except UserError:
            pass  # too small for this preset, which has its own size; what else is wrong is told now
    return configured(preset, **given)


def _words(text: str | None) -> list[str] | None:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    return list(dict.fromkeys(words)) or None


def _device(wanted: str | None) -> str:
    import torch

    from workers.runtime import choose_device
    from workers.settings import WorkerSettings

    settings = WorkerSettings()
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    return choose_device(wanted or settings.device)


def _train(sets: "Sets", config: "TrainConfig", seeds: Sequence[int], place: str) -> "Evaluation":
    from model.evaluation.evaluate import evaluate as run
    from workers.train import checkpoints

    try:
        with _bar() as told:
            return run(sets, config, seeds, device=place, told=told, checkpoints=checkpoints())
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on with the training that was in hand")
        raise


def _measure(sets: "Sets", bundle: Path, place: str) -> "Evaluation":
    from model.bundle import load
    from model.evaluation.evaluate import evaluate_bundle

    judge = load(bundle)
    with _bar() as told:
        return evaluate_bundle(sets, judge, device=place, told=told)


@contextmanager
def _bar() -> "Iterator[Told]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _warn(sets: "Sets") -> None:
    """Say loudly, before hours of training, what makes the figures worth less."""
    left_out = [bad for one in sets.values() for bad in one.left_out]
    overlap = [pair for one in sets.values() for pair in one.overlap]
    if left_out:
        _loud(
            f"damaged images that are left out: {len(left_out)}",
            [f"{bad.name}: {bad.reason}" for bad in left_out],
        )
    if overlap:
        what = f"test images that are also trained on: {len(overlap)}; the figures flatter"
        _loud(what, [f"{test} is {train}" for train, test in overlap])


def _loud(what: str, which: Sequence[str]) -> None:
    err.print("[bold red]warning:[/bold red] ", end="")
    err.print(what, markup=False, highlight=False, soft_wrap=True)
    for line in which[:_LISTED]:
        err.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if len(which) > _LISTED:
        err.print(f"  and {len(which) - _LISTED} more; --json names all", highlight=False)
