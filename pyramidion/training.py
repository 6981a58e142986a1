"""Training at the command line: a progress bar, then a registered model."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from capture.folder import image_files
from capture.images import Limits, RefusedImageError, inspect
from capture.settings import CaptureSettings
from model import training
from model.config import TrainConfig
from pyramidion.errors import UserError
from pyramidion.output import err
from workers.candidate import keep
from workers.runtime import runtime


class GoodParts(NamedTuple):
    """Images' files, what was left out with the reason, and how many images have which (width, height)."""

    images: list[bytes]
    left_out: list[tuple[str, str]]
    sizes: Counter[tuple[int, int]]


def read_folder(folder: Path) -> GoodParts:
    """Read the images of a folder of good parts.

    Raises UserError where there is no folder, no readable image in it, or defects among the good parts.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that holds images of good parts")
    _require_good_only(folder)
    limits = Limits.of(CaptureSettings())
    good: list[bytes] = []
    left_out: list[tuple[str, str]] = []
    sizes: Counter[tuple[int, int]] = Counter()
    for path in image_files(folder):
        try:
            data = path.read_bytes()
            facts = inspect(data, limits)
        except (OSError, RefusedImageError) as error:
            left_out.append((str(path.relative_to(folder)), str(error)))
        else:
            good.append(data)
            sizes[facts.width, facts.height] += 1
    if not good:
        first = f"; the first file, {left_out[0][0]}, was left out: {left_out[0][1]}" if left_out else ""
        raise UserError(f"{folder} holds no readable image (JPEG, PNG, BMP, TIFF or WebP){first}")
    return GoodParts(good, left_out, sizes)


def _require_good_only(folder: Path) -> None:
    """Refuse the folder of a labelled set that also holds defects; folders of lots or days are fine."""
    folder = folder.resolve()  # `.` has a name and neighbours too
    if "ground_truth" in folder.parts:
        raise UserError(f"{folder} lies in a labelled set's ground_truth, which holds masks: name train/good")
    inner = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    labelled = inner & {"train", "test", "ground_truth"}
    if labelled:
        good = next((p for p in ("train/good", "train", "good") if (folder / p).is_dir()), None)
        cure = f"name {folder / good}" if good else "name the folder that holds good parts only"
        found = ", ".join(sorted(labelled))
        raise UserError(f"{folder} is a labelled set (it holds {found}), with defects in it: {cure}")
    if "good" in inner and len(inner) > 1:
        others = ", ".join(sorted(inner - {"good"})[:5])
        raise UserError(
            f"{folder} holds {others} beside good, which would be trained on as good: name {folder / 'good'}"
        )
    if folder.name != "good" and (folder.parent / "good").is_dir():
        trained_on = folder.parent.parent / "train" / "good"
        named = trained_on if trained_on.is_dir() else folder.parent / "good"
        raise UserError(
            f"{folder} stands beside a folder good, so it holds defects: name {named}, or move it elsewhere "
            "if its parts are good too"
        )


def train_images(
    product: str,
    good: Sequence[bytes],
    config: TrainConfig | None = None,
    *,
    note: str,
    promote: bool = True,
    stop: Callable[[], bool] | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Train with a progress bar on standard error, register the model, and give a report of it.

    With `checkpoints` a training that was stopped or killed goes on from its last whole epoch, and says so.
    Raises what model.training.train raises, and workers.runtime.DeviceError.
    """
    config = config or TrainConfig()
    state = runtime()
    started = time.perf_counter()
    with Progress(
        TextColumn("{task.description:20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        console=err,
    ) as bar:
        task = bar.add_task(f"training {product}", total=config.epochs, loss="-")
        reached = 0

        def show(progress: training.Progress) -> None:
            nonlocal reached
            if progress.stage == "fit" and reached == 0 and math.isnan(progress.eta_s):  # none of this run
                bar.console.print(f"going on after epoch {progress.epoch} of {progress.epochs}")
            reached = progress.epoch
            loss = "-" if progress.epoch == 0 else f"{progress.loss:.4f}"
            bar.update(task, completed=progress.epoch, total=progress.epochs, loss=loss)
            if progress.stage == "calibrate":
                bar.update(task, description=f"calibrating {product}", total=progress.epoch)

        try:
            trained = training.train(
                good,
                config,
                device=state.device,
                progress=show,
                stop=stop,
                checkpoints=checkpoints,
                keep_checkpoint=True,  # until `keep` has registered the model
            )
        except (training.TrainingStoppedError, KeyboardInterrupt):
            if checkpoints is not None:
                bar.console.print(_what_is_kept(reached))
            raise
    kept = keep(state, trained, product, actor="command line", note=note, promote=promote)
    return {
        "product": product,
        "version": kept.version,
        "promoted": kept.promoted,
        "preset": config.preset,
        "images": trained.facts.images,
        "threshold": trained.calibration.threshold,
        "calibration": trained.calibration.note,
        "escapes": None if kept.escapes is None else kept.escapes.as_json(),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _what_is_kept(epoch: int) -> str:
    if epoch == 0:
        return "stopped before an epoch was whole: the same command begins anew"
    return f"stopped; the same command goes on after epoch {epoch}"


def squashed(sizes: Counter[tuple[int, int]]) -> str | None:
    """Say so where images differ in size: one size for all does not keep their proportions."""
    if len(sizes) < 2:
        return None
    (width, height), most = sizes.most_common(1)[0]
    low, high = min(sizes, key=math.prod), max(sizes, key=math.prod)
    return (
        f"the images have {len(sizes)} sizes, from {low[0]} x {low[1]} to {high[0]} x {high[1]} ({most} of "
        f"{sizes.total()} have {width} x {height}): all are squashed to one size, so cut them out alike "
        "where parts lie still before the camera"
    )
