"""`pyramidion evaluate` from folder to table, JSON and page, as a user calls it."""

import gzip
import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.accuracy import table
from model import bundle
from model.evaluation.evaluate import evaluate, evaluate_bundle, open_sets
from model.training import train
from pyramidion.cli import app
from pyramidion.errors import UserError, known_errors
from pyramidion.presets import configured
from pyramidion.report import write
from pyramidion.training import read_folder

Run = Callable[..., Any]
SIDE = 32


def part(rng: np.random.Generator, defect: str | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A smooth grey part, and the mask of its defect: a black dot, or a bright bar."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    pixels = 120 + 40 * np.sin(x / 5) * np.cos(y / 6) + rng.normal(0, 3, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    row, column = rng.integers(3, SIDE - 12, 2)
    if defect == "dot":
        mask[row : row + 5, column : column + 5] = 255
        pixels[mask > 0] = 10
    if defect == "bar":
        mask[row : row + 3, column : column + 10] = 255
        pixels[mask > 0] = 240
    return pixels.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good parts to train on; 12 good ones, 6 with a dot and 6 with a bar to test, bars without masks."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("sets") / "parts"
    for place, count, defect in (
        ("train/good", 24, None),
        ("test/good", 12, None),
        ("test/dot", 6, "dot"),
        ("test/bar", 6, "bar"),
    ):
        (folder / place).mkdir(parents=True)
        (folder / "ground_truth/dot").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels, mask = part(rng, defect)
            Image.fromarray(pixels).save(folder / place / f"{index:02}.png")
            if defect == "dot":
                Image.fromarray(mask).save(folder / f"ground_truth/dot/{index:02}_mask.png")
    return folder


@pytest.fixture(scope="module")
def model(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle that was trained on those parts."""
    config = configured(None, size=(SIDE, SIDE), epochs=2)
    good = [file.read_bytes() for file in sorted((parts / "train/good").iterdir())]
    return bundle.save(train(good, config), tmp_path_factory.mktemp("bundles"), product="part").folder


def test_a_training_that_is_cut_short_goes_on(parts: Path, tmp_path: Path) -> None:
    config = configured(None, size=(SIDE, SIDE), epochs=3, options={"width": "4", "components": "8"})
    sets = open_sets(parts)
    epochs: list[int] = []

    def cut_short(what: str, done: int, _total: int) -> None:
        if what.startswith("training") and done == 2:
            raise KeyboardInterrupt

    def note(what: str, done: int, _total: int) -> None:
        if what.startswith("training"):
            epochs.append(done)

    with pytest.raises(KeyboardInterrupt):
        evaluate(sets, config, [0], told=cut_short, checkpoints=tmp_path)
    resumed = evaluate(sets, config, [0], told=note, checkpoints=tmp_path).report
    assert [epoch for epoch in epochs if epoch] == [2, 3, 3]  # as it was found, a new one, and calibration
    assert not list(tmp_path.iterdir())
    assert resumed["image_auroc"] == evaluate(sets, config, [0]).report["image_auroc"]


def test_two_seeds_make_a_report_with_spread_and_a_page(run: Run, parts: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("--size", str(SIDE), "--epochs", "2", "--seeds", "2", "--json", "--html", str(page))
    answer = run("evaluate", str(parts), *words, "--option", "components=8")
    assert answer.code == 0, answer.err
    report = answer.json()
    assert (report["set"], report["layout"], report["preset"]) == ("parts", "mvtec", "pyramid")
    assert report["options"] == {"components": "8"}
    assert [one["seed"] for one in report["seeds"]] == [0, 1]
    each = [one["image_auroc"] for one in report["seeds"]]
    assert report["image_auroc"] == pytest.approx(np.mean(each))
    assert report["spread"]["image_auroc"] == pytest.approx(np.std(each, ddof=1))
    assert set(report["recall_at_fpr"]) == {"0.005", "0.01"}
    dot, bar = report["defects"]["dot"], report["defects"]["bar"]
    assert (dot["images"], dot["masks"], bar["masks"]) == (6, 6, 0)
    assert dot["aupro"] == report["aupro"]  # bars have no masks, so all regions are dots
    assert (bar["aupro"], bar["pixel_auroc"]) == (None, None)
    assert any("bar has no masks" in note for note in report["notes"])
    assert report["image_auroc"] > 0.9
    assert report["pixel_auroc"] > 0.9
    assert 0 <= report["threshold"]["false_reject_rate"] <= 1
    assert report["threshold"]["method"] == "tail-fit"
    assert report["training_s"] > 0
    assert report["images_per_s"] > 0
    assert report["left_out"] == report["overlap"] == []
    assert page.read_text().count("<polyline") == 6  # three curves of two models


def test_what_weakens_the_figures_is_said_loudly(run: Run, parts: Path, model: Path, tmp_path: Path) -> None:
    worn = tmp_path / "worn"
    shutil.copytree(parts, worn)
    (worn / "test/dot/00.png").write_bytes((worn / "test/dot/00.png").read_bytes()[:300])
    shutil.copy(worn / "train/good/03.png", worn / "test/bar/same.png")
    answer = run("evaluate", str(worn), "--bundle", str(model))
    assert answer.code == 0, answer.err
    assert "warning: damaged images that are left out: 1" in answer.err
    assert "test/dot/00.png: can't be decoded" in answer.err
    assert "warning: test images that are also trained on: 1" in answer.err
    assert "test/bar/same.png is train/good/03.png" in answer.err
    assert re.search(r"^dot +5 ", answer.out, re.MULTILINE)  # the table, of what is left
    assert "rejects" in answer.out


def test_a_bundle_needs_no_training_images(
    parts: Path, model: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(parts / "test", tmp_path / "new/test")
    app(["evaluate", str(tmp_path / "new"), "--bundle", str(model), "--json"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert report["bundle"] == model.name
    assert report["training_s"] is None
    assert report["pixel_auroc"] is None  # no ground_truth there


def test_digits_are_measured_class_by_class(run: Run, tmp_path: Path) -> None:
    """Two classes that differ by where they are bright: each is good in turn."""
    rng, folder = np.random.default_rng(1), tmp_path / "digits"
    folder.mkdir()
    for name, count in (("train", 48), ("t10k", 20)):
        labels = (np.arange(count) % 2).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        images[labels == 0, 4:12, 4:24] += 150
        images[labels == 1, 16:24, 4:24] += 150
        data = struct.pack(">IIII", 0x0803, count, 28, 28) + images.tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
        data = struct.pack(">II", 0x0801, count) + labels.tobytes()
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(data))
    page = tmp_path / "digits.html"
    answer = run("evaluate", str(folder), "--epochs", "1", "--json", "--html", str(page))
    assert answer.code == 0, answer.err
    report = answer.json()
    assert report["size"] == [32, 32]
    assert list(report["classes"]) == ["0", "1"]
    each = report["classes"].values()
    assert report["image_auroc"] == pytest.approx(np.mean([one["image_auroc"] for one in each]))
    assert [list(one["defects"]) for one in each] == [["1"], ["0"]]
    assert all(one["good_images"] == 10 and one["training_images"] == 24 for one in each)
    assert report["image_auroc"] > 0.8
    assert "Class 1: " in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{parts}/test"], "test is a part of a set: give"),
        (["{parts}", "--preset", "nonsense"], "there is no preset 'nonsense'; there are: "),
        (["{parts}", "--option", "width"], "--option 'width' is not NAME=VALUE"),
        (["{parts}", "--option", "depth=3"], "there is no option 'depth'"),
        (["{parts}", "--classes", "3"], "no classes to choose from"),
        (["{parts}", "--seed", "1", "--seeds", "3"], "give either --seed"),
        (["{parts}", "--bundle", "{parts}", "--epochs", "2"], "leave --epochs out"),
        (["{parts}", "--bundle", "{parts}"], "manifest.json is missing"),
        (["{parts}", "--html", "{parts}/nowhere/page.html"], "nowhere is no folder"),
        (["{few}"], "3 distinct good images are too few to train on"),
    ],
)
def test_a_wrong_request_is_answered_with_a_sentence(
    parts: Path, tmp_path: Path, home: Path, words: list[str], said: str
) -> None:
    """In this process, for speed: these errors are among those that become a sentence and exit code 1."""
    few = tmp_path / "few"
    shutil.copytree(parts, few)
    for file in sorted((few / "train/good").iterdir())[3:]:
        file.unlink()
    with pytest.raises(known_errors(), match=re.escape(said)):
        app(["evaluate", *(word.format(parts=parts, few=few) for word in words)], standalone_mode=False)


def test_a_folder_of_another_layout_ends_with_exit_code_1(run: Run, parts: Path) -> None:
    answer = run("evaluate", str(parts / "train"))
    assert (answer.code, answer.out) == (1, "")
    assert "error: " in answer.err
    assert "train is a part of a set: give" in answer.err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (".", "is a labelled set .* name .*parts/train/good"),
        ("test", "holds bar, dot beside good, which would be trained on as good: name .*test/good"),
        ("test/dot", "stands beside a folder good, so it holds defects: name .*train/good"),
        ("ground_truth/dot", "holds masks: name train/good"),
    ],
)
def test_defects_are_not_trained_on_as_good(
    parts: Path, place: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=said):
        read_folder(parts / place)
    monkeypatch.chdir(parts / place)
    with pytest.raises(UserError, match=said):
        read_folder(Path())


def test_what_stands_beside_good_parts_is_not_trained_on_whatever_its_parent_is_called(
    parts: Path, tmp_path: Path, home: Path
) -> None:
    shutil.copytree(parts / "test", tmp_path / "lot7")
    with pytest.raises(UserError, match=r"name .*lot7/good, or move it elsewhere if its parts are good too"):
        read_folder(tmp_path / "lot7" / "dot")


def test_folders_of_good_parts_may_have_folders_in_them(parts: Path, tmp_path: Path, home: Path) -> None:
    shutil.copytree(parts / "train/good", tmp_path / "lots/monday")
    shutil.copytree(parts / "test/good", tmp_path / "lots/tuesday")
    assert len(read_folder(tmp_path / "lots")[0]) == 36
    assert len(read_folder(parts / "train/good")[0]) == 24


@pytest.fixture
def page(parts: Path, model: Path, tmp_path: Path) -> Path:
    """The page of those parts, one of which has a name that is markup."""
    odd = tmp_path / "odd <b>set"
    shutil.copytree(parts, odd)
    (odd / "test/good/00.png").rename(odd / "test/good/<img src=x>.png")
    write(evaluate_bundle(open_sets(odd), bundle.load(model)), tmp_path / "page.html")
    return tmp_path / "page.html"


def test_the_page_is_whole_by_itself(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert re.findall(r"""(?:src|href)=["'](?!data:image/jpeg)""", text) == []
    assert re.findall(r"url\(|@import|https?://", text) == []
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;.png" in text
    assert text.count("data:image/jpeg;base64,") == 2 * (12 + 12)  # image and map of each


@pytest.fixture
def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        reason = f"none of {', '.join(names)} is here: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.mark.browser
def test_the_page_in_a_browser(page: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        grounds = []
        for scheme in ("light", "dark"):
            shown = browser.new_page(viewport={"width": 700, "height": 900}, color_scheme=scheme)
            shown.on("console", lambda message: said.append(message.text))
            shown.on("request", lambda request: asked.append(request.url))
            shown.goto(page.as_uri())
            wide = shown.evaluate("document.documentElement.scrollWidth")
            assert wide <= 700  # a wide table scrolls by itself
            broken = "[...document.images].filter(i => !i.naturalWidth).length"
            assert shown.evaluate(broken) == 0
            grounds.append(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
            boxes = [one.bounding_box() for one in shown.locator("polyline").all()]
            assert len(boxes) == 3
            assert all(box is not None and box["width"] > 100 for box in boxes)
        browser.close()
    assert grounds[0] != grounds[1]
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []


def test_the_benchmark_puts_presets_side_by_side(parts: Path, model: Path) -> None:
    done = evaluate_bundle(open_sets(parts), bundle.load(model))
    lines = table([("pyramid", done), ("other", done)], parts=True).splitlines()
    assert len(lines) == 2 + 2 * (1 + 2)  # head, and a row over all, of dots and of bars for each
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| parts | pyramid | 1 | ")
    json.dumps(done.report, allow_nan=False)
