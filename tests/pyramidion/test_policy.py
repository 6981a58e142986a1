"""`pyramidion policy`, and what `runs` and `retrain` tell of the gate."""

import hashlib
import json
from collections.abc import Callable

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from db import models, runs
from db.approvals import SignatureRequiredError
from db.inspections import UnknownProductError
from db.tables import Event
from db.types import to_json
from pyramidion.cli import app
from pyramidion.context import open_context
from pyramidion.errors import UserError
from pyramidion.output import out

SAID = ["rejects 9 of 200 good parts, and a model that keeps to 0.50% at most 3", "catches 5 of 5 defects"]


@pytest.fixture
def type_(home: object) -> Callable[..., Result]:
    with open_context().sessions.begin() as session:
        models.ensure_product(session, "tile")
    return lambda *words: CliRunner().invoke(app, words)


def test_a_policy_is_shown_and_changed(type_: Callable[..., Result]) -> None:
    assert "the rate that it was calibrated for" in type_("policy", "tile").stdout
    changed = type_("policy", "tile", "--false-reject-rate", "0.01", "--promotion", "automatic", "--json")
    assert json.loads(changed.stdout) == {
        "product": "tile",
        "false_reject_rate": 0.01,
        "confidence": 0.95,
        "promotion": "automatic",
        "shadow_share": 0.1,
        "shadow_images": 200,
        "retrain_on_drift": False,
        "hold_on_golden": False,
    }
    shown = type_("policy", "tile", "--hold-on-golden", "--retrain-on-drift", "--shadow-share", "1").stdout
    assert "good parts rejected within 1.00%" in shown
    assert "100.0% of the line's images, 200 at least; then it is promoted if it is no worse there" in shown
    assert "makes its station's verdicts inconclusive" in shown
    assert "calibrated for" in type_("policy", "tile", "--default-false-reject-rate").stdout
    with open_context().reading() as session:
        events = session.scalars(select(Event).where(Event.kind == "policy.changed").order_by(Event.id)).all()
    assert len(events) == 3
    assert [events[0].detail[when]["promotion"] for when in ("before", "after")] == ["person", "automatic"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--false-reject-rate", "0"), "lies between 0 and 1, not at 0.0; nothing was changed"),
        (("--false-reject-rate", "nan"), "not at nan"),
        (("--confidence", "1"), "at least 0.5 and below 1, not 1.0"),
        (("--shadow-share", "1.5"), "at most 1, not 1.5"),
        (("--shadow-images", "0"), "at least 1 image, not 0"),
        (("--false-reject-rate", "0.1", "--default-false-reject-rate"), "exclude each other"),
        (("--sign-as", "ada"), "nothing to sign"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    type_: Callable[..., Result], words: tuple[str, ...], why: str
) -> None:
    answer = type_("policy", "tile", *words)
    assert isinstance(answer.exception, UserError)
    assert why in str(answer.exception)
    assert json.loads(type_("policy", "tile", "--json").stdout)["shadow_images"] == 200
    with open_context().reading() as session:
        assert session.scalars(select(Event).where(Event.kind == "policy.changed")).all() == []


def test_an_unknown_product_and_a_missing_signature_are_told(
    type_: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(type_("policy", "bolt").exception, UnknownProductError)
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "policy,promotion")
    unsigned = type_("policy", "tile", "--promotion", "automatic")
    assert isinstance(unsigned.exception, SignatureRequiredError)
    assert json.loads(type_("policy", "tile", "--json").stdout)["promotion"] == "person"


@pytest.mark.parametrize(
    ("passed", "listed", "shown"),
    [
        (True, ", passed the gate", "gate      passed the gate"),
        (False, f", refused: {SAID[0]}", "gate      refused"),
        (None, ", not examined", "gate      not examined"),
    ],
)
def test_runs_tell_what_the_gate_said(
    type_: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    passed: bool | None,
    listed: str,
    shown: str,
) -> None:
    monkeypatch.setattr(out, "_width", 300)  # as wide a terminal
    manifest = to_json({"product": "tile"})
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with open_context().sessions.begin() as session:
        models.register(session, version, "tile", manifest, "b" * 64, 100)
        run = runs.request(session, "tile", "on demand", "ada")
        held = runs.take(session, 60, 5)
        assert held is not None
        runs.succeed(session, held, version, "", gate_passed=passed, gate_said=SAID)
    assert f"model {version[:12]}{listed}" in type_("runs").stdout
    told = type_("runs", "show", str(run)).stdout
    assert shown in told
    assert all(f"          {one}\n" in told for one in SAID)
    (row,) = json.loads(type_("runs", "--json").stdout)
    assert (row["gate_passed"], row["gate_said"]) == (passed, SAID)
