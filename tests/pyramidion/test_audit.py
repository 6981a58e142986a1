"""`pyramidion audit` as an auditor uses it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from sqlalchemy.orm import Session, sessionmaker

from db import events
from db.engine import make_engine, session_factory
from db.ledger.signers import LedgerKeyError, make_key
from db.migrate import upgrade
from db.settings import DatabaseSettings
from pyramidion.commands import audit
from pyramidion.commands.evidence import export as evidence
from pyramidion.errors import UserError


@pytest.fixture
def happen(home: Path) -> Callable[[int], None]:
    """Let a number of events happen on this single machine."""
    engine = make_engine(DatabaseSettings())
    upgrade(engine)
    sessions: sessionmaker[Session] = session_factory(engine)

    def make_events(number: int) -> None:
        with sessions.begin() as session:
            for index in range(number):
                events.record(session, "test", "tester", str(index))
        engine.dispose()

    return make_events


def tamper(home: Path) -> str:
    """Change an event as the superuser, and give its id."""
    with closing(sqlite3.connect(home / "pyramidion.db")) as superuser, superuser:
        superuser.execute("DROP TRIGGER events_no_update")
        superuser.execute("UPDATE events SET actor = 'nobody' WHERE subject = '3'")
        (id_,) = superuser.execute("SELECT id FROM events WHERE subject = '3'").fetchone()
    return str(UUID(bytes=id_))


def test_an_auditor_sees_what_is_sealed_and_what_was_changed(run: Any, happen: Any, home: Path) -> None:
    happen(5)
    assert run("audit", "seal", "--json").json()["facts"] == 6  # and the event of the new key
    good = run("audit", "verify", "--json")
    assert good.code == 0
    assert (good.json()["ok"], good.json()["facts"], good.json()["first_bad"]) == (True, 6, None)
    id_ = tamper(home)
    bad = run("audit", "verify", "--json")
    assert bad.code == 1
    first = bad.json()["first_bad"]
    assert (first["kind"], first["id"], first["why"]) == ("event", id_, "the fact was changed")
    told = run("audit", "events", "--kind", "ledger.verified", "--json").json()
    assert [(one["detail"]["ok"], one["detail"]["faults"], one["detail"]["facts"]) for one in told] == [
        (False, 1, 6),
        (True, 0, 6),
    ]
    assert told[0]["detail"]["bad"][0]["id"] == id_


def test_what_is_said_to_people(happen: Any, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    happen(5)
    audit.status(as_json=False)
    assert "5 facts wait" in capsys.readouterr().out
    audit.seal()
    capsys.readouterr()
    audit.status(as_json=True)
    assert json.loads(capsys.readouterr().out)["unsealed"] == 0
    audit.verify(blobs="all")
    assert "all as they were sealed" in capsys.readouterr().out
    id_ = tamper(home)
    with pytest.raises(typer.Exit) as exited:
        audit.verify()
    assert exited.value.exit_code == 1
    assert f"event {id_}: the fact was changed" in capsys.readouterr().out


def test_a_key_is_changed_and_a_lost_one_is_not_passed_over(
    happen: Any, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    happen(1)
    with pytest.raises(LedgerKeyError, match="the ledger has no key yet"):
        audit.rotate()
    audit.seal()
    audit.rotate()
    happen(1)
    audit.seal()
    audit.verify()
    (old,) = (home / "ledger").glob("retired-*.pem")
    assert old.stat().st_mode & 0o777 == 0o600

    (home / "ledger" / "key.pem").unlink()
    happen(1)
    with pytest.raises(LedgerKeyError, match=r"restore it from a backup.*audit rotate --lost"):
        audit.seal()
    with pytest.raises(LedgerKeyError, match="where it is lost: --lost"):
        audit.rotate()
    capsys.readouterr()
    audit.rotate(lost=True)
    trust = capsys.readouterr().out.split("--trust ")[1].split()[0]
    audit.seal()
    with pytest.raises(typer.Exit):
        audit.verify()
    assert "is not signed for by key" in capsys.readouterr().out
    audit.verify(trust=[trust])


@pytest.mark.parametrize(
    ("damage", "said", "verifying"),
    [
        (lambda _: None, "restore it", nullcontext()),
        (Path.mkdir, "can't be read: Is a directory", pytest.raises(LedgerKeyError)),
        (Path.touch, "is no private Ed25519 key", pytest.raises(LedgerKeyError)),
        (make_key, "the ledger does not know key|only the newest key", pytest.raises(typer.Exit)),
    ],
    ids=["missing", "unreadable", "empty", "another"],
)
def test_without_its_key_nothing_is_sealed_and_nothing_half_written_is_left(
    happen: Any, home: Path, tmp_path: Path, damage: Callable[[Path], Any], said: str, verifying: Any
) -> None:
    happen(1)
    audit.seal()
    happen(1)
    file = home / "ledger" / "key.pem"
    file.unlink()
    damage(file)
    before = sorted(file.parent.iterdir())
    for refused in (audit.seal, audit.rotate, lambda: evidence(output=tmp_path / "lot.zip", lot="L")):
        with pytest.raises(LedgerKeyError, match=said):
            refused()
    with verifying:
        audit.verify()
    audit.status()
    assert sorted(file.parent.iterdir()) == before
    assert not list(tmp_path.glob("*lot.zip*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"blobs": "some"}, "--blobs 'some' is neither"),
        ({"trust": ["xyz"]}, "16 or more hexadecimal digits"),
        ({"heads": [Path("nowhere.jsonl")]}, "there is no file nowhere.jsonl"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(home: Path, words: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        audit.verify(**words)
