"""What all of the API has in common: its own document, and what an Idempotency-Key promises."""

import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from db import tokens
from db.settings import DatabaseSettings
from db.tables import Answered, Review
from tests.forked import Process
from tests.web.conftest import PASSWORD, Plant

Sessions = sessionmaker[Session]
CONFIRM = {"verdict": "confirm"}


def log_in(client: httpx.Client, name: str) -> None:
    """Log in as somebody who changes things over the API, as a script on a page does."""
    assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/").text)
    assert found is not None
    client.headers["X-Form-Token"] = found[1]


@pytest.fixture
def ada(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None]
) -> Iterator[httpx.Client]:
    account("ada", "inspector", "admin")
    with httpx.Client(base_url=serve(database), timeout=30) as client:
        log_in(client, "ada")
        yield client


def reviews(sessions: Sessions) -> list[Review]:
    with sessions() as session:
        return list(session.scalars(select(Review)))


def test_the_document_says_of_each_operation_what_it_is_for_and_who_may(page: httpx.Client) -> None:
    made = page.get("/api/v1/openapi.json", timeout=60).json()
    assert made["openapi"].startswith("3.1")
    assert made["info"]["title"] == "Pyramidion"
    assert made["info"]["version"]
    assert set(made["components"]["securitySchemes"]) == {"token", "login"}
    names = []
    for path, operations in made["paths"].items():
        assert path.startswith("/api/v1/")
        for method, one in operations.items():
            what = f"{method} {path}"
            names.append(one["operationId"])
            assert one["summary"], what
            assert len(one["description"].split("\n\n")) >= 2, f"{what} has no description of its own"
            assert one["security"], what
            assert "Takes " in one["description"] or "logged in" in one["description"], what
            assert "default" in one["responses"], what
            for status, answer in one["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], what
            keyed = "Idempotency-Key" in {parameter["name"] for parameter in one.get("parameters", [])}
            assert keyed is (method != "get" and one["tags"] != ["Upload"]), what
    assert len(names) == len(set(names))
    listed = page.get("/api").text
    for path in made["paths"]:
        assert f"<code>{path}</code>" in listed
    assert page.head("/api").status_code == 200


def test_a_request_sent_again_is_answered_as_before_and_not_done_again(
    ada: httpx.Client, plant: Plant, sessions: Sessions
) -> None:
    id_ = plant.inspect("ng")
    key = {"Idempotency-Key": str(uuid4())}
    address = f"/api/v1/inspections/{id_}/reviews"
    first = ada.post(address, json=CONFIRM, headers=key)
    assert first.status_code == 201, first.text
    again = ada.post(address, json=CONFIRM, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(reviews(sessions)) == 1

    other = ada.post(address, json={"verdict": "inconclusive"}, headers=key)
    assert other.status_code == 422
    assert "came with another request" in other.json()["detail"]
    assert ada.post(address, json=CONFIRM, headers={"Idempotency-Key": "short"}).status_code == 422
    assert len(reviews(sessions)) == 1

    with sessions.begin() as session:
        session.execute(update(Answered).values(at=datetime.now(UTC) - timedelta(hours=25)))
    assert "idempotent-replayed" not in ada.post(address, json=CONFIRM, headers=key).headers


def test_the_same_request_twice_at_once_is_done_once(
    ada: httpx.Client, plant: Plant, sessions: Sessions
) -> None:
    id_ = plant.inspect("ng")
    key = {"Idempotency-Key": str(uuid4())}
    with ThreadPoolExecutor(6) as threads:
        sent = [
            threads.submit(ada.post, f"/api/v1/inspections/{id_}/reviews", json=CONFIRM, headers=key)
            for _ in range(6)
        ]
    answers = [one.result() for one in sent]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(reviews(sessions)) == 1


def test_an_error_that_left_nothing_done_is_not_kept(ada: httpx.Client, plant: Plant) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    id_ = plant.accept()
    address = f"/api/v1/inspections/{id_}/reviews"
    assert ada.post(address, json=CONFIRM, headers=key).status_code == 422  # nothing to review yet
    plant.judge(id_, "ng")
    assert ada.post(address, json=CONFIRM, headers=key).status_code == 201


def test_a_key_is_each_actor_s_own(
    ada: httpx.Client, account: Callable[..., None], plant: Plant, sessions: Sessions
) -> None:
    id_ = plant.inspect("ng")
    account("eve", "inspector")
    key = {"Idempotency-Key": str(uuid4())}
    assert ada.post(f"/api/v1/inspections/{id_}/reviews", json=CONFIRM, headers=key).status_code == 201
    with httpx.Client(base_url=ada.base_url, timeout=30) as eve:
        log_in(eve, "eve")
        answer = eve.post(f"/api/v1/inspections/{plant.inspect('ng')}/reviews", json=CONFIRM, headers=key)
    assert answer.status_code == 201
    assert sorted(one.reviewer for one in reviews(sessions)) == ["ada", "eve"]


def test_neither_key_nor_secrets_can_be_read_from_the_database(ada: httpx.Client, sessions: Sessions) -> None:
    key = str(uuid4())
    new = {"name": "camera 3", "scopes": ["upload"]}
    made = ada.post("/api/v1/tokens", json=new, headers={"Idempotency-Key": key})
    assert made.status_code == 201, made.text
    again = ada.post("/api/v1/tokens", json=new, headers={"Idempotency-Key": key})
    assert again.json() == made.json()
    text = re.search(r"pyr_\w{40}", made.text)
    assert text is not None
    with sessions() as session:
        assert tokens.find(session, text[0]) is not None
        (row,) = session.scalars(select(Answered)).all()
    kept = repr((row.actor, row.key, row.request_sha256, row.headers)).encode() + row.body
    assert key.encode() not in kept
    assert text[0].encode() not in kept
    assert b"camera 3" not in kept


def test_who_it_is_is_asked_before_the_body_is_read(page: httpx.Client) -> None:
    answer = page.post("/api/v1/tokens", content=b"{" * 100, headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


MORTAL = """
import os, signal
from argon2 import PasswordHasher
from db import answered, users
users._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
answered.keep = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def mortal(processes: Callable[..., Process], wait: Callable[..., None]) -> str:
    """A page in a process of its own, which kills itself between an act and its answer; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    processes("serve", "--port", str(port), first=MORTAL)

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).is_success
        return False

    wait(answers, "the page to start", 100)
    return f"http://127.0.0.1:{port}"


def test_killed_between_act_and_answer_nothing_is_done_twice(
    database: DatabaseSettings, mortal: str, ada: httpx.Client, plant: Plant, sessions: Sessions
) -> None:
    address = f"/api/v1/inspections/{plant.inspect('ng')}/reviews"
    key = {"Idempotency-Key": str(uuid4())}
    with httpx.Client(base_url=mortal, timeout=30) as client:
        log_in(client, "ada")
        with pytest.raises(httpx.TransportError):
            client.post(address, json=CONFIRM, headers=key)
    assert len(reviews(sessions)) == 1
    with sessions.begin() as session:  # as if a minute had passed: until then the answer may still come
        session.execute(update(Answered).values(at=datetime.now(UTC) - timedelta(minutes=2)))
    told = ada.post(address, json=CONFIRM, headers=key)
    assert told.status_code == 409
    assert "was done on" in told.json()["detail"]
    assert len(reviews(sessions)) == 1
