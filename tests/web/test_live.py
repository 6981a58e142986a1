"""Walls: what they show, what is pushed to them, and what happens when one is slow, lost or not allowed."""

import base64
import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, select
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, events
from db.ids import uuid7
from db.settings import DatabaseSettings
from db.tables import Login
from web.app import create_app
from web.live import hub as hubs
from web.live import pages
from web.live.counts import MinuteCounts
from web.live.thumbs import Thumbs
from web.server import GRACE_S, Server
from web.settings import WebSettings

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
PASSWORD = "correct horse: battery"  # of the fixture `account`
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
Sessions = sessionmaker[Session]
News = dict[str, Any]


def captured(plant: Any, ago_s: float = 0.0, **facts: Any) -> UUID:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    id_: UUID = plant.accept(**{"id": uuid7(at), "captured_at": at, "received_at": at, "line": "A", **facts})
    return id_


def inspected(plant: Any, verdict: str, ago_s: float = 0.0, **facts: Any) -> UUID:
    id_ = captured(plant, ago_s, **facts)
    plant.judge(id_, verdict, judged_at=datetime.now(UTC))
    return id_


@contextmanager
def following(client: httpx.Client, address: str) -> Iterator[Iterator[tuple[str, News]]]:
    """Give the events of a stream as they come; nothing for ten seconds is an error."""

    def parsed(lines: Iterator[str]) -> Iterator[tuple[str, News]]:
        kind = ""
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))

    with client.stream("GET", address, timeout=10) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield parsed(answer.iter_lines())


def until(told: Iterator[tuple[str, News]], what: Callable[[News], bool]) -> News:
    deadline = time.monotonic() + 10
    for _, news in told:
        if what(news):
            return news
        assert time.monotonic() < deadline, news
    raise AssertionError("the stream ended")


def counted(client: httpx.Client, address: str) -> str:
    """Give a page once its yields are counted; on a busy machine that takes more than one look."""
    deadline = time.monotonic() + 10
    while "being counted" in (text := client.get(address).text):
        assert time.monotonic() < deadline
    return text


def open_alarm(sessions: Sessions, *, holds: bool = False, said: str = "too dark") -> UUID:
    with sessions.begin() as session:
        now = datetime.now(UTC)
        opened = alarms.open_(
            session, "drift", "tile", "s1", f"x{uuid4()}", now, said, {"value": 9}, holds=holds
        )
    assert opened is not None
    return opened


def test_a_wall_shows_what_its_line_does(page: httpx.Client, plant: Any, sessions: Sessions) -> None:
    bad = [inspected(plant, verdict, ago_s=5) for verdict in ("ok", "ok", "ng", "ok")][2]
    late = captured(plant, ago_s=100, serial="waits")
    inspected(plant, "ok", ago_s=600, station="s9")
    inspected(plant, "error", line="B", station="b1")
    open_alarm(sessions, holds=True, said="golden sample failed")
    text = counted(page, "/live/A")
    assert re.search(r"First-pass yield, last hour</dt><dd>80\.0\s%</dd>", text)  # s9's ok is of the line too
    assert re.search(r"Oldest unjudged</dt><dd>.*1 min</time></dd><dd class=\"below\">1 waiting", text)
    assert "1 down" in text
    assert text.count('aria-label="Station s') == 2
    assert "golden sample failed" in text
    assert "verdicts held by an alarm" in text
    assert text.count(f'href="/inspections/{bad}"') == 2  # among what was not ok, and at its station
    assert f"/inspections/{late}" in text
    assert "Station b1" not in text
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in text

    lines = page.get("/live").text
    assert re.findall(r'<th scope="row"><a href="([^"]+)">', lines) == ["/live/A", "/live/B"]
    assert "1 of 2 down: s9" in lines
    ten = page.get("/live/A?window=10").text
    assert "last 10 min" in ten


