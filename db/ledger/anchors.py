"""Telling block heads outside: to a file, a web address, syslog, standard output.

A place that fails stops nothing: it is told of once, by an event, and everything it missed is sent when it is
back.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import events
from db.home import make_private
from db.ledger.heads import signed
from db.ledger.settings import LedgerSettings
from db.ledger.told import place_of
from db.settings import redacted
from db.tables import Anchor, Block
from db.text import readable

_PATIENCE_S: Final = 5
_SYSLOG_PRIORITY: Final = 13 * 8 + 5  # log audit, notice


@dataclass(frozen=True)
class Place:
    """Where heads are told; `tell` takes up to `at_once` signed heads, JSON lines, or raises OSError."""

    name: str
    tell: Callable[[Sequence[str]], None]
    at_once: int = 1000


def places(settings: LedgerSettings) -> Iterator[Place]:
    """Give the places of the settings."""
    file = settings.anchor_file()
    yield Place(place_of(file), lambda lines: _append(file, lines))
    if settings.anchor_url is not None:
        url = settings.anchor_url.get_secret_value()
        yield Place(f"web {redacted(url).split('?')[0]}"[:255], lambda lines: _post(url, lines), at_once=1)
    if settings.anchor_syslog is not None:
        address = settings.anchor_syslog
        yield Place(f"syslog {address}"[:255], lambda lines: _syslog(address, lines), at_once=100)
    if settings.anchor_print:
        yield Place("standard output", _print)


def tell(
    sessions: sessionmaker[Session], settings: LedgerSettings, *, seconds: float = 60.0
) -> dict[str, str]:
    """Tell each place the heads that it hasn't been told, for up to `seconds`; gives what failed, by place.

    A head may be told twice; none is left out.
    """
    failed = {}
    for place in places(settings):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with sessions.begin() as session:
                anchor = session.get(Anchor, place.name)
                last = 0 if anchor is None else anchor.block
                query = select(Block).where(Block.number > last).order_by(Block.number).limit(place.at_once)
                blocks = session.scalars(query).all()
            if not blocks:
                break
            try:
                place.tell([json.dumps(signed(block), sort_keys=True) for block in blocks])
            except OSError as error:
                failed[place.name] = readable(str(error))
                _failed(sessions, place.name, last, failed[place.name])
                break
            _told(sessions, place.name, blocks[-1].number)
    return failed


def _told(sessions: sessionmaker[Session], place: str, last: int) -> None:
    with sessions.begin() as session:
        anchor = session.get(Anchor, place)
        if anchor is None:
            session.add(Anchor(place=place, block=last))
            return
        if anchor.failing_since is not None:
            detail = {"failing_since": anchor.failing_since.isoformat(), "block": last}
            events.record(session, "ledger.anchor_back", "ledger", place, detail)
        anchor.block, anchor.failing_since, anchor.last_error = max(last, anchor.block), None, None


def _failed(sessions: sessionmaker[Session], place: str, last: int, why: str) -> None:
    with sessions.begin() as session:
        anchor = session.get(Anchor, place)
        if anchor is None:
            anchor = Anchor(place=place, block=last)
            session.add(anchor)
        if anchor.failing_since is None:
            anchor.failing_since = datetime.now(UTC)
            events.record(session, "ledger.anchor_failed", "ledger", place, {"why": why})
        anchor.last_error = why


def _append(file: Path, lines: Sequence[str]) -> None:
    make_private(file.parent)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        torn = (
            size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        )  # a writer died in the middle of a line
        opened.write((b"\n" if torn else b"") + "".join(line + "\n" for line in lines).encode())
        opened.flush()
        os.fsync(descriptor)


def _post(url: str, lines: Sequence[str]) -> None:
    for line in lines:
        request = Request(url, line.encode(), {"Content-Type": "application/json"})  # noqa: S310  # http(s): settings
        try:
            with urlopen(request, timeout=_PATIENCE_S):  # noqa: S310
                pass
        except (URLError, HTTPException, ValueError) as error:
            # Without the URL, which may hold a password.
            raise OSError(str(getattr(error, "reason", type(error).__name__))) from None


def _syslog(address: str, lines: Sequence[str]) -> None:
    host, _, port = address.rpartition(":")
    local = address.startswith("/")
    target: Any = address if local else (host.strip("[]"), int(port))
    family = socket.AF_UNIX if local else (socket.AF_INET6 if ":" in host else socket.AF_INET)
    with socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.settimeout(_PATIENCE_S)
        sending.connect(target)
        for line in lines:
            sending.send(f"<{_SYSLOG_PRIORITY}>pyramidion-ledger: {line}".encode())


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()
