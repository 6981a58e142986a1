"""The ablation's one command reaches every combination and prints what it found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ablation import Cell, configs, main, parse, table

Parts = Callable[[int, int, str | None], list[bytes]]


@pytest.fixture
def folder(tmp_path: Path, make_parts: Parts) -> Path:
    for place, seed, count, defect in (
        ("train/good", 1, 10, None),
        ("test/good", 2, 3, None),
        ("test/stain", 3, 2, "stain"),
        ("test/scratch", 4, 2, "scratch"),
    ):
        target = tmp_path / "washer" / place
        target.mkdir(parents=True)
        for index, data in enumerate(make_parts(seed, count, defect)):
            (target / f"{index}.png").write_bytes(data)
    return tmp_path / "washer"


def test_every_combination_is_trained_with_the_published_settings() -> None:
    asked = configs(parse(["somewhere", "--seeds", "0,1"])[1])
    assert len(asked) == 12  # 2 aggregations, 3 sums of losses, 2 seeds
    assert {c.epochs for c in asked.values()} == {400}
    mse = asked["capsules mse seed 1"]
    assert (mse.seed, mse.options["ssim"], mse.options["perceptual"]) == (1, False, False)
    assert asked["linear mse+ssim seed 0"].options["ssim"] is True
    assert asked["linear mse+ssim+perceptual seed 0"].options["perceptual"] is True


def test_the_command_trains_scores_and_reports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            str(folder),
            "--epochs",
            "1",
            "--batch",
            "4",
            "--size",
            "56",
            "--losses",
            "mse",
            "--aggregations",
            "linear",
            "--json",
        ]
    )
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [(c["aggregation"], c["losses"]) for c in cells] == [("linear", "mse")]
    for cell in cells:
        assert set(cell["defects"]) == {"stain", "scratch"}
        assert 0 <= cell["image_auroc"] <= 1


def test_the_table_has_the_mean_of_the_seeds_beside_what_was_published() -> None:
    cells = [Cell("linear", "mse+ssim", seed, auroc, {}, 1, 1.0) for seed, auroc in ((0, 0.5), (1, 0.7))]
    assert "| linear | mse+ssim | 0.600 | 0.100 | 2 | 0.94 |" in table(cells, "bottle")
    assert "| linear | mse+ssim | 0.600 | 0.100 | 2 |  |" in table(cells, "washer")


def test_a_folder_of_another_kind_gets_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    weights = tmp_path / "absent.pth"
    for argv, said in (
        ([str(tmp_path / "empty")], "is no folder: give one with train/good"),
        ([str(folder), "--size", "40"], "40 pixels is too small"),
        ([str(folder), "--encoder-weights", str(weights), "--size", "56"], "absent.pth can't be read"),
        ([str(folder), "--losses", "l1"], "l1 is none of mse"),
    ):
        with pytest.raises(SystemExit):
            main(argv)
        assert said in capsys.readouterr().err
