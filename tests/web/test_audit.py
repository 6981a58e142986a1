"""Audits: who did what, how far the ledger is, what can be proved of it."""

import hashlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import events, models, policies, replays, reviews, users
from db.evidence import hand_out
from db.ledger import verifications
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.settings import DatabaseSettings
from db.tables import Event, Verification
from workers import verify

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
PASSWORD = "correct horse: battery"  # of the fixture `account`
LOT = "<script>alert('lot')</script>"
Sessions = sessionmaker[Session]


class Person:
    """A browser that somebody is logged in with."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self.client = client
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        found = re.search(r'name="form_token" value="([^"]+)"', client.get("/account").text)
        assert found is not None
        self.token = found[1]

    def get(self, address: str, **more: Any) -> httpx.Response:
        return self.client.get(address, **more)

    def post(self, address: str, **fields: str) -> httpx.Response:
        return self.client.post(address, data={"form_token": self.token, **fields})

    def ask(self, address: str, document: Any = None) -> httpx.Response:
        return self.client.post(address, json=document, headers={"X-Form-Token": self.token})


@pytest.fixture
def person(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None]
) -> Iterator[Callable[..., Person]]:
    base, clients = serve(database), []

    def log_in(name: str, *roles: str) -> Person:
        account(name, *roles)
        clients.append(httpx.Client(base_url=base, timeout=20, headers={"Accept": "text/html"}))
        return Person(clients[-1], name)

    yield log_in
    for client in clients:
        client.close()


@pytest.fixture
def auditor(person: Callable[..., Person]) -> Person:
    return person("aud", "auditor")


def told(sessions: Sessions, kind: str) -> list[Event]:
    with sessions() as session:
        return list(session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id)))


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    inside = " ".join(part.split(">", 1)[-1] for part in answer.text.split("<main", 1)[1].split("<"))
    return " ".join(unescape(inside).split())


def test_events_say_who_did_what_before_and_after(
    auditor: Person, plant: Any, sessions: Sessions, account: Callable[..., None]
) -> None:
    plant.inspect("ok")
    account("ines", "inspector")
    with sessions.begin() as session:
        policies.change(session, "tile", {"shadow_share": 0.25}, "eng")
        users.set_roles(session, "ines", ["inspector", "engineer"], "root", "covers <b>nights</b>")
    listed = text_of(auditor.get("/audit"))
    assert "policy.changed tile eng shadow share 0.1 → 0.25" in listed
    assert "user.roles_changed ines root roles inspector → inspector, engineer covers <b>nights</b>" in listed
    assert "<b>nights" not in auditor.get("/audit").text
    (changed,) = told(sessions, "policy.changed")
    shown = auditor.get(f"/audit/events/{changed.id}")
    assert "shadow share 0.1 0.25" in text_of(shown)
    assert "Not sealed yet" in text_of(shown)
    assert "credential" not in auditor.get("/audit?kind=user").text
    api = auditor.get("/api/v1/events", params={"kind": "policy.changed"}).json()["items"]
    assert [(one["actor"], one["subject"], one["detail"]["after"]["shadow_share"]) for one in api] == [
        ("eng", "tile", 0.25)
    ]


def test_events_are_filtered_and_paged(
    auditor: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with sessions.begin() as session:
        for n in range(7):
            at = start + timedelta(hours=n)
            events.record(session, "test.a" if n % 2 else "test.b", f"actor {n % 3}", f"s{n}", {"n": n}, at)
        events.record(session, "testing", "x", "other", {}, start)
    monkeypatch.setattr("web.audit.pages.ROWS", 2)
    seen, address = [], "/audit?kind=test"
    while address:
        page = auditor.get(address).text
        seen += re.findall(r"subject=(s\d)", page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(older[1]) if older else ""
    assert list(dict.fromkeys(seen)) == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]

    def subjects(**asked: str) -> list[str]:
        items = auditor.get("/api/v1/events", params={"limit": "50", **asked}).json()["items"]
        return [one["subject"] for one in items]

    assert subjects(kind="test.a") == ["s5", "s3", "s1"]
    assert subjects(kind="test", actor="actor 0") == ["s6", "s3", "s0"]
    assert subjects(actor="actor 1") == ["s4", "s1"]
    assert subjects(subject="s4") == ["s4"]
    assert subjects(since="2026-01-01T02:00", until="2026-01-01T04:00:00Z") == ["s3", "s2"]
    assert subjects(kind="none") == []
    first = auditor.get("/api/v1/events?kind=test.b&limit=3").json()
    second = auditor.get(first["next"]).json()
    assert [one["subject"] for one in first["items"] + second["items"]] == ["s6", "s4", "s2", "s0"]


def test_what_is_stored_stays_text(auditor: Person, sessions: Sessions) -> None:
    bad = "<script>alert(1)</script>"
    detail = {"why": bad, bad: bad, "list": [bad], "document": {bad: {"x": bad}}, "signature": {"name": bad}}
    with sessions.begin() as session:
        id_ = events.record(session, f"x.{bad}"[:64], bad, bad, detail)
        events.record(session, "y", "a", None, {"before": {bad: bad}, "after": {bad: None}, "b": 1.5})
    for address in ("/audit", f"/audit/events/{id_}", "/audit/ledger"):
        answer = auditor.get(address)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
    assert bad in text_of(auditor.get(f"/audit/events/{id_}"))


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/audit?since=yesterday", 422),
        ("/audit?since=2026-13-01", 422),
        ("/audit?after=7", 422),
        ("/audit?kind=%00", 422),
        ("/audit?kind='%20OR%201=1%20--&actor=%25&subject=_", 200),
        ("/audit?since=0001-01-01&until=9999-12-31T23:59:59", 200),
        ("/audit?since=&until=&kind=", 200),
        ("/audit/events/7", 404),
        ("/audit/events/019ca7fb-0000-7000-8000-000000000000", 404),
        ("/api/v1/events?since=x", 422),
        ("/api/v1/events/019ca7fb-0000-7000-8000-000000000000", 404),
        ("/api/v1/ledger/verifications/019ca7fb-0000-7000-8000-000000000000", 404),
        ("/api/v1/ledger/verifications?after=x", 422),
        ("/api/v1/evidence?about=lot", 422),
        ("/api/v1/evidence?about=world&name=x", 422),
        ("/api/v1/evidence?about=lot&name=none", 404),
        ("/api/v1/evidence?about=serial&name=..%2F..%2Fetc", 404),
        ("/api/v1/evidence?about=inspection&name=x", 404),
        ("/api/v1/inspections/019ca7fb-0000-7000-8000-000000000000/evidence", 404),
        ("/api/v1/inspections/019ca7fb-0000-7000-8000-000000000000/replays", 404),
    ],
)
def test_nonsense_is_answered_with_a_sentence(auditor: Person, address: str, status: int) -> None:
    answer = auditor.get(address)
    assert answer.status_code == status, answer.text
    if status >= 400 and address.startswith("/api/"):
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_ledger_is_verified_by_a_worker_one_at_a_time(
    auditor: Person, plant: Any, sessions: Sessions
) -> None:
    manifest, weights = '{"format": 1}', b"weights"  # those of the plant's model
    plant.store.put(weights)
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        hashes = [hashlib.sha256(data).hexdigest() for data in (manifest.encode(), weights)]
        models.register(session, hashes[0], "tile", manifest, hashes[1], 100)
        bind = session.get_bind()
    plant.inspect("ng")
    seal(bind.engine, LedgerSettings())
    assert "Never." in text_of(auditor.get("/audit/ledger"))
    assert "never verified" in text_of(auditor.get("/audit"))
    asked = auditor.post("/audit/verifications", since="", until="2100-01-01T00:00", blobs="all")
    assert (asked.status_code, asked.headers["location"]) == (303, "/audit/ledger#verifying")
    waiting = auditor.get("/audit/ledger")
    assert "Waiting for a worker" in text_of(waiting)
    assert 'data-live="2"' in waiting.text
    again = auditor.post("/audit/verifications")
    assert (again.status_code, "that aud asked for" in again.text) == (409, True)

    verify.verify_waiting()
    verify.verify_waiting()
    (done,) = told(sessions, "ledger.verified")
    assert (done.actor, done.detail["ok"], done.detail["faults"]) == ("aud", True, 0)
    assert done.detail["facts"] >= 3
    assert done.detail["blobs"] == 3  # image, map and weights
    page = auditor.get("/audit/ledger")
    assert "as sealed" in text_of(page)
    assert "data-live" not in page.text
    assert f"/audit/events/{done.id}" in page.text
    ledger = auditor.get("/api/v1/ledger").json()
    assert (ledger["last_verified"]["id"], ledger["late"]) == (str(done.id), False)
    assert ledger["blocks"] >= 1
    (requested,) = told(sessions, "ledger.verification_requested")
    assert (requested.actor, requested.detail["blobs_asked"]) == ("aud", "all")


def test_what_is_wrong_is_shown_and_kept(
    auditor: Person, plant: Any, sessions: Sessions, database: DatabaseSettings
) -> None:
    id_ = plant.inspect("ng")
    with sessions.begin() as session:
        bind = session.get_bind()
    seal(bind.engine, LedgerSettings())
    for file in (database.home / "images").rglob("*"):
        if file.is_file():
            file.write_bytes(b"other")
    first = auditor.ask("/api/v1/ledger/verifications", {"blobs": None})
    assert first.status_code == 202
    assert auditor.ask("/api/v1/ledger/verifications", {}).status_code == 409
    address = first.headers["location"]
    assert auditor.get(address).json()["state"] == "requested"
    verify.verify_waiting()
    found = auditor.get(address).json()
    assert (found["state"], found["outcome"]["ok"]) == ("done", False)
    assert found["done"] == found["facts"]
    page = text_of(auditor.get("/audit/ledger"))
    assert f"inspection {id_} : " in page
    assert "was altered" in page
    assert "2 faults" in text_of(auditor.get("/audit"))  # the image and the weights
    listed = auditor.get("/api/v1/ledger/verifications").json()
    assert [one["id"] for one in listed["items"]] == [found["id"]]
    for senseless in (
        {"since": "2026-02-01", "until": "2026-01-01"},
        {"blobs": -1},
        {"since": "x"},
        {"blob": 1},
        [],
    ):
        assert auditor.ask("/api/v1/ledger/verifications", senseless).status_code == 422
    refused = auditor.post("/audit/verifications", since="2026-02-01T00:00", until="2026-01-01T00:00")
    assert refused.status_code == 422


def test_a_verification_over_which_workers_die_is_given_up(sessions: Sessions) -> None:
    with sessions.begin() as session:
        verifications.request(session, "aud", None, None)
    for _ in range(3):
        with sessions.begin() as session:
            assert verifications.begin(session) is not None
    with sessions.begin() as session:
        assert verifications.begin(session) is None
        failed = session.scalars(select(Verification)).one()
        assert (failed.state, "3 workers ended over it" in (failed.error or "")) == ("failed", True)
        verifications.request(session, "aud", None, None)  # the next one is not held up


def verified(content: bytes, folder: Path) -> Any:
    """Verify evidence by the script in it, in a Python of its own."""
    with ZipFile(io.BytesIO(content)) as archive:
        (folder / "verify.py").write_bytes(archive.read("verify.py"))
    (folder / "evidence.zip").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "verify.py"), str(folder / "evidence.zip"), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("patience", [10.0, 0.0], ids=["whole", "while it is made"])
def test_evidence_of_a_lot_passes_its_own_verifier(
    auditor: Person,
    plant: Any,
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
) -> None:
    monkeypatch.setattr("web.audit.evidence.PATIENCE_S", patience)
    ids = [plant.inspect(verdict, lot=LOT, serial=LOT) for verdict in ("ok", "ng", "error")]
    plant.inspect("ok", lot="other")
    with sessions.begin() as session:
        reviews.record(session, ids[1], "overrule", "ines", "other", LOT)
    answer = auditor.post("/audit/evidence", about="lot", name=LOT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert 'filename="evidence-lot-script-alert-lot-script.zip"' in answer.headers["content-disposition"]
    found = verified(answer.content, tmp_path)
    assert (found["ok"], found["about"]) == (True, {"lot": LOT})
    assert (found["completeness"]["captured"], found["completeness"]["overridden"]) == (3, 1)
    with ZipFile(io.BytesIO(answer.content)) as archive:
        report = archive.read("report.html").decode()
        assert f"overlays/{ids[1]}.jpg" in archive.namelist()
    assert "<script" not in report
    (event,) = told(sessions, "evidence.exported")
    assert (event.actor, event.subject, event.detail["completeness"]["captured"]) == ("aud", LOT, 3)


def test_evidence_of_one_inspection_and_of_a_serial(
    auditor: Person, plant: Any, sessions: Sessions, tmp_path: Path
) -> None:
    id_ = plant.inspect("ng", serial="T 1/2")
    plant.inspect("ok")
    page = auditor.get(f"/inspections/{id_}").text
    assert "Download evidence" in page
    for answer in (
        auditor.get(f"/api/v1/inspections/{id_}/evidence"),
        auditor.get("/api/v1/evidence", params={"about": "serial", "name": "T 1/2"}),
        auditor.post("/audit/evidence", about="inspection", name=str(id_)),
    ):
        assert answer.status_code == 200
        assert verified(answer.content, tmp_path)["completeness"]["captured"] == 1
    assert [one.actor for one in told(sessions, "evidence.exported")] == ["aud"] * 3


def test_evidence_that_breaks_off_is_no_whole_file(
    auditor: Person, plant: Any, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.inspect("ok")

    def fail(*args: Any) -> Any:
        args[4].write(b"PK")
        time.sleep(0.5)  # until it is on its way
        raise ValueError("the disk broke")

    monkeypatch.setattr(hand_out, "make", fail)
    monkeypatch.setattr("web.audit.evidence.PATIENCE_S", 0.0)
    with pytest.raises(httpx.RemoteProtocolError):
        auditor.post("/audit/evidence", about="lot", name="L1")
    (event,) = told(sessions, "evidence.broken_off")
    assert (event.actor, event.subject, event.detail["why"]) == ("aud", "L1", "the disk broke")


def test_what_is_tampered_with_is_not_handed_out(auditor: Person, plant: Any, sessions: Sessions) -> None:
    plant.inspect("ok")
    assert auditor.post("/audit/evidence", about="lot", name="L1").status_code == 200
    with sessions.begin() as session:
        connection = session.connection()
        connection.exec_driver_sql("DROP TRIGGER results_no_update")
        connection.exec_driver_sql("UPDATE results SET score = 0.01")
    answer = auditor.get("/api/v1/evidence", params={"about": "lot", "name": "L1"})
    assert answer.status_code == 409
    assert "is not as it was sealed" in answer.json()["detail"]


def test_only_who_may_audits(person: Callable[..., Person], plant: Any, sessions: Sessions) -> None:
    id_ = plant.inspect("ng")
    for role in ("viewer", "inspector", "engineer"):
        someone = person(role, role)
        for address in ("/audit", "/audit/ledger", "/api/v1/events", "/api/v1/ledger"):
            assert someone.get(address).status_code == 403
        assert someone.post("/audit/verifications").status_code == 403
        assert someone.post("/audit/evidence", about="lot", name="L1").status_code == 403
        assert "Download evidence" not in someone.get(f"/inspections/{id_}").text
        may = role == "engineer"
        assert ("Replay the verdict" in someone.get(f"/inspections/{id_}").text) is may
        assert someone.ask(f"/api/v1/inspections/{id_}/replays").status_code == (202 if may else 403)
    assert [one.actor for one in told(sessions, "replay.requested")] == ["engineer"]
    assert told(sessions, "evidence.exported") == []


def test_a_replay_is_asked_for_and_its_answer_shown(auditor: Person, plant: Any, sessions: Sessions) -> None:
    id_, pending = plant.inspect("ng"), plant.accept()
    asked = auditor.post(f"/inspections/{id_}/replays")
    assert (asked.status_code, asked.headers["location"]) == (303, f"/inspections/{id_}#replay")
    assert auditor.post(f"/inspections/{id_}/replays").status_code == 303  # waits already: asked for once
    (request,) = told(sessions, "replay.requested")
    page = auditor.get(f"/inspections/{id_}").text
    assert "it waits for a worker" in page
    assert "Replay the verdict" not in page
    answered = {
        "equal": False,
        "model": plant.model,
        "stored": 0.8,
        "score": 0.1,
        "differences": ["<i>map</i>"],
    }
    with sessions.begin() as session:
        replays.answer(session, request, answered)
    page = auditor.get(f"/inspections/{id_}").text
    assert "&lt;i&gt;map&lt;/i&gt;" in page
    assert "Replay the verdict" in page
    api = auditor.get(f"/api/v1/inspections/{id_}/replays").json()
    assert api["waiting_since"] is None
    assert [(one["equal"], one["asked_by"], one["score"]) for one in api["answers"]] == [(False, "aud", 0.1)]
    nothing = auditor.ask(f"/api/v1/inspections/{pending}/replays")
    assert (nothing.status_code, "nothing to replay" in nothing.json()["detail"]) == (409, True)
    missing = auditor.ask("/api/v1/inspections/019ca7fb-0000-7000-8000-000000000000/replays")
    assert missing.status_code == 404
