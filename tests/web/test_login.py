"""Who gets in: by name and password, by token, or by sitting at this machine where nobody has an account."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import logins, tokens, users
from db.settings import DatabaseSettings
from db.tables import Event, Login, Token, User
from web.login import pages as login_pages

PASSWORD = "correct horse: battery"  # of the fixture `account`
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # no query differs here
Sessions = sessionmaker[Session]
FIRST = "given by the administrator"


@pytest.fixture
def people(account: Callable[..., None]) -> None:
    account("ada", "inspector")


@pytest.fixture
def visitor(database: DatabaseSettings, serve: Callable[..., str], people: None) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serve(database), headers={"Accept": "text/html"}, timeout=20) as client:
        yield client


def log_in(client: httpx.Client, name: str = "ada", password: str = PASSWORD, **more: str) -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password, **more})


def told(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return [event.kind for event in session.scalars(select(Event).order_by(Event.id))]


def test_people_log_in_and_come_to_where_they_wanted(visitor: httpx.Client, sessions: Sessions) -> None:
    refused = visitor.get("/?lot=L%201&verdict=ng")
    assert refused.status_code == 303
    address = refused.headers["location"]
    assert address == "/login?next=%2F%3Flot%3DL%25201%26verdict%3Dng"
    asked = visitor.get(address)
    assert 'name="next" value="/?lot=L%201&amp;verdict=ng"' in asked.text
    let_in = log_in(visitor, " Ada", next="/?lot=L%201&verdict=ng")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/?lot=L%201&verdict=ng")
    cookie = let_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert visitor.get("/").status_code == 200
    with sessions() as session:
        kept = session.scalars(select(Login)).one()
    assert kept.id not in cookie
    assert "login.began" in told(sessions)


def test_nobody_is_led_to_another_site(visitor: httpx.Client) -> None:
    for address in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:x",
        "",
        "\t//x",
    ):
        assert log_in(visitor, next=address).headers["location"] == "/", address


def test_a_wrong_password_is_refused_and_five_lock(visitor: httpx.Client, sessions: Sessions) -> None:
    for _ in range(users.FAILURES):
        refused = log_in(visitor, password="guessed at random")
        assert refused.status_code == 401
        assert "Name or password is wrong" in refused.text
    assert log_in(visitor).status_code == 401  # the right one, but the account is locked
    assert "user.locked" in told(sessions)
    assert log_in(visitor, name="eve").text.count("Name or password is wrong") == 1


def test_an_address_from_which_many_fail_has_to_wait(
    visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_pages, "_failures", login_pages.Failures())
    for number in range(login_pages.FAILURES):
        assert log_in(visitor, name=f"user{number}").status_code == 401
    assert log_in(visitor).status_code == 429
    monkeypatch.setattr(login_pages, "WITHIN_S", 0.0)
    assert log_in(visitor).status_code == 303


def test_a_login_ends_by_leaving_idling_and_after_a_day(visitor: httpx.Client, sessions: Sessions) -> None:
    log_in(visitor)
    token = form_token(visitor)
    assert visitor.post("/logout", data={"form_token": token}).status_code == 303
    assert visitor.get("/").status_code == 303
    for column, ago in (("seen_at", timedelta(minutes=61)), ("began_at", timedelta(hours=12.1))):
        log_in(visitor)
        assert visitor.get("/").status_code == 200
        with sessions.begin() as session:
            for login in session.scalars(select(Login)):
                setattr(login, column, datetime.now(UTC) - ago)
        assert visitor.get("/").status_code == 303, column


def test_a_login_ends_with_the_account_and_with_its_password(
    visitor: httpx.Client, sessions: Sessions
) -> None:
    def disable(session: Session) -> None:
        users.disable(session, "ada", "admin", "left the plant")
        users.enable(session, "ada", "admin", "is back")

    for change in (disable, lambda s: users.change_password(s, "ada", PASSWORD, PASSWORD + "!")):
        log_in(visitor)
        assert visitor.get("/").status_code == 200
        with sessions.begin() as session:
            change(session)
        assert visitor.get("/").status_code == 303


def test_roles_count_at_once(visitor: httpx.Client, sessions: Sessions) -> None:
    log_in(visitor)
    assert visitor.get("/").status_code == 200
    with sessions.begin() as session:
        users.set_roles(session, "ada", [], "admin", "signs only")
    refused = visitor.get("/")
    assert refused.status_code == 403
    assert "viewer or inspector" in refused.text


def test_somebody_elses_choice_of_a_password_serves_to_choose_ones_own(
    visitor: httpx.Client, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        users.add(session, "bob", "Bob", FIRST, "admin", ["viewer"])
    log_in(visitor, "bob", FIRST)
    led = visitor.get("/")
    assert (led.status_code, led.headers["location"]) == (303, "/account")
    form = {"form_token": form_token(visitor, "/account"), "present": FIRST, "new": PASSWORD}
    assert "differ" in visitor.post("/account", data={**form, "again": "another"}).text
    assert "is the present one" in visitor.post("/account", data={**form, "new": FIRST, "again": FIRST}).text
    changed = visitor.post("/account", data={**form, "again": PASSWORD})
    assert changed.status_code == 303
    assert "password is changed" in visitor.get("/account/changed").text
    assert visitor.get("/").status_code == 200


def test_only_own_forms_change_anything(visitor: httpx.Client) -> None:
    log_in(visitor)
    token = form_token(visitor)
    for data, headers in (
        ({}, {}),
        ({"form_token": "0" * 64}, {}),
        ({"form_token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ({"form_token": token}, {"Sec-Fetch-Site": "same-site"}),
        ({"form_token": token}, {"Origin": "http://evil.example"}),
        ({"form_token": token}, {"Origin": "null"}),
    ):
        assert visitor.post("/logout", data=data, headers=headers).status_code == 403, (data, headers)
    assert visitor.get("/").status_code == 200
    assert log_in(visitor).status_code == 303
    assert visitor.post("/logout", data={"form_token": token}).status_code == 403  # of the login before
    fetch = {"X-Form-Token": form_token(visitor), "Sec-Fetch-Site": "same-origin"}
    assert visitor.post("/logout", headers=fetch).status_code == 303


def test_no_other_site_logs_anybody_in(visitor: httpx.Client) -> None:
    answer = visitor.post(
        "/login", data={"name": "ada", "password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


def test_a_token_opens_what_its_scopes_say(visitor: httpx.Client, sessions: Sessions) -> None:
    with sessions.begin() as session:
        _, reads = tokens.make(session, "mes", ["read"], "admin")
        _, measures = tokens.make(session, "prometheus", ["metrics"], "admin")

    def status(text: str, path: str) -> int:
        return visitor.get(path, headers={"Authorization": f"Bearer {text}", "Accept": "*/*"}).status_code

    assert [status(reads, "/"), status(reads, "/metrics")] == [200, 403]
    assert [status(measures, "/"), status(measures, "/metrics")] == [403, 200]
    assert status(reads[:-1] + "x", "/") == 401
    assert status("pyr_", "/") == 401
    with sessions.begin() as session:
        used = session.scalars(select(Token).where(Token.name == "mes")).one()
        assert used.used_at is not None
        assert reads not in str(vars(used))
        tokens.revoke(session, "mes", "admin", "replaced")
        expiring = session.scalars(select(Token).where(Token.name == "prometheus")).one()
        expiring.expires_at = datetime.now(UTC)
    assert [status(reads, "/"), status(measures, "/metrics")] == [401, 401]
    with sessions() as session:
        assert "pyr_" not in str([event.detail for event in session.scalars(select(Event))])


def test_before_the_first_account_this_machine_looks_and_nobody_else(
    page: httpx.Client, database: DatabaseSettings, serve: Callable[..., str]
) -> None:
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert page.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[", "192.0.2.7", ""):
        assert page.get("/", headers={"Host": host}).status_code == 421
    assert page.get("/account").status_code == 401
    others = serve(database, web_host="0.0.0.0")
    refused = httpx.get(f"{others}/", headers={"Host": "localhost"})
    assert refused.status_code == 421
    assert "pyramidion users add NAME --role admin" in refused.text
    assert httpx.get(f"{others}/healthz").status_code == 200


def test_the_first_account_closes_the_page_to_who_has_none(page: httpx.Client, sessions: Sessions) -> None:
    assert page.get("/").status_code == 200
    with sessions.begin() as session:
        users.add(session, "signer", "Signs Only", FIRST, "admin")
    assert page.get("/").status_code == 200  # which nobody can log in with
    with sessions.begin() as session:
        users.add(session, "ada", "Ada Lovelace", FIRST, "admin", ["viewer"])
        users.disable(session, "ada", "admin", "on leave")
    assert page.get("/").status_code == 401


def test_old_logins_are_forgotten(sessions: Sessions, people: None) -> None:
    with sessions.begin() as session:
        logins.begin(session, "ada", PASSWORD, "::1")
        logins.forget_old(session, timedelta(hours=1))
        assert session.scalar(select(Login.id)) is not None
        logins.forget_old(session, timedelta(0))
        assert session.scalar(select(Login.id)) is None
        assert session.get(User, "ada") is not None


def form_token(client: httpx.Client, path: str = "/") -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get(path).text)
    assert found is not None
    return found[1]
