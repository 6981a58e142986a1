"""`pyramidion rescore` as an engineer types it, who wants to know what another model would have said."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from db import inspections, models, rescores, rescorings, results
from db.ids import uuid7
from db.tables import Rescoring
from db.types import to_json
from pyramidion.cli import app
from pyramidion.context import open_context
from pyramidion.errors import known_errors

SHA = "a" * 64


@pytest.fixture
def judged(home: object) -> tuple[str, list[UUID]]:
    """Three parts of `tile` that were judged ok, and the version that judged them."""
    context = open_context()
    manifest = to_json({"product": "tile"})
    version = hashlib.sha256(manifest.encode()).hexdigest()
    now = datetime.now(UTC)
    new = [
        inspections.NewInspection(
            uuid7(now), "tile", "s1", None, None, None, now, now, SHA, "k", 9, 8, 8, "PNG"
        )
        for _ in range(3)
    ]
    with context.sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, version, "tile", manifest, "b" * 64, 100)
        inspections.accept(session, new)
        results.record(session, [said(one.id, "ok", version) for one in new])
    return version, [one.id for one in new]


def said(id_: UUID, verdict: str, version: str) -> results.NewResult:
    now = datetime.now(UTC)
    return results.NewResult(id_, verdict, 2.0, 1.0, version, "w1", 1, now, {}, [], None, None)


@pytest.fixture
def type_(home: object, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr("pyramidion.commands.rescore._scoring_workers", lambda: False)
    return lambda *words: CliRunner().invoke(app, words)


def test_a_rescoring_is_asked_for_watched_and_compared(
    judged: tuple[str, list[UUID]], type_: Callable[..., Result]
) -> None:
    version, ids = judged
    assert "nothing was scored again yet" in type_("rescore").stdout
    asked = type_("rescore", "start", "tile", "--model", version[:8])
    assert f"3 inspections of tile with model {version[:12]}" in asked.stdout
    assert "no scoring worker answers" in asked.output
    (listed,) = json.loads(type_("rescore", "--json").stdout)
    with open_context().sessions.begin() as session:  # as a worker does
        one = session.get_one(Rescoring, UUID(listed["id"]))
        assert rescorings.begin(session, one, ids[2])
        verdicts = ["ok", "ng", "ok"]
        scored = [said(id_, verdict, version) for id_, verdict in zip(ids, verdicts, strict=True)]
        assert rescores.record(session, one, scored, ids[2])
    shown = type_("rescore", "show", listed["id"][:18]).stdout
    assert "running: 3 of 3 (100%)" in shown
    assert "1 of 3 turned" in shown
    assert f"{ids[1]} ok -> ng: score 2, threshold 1" in shown
    report = json.loads(type_("rescore", "show", listed["id"], "--json").stdout)
    assert report["comparison"] == [
        {"stands": "ok", "rescored": "ng", "inspections": 1},
        {"stands": "ok", "rescored": "ok", "inspections": 2},
    ]
    assert report["images_per_s"] > 0
    assert "is cancelled" in type_("rescore", "cancel", listed["id"]).stdout
    again = type_("rescore", "cancel", listed["id"])
    assert isinstance(again.exception, known_errors())
    assert "cancelled already" in str(again.exception)
    listed = type_("rescore").stdout
    assert f"{version[:12]}  cancelled  3 of 3" in listed, "also in 80 columns"