def test_lines_may_be_called_anything(page: httpx.Client, plant: Any) -> None:
    names = ["a/b", "events", "x/events", "..", "ü & <b>", None, HOSTILE]
    for number, name in enumerate(names):
        inspected(plant, "ok", line=name, station=f"station{number}")
    text = page.get("/live").text
    assert HOSTILE not in text
    addresses = re.findall(r'<th scope="row"><a href="([^"]+)">', text)
    assert len(addresses) == len(names)
    shown = [page.get(address.replace("&amp;", "&")).text for address in addresses]
    assert sorted(re.findall(r'aria-label="Station (\w+)"', "".join(shown))) == [
        f"station{number}" for number in range(len(names))
    ]
    assert "(no line)" in text
    for text in shown[:3]:
        stream = re.search(r'data-events="([^"]+)"', text)
        assert stream is not None
        with following(page, stream[1].replace("&amp;", "&")) as told:
            assert 'aria-label="Station station' in next(told)[1]["blocks"]["stations"]


def test_a_verdict_is_pushed_with_its_picture_and_only_what_changed(page: httpx.Client, plant: Any) -> None:
    inspected(plant, "ok", station="still")
    with following(page, "/live/A/events") as told:
        kind, first = next(told)
        assert kind == "message"
        assert set(first["blocks"]) == {"figures", "alarms", "rejected", "stations"}
        assert abs(first["at"] - time.time()) < 10
        bad = captured(plant, serial=HOSTILE)
        waits = until(told, lambda news: str(bad) in news["blocks"].get("stations", ""))
        assert "rejected" not in waits["blocks"]
        plant.judge(bad, "ng")
        news = until(told, lambda news: str(bad) in news["blocks"].get("rejected", ""))
        assert HOSTILE not in json.dumps(news["blocks"])
        assert "&lt;script&gt;" in news["blocks"]["rejected"]
        if str(bad) not in news["pictures"]:
            news = until(told, lambda news: str(bad) in news["pictures"])
        again = until(told, lambda news: True)
        assert again["pictures"] == {}
        assert "stations" not in again["blocks"]
    kind, data = news["pictures"][str(bad)].split(",", 1)
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert max(picture.size) <= 240
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 0] > pixels[..., 1] + 40).sum() > 100  # the map is on it


def test_who_comes_back_is_told_all_again(page: httpx.Client, plant: Any) -> None:
    inspected(plant, "ok")
    with following(page, "/live/A/events") as told:
        first = next(told)[1]
    seen = inspected(plant, "ng")
    with following(page, "/live/A/events") as told:
        news = until(told, lambda news: str(seen) in news["blocks"].get("stations", ""))
    with following(page, "/live/A/events") as told:
        again = next(told)[1]
    assert set(again["blocks"]) == set(first["blocks"])
    assert str(seen) in again["blocks"]["rejected"]
    assert news


