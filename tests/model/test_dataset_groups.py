"""Images of one part only fit, only validate, or only calibrate."""

from io import BytesIO
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.config import TrainConfig, Watch
from model.dataset import GoodImages, TooFewImagesError, deal, read_good, split

CONFIG = TrainConfig(size=(16, 16), false_reject_rate=0.05)


@pytest.fixture(scope="module")
def numbered() -> list[bytes]:
    """Images of one grey each, by which they are known again."""
    files = [BytesIO() for _ in range(60)]
    for grey, file in enumerate(files):
        Image.new("L", (16, 16), grey).save(file, "PNG")
    return [file.getvalue() for file in files]


def read(images: list[bytes], groups: list[str] | None = None) -> GoodImages:
    return read_good(images, CONFIG, Watch(None, None, 1), groups)


def greys(good: GoodImages) -> list[list[int]]:
    return [[int(one[0, 0, 0]) for one in part] for part in (good.fit, good.validate, good.calibrate)]


def test_no_group_stands_in_two_parts(numbered: list[bytes]) -> None:
    fit, validate, calibrate = (
        {grey // 3 for grey in part} for part in greys(read(numbered, [f"{grey // 3}" for grey in range(60)]))
    )
    assert len(fit) + len(validate) + len(calibrate) == 20
    assert fit | validate | calibrate == set(range(20))


def test_a_group_for_each_file_is_as_none_at_all(numbered: list[bytes]) -> None:
    named = read(numbered, [str(grey) for grey in range(60)])
    assert greys(named) == greys(read(numbered))
    assert named.sha256 == read(numbered).sha256
    assert read(numbered).groups_sha256 is None


def test_the_places_of_those_that_calibrate_are_known(numbered: list[bytes]) -> None:
    for good in (read(numbered), read(numbered, [f"{grey // 3}" for grey in range(60)])):
        assert good.calibrate_at == greys(good)[2]  # the nth has the grey n


def test_other_groups_are_another_training(numbered: list[bytes]) -> None:
    names = [f"{grey // 2}" for grey in range(60)], [f"{grey // 3}" for grey in range(60)]
    assert len({read(numbered, one).groups_sha256 for one in names}) == 2


def test_two_groups_are_too_few(numbered: list[bytes]) -> None:
    with pytest.raises(TooFewImagesError, match="60 good images of 2 serials or lots leave 0 to train on"):
        read(numbered, ["a", "b"] * 30)


def test_each_image_has_a_group(numbered: list[bytes]) -> None:
    with pytest.raises(ValueError, match="60 images and 1 groups"):
        read(numbered, ["a"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=8, max_size=200), st.randoms(use_true_random=False))
def test_parts_hold_whole_groups_and_what_they_need(numbers: list[int], random: Random) -> None:
    groups = [str(number) for number in numbers]
    order = list(range(len(groups)))
    random.shuffle(order)
    largest = max(map(groups.count, groups))
    try:
        validate, calibrate, fit = deal(order, groups, 0.05)
    except TooFewImagesError:
        assert len(groups) - sum(split(len(groups), 0.05)) - 2 * (largest - 1) < 4
        return
    assert sorted([*validate, *calibrate, *fit]) == sorted(order)
    named = [{groups[i] for i in part} for part in (validate, calibrate, fit)]
    assert sum(map(len, named)) == len(set(groups))
    for part, wanted in zip((validate, calibrate), split(len(groups), 0.05), strict=True):
        assert wanted <= len(part) < wanted + largest
