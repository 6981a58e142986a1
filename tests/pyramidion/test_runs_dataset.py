"""`pyramidion runs show` tells what a run trains on."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from db import datasets, models, runs
from pyramidion.cli import app
from pyramidion.context import open_context
from pyramidion.output import out

SUMMARY: dict[str, Any] = {
    "stations": {"s1": {"train": 780, "hold_out": 195}, "s2": {"train": 16, "hold_out": 4}},
    "left_out": {"doubted": 2, "duplicates": 31, "tail": 5},
    "split_by": "serial, else image",
    "split_why": "serials or lots make 1 groups",
}


def test_its_hash_its_parts_and_what_was_left_out(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 300)  # as wide a terminal
    with open_context().sessions.begin() as session:
        models.ensure_product(session, "tile")
        run = runs.request(session, "tile", "on demand", "ada")
        held = runs.take(session, 60, 5)
        assert held is not None
    assert "dataset" not in CliRunner().invoke(app, ["runs", "show", str(run)]).stdout
    asked = ["runs", "show", str(run), "--json"]
    assert json.loads(CliRunner().invoke(app, asked).stdout)["dataset_summary"] is None
    entries = [{"id": "1", "sha256": "a" * 64, "group": "serial:1", "part": "train"}]
    with open_context().sessions.begin() as session:
        name = datasets.keep(session, "tile", entries, SUMMARY)
        runs.train_on(session, held, name)
    told = CliRunner().invoke(app, ["runs", "show", str(run)]).stdout
    lines = [
        f"dataset   {name}",
        "          796 images to train on, 199 held out, split by serial, else image",
        "          (serials or lots make 1 groups)",
        "          s1: 780 and 195",
        "          s2: 16 and 4",
        f"          left out: {datasets.left_out(SUMMARY)}",
    ]
    assert "\n".join(lines) in told
    row = json.loads(CliRunner().invoke(app, asked).stdout)
    assert (row["dataset"], row["dataset_summary"]) == (name, SUMMARY)
