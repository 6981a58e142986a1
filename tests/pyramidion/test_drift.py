"""`pyramidion drift` and `alarms` as an engineer types them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from db import alarms, drift, events, models
from db.drift import SCORE, Key, Taken
from db.tables import Station
from db.types import to_json
from pyramidion.cli import app
from pyramidion.context import open_context
from pyramidion.errors import known_errors

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def alarm(home: object) -> str:
    """The id of an alarm at s1, where two windows are beyond, and one has too few images."""
    manifest = to_json({"product": "tile"})
    version = hashlib.sha256(manifest.encode()).hexdigest()
    dark = {"brightness": {"value": -7.5, "limit": 4.0}, "psi": {"value": 0.125, "limit": 0.25}}
    with open_context().sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, version, "tile", manifest, "b" * 64, 100)
        session.add_all(Station(name=name, line=None, created_at=NOON) for name in ("s1", "s2"))
        session.flush()
        for number, (station, images) in enumerate([("s1", 60), ("s1", 60), ("s2", 3)]):
            at = NOON + number * timedelta(minutes=15)
            taken = Taken(Counter(ok=images), {SCORE: [1.0] * images})
            told = dark if images > 3 else {}
            drift.keep(session, Key("tile", station, version, at), at + timedelta(minutes=15), taken, told)
        id_ = alarms.open_(session, "drift", "tile", "s1", "brightness", NOON, "it is dark", {}, holds=False)
    return str(id_)


@pytest.fixture
def type_(home: object) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, words)


def test_windows_are_listed_with_what_is_beyond(alarm: str, type_: Callable[..., Result]) -> None:
    lines = type_("drift", "tile").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("tile")] == ["s2", "s1", "s1"], (
        "newest first"
    )
    said = " ".join(" ".join(lines).split())
    assert said.count("brightness -7.50! (limit 4), psi 0.12") == 2, "no mark at what is within its limit"
    assert said.count("none: too few images") == 1
    found = json.loads(type_("drift", "--station", "s1", "--json").stdout)
    assert [(one["images"], one["beyond"]) for one in found] == [(60, ["brightness"])] * 2
    since = json.loads(type_("drift", "tile", "--since", "2026-03-01T12:15:00", "--json").stdout)
    assert len(since) == 2
    assert len(json.loads(type_("drift", "--limit", "1", "--json").stdout)) == 1
    assert "no window is closed yet" in type_("drift", "--station", "s9").stdout


def test_an_alarm_is_shown_and_closed_by_the_beginning_of_its_id(
    alarm: str, type_: Callable[..., Result]
) -> None:
    assert "it is dark" in type_("alarms").stdout
    assert "it is dark" in type_("status").stdout
    (told,) = json.loads(type_("status", "--json").stdout)["alarms"]
    assert (told["id"], told["statistic"]) == (alarm, "brightness")
    assert type_("doctor", "--only", "alarms").exit_code == 0
    refused = type_("alarms", "close", alarm[:13], "--why", " ")
    assert isinstance(refused.exception, known_errors())
    closed = type_("alarms", "close", alarm[:13], "--why", "a new lamp")
    assert "brightness of tile at s1) is closed" in " ".join(closed.stdout.split())
    assert "no alarm is open" in type_("alarms").stdout
    assert json.loads(type_("status", "--json").stdout)["alarms"] == []
    (listed,) = json.loads(type_("alarms", "--all", "--product", "tile", "--json").stdout)
    assert listed["closed_at"] is not None
    with open_context().reading() as session:
        newest = next(events.told(session, events.Asked("alarm")))
    assert (newest.kind, newest.detail["why"]) == ("alarm.closed", "a new lamp")
    for words in (("close", alarm, "--why", "again"), ("close", "ffff", "--why", "x"), ("--product", "nut")):
        answer = type_("alarms", *words)
        assert isinstance(answer.exception, known_errors()), words
        assert "pyramidion" in str(answer.exception) or "nothing was changed" in str(answer.exception)


def test_the_doctor_names_a_station_whose_verdicts_are_held(alarm: str, type_: Callable[..., Result]) -> None:
    with open_context().sessions.begin() as session:
        alarms.open_(session, "golden", "tile", "s2", "golden:dent", NOON, "missed", {}, holds=True)
    answer = type_("doctor", "--only", "alarms")
    assert answer.exit_code == 1
    said = " ".join(answer.stdout.split())
    assert "tile at s2" in said
    assert "pyramidion alarms close" in said


def test_all_open_alarms_are_shown_and_what_is_left_out_is_counted(
    alarm: str, type_: Callable[..., Result]
) -> None:
    with open_context().sessions.begin() as session:
        for number in range(24):
            alarms.open_(session, "golden", "tile", "s2", f"golden:n{number}", NOON, f"said {number}.", {})
    shown = type_("alarms").stdout
    assert all(f"said {number}." in shown for number in range(24))
    assert "more" not in shown
    assert "... and 5 more" in type_("alarms", "--all").stdout
    assert "... and 22 more" in type_("alarms", "--limit", "3").stdout
    assert len(json.loads(type_("alarms", "--all", "--json").stdout)) == 25
