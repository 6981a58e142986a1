"""Reviewing, signing and counting a lot, as people do it at a terminal."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import pytest
from argon2 import PasswordHasher
from click.testing import Result
from typer.testing import CliRunner

from db import inspections, models, results, users
from db.engine import make_engine, session_factory
from db.evidence import verify
from db.ids import uuid7
from db.imagestore import key_of, open_image_store
from db.migrate import upgrade
from db.settings import DatabaseSettings
from pyramidion.cli import app
from pyramidion.errors import known_errors

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
OWN = "analytical engine"
WEIGHTS = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def rejected(home: Path) -> UUID:
    """A part of lot L1 that was judged ng; another one waits for its verdict."""
    engine = make_engine(DatabaseSettings())
    upgrade(engine)
    open_image_store(DatabaseSettings()).put_many([PNG, b"weights"])
    sha256 = hashlib.sha256(PNG).hexdigest()
    at = datetime.now(UTC)
    ids = [uuid7(at), uuid7(at)]
    image = ("L1", at, at, sha256, key_of(sha256), len(PNG), 1, 1, "png")
    new = [inspections.NewInspection(id_, "tile", "s1", None, None, *image) for id_ in ids]
    with session_factory(engine).begin() as session:
        models.ensure_product(session, "tile")
        for manifest in ('{"n":1}', '{"n":2}'):
            version = hashlib.sha256(manifest.encode()).hexdigest()
            models.register(session, version, "tile", manifest, WEIGHTS, 100)
        inspections.accept(session, new)
        verdict = results.NewResult(ids[0], "ng", 0.9, 0.5, version, "w1", 1, at, {}, [], None, None)
        results.record(session, [verdict])
    engine.dispose()
    return ids[0]


@pytest.fixture
def type_(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in this process, with lines of standard input."""
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setenv("COLUMNS", "200")

    def run_it(*words: str, lines: tuple[str, ...] = ()) -> Result:
        return CliRunner().invoke(app, words, input="".join(f"{line}\n" for line in lines))

    return run_it


@pytest.fixture
def ada(type_: Callable[..., Result]) -> None:
    first = "of the administrator"
    assert type_("users", "add", "ada", "--full-name", "Ada Lovelace", lines=(first,)).exit_code == 0
    assert type_("users", "password", "ada", lines=(first, OWN)).exit_code == 0


def said(result: Result) -> str:
    """What main() tells of an error that a person can cure."""
    assert isinstance(result.exception, known_errors()), result.output
    return str(result.exception)


