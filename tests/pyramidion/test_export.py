"""Any part of the history as a file, also when the disk fills or the process is killed on the way."""

import csv
import errno
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy.orm import Session

from db import inspections, models, results
from db.history import search
from db.ids import uuid7
from db.matching import Filter
from pyramidion import exporting
from pyramidion.context import open_context
from pyramidion.errors import UserError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def history(home: Path) -> int:
    """25 inspections, each third with an error."""
    with open_context().sessions.begin() as session:
        add(session, 25)
    return 25


def add(session: Session, number: int, at: datetime = NOON) -> None:
    models.ensure_product(session, "tile, grey")
    times = [at + timedelta(seconds=n) for n in range(number)]
    new = [
        inspections.NewInspection(
            uuid7(time), "tile, grey", "s1", None, f"{n}", "A", time, time, "a" * 64, "k", 9, 8, 8, "PNG"
        )
        for n, time in enumerate(times)
    ]
    inspections.accept(session, new)
    failed = [
        results.NewResult(
            one.id, "error", None, None, None, "w", 1, NOON, {}, [{"x": 1.0}], 'it said "no"\nand left', None
        )
        for one in new[::3]
    ]
    results.record(session, failed)


@pytest.mark.parametrize("form", exporting.FORMS)
def test_every_format_holds_every_row_once(
    history: int, form: exporting.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PIECE", 10)
    file = tmp_path / f"all.{form}"
    with open_context().reading() as session:
        assert exporting.export(session, Filter(), file, form) == history
        expected = [str(row.id) for row in search(session, Filter(), 100)]
    found = read(file, form)
    assert [row["id"] for row in found] == expected
    worst = next(row for row in found if row["serial"] == "24")
    assert worst["error"] == 'it said "no"\nand left'
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == [file.name]


def read(file: Path, form: str) -> list[dict[str, Any]]:
    if form == "csv":
        with file.open(newline="", encoding="utf-8") as opened:
            return list(csv.DictReader(opened))
    if form == "jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    table = pq.read_table(file)
    assert str(table.schema.field("captured_at").type) == "timestamp[us, tz=UTC]"
    return list(table.to_pylist())


@pytest.mark.parametrize("form", exporting.FORMS)
def test_a_full_disk_leaves_no_half_file_and_the_export_goes_on(
    history: int, form: exporting.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PIECE", 10)
    writer, calls = exporting._WRITERS[form], []

    def fills(draft: Path, rows: Any) -> None:
        calls.append(draft)
        writer(draft, rows)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(exporting._WRITERS, form, fills)
    file = tmp_path / f"all.{form}"
    with open_context().reading() as session, pytest.raises(OSError, match="No space"):
        exporting.export(session, Filter(), file, form)
    assert not file.exists()
    assert len(list((tmp_path / f"all.{form}.pieces").iterdir())) == 2  # the note and a whole piece
    with open_context().sessions.begin() as session:
        add(session, 3, NOON + timedelta(hours=1))  # newer ones are not mixed in
    told: list[tuple[int, int]] = []
    with open_context().reading() as session:
        assert exporting.export(session, Filter(), file, form, lambda *now: told.append(now)) == history
    assert told == [(10, 25), (20, 25), (25, 25)]
    assert len(calls) == 4
    assert [int(row["serial"]) for row in read(file, form)] == list(range(24, -1, -1))


def test_a_disk_that_is_full_from_the_start_keeps_nothing_half_written(
    no_room_beyond: Any, history: int, tmp_path: Path
) -> None:
    with open_context().reading() as session, no_room_beyond(10), pytest.raises(OSError, match="too large"):
        exporting.export(session, Filter(), tmp_path / "all.csv", "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_pieces_of_another_export_are_not_joined(history: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv.pieces").mkdir()
    with open_context().reading() as session, pytest.raises(UserError, match="another export"):
        exporting.export(session, Filter(lot="B"), tmp_path / "a.csv", "csv")


def test_the_command_tells_rows_and_hash(run: Any, history: int, tmp_path: Path) -> None:
    file = tmp_path / "errors.csv"
    report = run("export", "-o", str(file), "--verdict", "error", "--json").json()
    assert report == {
        "file": str(file),
        "rows": 9,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    trend = run("trend", "--zone", "Europe/Berlin", "--by", "hour", "--json").json()
    assert [(one["begin"], one["captured"], one["pending"]) for one in trend] == [
        ("2026-03-01T13:00:00+01:00", 25, 16)
    ]
    assert "2026-03-01 13:00" in run("trend", "--zone", "Europe/Berlin", "--by", "hour").out


def test_what_matches_is_counted(run: Any, history: int) -> None:
    report = run("results", "--counts", "--json").json()
    assert (report["counted"], report["complete"]) == (25, True)
    assert report["verdict"] == [{"value": "pending", "count": 16}, {"value": "error", "count": 9}]
    lines = run("results", "--counts", "--verdict", "error").out.splitlines()
    assert lines[0] == "counted: 9"
    assert "product        tile, grey 9" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "-o", "all.txt"), "end it in csv, jsonl, parquet"),
        (("export", "-o", "absent/all.csv"), "is no folder"),
        (("export", "-o", ".", "--format", "csv"), "is no file"),
        (("results", "--since", "2026-03-02", "--until", "2026-03-01"), "nothing lies between"),
        (("results", "--min-score", "2", "--max-score", "1"), "no score lies between"),
        (("results", "--min-score", "nan"), "finite"),
        (("results", "--counts", "--csv"), "--counts are a table"),
        (("trend", "--zone", "Mars/Base"), "is no time zone"),
        (("trend", "--shifts", "six"), "are no times of day"),
        (("trend", "--by", "shift", "--shifts", "06:10"), "on a quarter of an hour"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(
    run: Any, home: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    answer = run(*words)
    assert answer.code == 1
    assert said in " ".join(answer.err.split())
