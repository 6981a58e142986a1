"""`pyramidion golden` as an engineer types it."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner, Result

from db import events, inspections, models, results
from db.ids import uuid7
from db.imagestore import key_of
from db.tables import Inspection
from db.types import to_json
from pyramidion.cli import app
from pyramidion.commands import golden
from pyramidion.context import open_context
from pyramidion.errors import known_errors
from workers import queue

PNG = io.BytesIO()
Image.fromarray(np.full((8, 8), 99, np.uint8)).save(PNG, "PNG")


@pytest.fixture
def version(home: Path) -> str:
    """The model that judges `tile`, whose station s1 has captured one image."""
    context = open_context()
    manifest = to_json({"product": "tile"})
    version = hashlib.sha256(manifest.encode()).hexdigest()
    sha256 = Path(context.store.put(PNG.getvalue())).name
    now = datetime.now(UTC)
    one = inspections.NewInspection(
        uuid7(now), "tile", "s1", "l1", None, None, now, now, sha256, key_of(sha256), 9, 8, 8, "PNG"
    )
    with context.sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, version, "tile", manifest, "b" * 64, 100)
        models.set_champion(session, "tile", version, actor="test", why="test")
        inspections.accept(session, [one])
    return version


@pytest.fixture
def type_(version: str) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def file(tmp_path: Path) -> str:
    made = tmp_path / "fine.png"
    made.write_bytes(PNG.getvalue())
    return str(made)


def judged(version: str, **scores: float) -> Callable[..., None]:
    """A queue whose worker judges at once, by samples' names; what has no score waits."""

    def enqueue(ids: list[UUID], **_: Any) -> None:
        context = open_context()
        now = datetime.now(UTC)
        with context.sessions.begin() as session:
            serials = {id_: str(session.get_one(Inspection, id_).serial) for id_ in ids}
            found = {id_: scores.get(serial.removeprefix("golden:")) for id_, serial in serials.items()}
            new = [
                results.NewResult(
                    id_, "ng" if s > 1 else "ok", s, 1.0, version, "w1", 1, now, {}, [], None, None
                )
                for id_, s in found.items()
                if s is not None
            ]
            results.record(session, new)

    return enqueue


