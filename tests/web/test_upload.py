"""Images that stations hand in over HTTP: stored before they are answered, each once, and only by who may."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, models, tokens
from db.ids import uuid7
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings
from db.tables import Attempt, Event, Inspection
from tests.web.conftest import part_image
from web.upload import uploads

Sessions = sessionmaker[Session]
AT = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
AT_TEXT = "2026-03-01T06:00:00+00:00"
GOOD = {"product": "tile", "captured_at": AT_TEXT}


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands where messages would go; the queue itself has tests of its own."""
    queued: list[Any] = []
    monkeypatch.setattr(uploads, "enqueue", lambda ids, at: queued.extend(ids))
    return queued


@pytest.fixture
def token(sessions: Sessions) -> Callable[..., str]:
    def make(*scopes: str, station: str | None = None) -> str:
        with sessions.begin() as session:
            models.ensure_product(session, "tile")
            name = f"{'-'.join(scopes)} {station}"
            return tokens.make(session, name, scopes, "admin", station=station)[1]

    return make


@pytest.fixture
def station(
    database: DatabaseSettings, serve: Callable[..., str], token: Callable[..., str]
) -> Iterator[httpx.Client]:
    """A client of the page with a token that uploads for station s1 only."""
    shown = {"Authorization": f"Bearer {token('upload', station='s1')}"}
    address = serve(database, web_upload_max_bytes=1_000_000)
    with httpx.Client(base_url=f"{address}/api/v1", headers=shown, timeout=20) as client:
        yield client


def send(
    client: httpx.Client, images: list[bytes], frames: list[dict[str, Any]], **more: Any
) -> httpx.Response:
    files = [("images", (f"part{number}.png", image)) for number, image in enumerate(images)]
    return client.post("/inspections", data={"frames": json.dumps(frames)}, files=files, **more)


def rows(sessions: Sessions) -> list[Inspection]:
    with sessions() as session:
        return list(session.scalars(select(Inspection).order_by(Inspection.id)))


def told(sessions: Sessions, kind: str) -> list[Event]:
    with sessions() as session:
        return list(session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id)))


def test_images_are_stored_and_wait_for_a_verdict_before_the_answer(
    station: httpx.Client, sessions: Sessions, database: DatabaseSettings, queue: list[Any]
) -> None:
    images = [part_image(seed) for seed in range(3)]
    frames = [
        {"product": "tile", "station": "s1", "line": "north", "serial": f"T-{n}", "lot": "L1"}
        | {"captured_at": (AT + timedelta(seconds=n)).isoformat()}
        for n in range(3)
    ]
    frames[1]["id"] = str(uuid7(AT + timedelta(seconds=1)))
    answer = send(station, images, frames)
    assert answer.status_code == 202, answer.text
    found = rows(sessions)
    assert [str(row.id) for row in found] == sorted(answer.json()["accepted"])
    assert frames[1]["id"] in answer.json()["accepted"]
    store = open_image_store(database)
    assert [store.get(row.image_sha256) for row in found] == images
    assert [(row.product, row.station, row.line, row.serial, row.lot) for row in found] == [
        ("tile", "s1", "north", f"T-{n}", "L1") for n in range(3)
    ]
    assert found[2].captured_at == AT + timedelta(seconds=2)
    assert sorted(queue) == [row.id for row in found]
    with sessions() as session:
        assert len(session.scalars(select(Attempt)).all()) == 3


def test_a_simple_camera_sends_one_image_as_it_is_and_the_same_one_is_one_inspection(
    station: httpx.Client, sessions: Sessions
) -> None:
    query = {"product": "tile", "captured_at": "2026-03-01T07:00:00+01:00", "serial": "T-1"}
    sent = [
        station.post("/inspections", params=query, content=part_image(1), headers={"Content-Type": kind})
        for kind in ("image/png", "application/octet-stream", "image/jpeg")
    ]
    assert [answer.status_code for answer in sent] == [202] * 3
    row = rows(sessions)[0]
    assert len(rows(sessions)) == 1
    assert (row.captured_at, row.station, row.image_format) == (AT, "s1", "PNG")
    assert [len(answer.json()["accepted"]) for answer in sent] == [1, 0, 0]
    assert sent[2].json()["known"] == [str(row.id)]
    for changed in ({"captured_at": AT_TEXT[:-7] + "1+00:00"}, {"serial": "T-2"}):
        station.post(
            "/inspections",
            params=query | changed,
            content=part_image(1),
            headers={"Content-Type": "image/png"},
        )
    assert len(rows(sessions)) == 2, "another time is another part; another serial of the same image isn't"