def test_one_reader_looks_for_all_and_none_while_nobody_watches(
    page: httpx.Client, plant: Any, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    inspected(plant, "ng")
    looks, drawn = [], []
    look, draw = hubs.Hub._look, Thumbs.draw
    monkeypatch.setattr(hubs.Hub, "_look", lambda self, topics: looks.append(topics) or look(self, topics))
    monkeypatch.setattr("web.live.thumbs.draw", lambda site, it: drawn.append(it.id) or b"picture")
    assert draw
    page.get("/live/A")
    assert looks == []
    met = threading.Barrier(9)

    def watch() -> None:
        with httpx.Client(base_url=page.base_url) as client, following(client, "/live/A/events") as told:
            until(told, lambda news: len(looks) >= 1 and bool(news["blocks"]))
            met.wait(20)
            before = len(looks)
            until(told, lambda news: len(looks) >= before + 2)

    viewers = [threading.Thread(target=watch) for _ in range(8)]
    for one in viewers:
        one.start()
    met.wait(20)
    begun, before = time.monotonic(), len(looks)
    for one in viewers:
        one.join(20)
        assert not one.is_alive()
    assert len(looks) - before <= time.monotonic() - begun + 1  # once a second, not eight times
    assert len(drawn) == 1
    wait(lambda: not [one for one in threading.enumerate() if one.name.startswith("live")], "its end", 5)
    number = len(looks)
    time.sleep(1.5)
    assert len(looks) == number


def test_a_viewer_that_takes_nothing_holds_up_nobody(page: httpx.Client, plant: Any) -> None:
    inspected(plant, "ng")
    where = urlsplit(str(page.base_url))
    with socket.create_connection((where.hostname, where.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.sendall(f"GET /live/A/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        with following(page, "/live/A/events") as told:
            next(told)
            for number in range(3):
                begun = time.monotonic()
                seen = inspected(plant, "ng", serial=f"n{number}" + "x" * 200)
                until(told, lambda news, seen=seen: str(seen) in news["blocks"].get("stations", ""))
                assert time.monotonic() - begun < 5


def test_the_server_stops_while_they_watch(database: DatabaseSettings, plant: Any, home: Any) -> None:
    inspected(plant, "ok")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(create_app(WebSettings(), database))
        serving = threading.Thread(target=server.run, args=([listening],), daemon=True)
        serving.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with (
            httpx.Client(base_url=address) as one,
            httpx.Client(base_url=address) as other,
            following(one, "/live/A/events") as told,
            following(other, "/live/events") as lines,
        ):
            next(told)
            next(lines)
            begun = time.monotonic()
            server.should_exit = True
            for stream in (told, lines):
                assert [kind for kind, _ in stream if kind != "message"] == []  # and it ends properly
            serving.join(GRACE_S - 1)
            assert not serving.is_alive()  # by itself: nothing had to be cut off
            assert time.monotonic() - begun < GRACE_S


def test_a_stream_ends_with_the_login(
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    plant: Any,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "CHECKED_EVERY_S", 0.3)
    account("ada", "inspector")
    account("wall", "viewer")
    inspected(plant, "ok")
    address = serve(database)
    hour = timedelta(minutes=59)
    with httpx.Client(base_url=address) as ada, httpx.Client(base_url=address) as wall:
        assert ada.get("/live/A/events").status_code == 401
        for client, name in ((ada, "ada"), (wall, "wall")):
            client.post("/login", data={"name": name, "password": PASSWORD})
        with following(ada, "/live/A/events") as told, following(wall, "/live/A/events") as shown:
            next(told)
            next(shown)
            with sessions.begin() as session:  # 59 minutes pass: looking on is no use, but for who only looks
                for login in session.scalars(select(Login)):
                    login.seen_at -= hour
            until(shown, lambda news: _seen(sessions, "wall") > datetime.now(UTC) - timedelta(minutes=1))
            assert _seen(sessions, "ada") < datetime.now(UTC) - timedelta(minutes=58)
            with sessions.begin() as session:
                for login in session.scalars(select(Login).where(Login.user == "ada")):
                    login.seen_at -= timedelta(minutes=2)
            assert list(told)[-1] == ("ended", {})
        with following(wall, "/live/events") as shown:
            next(shown)
            token = re.search(r'name="form_token" value="(\w+)"', wall.get("/account").text)
            assert token is not None
            wall.post("/logout", data={"form_token": token[1]})
            assert list(shown)[-1] == ("ended", {})


def _seen(sessions: Sessions, user: str) -> datetime:
    with sessions() as session:
        return session.scalars(select(Login.seen_at).where(Login.user == user)).one()


def test_walls_say_when_the_database_is_away(
    page: httpx.Client, plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    inspected(plant, "ok")
    monkeypatch.setattr(hubs, "EVERY_S", 0.2)
    with following(page, "/live/A/events") as told:
        next(told)
        with monkeypatch.context() as broken:

            def away(*_: object) -> None:
                raise OperationalError("SELECT 1", {}, Exception("gone"))

            broken.setattr(hubs.Board, "look", away)
            news = until(told, lambda news: news["trouble"] is not None)
            assert "can't be read" in news["trouble"]
        until(told, lambda news: news["trouble"] is None)


def test_yield_by_the_minute_is_what_a_count_of_all_gives(
    plant: Any, sessions: Sessions, engine: Any
) -> None:
    now = datetime.now(UTC)
    ids = {}
    for ago_s, verdict in ((1, "ok"), (100, "ng"), (550, "ok"), (1800, "error"), (2000, None), (3000, "ok")):
        ids[ago_s] = captured(plant, ago_s) if verdict is None else inspected(plant, verdict, ago_s)
    golden = inspected(plant, "ng", 200)
    with sessions.begin() as session:
        from db.tables import GoldenSample, GoldenTrial

        sample = GoldenSample(
            id=uuid4(), product="tile", station="s1", name="g", expected="ng", image_sha256="0" * 64,
            image_bytes=1, image_width=1, image_height=1, image_format="PNG", added_by="a", added_at=now,
        )  # fmt: skip
        session.add(sample)
        session.flush()
        session.add(GoldenTrial(inspection_id=golden, sample=sample.id, sent_at=now))
    counts = MinuteCounts()
    assert counts.window(now, 10) is None
    with sessions() as session:
        counts.count(session, now, 0.0)
        assert counts.window(now, 60) is None  # no time for it yet
        asked: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
        counts.count(session, now, 60.0)
    assert len(asked) < 40  # many minutes to a question, where they are quickly counted
    hour = counts.window(now, 60)
    assert hour is not None
    one = hour["s1"]
    assert (one.captured, one.ok, one.ng, one.error, one.pending) == (6, 3, 1, 1, 1)
    assert one.first_pass_yield == 3 / 5
    assert counts.window(now, 10)["s1"].captured == 3  # type: ignore[index]

    plant.judge(ids[2000], "ok")  # late: what is pending is looked at again before long
    with sessions() as session:
        for minute in counts._minutes.values():
            minute.counted_at -= 16
        asked.clear()
        counts.count(session, now, 60.0)
    assert len(asked) <= 3  # BEGIN, the newest minutes, the one that had it pending
    assert counts.window(now, 60)["s1"].ok == 4  # type: ignore[index]


def test_closing_an_alarm_leaves_an_event_and_ends_what_it_held(
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    plant: Any,
    sessions: Sessions,
) -> None:
    account("eve", "engineer")
    account("ivy", "inspector")
    inspected(plant, "ok")
    id_ = open_alarm(sessions, holds=True, said=HOSTILE)
    address = serve(database)
    with httpx.Client(base_url=address) as ivy, httpx.Client(base_url=address) as eve:
        for client, name in ((ivy, "ivy"), (eve, "eve")):
            client.post("/login", data={"name": name, "password": PASSWORD})
        text = ivy.get(f"/alarms/{id_}").text
        assert "Close the alarm" not in text
        assert "An engineer can close it" in text
        assert HOSTILE not in text
        text = eve.get(f"/alarms/{id_}").text
        token = re.search(r'name="form_token" value="(\w+)"', text)
        assert token is not None
        form = {"form_token": token[1], "why": f"lamp replaced {HOSTILE}"}
        assert ivy.post(f"/alarms/{id_}/close", data=form).status_code == 403
        assert eve.post(f"/alarms/{id_}/close", data={**form, "form_token": "stale"}).status_code == 403
        assert eve.post(f"/alarms/{id_}/close", data={**form, "why": "  "}).status_code == 422
        with sessions() as session:
            assert alarms.held(session, ["tile"]) == {("tile", "s1")}
        closed = eve.post(f"/alarms/{id_}/close", data=form)
        assert (closed.status_code, closed.headers["location"]) == (303, f"/alarms/{id_}")
        with sessions() as session:
            assert alarms.held(session, ["tile"]) == set()
            (told,) = events.told(session, events.Asked(kind="alarm.closed"))
        assert (told.actor, told.subject, told.detail["why"]) == ("eve", "tile", form["why"])
        text = eve.get(f"/alarms/{id_}").text
        assert "by eve" in text
        assert "lamp replaced &lt;script&gt;" in text
        assert eve.post(f"/alarms/{id_}/close", data=form).status_code == 409
        assert eve.post(f"/alarms/{uuid4()}/close", data=form).status_code == 404

        other = open_alarm(sessions)
        head = {"X-Form-Token": token[1]}
        api = f"/api/v1/alarms/{other}/close"
        assert ivy.post(api, json={"why": "x"}, headers=head).status_code == 403
        assert eve.post(api, json={"why": " "}, headers=head).status_code == 422
        assert eve.post(api, json={"why": "x", "by": "somebody"}, headers=head).status_code == 422
        done = eve.post(api, json={"why": "cleaned"}, headers=head)
        assert (done.status_code, done.json()["closed_by"]) == (200, "eve")
        assert eve.post(api, json={"why": "again"}, headers=head).status_code == 409


def test_alarms_are_paged(
    page: httpx.Client, plant: Any, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.alarms.ROWS", 3)
    inspected(plant, "ok")
    made = [open_alarm(sessions) for _ in range(8)]
    with sessions.begin() as session:
        for id_ in made[:4]:
            alarms.close(session, id_, "eve", "done")
    for state, wanted in (("open", made[4:]), ("closed", made[:4])):
        address, seen = f"/alarms?state={state}", []
        while address:
            text = page.get(address).text
            seen += re.findall(r'<th scope="row"><a href="/alarms/([0-9a-f-]+)">', text)
            older = re.search(r'<a href="([^"]+)" rel="next">', text)
            address = older[1].replace("&amp;", "&") if older else ""
        assert seen == [str(id_) for id_ in reversed(wanted)]
    address, seen = "/api/v1/alarms?limit=3", []
    while address:
        answer = page.get(address).json()
        seen += [one["id"] for one in answer["items"]]
        address = answer["next"]
    assert seen == [str(id_) for id_ in reversed(made)]
    assert page.get("/api/v1/alarms?state=open&product=other").json() == {"items": [], "next": None}
    assert page.get(f"/api/v1/alarms/{made[0]}").json()["closed_by"] == "eve"


def test_the_api_says_what_lines_do(page: httpx.Client, plant: Any) -> None:
    for verdict in ("ok", "ng", "error", "ok"):
        inspected(plant, verdict, ago_s=3)
    captured(plant, ago_s=30, station="s2")
    inspected(plant, "ok", line="B", station="b1")
    counted(page, "/live")
    answer = page.get("/api/v1/lines?limit=1").json()
    (line,) = answer["items"]
    assert (line["line"], line["waiting"], line["figures"]["first_pass_yield"]) == ("A", 1, 0.5)
    assert 29 < line["oldest_waiting_s"] < 60
    assert line["images_per_s"] == pytest.approx(5 / 60)
    assert [(one["station"], one["is_up"]) for one in line["stations"]] == [("s1", True), ("s2", True)]
    rest = page.get(answer["next"]).json()
    assert ([one["line"] for one in rest["items"]], rest["next"]) == (["B"], None)


def test_the_status_is_what_the_command_line_says(
    page: httpx.Client, plant: Any, use_broker: Any, sessions: Sessions
) -> None:
    from workers import queue

    inspected(plant, "ok", ago_s=5)
    waiting = captured(plant, ago_s=9)
    queue.enqueue([waiting])
    open_alarm(sessions)
    found = page.get("/api/v1/status").json()
    assert (found["waiting"], found["queue"]["messages"], found["queue"]["error"]) == (2 - 1, 1, None)
    assert found["stations"][0]["accepted"] == 2
    assert len(found["alarms"]) == 1
    assert found["latency_ms"]["p50"] > 0
    use_broker.kill()
    begun = time.monotonic()
    found = page.get("/api/v1/status").json()
    assert time.monotonic() - begun < 3
    assert found["queue"]["messages"] is None
    assert "doctor" in found["queue"]["error"]
    assert "127.0.0.1" not in json.dumps(found)


def test_nonsense_is_refused(page: httpx.Client, plant: Any) -> None:
    inspected(plant, "ok")
    for address, status in (
        ("/live/nowhere", 404),
        ("/live/nowhere/events", 404),
        ("/live/%00", 404),
        ("/live/", 404),
        ("/live?line=%F0%9F%92%A9'--", 404),
        ("/live/A?window=7", 422),
        ("/live/A?window=x", 422),
        ("/live/A/events?window=99999999999999999999", 422),
        ("/alarms?state=what", 422),
        ("/alarms?after=x", 422),
        ("/alarms?product=%27;DROP--", 200),
        ("/alarms?product=%00", 422),
        ("/alarms/x", 404),
        (f"/alarms/{uuid4()}", 404),
        ("/api/v1/status?minutes=nan", 422),
        ("/api/v1/status?minutes=1e9", 422),
        ("/api/v1/lines?window=1", 422),
        ("/api/v1/lines?after=%00&limit=1", 200),
        ("/api/v1/alarms?state=what", 422),
        ("/api/v1/alarms?product=%00", 422),
        ("/api/v1/alarms/x", 404),
    ):
        answer = page.get(address)
        assert answer.status_code == status, (address, answer.text)


def test_no_more_watch_than_one_process_takes(
    page: httpx.Client, plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected(plant, "ok")
    monkeypatch.setattr(hubs, "MOST_VIEWERS", 1)
    with following(page, "/live/A/events") as told:
        next(told)
        refused = page.get("/live/events")
        assert refused.status_code == 503
        assert "close some" in refused.text
        assert page.get("/live/A").status_code == 200