def test_samples_are_added_sent_listed_and_retired(
    version: str, type_: Callable[..., Result], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no golden samples" in type_("golden", "list").stdout
    assert (
        "has to be judged ok" in type_("golden", "add", "tile", "s1", "fine", file, "--expect", "ok").stdout
    )
    with open_context().reading() as session:
        (captured,) = session.scalars(select(Inspection.id))
    words = ("golden", "add", "tile", "s1", "bad", "--from", str(captured)[:20], "--expect", "ng", "--json")
    assert json.loads(type_(*words).stdout)["image_width"] == 8

    monkeypatch.setattr(queue, "enqueue", judged(version, fine=0.5, bad=2.0))
    sent = type_("golden", "send", "tile", "--wait")
    assert (sent.exit_code, sent.stdout.count("passed")) == (0, 2)
    monkeypatch.setattr(queue, "enqueue", judged(version, fine=0.5, bad=0.75))
    sent = type_("golden", "send", "tile", "--wait")
    assert sent.exit_code == 1
    assert "FAILED  s1 bad, which has to be ng: judged ok (score 0.75, threshold 1)" in sent.stdout
    listed = {
        one["name"]: one["passed"] for one in json.loads(type_("golden", "list", "tile", "--json").stdout)
    }
    assert listed == {"bad": False, "fine": True}
    assert "FAILED" in type_("golden", "list").stdout

    monkeypatch.setattr(queue, "enqueue", judged(version))
    monkeypatch.setattr(golden, "_STALLED_S", 0.3)
    sent = type_("golden", "send", "tile", "--station", "s1", "--wait", "--json")
    assert sent.exit_code == 1
    assert [one["passed"] for one in json.loads(sent.stdout)] == [None, None]
    assert len(json.loads(type_("golden", "trials", "tile", "--json").stdout)) == 6
    assert "waits" in type_("golden", "trials").stdout

    assert "is retired" in type_("golden", "retire", "tile", "s1", "bad", "--why", "worn").stdout
    with open_context().reading() as session:
        kinds = [one.kind for one in events.told(session, events.Asked(kind="golden"))]
    assert (
        sorted(kinds)
        == ["golden.added"] * 2
        + ["golden.failed", *["golden.passed"] * 3, "golden.retired"]
        + ["golden.sent"] * 3
    )


def test_samples_are_sent_though_the_broker_is_away(
    type_: Callable[..., Result], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise queue.BrokerUnavailableError("cannot queue 1 inspections")

    monkeypatch.setattr(queue, "enqueue", away)
    type_("golden", "add", "tile", "s1", "fine", file, "--expect", "ok")
    sent = type_("golden", "send", "tile")
    assert sent.exit_code == 0
    assert "cannot queue 1 inspections" in sent.output
    assert "1 golden samples are sent" in sent.output


def test_a_schedule_is_made_changed_and_told(type_: Callable[..., Result]) -> None:
    assert "no schedule" in type_("golden", "schedule").stdout
    made = type_("golden", "schedule", "tile", "--cron", "0  6,14,22 * * *", "--time-zone", "Europe/Berlin")
    assert "tile: 0 6,14,22 * * * in Europe/Berlin, next due" in made.stdout
    assert ", off," in type_("golden", "schedule", "tile", "--off").stdout
    (row,) = json.loads(type_("golden", "schedule", "--json").stdout)
    assert (row["enabled"], row["next_due"]) == (False, None)


MISTAKES = (
    (("add", "tiles", "s1", "n", "FILE", "--expect", "ok"), "unknown product 'tiles'"),
    (("add", "tile", "s9", "n", "FILE", "--expect", "ok"), r"unknown station 's9' \(known: s1\)"),
    (("add", "tile", "s1", "n", "TEXT", "--expect", "ok"), "can't be a golden sample: not an image"),
    (
        ("add", "tile", "s1", "n", "nowhere.png", "--expect", "ok"),
        "cannot read nowhere.png: No such file",
    ),
    (("add", "tile", "s1", "n", "FILE", "--expect", "good"), "--expect is ok for a good part"),
    (("add", "tile", "s1", "n", "--expect", "ok"), "give the image once"),
    (("add", "tile", "s1", "n", "FILE", "--from", "0", "--expect", "ok"), "give the image once"),
    (("add", "tile", "s1", "n", "--from", "ffff", "--expect", "ok"), "there is no inspection ffff"),
    (("add", "tile", "s2", "n", "--from", "0", "--expect", "ok"), "of tile at s1, not of tile at s2"),
    (("add", "tile", "s1", "n" * 250, "FILE", "--expect", "ok"), "has 257 characters"),
    (("add", "tile", "s1", "there", "FILE", "--expect", "ok"), "has a golden sample 'there' at 's1'"),
    (("retire", "tile", "s1", "nobody", "--why", "x"), "has no golden sample 'nobody'"),
    (("send", "tile", "--station", "s9"), "unknown station 's9'"),
    (("send", "bolt"), "unknown product 'bolt'"),
    (("list", "bolt"), "unknown product 'bolt'"),
    (("schedule", "tile", "--cron", "0 25 * * *"), "'0 25 \\* \\* \\*' makes no sense"),
    (("schedule", "tile", "--cron", "0 0 31 4 *"), "makes no sense"),
    (("schedule", "tile", "--cron", "0 0 * * *", "--zone", "Mars"), "no time zone 'Mars'"),
    (("schedule", "tile", "--off"), "no schedule for its golden samples yet"),
    (("schedule", "--off"), "whose schedule"),
)


def test_mistakes_are_told_in_a_sentence_and_change_nothing(
    type_: Callable[..., Result], file: str, tmp_path: Path
) -> None:
    assert type_("golden", "add", "tile", "s1", "there", file, "--expect", "ok").exit_code == 0
    text = tmp_path / "notes.png"
    text.write_text("no image at all", encoding="utf-8")
    for words, complaint in MISTAKES:
        typed = [{"FILE": file, "TEXT": str(text)}.get(one, one) for one in words]
        error = type_("golden", *typed).exception
        assert isinstance(error, known_errors()), words
        assert re.search(complaint, str(error)), words
    with open_context().reading() as session:
        assert len(list(events.told(session, events.Asked(kind="golden")))) == 1


def test_a_verdict_that_was_held_says_so(version: str, type_: Callable[..., Result]) -> None:
    with open_context().sessions.begin() as session:
        (part,) = session.scalars(select(Inspection.id))
        held = {"score_ms": 2.0, results.HELD: 1.0}
        now = datetime.now(UTC)
        said = results.NewResult(part, "inconclusive", 0.5, 1.0, version, "w1", 1, now, held, [], None, None)
        results.record(session, [said])
    shown = type_("show", str(part)).stdout
    assert "held: an alarm of its station was open" in shown
    assert "its model said ok" in " ".join(shown.split())
