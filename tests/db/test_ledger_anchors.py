"""Heads told outside: none is left out, and a place that fails stops nothing."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from db.ledger import anchors
from db.ledger.heads import signed
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Wanted, verify
from db.settings import DatabaseSettings, SettingsError
from db.tables import Anchor, Block, Event

Blocks = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def blocks(
    engine: Engine,
    database: DatabaseSettings,
    sessions: sessionmaker[Session],
    accepted: Callable[..., list[UUID]],
) -> Blocks:
    """Seal a number of blocks, and give all signed heads there are."""

    def make(number: int) -> list[dict[str, Any]]:
        for _ in range(number):
            accepted()
            seal(engine, LedgerSettings(), seconds=0)
        with sessions() as session:
            return [signed(block) for block in session.scalars(select(Block).order_by(Block.number))]

    return make


@contextmanager
def listener() -> Iterator[tuple[str, list[Any]]]:
    """A web address that keeps what it is sent, and refuses what is in `refused`."""
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/heads?token=secret", heard
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_each_place_is_told_every_head_once(
    blocks: Blocks, sessions: sessionmaker[Session], capsys: Any
) -> None:
    with listener() as (url, heard), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(5)
        settings = LedgerSettings(
            anchor_url=url, anchor_syslog=f"127.0.0.1:{syslog.getsockname()[1]}", anchor_print=True
        )
        heads: list[dict[str, Any]] = []
        for _ in range(2):
            heads = blocks(2)
            assert anchors.tell(sessions, settings) == {}
        assert [body for _, body in heard] == heads
        assert heard[0][0] == "/heads?token=secret"
        datagrams = [syslog.recv(4096).decode() for _ in heads]
        assert [json.loads(one.split(": ", 1)[1]) for one in datagrams] == heads
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == heads
    lines = settings.anchor_file().read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == heads
    with sessions() as session:
        places = session.scalars(select(Anchor.place)).all()
    assert not any("secret" in place for place in places)


def test_a_place_that_fails_stops_nothing_is_told_of_once_and_hears_all_it_missed(
    blocks: Blocks, engine: Engine, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    (tmp_path / "wall").write_text("a file where a folder should be")
    settings = LedgerSettings(anchor_path=tmp_path / "wall" / "heads.jsonl")
    for _ in range(3):
        blocks(1)
        assert len(anchors.tell(sessions, settings)) == 1
    (tmp_path / "wall").unlink()
    heads = blocks(1)
    assert anchors.tell(sessions, settings) == {}
    lines = settings.anchor_file().read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == heads
    with sessions() as session:
        told = session.scalars(
            select(Event.kind).where(Event.kind.like("ledger.anchor%")).order_by(Event.id)
        ).all()
    assert told == ["ledger.anchor_failed", "ledger.anchor_back"]
    assert verify(engine, Wanted(heads=[settings.anchor_file()])).bad == []


def test_a_web_address_that_is_away_leaves_no_password_in_the_database(
    blocks: Blocks, sessions: sessionmaker[Session]
) -> None:
    blocks(1)
    settings = LedgerSettings(anchor_url="http://user:hush@127.0.0.1:9/?token=hush")
    failed = anchors.tell(sessions, settings)
    assert list(failed) == ["web http://user:***@127.0.0.1:9/"]
    with sessions() as session:
        rows = [vars(row) for row in session.scalars(select(Anchor))] + [
            vars(row) for row in session.scalars(select(Event))
        ]
    assert "hush" not in str(rows) + str(failed)


def test_a_line_that_a_dying_writer_left_torn_is_written_again(
    blocks: Blocks, engine: Engine, sessions: sessionmaker[Session]
) -> None:
    settings = LedgerSettings()
    blocks(1)
    anchors.tell(sessions, settings)
    file = settings.anchor_file()
    with file.open("a") as torn:
        torn.write('{"number": 2, "ha')
    assert verify(engine, Wanted(heads=[file])).bad == []  # nobody has tampered
    blocks(1)
    anchors.tell(sessions, settings)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert json.loads(lines[-1])["number"] == 2
    assert verify(engine, Wanted(heads=[file])).bad == []


def test_only_web_addresses_are_sent_to(home: Path) -> None:
    with pytest.raises(SettingsError, match="begins with http"):
        LedgerSettings(anchor_url="file:///etc/passwd")
    for address in ("logs", "logs:many", "udp://logs:514"):
        with pytest.raises(SettingsError, match="write host:port"):
            LedgerSettings(anchor_syslog=address)
    for address in ("logs:514", "[::1]:514", "/dev/log"):
        LedgerSettings(anchor_syslog=address)