def test_what_is_no_image_is_refused_with_an_event_and_harms_no_neighbour(
    station: httpx.Client, sessions: Sessions
) -> None:
    script = "<script>alert(1)</script>.png"
    frames = [
        {"product": "tile", "captured_at": AT_TEXT, "name": name} for name in (script, "good.png", "cut.png")
    ]
    frames.append({"product": "tile", "captured_at": AT_TEXT, "serial": "x" * 300})
    bad = [b"not an image", part_image(1), part_image(2)[:-40], part_image(3)]
    for _ in range(2):
        answer = send(station, bad, frames)
        assert answer.status_code == 202
        reasons = {one["name"]: one["reason"] for one in answer.json()["refused"]}
        assert set(reasons) == {script, "cut.png", "part3.png"}
        assert "not an image" in reasons[script]
        assert "cut off" in reasons["cut.png"]
        assert "300 characters" in reasons["part3.png"]
    assert len(rows(sessions)) == 1
    events = told(sessions, "image.refused")
    assert sorted(event.detail["name"] for event in events) == sorted(reasons)
    assert {event.actor for event in events} == {"station s1"}


def test_an_id_whose_time_is_another_is_refused(station: httpx.Client, sessions: Sessions) -> None:
    frame = {"product": "tile", "id": str(uuid7(AT)), "captured_at": "2026-03-01T06:00:01Z"}
    assert "uuid7(captured_at)" in send(station, [part_image(1)], [frame]).json()["refused"][0]["reason"]
    assert rows(sessions) == []
    del frame["captured_at"]
    assert send(station, [part_image(1)], [frame]).json()["accepted"] == [frame["id"]]
    assert rows(sessions)[0].captured_at == AT


def test_a_request_that_makes_no_sense_is_told_how_it_has_to_be_and_nothing_is_taken(
    station: httpx.Client, sessions: Sessions
) -> None:
    senseless: list[tuple[Any, int, int, str]] = [
        ([{"product": "tile"}], 1, 422, "needs captured_at"),
        ([GOOD], 2, 422, "`frames` describes 1 images, and 2 files came"),
        ([GOOD, GOOD], 1, 422, "`frames` describes 2 images"),
        ([], 1, 422, "`frames` describes 0 images"),
        ([{**GOOD, "colour": "red"}], 1, 422, "0.colour"),
        ([{**GOOD, "captured_at": "2026-03-01T06:00:00"}], 1, 422, "timezone"),
        ([{**GOOD, "captured_at": "0001-01-01T00:00:00+14:00"}], 1, 422, "calendar"),
        ([{**GOOD, "product": "tiel"}], 1, 422, "pyramidion train tiel"),
        ([GOOD, {**GOOD, "station": "s2"}], 2, 403, "station 's1' only, not for 's2'"),
        ([{**GOOD, "sha256": "0" * 64}], 1, 400, "damaged on its way"),
        ("so what", 1, 422, "`frames` is not as it has to be"),
        ([{**GOOD, "serial": "\ud800"}], 1, 422, "`frames` is not as it has to be"),
    ]
    for frames, images, status, says in senseless:
        answer = send(station, [part_image(seed) for seed in range(images)], frames)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.json()["detail"]
    assert rows(sessions) == []


def test_nothing_else_than_images_is_taken(station: httpx.Client) -> None:
    assert station.post("/inspections", params=GOOD, content=b"x").status_code == 415
    assert station.post("/inspections", params=GOOD, json={"a": 1}).status_code == 415
    plain = {"Content-Type": "image/png"}
    assert station.post("/inspections", content=part_image(1), headers=plain).status_code == 422
    crowd = send(station, [b"x"] * 257, [GOOD] * 257)
    assert (crowd.status_code, "at most 256" in crowd.json()["detail"]) == (422, True)
    assert send(station, [b"x"] * 300, [GOOD] * 300).status_code == 400
    more = {**GOOD, "x": "1"}
    assert station.post("/inspections", params=more, content=b"", headers=plain).status_code == 422
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert station.post("/inspections", content=b"--x\r\nnonsense", headers=broken).status_code == 422
    headless = {"Content-Type": "multipart/form-data"}
    assert station.post("/inspections", content=b"--x\r\n", headers=headless).status_code == 400


