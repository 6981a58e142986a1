"""`pyramidion train`: presets, what is refused with a sentence, and trainings that are cut off."""

import hashlib
import json
import os
import re
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from capture.simulator import GOOD, SimulatedLine
from db import inspections, models, results
from db.ids import uuid7
from db.tables import Review
from pyramidion.context import open_context
from tests.forked import Starter

SMALL = ("--size", "32", "--option", "width=4", "--epochs", "5", "--augment", "none", "--json")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    line = SimulatedLine(seed=3, size=64)
    for index in range(20):
        (folder / f"{index}.png").write_bytes(line.encode(line.part(index, GOOD)))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(good: Path, starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a training that nothing disturbed, in a home of its own."""
    home = tmp_path_factory.mktemp("other") / "home"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYRAMIDION_")}
    words = ("train", "p", "--images", str(good), *SMALL)
    with TemporaryFile() as out, TemporaryFile() as err:
        env = {**clean, "PYRAMIDION_HOME": str(home)}
        assert starter.start(words, env, out.fileno(), err.fileno()).wait(100) == 0
        out.seek(0)
        return json.load(out)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_a_training_that_was_cut_off_goes_on_to_the_very_same_model(
    end: signal.Signals,
    good: Path,
    uninterrupted: Any,
    run: Any,
    processes: Any,
    wait: Any,
    home: Path,
    tmp_path: Path,
) -> None:
    words = ("train", "p", "--images", str(good), *SMALL)
    log, kept = tmp_path / "train.log", home / "training"
    training = processes(*words, log=log)
    wait(lambda: list(kept.glob("*.safetensors")), "the first whole epoch", 60)
    training.send_signal(end)
    assert training.wait(20) == (-9 if end == signal.SIGKILL else 130)
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert ("the same command goes on after epoch" in said) is (end != signal.SIGKILL)
    assert not (home / "bundles").exists()
    assert kept.stat().st_mode & 0o777 == 0o700
    again = run(*words)
    assert "going on after epoch" in again.err
    assert again.json()["version"] == uninterrupted["version"]
    assert not list(kept.iterdir())


def test_ctrl_c_before_an_epoch_is_whole_says_that_nothing_is_kept(
    good: Path, processes: Any, wait: Any, home: Path, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    training = processes("train", "p", "--images", str(good), "--size", "512", log=log)
    wait((home / "training").is_dir, "the training", 30)
    training.send_signal(signal.SIGINT)
    assert training.wait(30) == 130
    assert "the same command begins anew" in log.read_text(encoding="utf-8")


def test_a_preset_with_options_and_weights_is_trained_and_named(
    good: Path, run: Any, tmp_path: Path, home: Path
) -> None:
    from safetensors.torch import save_file

    from model.resnet import ResNet

    weights = tmp_path / "resnet18.safetensors"
    save_file(ResNet(18).state_dict(), weights)
    few = ("--size", "64", "--epochs", "1", "--augment", "none", "--json")
    words = ("train", "p", "--images", str(good), "--preset", "paper", "--option", "perceptual=false", *few)
    report = run(*words, "--encoder-weights", str(weights)).json()
    assert report["preset"] == "paper"
    manifest = json.loads((home / "bundles" / report["version"] / "manifest.json").read_text())
    assert manifest["network"]["preset"] == "paper"
    assert manifest["network"]["perceptual"] is False
    assert len(manifest["training"]["config"]["encoder_sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--preset", "pyramids"], "there is no preset 'pyramids'; there are: pyramid, .*paper"),
        (["--option", "widht=8"], "no option 'widht'; there are: .*width"),
        (["--option", "width"], "'width' is not NAME=VALUE"),
        (["--option", "width=wide"], "option width is 'wide', but is a number"),
        (["--size", "100"], "multiples of 32"),
        (["--encoder-weights", "{weights}"], "takes no encoder weights"),
        (["--encoder-sha256", "00"], "name the file with --encoder-weights"),
        (["--preset", "paper", "--encoder-weights", "nowhere.pth"], r"nowhere\.pth can't be read"),
        (["--preset", "paper", "--encoder-weights", "{image}"], "neither safetensors nor"),
        (["--preset", "paper", "--encoder-weights", "{other}"], "conv1.* is missing"),
        (
            ["--preset", "paper", "--encoder-weights", "{other}", "--encoder-sha256", "00"],
            "have SHA-256 .* but 00",
        ),
    ],
)
def test_what_a_preset_cannot_do_is_told_in_a_sentence(
    words: list[str], complaint: str, good: Path, run: Any, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"fc.weight": torch.zeros(2, 2)}, other)
    files = {"{weights}": str(other), "{other}": str(other), "{image}": str(good / "0.png")}
    answer = run("train", "p", "--images", str(good), *(files.get(word, word) for word in words))
    assert answer.code == 1
    assert re.search(complaint, answer.err), answer.err


def test_too_few_images_say_how_many_would_do(good: Path, run: Any, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(good / "0.png", one)
    answer = run("train", "p", "--images", str(one))
    assert answer.code == 1
    assert "1 distinct good images are too few to train on: give at least 8" in answer.err


def test_mixed_sizes_are_trained_on_and_noted(good: Path, run: Any, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(good, mixed)
    for index in range(4):
        rng = np.random.default_rng(index)
        Image.fromarray(rng.integers(0, 255, (40, 90), dtype=np.uint8)).save(mixed / f"wide{index}.png")
    answer = run(
        "train", "p", "--images", str(mixed), "--size", "32", "--epochs", "1", "--augment", "none", "--json"
    )
    assert answer.code == 0, answer.err
    assert "2 sizes, from 90 x 40 to 64 x 64 (20 of 24 have 64 x 64)" in answer.err
    assert answer.json()["notes"]


def test_presets_are_listed_with_what_they_can_be_told(run: Any) -> None:
    from model.presets import DEFAULT, PRESETS

    rows = {row["name"]: row for row in run("presets", "--json").json()}
    assert list(rows) == list(PRESETS)
    assert [name for name, row in rows.items() if row["default"]] == [DEFAULT]
    assert rows["pyramid"]["options"]["width"] > 0
    assert rows["paper"]["defaults"]["epochs"] == 400
    text = run("presets").out
    for name, row in rows.items():
        assert f"{name}" in text
        assert row["options"], f"{name}: Preset(options=...) names its dataclass"


def test_reviewed_defects_that_escape_are_reported_and_leave_the_threshold(
    good: Path, uninterrupted: Any, run: Any, home: Path, tmp_path: Path
) -> None:
    """Two rejections that people confirmed: one is a good part to any model, one is a black square."""
    black = tmp_path / "black.png"
    Image.new("L", (64, 64)).save(black)
    ids = _confirm_rejections([(good / "0.png").read_bytes(), black.read_bytes()])
    words = ("train", "p", "--images", str(good), *SMALL)
    report = run(*words).json()
    assert report["escapes"] == {
        "defects": 2,
        "escapes": 1,
        "unread": 0,
        "threshold": report["threshold"],
        "newest": [str(ids[0])],
    }
    assert report["version"] == uninterrupted["version"]  # and so the threshold
    said = run(*words[:-1])
    assert "1 of 2 reviewed defects escape at this threshold" in said.out
    assert f"pyramidion show {ids[0]}" in said.out
    assert "1 of 2 reviewed defects escape" in run("models", "--json").json()[0]["note"]


def _confirm_rejections(images: list[bytes]) -> list[UUID]:
    context, now = open_context(), datetime.now(UTC)
    new = [
        inspections.NewInspection(
            id=uuid7(now),
            product="p",
            station="s",
            line=None,
            serial=None,
            lot=None,
            captured_at=now,
            received_at=now,
            image_sha256=Path(key).name,
            image_key=key,
            image_bytes=len(data),
            image_width=64,
            image_height=64,
            image_format="PNG",
        )
        for key, data in zip(context.store.put_many(images), images, strict=True)
    ]
    with context.sessions.begin() as session:
        models.ensure_product(session, "p")
        inspections.accept(session, new)
        model = hashlib.sha256(b"{}").hexdigest()
        models.register(session, model, "p", "{}", "b" * 64, 9)
        for one in new:
            judged = results.NewResult(
                one.id, "ng", 2.0, 1.0, model, "w", 1, now, {}, [], error=None, map=None
            )
            results.record(session, [judged])
            review = Review(
                id=uuid7(now), inspection_id=one.id, verdict="confirm", reviewer="ada", created_at=now
            )
            session.add(review)
    context.engine.dispose()
    return [one.id for one in new]
