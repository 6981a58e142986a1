"""Who gets in, and what answers allow a browser to do."""

from collections.abc import Callable

import httpx
import pytest

from db.settings import DatabaseSettings

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # no query differs here
PASSWORD = "correct horse: battery"
ADDRESSES = ("/", "/inspections/019ca7fb-7300-7000-8a52-0967e22eef0a/image", "/static/page.css", "/nowhere")


@pytest.fixture
def guarded(database: DatabaseSettings, serve: Callable[..., str]) -> str:
    return serve(database, web_password=PASSWORD, web_user="inspectör")


def test_a_password_guards_everything_but_the_health(guarded: str) -> None:
    for address in ADDRESSES:
        answer = httpx.get(guarded + address)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "Pyramidion" not in answer.text
    assert httpx.get(f"{guarded}/healthz").status_code == 200
    assert httpx.get(f"{guarded}/healthz/").status_code == 401


def test_wrong_credentials_are_refused(guarded: str) -> None:
    for credentials in (
        ("inspectör", "wrong"),
        ("inspectör", ""),
        ("other", PASSWORD),
        ("inspectör", PASSWORD + "x"),
        ("", f"inspectör:{PASSWORD}"),
    ):
        assert httpx.get(guarded, auth=credentials).status_code == 401
    for header in (b"Basic", b"Basic !!!", b"Basic w", b"Bearer abc", b"Basic /w==", b"\xff", b""):
        assert httpx.get(guarded, headers={b"Authorization": header}).status_code == 401


def test_the_right_credentials_open_the_page(guarded: str) -> None:
    answer = httpx.get(guarded, auth=("inspectör", PASSWORD))
    assert answer.status_code == 200
    assert PASSWORD not in answer.text
    proxied = httpx.get(guarded, auth=("inspectör", PASSWORD), headers={"Host": "plant.example"})
    assert proxied.status_code == 200


def test_every_answer_carries_the_security_headers(guarded: str) -> None:
    login = httpx.BasicAuth("inspectör", PASSWORD)
    answers = [httpx.get(guarded + address, auth=login) for address in ADDRESSES]
    answers += [httpx.get(guarded), httpx.get(f"{guarded}/healthz"), httpx.get(f"{guarded}/?x=1", auth=login)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "public" not in answer.headers["cache-control"]


def test_without_a_password_only_this_machine_is_answered(page: httpx.Client) -> None:
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert page.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[", "192.0.2.7", ""):
        assert page.get("/", headers={"Host": host}).status_code == 421