def test_what_is_too_large_is_refused_while_it_comes(station: httpx.Client, sessions: Sessions) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"\0" * 100_000

    for content in (b"\0" * 1_000_001, endless()):
        answer = station.post(
            "/inspections", params=GOOD, content=content, headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert "PYRAMIDION_WEB_UPLOAD_MAX_BYTES" in answer.json()["detail"]
    ids = ["0" * 32] * 40_000
    assert station.post("/inspections/known", json={"ids": ids}).status_code == 413
    assert rows(sessions) == []


def test_whoever_may_not_is_refused_before_a_byte_is_read(
    station: httpx.Client, token: Callable[..., str], account: Callable[..., None], sessions: Sessions
) -> None:
    sent = 0

    def images() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"\0" * 9_000

    account("root", "admin", "engineer", "inspector", "auditor")
    for shown, status in (("", 401), ("Bearer pyr_" + "x" * 40, 401), (f"Bearer {token('read')}", 403)):
        headers = {"Authorization": shown, "Content-Type": "multipart/form-data; boundary=x"}
        try:
            answer = station.post("/inspections", content=images(), headers=headers)
        except httpx.WriteError:  # it hung up on what it didn't read
            continue
        assert answer.status_code == status
        assert "pyr_" not in answer.text
    assert rows(sessions) == []


def test_a_station_learns_what_it_needn_t_send_and_tells_of_files_that_it_can_t_read(
    station: httpx.Client, sessions: Sessions
) -> None:
    mine = send(station, [part_image(1)], [GOOD]).json()["accepted"]
    other = str(uuid7(AT))
    assert station.post("/inspections/known", json={"ids": [*mine, other]}).json() == {"known": mine}
    assert station.post("/inspections/known", json={"ids": []}).json() == {"known": []}
    refusal = {"id": None, "name": "/in/gone.png", "reason": "No such file", "product": "tile"}
    for _ in range(2):
        assert station.post("/inspections/refused", json={"refused": [refusal]}).status_code == 200
    assert [event.detail["name"] for event in told(sessions, "image.refused")] == ["/in/gone.png"]
    elsewhere = {"refused": [{**refusal, "station": "s2"}]}
    assert station.post("/inspections/refused", json=elsewhere).status_code == 403


def test_without_room_or_far_behind_the_station_keeps_its_images(
    station: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_LOOK_S", 0.0)
    monkeypatch.setattr(ImageStore, "free_bytes", lambda _: 10)
    full = send(station, [part_image(1)], [GOOD])
    assert full.status_code == 503
    assert int(full.headers["retry-after"]) > 1
    assert "PYRAMIDION_IMAGE_STORE_MIN_FREE_BYTES" in full.json()["detail"]
    monkeypatch.setattr(ImageStore, "free_bytes", lambda _: 10**12)
    assert rows(sessions) == []

    monkeypatch.setattr(attempts, "oldest", lambda _: datetime.now(UTC) - timedelta(hours=1))
    answers = [send(station, [part_image(seed)], [GOOD]) for seed in (1, 2)]
    assert [answer.status_code for answer in answers] == [202, 503], "slowly, but it goes on"
    assert 1 <= int(answers[1].headers["retry-after"]) <= 10
    assert "PYRAMIDION_BACKLOG_MAX_S" in answers[1].json()["detail"]
    monkeypatch.setattr(attempts, "oldest", lambda _: None)
    assert send(station, [part_image(2)], [GOOD]).status_code == 202


def test_an_image_store_without_its_disk_takes_nothing(
    station: httpx.Client, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_LOOK_S", 0.0)
    assert send(station, [part_image(1)], [GOOD]).status_code == 202
    images = database.home / "images"
    images.rename(images.with_name("away"))
    images.write_text("a file in the way")
    assert send(station, [part_image(2)], [GOOD]).status_code == 503
    images.unlink()
    images.with_name("away").rename(images)
    assert send(station, [part_image(2)], [GOOD]).status_code == 202


def test_a_station_s_clock_is_told_of_by_its_own_date(station: httpx.Client, sessions: Sessions) -> None:
    def now(ahead: timedelta = timedelta(0)) -> str:
        return format_datetime(datetime.now(UTC) + ahead, usegmt=True)

    send(station, [part_image(1)], [GOOD])
    send(station, [part_image(2)], [GOOD], headers={"Date": "so what"})
    send(station, [part_image(3)], [GOOD], headers={"Date": now()})
    assert told(sessions, "station.clock") == []
    send(station, [part_image(4)], [GOOD], headers={"Date": now(timedelta(minutes=-5))})
    (event,) = told(sessions, "station.clock")
    assert event.subject == "s1"
    assert event.detail["ahead_s"] == pytest.approx(-300, abs=10)
