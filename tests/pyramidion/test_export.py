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
from click.testing import Result
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from db import events, export_files, inspections, models, results, reviews
from db.history import search
from db.ids import uuid7
from db.ledger import released
from db.ledger.facts import Kind
from db.matching import Filter
from pyramidion import exporting
from pyramidion.cli import app
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


@pytest.mark.parametrize("form", export_files.FORMS)
def test_every_format_holds_every_row_once(
    history: int, form: export_files.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PIECE", 10)
    file = tmp_path / f"all.{form}"
    context = open_context()
    with context.sessions.begin() as session:
        expected = search(session, Filter(), 100)
        (failed,) = (row.id for row in expected if row.serial == "24")
        for said, why in (("inconclusive", "dirt?"), ("confirm", 'seen, "dirt"')):
            reviews.record(session, failed, said, "ada", "defect", why)
        act = events.record(session, released.ACT, "retention", None, {})
        released.add(session, act, released.IMAGE, [failed])
    with context.reading() as session:
        assert exporting.export(session, Filter(), file, form) == history
    found = read(file, form)
    assert [row["id"] for row in found] == [str(row.id) for row in expected]
    worst = next(row for row in found if row["serial"] == "24")
    assert worst["error"] == 'it said "no"\nand left'
    names = ("review", "review_reason_code", "review_reason", "reviewer")
    assert [worst[name] for name in names] == ["confirm", "defect", 'seen, "dirt"', "ada"]
    assert (bool(worst["reviewed_at"]), bool(worst["image_let_go"])) == (True, True)
    assert [row["serial"] for row in found if row["review"] or row["image_let_go"]] == ["24"]
    assert {row["map_let_go"] or None for row in found} == {None}
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == [file.name]


def read(file: Path, form: str) -> list[dict[str, Any]]:
    if form == "csv":
        with file.open(newline="", encoding="utf-8") as opened:
            return list(csv.DictReader(opened))
    if form == "jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    table = pq.read_table(file)
    for name in ("captured_at", "reviewed_at", "map_let_go"):  # one that is empty throughout as well
        assert str(table.schema.field(name).type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("review").type) == "string"
    return list(table.to_pylist())


@pytest.mark.parametrize("form", export_files.FORMS)
def test_a_full_disk_leaves_no_half_file_and_the_export_goes_on(
    history: int, form: export_files.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_second_export_to_the_same_file_is_refused_while_the_first_runs(
    history: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their pieces would be joined, though a part that came in between makes them overlap.
    monkeypatch.setattr(exporting, "PIECE", 10)
    file, refused = tmp_path / "all.csv", list[str]()

    def another(_done: int, _total: int) -> None:
        with open_context().reading() as session, pytest.raises(UserError) as why:
            exporting.export(session, Filter(), file, "csv")
        refused.append(str(why.value))

    with open_context().reading() as session:
        assert exporting.export(session, Filter(), file, "csv", another) == history
    assert {"another export to all.csv is in hand: wait for it" in why for why in refused} == {True}
    assert [int(row["serial"]) for row in read(file, "csv")] == list(range(24, -1, -1))


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


def test_a_name_that_no_inspection_has_is_told_and_so_is_that_nothing_matches(
    history: int, tmp_path: Path
) -> None:
    def invoke(*words: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, words)

    file = str(tmp_path / "none.csv")
    for words, why in (
        (("export", "-o", file, "--lot", "B"), "no inspection has lot 'B'; `pyramidion results --counts` l"),
        (("results", "--json", "--serial", "99"), "no inspection has serial '99'; `pyramidion results` l"),
        (("results", "--counts", "--product", "tile"), "no inspection has product 'tile'"),
        (("trend", "--station", "s2"), "no inspection has station 's2'"),
    ):
        with pytest.raises(UserError, match=why):
            raise invoke(*words).exception or AssertionError(words)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert "0 rows in " in (said := invoke("export", "-o", file, "--lot", "A", "--verdict", "ng").output)
    assert "no inspection matches" in said


def test_a_trend_says_that_some_of_its_time_went(history: int) -> None:
    # Where only ok parts go, what is left has a yield of nothing.
    def told(*words: str) -> str:
        return CliRunner().invoke(app, ("trend", *words)).stderr

    with open_context().sessions.begin() as session:
        add(session, 1, NOON + timedelta(days=9))
        act = events.record(session, released.ACT, "retention", "tile, grey", {})
        released.add(session, act, Kind.INSPECTION, [uuid7(NOON)])
    for words in (
        (),
        ("--json",),
        ("--since", "2026-03-01", "--until", "2026-03-02"),
        ("--product", "tile, grey"),
    ):
        assert "retention has let some of that time go: counts and rates are of what is left" in told(*words)
    assert told("--since", "2026-03-02") == ""


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
