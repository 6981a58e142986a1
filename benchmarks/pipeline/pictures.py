"""What is inspected: JPEG files of a folder, or parts of the simulated line, and a model for them."""

from pathlib import Path

from benchmarks.pipeline.station import PRODUCT
from capture.folder import image_files
from capture.simulator import GOOD, SimulatedLine
from model import bundle, training
from model.bundle import BundlePaths
from model.presets import configure
from pyramidion.errors import UserError

_DIFFERENT = 64


def pictures(folder: Path | None, size: int) -> list[bytes]:
    """Give some 64 image files: of the folder, or JPEGs of the simulated line, `size` pixels a side."""
    if folder is not None:
        found = image_files(folder)
        if not found:
            raise UserError(f"there is no image in {folder}: name a folder of images")
        return [one.read_bytes() for one in found[:: max(1, len(found) // _DIFFERENT)][:_DIFFERENT]]
    line = SimulatedLine(seed=7, size=size)
    return [line.encode(line.part(index), "jpeg") for index in range(_DIFFERENT)]


def as_files(folder: Path, images: list[bytes]) -> Path:
    """Write the images where a station of the benchmark finds them; gives the folder."""
    folder.mkdir()
    for number, data in enumerate(images):
        (folder / f"{number:03}").write_bytes(data)
    return folder


def quick_model(folder: Path, size: int) -> BundlePaths:
    """Train the default preset for one epoch: what it says is worth little, and takes as long as ever."""
    line = SimulatedLine(seed=8, size=size)
    good = [line.encode(line.part(index, GOOD), "jpeg") for index in range(32)]
    config = configure("pyramid", size=(size, size), epochs=1, augment="none")
    return bundle.save(training.train(good, config), folder, product=PRODUCT)
