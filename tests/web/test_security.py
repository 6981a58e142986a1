"""What answers allow a browser to do, and how much may be sent."""

from collections.abc import Callable

import httpx
import pytest

from db.settings import DatabaseSettings

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # no query differs here
ADDRESSES = ("/", "/inspections/019ca7fb-7300-7000-8a52-0967e22eef0a/image", "/static/page.css", "/nowhere")


def test_every_answer_carries_the_security_headers(page: httpx.Client) -> None:
    answers = [page.get(address) for address in (*ADDRESSES, "/healthz", "/?x=1", "/login")]
    answers.append(page.post("/login", data={"name": "x" * 2_000_000}))
    answers.append(page.get("/", headers={"Host": "plant.example"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "public" not in answer.headers["cache-control"]
        assert "strict-transport-security" not in answer.headers


def test_a_page_behind_https_keeps_browsers_there(
    database: DatabaseSettings, serve: Callable[..., str]
) -> None:
    page = serve(database, web_https=True)
    assert "max-age" in httpx.get(page).headers["strict-transport-security"]


def test_what_is_too_large_is_refused(page: httpx.Client) -> None:
    assert page.post("/login", data={"name": "x" * 2_000_000}).status_code == 413
    body = (b"name=" + b"x" * 500_000 for _ in range(4))  # of an unannounced length
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert page.post("/login", content=body, headers=headers).status_code == 413
