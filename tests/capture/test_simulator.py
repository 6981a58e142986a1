import time
from io import BytesIO
from itertools import islice
from threading import Event

import numpy as np
import pytest
from PIL import Image

from capture.live import simulated_frames
from capture.simulator import DEFECTS, GOOD, SimulatedLine


def test_a_part_is_the_same_whenever_and_whoever_makes_it() -> None:
    first, second = SimulatedLine(seed=3), SimulatedLine(seed=3)
    ahead = list(islice(second, 4))
    for index in (3, 0, 2):
        part = first.part(index)
        assert np.array_equal(part.image, ahead[index].image)
        assert (part.serial, part.defect) == (ahead[index].serial, ahead[index].defect)
    assert not np.array_equal(first.part(0, GOOD).image, first.part(1, GOOD).image)
    assert not np.array_equal(first.part(0, GOOD).image, SimulatedLine(seed=4).part(0, GOOD).image)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_stands_out_in_its_mask_and_nowhere_else(defect: str) -> None:
    line = SimulatedLine(seed=7)
    for index in range(12):
        good, bad = line.part(index, GOOD), line.part(index, defect)
        assert (good.defect, good.mask, bad.defect) == (None, None, defect)
        assert bad.mask is not None
        assert bad.mask.shape == bad.image.shape
        assert 24 <= bad.mask.sum() < 0.06 * bad.mask.size
        change = np.abs(bad.image.astype(int) - good.image) / 255
        assert change[bad.mask].mean() > 0.05  # five times the sensor's noise
        far = ~np.asarray(Image.fromarray(bad.mask).resize((32, 32)).resize((256, 256)), bool) & ~bad.mask
        assert change[far].mean() < 0.005


def test_good_parts_differ_less_than_defects_do() -> None:
    line = SimulatedLine(seed=1)
    images = np.stack([line.part(index, GOOD).image for index in range(12)]).astype(float) / 255
    spread = images.std(axis=0).mean()
    assert 0.01 < spread < 0.08  # pose, light, tool marks and noise vary; the product doesn't


def test_defects_come_at_their_rate_and_in_all_kinds() -> None:
    line = SimulatedLine(seed=2, size=64, defect_rate=0.5)
    found = [part.defect for part in islice(line, 120)]
    assert 40 <= sum(defect is not None for defect in found) <= 80
    assert {defect for defect in found if defect} == set(DEFECTS)
    assert all(part.defect is None for part in islice(SimulatedLine(seed=2, size=64, defect_rate=0), 20))


@pytest.mark.parametrize(("size", "colour"), [(64, False), (128, True), (512, False)])
def test_size_and_colour_are_as_asked(size: int, colour: bool) -> None:
    line = SimulatedLine(seed=5, size=size, colour=colour)
    for defect in (GOOD, *DEFECTS):
        part = line.part(6, defect)
        assert part.image.shape == ((size, size, 3) if colour else (size, size))
        assert part.image.dtype == np.uint8
        assert 0.1 < part.image.mean() / 255 < 0.7


def test_files_hold_the_image() -> None:
    line = SimulatedLine(seed=0)
    part = line.part(0)
    assert np.array_equal(np.asarray(Image.open(BytesIO(line.encode(part)))), part.image)
    jpeg = Image.open(BytesIO(line.encode(part, "jpeg")))
    assert jpeg.format == "JPEG"
    assert np.abs(np.asarray(jpeg).astype(int) - part.image).mean() < 4


def test_an_ageing_lamp_darkens_the_same_part() -> None:
    bright, dark = SimulatedLine(seed=0).part(0, GOOD), SimulatedLine(seed=0, light=0.7).part(0, GOOD)
    assert 0.6 < dark.image.mean() / bright.image.mean() < 0.8


def test_parts_are_made_fast_enough_for_a_line() -> None:
    line = SimulatedLine(seed=0)
    line.part(0)
    started = time.process_time()
    for index in range(40):
        line.part(index, GOOD)
    assert 40 / (time.process_time() - started) > 30  # 80 on one core at ease; half the cores may be others'


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"rust.*scratch"):
        SimulatedLine().part(0, "rust")
    with pytest.raises(ValueError, match=r"64 to 4096.*10"):
        SimulatedLine(size=10)
    with pytest.raises(ValueError, match=r"1\.5"):
        SimulatedLine(defect_rate=1.5)


def test_the_line_runs_at_its_rate_and_tells_the_truth_about_each_frame(stop: Event) -> None:
    line = SimulatedLine(seed=1, size=64, defect_rate=0.5)
    truth = {}
    started = time.monotonic()
    frames = list(
        simulated_frames(
            line,
            product="flange",
            station="s1",
            stop=stop,
            first=100,
            count=11,
            rate=20,
            lot="L1",
            on_part=lambda frame, part: truth.update({frame.id: part}),
        )
    )
    assert 0.45 <= time.monotonic() - started < 3
    assert [frame.serial for frame in frames] == [line.part(index).serial for index in range(100, 111)]
    assert [truth[frame.id].defect for frame in frames] == [
        line.part(index).defect for index in range(100, 111)
    ]
    assert sorted(frame.id for frame in frames) == [frame.id for frame in frames]


def test_the_line_halts_when_told(stop: Event) -> None:
    frames = simulated_frames(SimulatedLine(size=64), product="p", station="s", stop=stop, rate=0.1)
    next(frames)
    stop.set()
    started = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - started < 1