def test_a_lot_is_reviewed_signed_and_handed_out(
    rejected: UUID, ada: None, type_: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "overrule")
    overrule = ("review", str(rejected), "overrule", "--reason-code", "lighting", "--reason", "a <reflex>")
    assert "takes an electronic signature here" in said(type_(*overrule))
    assert "user or password is wrong" in said(type_(*overrule, "--sign-as", "ada", lines=("guess",)))
    assert "no password was given" in said(type_(*overrule, "--sign-as", "ada"))
    made = type_(*overrule, "--sign-as", "Ada", "--json", lines=(OWN,))
    assert made.exit_code == 0
    assert json.loads(made.stdout)["signature"]["name"] == "Ada Lovelace"

    shown = type_("show", str(rejected)).stdout
    assert "overrule by ada (lighting): a <reflex>; signed by Ada Lovelace (ada) at 20" in shown
    assert "meaning review: overrule" in shown
    counted = json.loads(type_("lot", "L1", "--json").stdout)
    wanted = {"captured": 2, "ng": 1, "judged": 1, "pending": 1, "reviewed": 1, "overridden": 1}
    assert wanted.items() <= counted.items()
    assert "not complete: 1 wait" in type_("lot", "L1").stdout
    assert "no inspection has lot 'L2'" in said(type_("lot", "L2"))

    evidence = tmp_path / "L1.zip"
    assert type_("audit", "export", "--lot", "L1", "-o", str(evidence)).exit_code == 0
    with ZipFile(evidence) as archive:
        assert "a &lt;reflex&gt;; signed by Ada Lovelace (ada)" in archive.read("report.html").decode()
        (tmp_path / "verify.py").write_bytes(archive.read("verify.py"))
        (review,) = [
            fact
            for fact in map(json.loads, archive.read("facts.jsonl").splitlines())
            if fact["form"] == "review/2"
        ]
    command = [sys.executable, str(tmp_path / "verify.py"), str(evidence), "--json"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(checked.stdout)["faults"] == []
    assert verify.is_own(review, "review")
    assert not verify.is_own({**review, "verdict": "confirm"}, "review")
    assert type_("audit", "verify").exit_code == 0


def test_a_model_is_promoted_by_who_signs_for_it(
    rejected: UUID, ada: None, type_: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "promotion")
    version = json.loads(type_("models", "--json").stdout)[0]["version"]
    promote = ("models", "promote", "tile", version[:12], "--why", "fewer false rejects")
    assert "names promotion" in said(type_(*promote))
    assert not any(one["champion"] for one in json.loads(type_("models", "--json").stdout))
    assert type_(*promote, "--sign-as", "ada", lines=(OWN,)).exit_code == 0
    assert [one["version"] for one in json.loads(type_("models", "--json").stdout) if one["champion"]] == [
        version
    ]
    shown = type_("audit", "events", "--kind", "model").stdout
    assert "model.promoted tile by ada, model " in shown
    assert "; signed by Ada Lovelace (ada) at 20" in shown
    assert "nothing to go back to" in said(type_("models", "rollback", "tile"))
    assert type_("audit", "seal").exit_code == 0
    assert type_("audit", "verify").exit_code == 0


def test_a_product_is_given_a_deadline(rejected: UUID, type_: Callable[..., Result]) -> None:
    assert "tile has no deadline" in type_("deadline", "tile").stdout
    assert "late 250 ms after acceptance" in type_("deadline", "tile", "--ms", "250").stdout
    assert "product.deadline tile" in type_("audit", "events", "--kind", "product").stdout
    assert json.loads(type_("results", "--late", "--json").stdout) == []  # judged before it had one
    assert "exclude each other" in said(type_("deadline", "tile", "--ms", "250", "--none"))
    assert "tile has no deadline" in type_("deadline", "tile", "--none").stdout
    assert "unknown product 'tyle' (known: tile)" in said(type_("deadline", "tyle", "--ms", "250"))


def test_accounts_are_kept_by_the_administrator(ada: None, type_: Callable[..., Result]) -> None:
    assert type_("users", "disable", "ada", "--why", "left").exit_code == 0
    assert "disabled" in type_("users", "list").stdout
    assert type_("users", "enable", "ada", "--why", "back").exit_code == 0
    assert type_("users", "password", "ada", "--reset", lines=("given once more",)).exit_code == 0
    (listed,) = json.loads(type_("users", "list", "--json").stdout)
    assert (listed["disabled_at"], listed["password_changed_at"]) == (None, None)
    assert "password_hash" not in listed


def test_guessing_is_seen_by_the_doctor_and_in_the_trail(ada: None, type_: Callable[..., Result]) -> None:
    assert "1 accounts, 0 signatures refused" in type_("doctor", "--only", "accounts").stdout
    for _ in range(users.FAILURES):
        said(type_("users", "password", "ada", lines=("a wild guess", "another one")))
    examined = type_("doctor", "--only", "accounts")
    assert (examined.exit_code, "locked ada within a day" in examined.stdout) == (1, True)
    told = json.loads(type_("audit", "events", "--kind", "user", "--subject", "ada", "--json").stdout)
    kinds = [one["kind"] for one in told]
    assert kinds[:3] == ["user.locked", "user.refused", "user.refused"]
    assert kinds[-2:] == ["user.password_changed", "user.added"]
    assert "only the newest 1 are shown" in type_("audit", "events", "--limit", "1").stdout


def test_a_refusal_is_a_sentence_and_an_exit_code(run: Any, rejected: UUID) -> None:
    signing = {"PYRAMIDION_REQUIRE_SIGNATURE": "overrule"}
    refused = run("review", str(rejected)[:30], "overrule", "--reason-code", "lighting", env=signing)
    assert refused.code == 1
    assert refused.err.startswith("error: overruling an ng takes an electronic signature here")
