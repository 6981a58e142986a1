"""Training at the command line: a progress bar, then a registered model."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from capture.folder import image_files
from capture.images import Limits, RefusedImageError, inspect
from capture.settings import CaptureSettings
from model import training
from model.config import TrainConfig
from pyramidion.errors import UserError
from pyramidion.output import err
from workers.runtime import runtime
from workers.train import keep


def read_folder(folder: Path) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Read the images of a folder of good parts; gives them, and what was left out with the reason.

    Raises UserError where there is no folder, or no readable image in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that holds images of good parts")
    limits = Limits.of(CaptureSettings())
    good: list[bytes] = []
    left_out: list[tuple[str, str]] = []
    for path in image_files(folder):
        try:
            data = path.read_bytes()
            inspect(data, limits)
        except (OSError, RefusedImageError) as error:
            left_out.append((str(path.relative_to(folder)), str(error)))
        else:
            good.append(data)
    if not good:
        first = f"; the first file, {left_out[0][0]}, was left out: {left_out[0][1]}" if left_out else ""
        raise UserError(f"{folder} holds no readable image (JPEG, PNG, BMP, TIFF or WebP){first}")
    return good, left_out


def train_images(
    product: str,
    good: Sequence[bytes],
    config: TrainConfig | None = None,
    *,
    note: str,
    promote: bool = True,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Train with a progress bar on standard error, register the model, and give a report of it.

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

        def show(progress: training.Progress) -> None:
            loss = "-" if progress.epoch == 0 else f"{progress.loss:.4f}"
            bar.update(task, completed=progress.epoch, total=progress.epochs, loss=loss)
            if progress.stage == "calibrate":
                bar.update(task, description=f"calibrating {product}", total=progress.epoch)

        trained = training.train(good, config, device=state.device, progress=show, stop=stop)
    version = keep(state, trained, product, actor="command line", note=note, promote=promote)
    return {
        "product": product,
        "version": version,
        "images": trained.facts.images,
        "threshold": trained.calibration.threshold,
        "calibration": trained.calibration.note,
        "seconds": round(time.perf_counter() - started, 1),
    }
