"""Admin: products, stations, tokens, people, retention, settings, logins."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import tokens, users
from db.ids import uuid7
from db.settings import DatabaseSettings
from db.settings_shown import shown
from db.tables import Answered, Event, Station
from web.admin import retention
from web.settings import WebSettings

PASSWORD = "correct horse: battery"  # of the fixture `account`
FIRST = "given by the administrator"
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # no query differs here
Sessions = sessionmaker[Session]
Browser = Callable[[str], httpx.Client]


@pytest.fixture
def browser(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None]
) -> Iterator[Browser]:
    """Log somebody in, whose account has the role of the same name as the user."""
    account("boss", "admin")
    account("viewer", "viewer")
    address = serve(database)
    opened: list[httpx.Client] = []

    def log_in(name: str = "boss") -> httpx.Client:
        client = httpx.Client(base_url=address, timeout=20, headers={"Accept": "text/html"})
        opened.append(client)
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        return client

    yield log_in
    for client in opened:
        client.close()


@pytest.fixture
def admin(browser: Browser) -> httpx.Client:
    return browser("boss")


def post(client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    """Send a form of the page as it is now."""
    return client.post(path, data={"form_token": form_token(client), **fields})


def form_token(client: httpx.Client) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/account").text)
    assert found is not None
    return found[1]


def api(client: httpx.Client, method: str, path: str, document: Any = None) -> httpx.Response:
    headers = {"X-Form-Token": form_token(client), "Accept": "application/json"}
    return client.request(method, f"/api/v1{path}", json=document, headers=headers)


def told(sessions: Sessions, kind: str) -> list[Event]:
    with sessions() as session:
        return list(session.scalars(select(Event).where(Event.kind.startswith(kind)).order_by(Event.id)))


def test_a_product_is_set_up_and_its_deadline_changed(
    admin: httpx.Client, sessions: Sessions, plant: Any
) -> None:
    assert "There is no product yet" in admin.get("/admin/products").text
    assert post(admin, "/admin/products", name=" left  bracket ", deadline_ms="").status_code == 303
    again = post(admin, "/admin/products", name="left bracket")
    assert again.status_code == 422
    assert "Nothing was changed." in again.text
    assert "There is a product &#39;left bracket&#39; already" in again.text
    plant.inspect("ok")
    changed = post(admin, "/admin/products/deadline", product="left bracket", deadline_ms="250")
    assert changed.headers["location"] == "/admin/products"
    text = admin.get("/admin/products").text
    assert "250 ms" in text
    assert "! none" in text
    kinds = [(one.kind, one.actor, one.subject, one.detail) for one in told(sessions, "product.")]
    assert kinds == [
        ("product.created", "boss", "left bracket", {}),
        ("product.deadline", "boss", "left bracket", {"before_ms": None, "ms": 250}),
    ]
    assert post(admin, "/admin/products/deadline", product="tyle", deadline_ms="1").status_code == 422
    assert post(admin, "/admin/products/deadline", product="tile", deadline_ms="0").status_code == 422
    listed = api(admin, "GET", "/products?limit=1").json()
    assert [one["name"] for one in listed["items"]] == ["left bracket"]
    (tile,) = admin.get(listed["next"]).json()["items"]
    assert {
        "name": "tile",
        "inspections": 1,
        "pending": 0,
        "models": 1,
        "champion": None,
    }.items() <= tile.items()


def test_names_with_signs_of_addresses_are_found(admin: httpx.Client, sessions: Sessions) -> None:
    name = "a/b?c=<script>&#%2F"
    assert api(admin, "POST", "/products", {"name": name}).status_code == 201
    assert api(admin, "POST", "/products", {"name": name}).status_code == 409
    path = "/products/a%2Fb%3Fc%3D%3Cscript%3E%26%23%252F"
    assert api(admin, "PATCH", path, {"deadline_ms": 7}).json()["deadline_ms"] == 7
    assert api(admin, "GET", path).json()["name"] == name
    assert api(admin, "GET", "/products/a").status_code == 404
    text = admin.get("/admin/products").text
    assert "a/b?c=&lt;script&gt;&amp;#%2F" in text
    assert "<script" not in text
    for wrong in (
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a\0b"},
        {"name": "x", "more": 1},
        {},
        [],
        None,
    ):
        assert api(admin, "POST", "/products", wrong).status_code == 422, wrong


def test_a_station_is_given_a_line_and_a_token_of_its_own(
    admin: httpx.Client, sessions: Sessions, plant: Any
) -> None:
    plant.accept()
    with sessions.begin() as session:
        tokens.make(session, "camera", ["upload"], "boss", station="s1")
    assert post(admin, "/admin/stations/line", station="s1", line=" line  3 ").status_code == 303
    assert post(admin, "/admin/stations/line", station="s2", line="line 3").status_code == 422
    assert "line 3" in admin.get("/admin/stations").text
    (station,) = api(admin, "GET", "/stations").json()["items"]
    assert {"name": "s1", "line": "line 3", "pending": 1, "tokens": 1}.items() <= station.items()
    assert station["last_received_at"] == "2026-03-01T06:00:00Z"
    assert api(admin, "PATCH", "/stations/s1", {"line": None}).json()["line"] is None
    assert api(admin, "PATCH", "/stations/s2", {"line": None}).status_code == 404
    with sessions() as session:
        assert session.get_one(Station, "s1").line is None
    changes = [(one.actor, one.detail) for one in told(sessions, "station.")]
    assert changes == [
        ("boss", {"before": None, "after": "line 3"}),
        ("boss", {"before": "line 3", "after": None}),
    ]


def test_a_tokens_text_is_shown_on_one_answer_only(
    admin: httpx.Client, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    made = post(admin, "/admin/tokens", name="cam 1", scope=["upload"], station="s1", days="30")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    (text,) = re.findall(r"pyr_[A-Za-z0-9]{40}", made.text)
    with sessions() as session:
        token = tokens.find(session, text)
        assert token is not None
        assert (token.station, token.created_by) == ("s1", "boss")
        events = str([one.detail for one in session.scalars(select(Event))])
    assert text not in events + caplog.text + admin.get("/admin/tokens").text
    twice = post(admin, "/admin/tokens", name="cam 1", scope=["upload"])
    assert twice.status_code == 422
    assert "There is a token" in twice.text
    assert "a token without a scope" in post(admin, "/admin/tokens", name="x").text.replace(
        "A token", "a token"
    )
    page = admin.get("/admin/tokens").text
    assert "never" in page
    assert "in force" in page
    revoked = post(admin, f"/admin/tokens/{token.id}/revoke", why="the camera was <b>replaced</b>")
    assert revoked.headers["location"] == "/admin/tokens"
    assert post(admin, f"/admin/tokens/{token.id}/revoke", why="again").status_code == 422
    with sessions() as session:
        assert tokens.find(session, text) is None
    assert [one.kind for one in told(sessions, "token.")] == ["token.made", "token.revoked"]


def test_the_api_makes_tokens_and_keeps_no_answer_with_one(admin: httpx.Client, sessions: Sessions) -> None:
    wanted = {"name": "mes", "scopes": ["read", "metrics"], "days": 1}
    headers = {
        "X-Form-Token": form_token(admin),
        "Idempotency-Key": "once-and-for-all",
        "Accept": "application/json",
    }
    made = admin.post("/api/v1/tokens", json=wanted, headers=headers)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    text, id_ = made.json()["text"], made.json()["id"]
    with sessions() as session:
        assert all(text.encode() not in one.body for one in session.scalars(select(Answered)))
    machine = {"Authorization": f"Bearer {text}", "Accept": "application/json"}
    address = admin.base_url
    assert httpx.get(f"{address}/api/v1/products", headers=machine).status_code == 200
    assert httpx.get(f"{address}/api/v1/tokens", headers=machine).status_code == 403
    assert text not in api(admin, "GET", "/tokens").text
    assert api(admin, "POST", f"/tokens/{id_}/revoke", {"why": "tried"}).json()["state"] == "revoked"
    assert api(admin, "POST", f"/tokens/{id_}/revoke", {"why": "tried"}).status_code == 404
    assert httpx.get(f"{address}/api/v1/products", headers=machine).status_code == 401
    assert api(admin, "POST", "/tokens", {"name": "x", "scopes": ["write"]}).status_code == 422
    assert api(admin, "GET", "/tokens?after=nonsense").status_code == 422


def test_an_account_is_opened_changed_and_closed(
    admin: httpx.Client, browser: Browser, sessions: Sessions
) -> None:
    new = {"name": "Ada", "full_name": "Ada <i>Lovelace</i>", "password": FIRST, "role": ["inspector"]}
    short = post(admin, "/admin/people", **{**new, "password": "short"})
    assert short.status_code == 422
    assert "The password has 5 characters" in short.text
    assert 'value="Ada &lt;i&gt;Lovelace&lt;/i&gt;"' in short.text  # what was typed is still there
    assert FIRST not in short.text
    assert post(admin, "/admin/people", **new).status_code == 303
    assert "there is a user &#39;ada&#39; already".capitalize() in post(
        admin, "/admin/people", **new
    ).text.replace("There is a user", "There is a user")
    assert post(admin, "/admin/people", **{**new, "name": "bob", "role": ["boss"]}).status_code == 422
    shown_ = admin.get("/admin/people/ada").text
    assert "has to choose a password" in shown_
    assert "<i>" not in shown_
    changed = post(admin, "/admin/people/ada/roles", role=["auditor"], why="audits now")
    assert (changed.status_code, changed.headers["location"]) == (303, "/admin/people/ada")
    assert post(admin, "/admin/people/ada/roles", role=["auditor"]).status_code == 422  # no reason
    assert post(admin, "/admin/people/ada/password", password="another that was given").status_code == 303
    assert post(admin, "/admin/people/ada/disable", why="left the plant").status_code == 303
    assert "disabled since" in admin.get("/admin/people/ada").text
    assert post(admin, "/admin/people/ada/disable", why="left the plant").status_code == 422
    assert post(admin, "/admin/people/ada/enable", why="is back").status_code == 303
    assert admin.get("/admin/people/eve").status_code == 404
    assert post(admin, "/admin/people/eve/disable", why="who?").status_code == 404
    changes = [one for one in told(sessions, "user.") if one.subject == "ada"]
    assert [(one.kind, one.actor, one.detail.get("why")) for one in changes] == [
        ("user.added", "boss", None),
        ("user.roles_changed", "boss", "audits now"),
        ("user.password_reset", "boss", None),
        ("user.disabled", "boss", "left the plant"),
        ("user.enabled", "boss", "is back"),
    ]
    roles = changes[1].detail
    assert (roles["before"]["roles"], roles["state"]["roles"]) == (["inspector"], ["auditor"])
    assert [one.detail["before"]["disabled"] for one in changes[3:]] == [False, True]
    assert "argon2" not in str([one.detail for one in changes])


def test_the_last_admin_can_not_lock_everybody_out(admin: httpx.Client, account: Callable[..., None]) -> None:
    for path, fields in (("disable", {}), ("roles", {"role": ["viewer"]})):
        refused = post(admin, f"/admin/people/boss/{path}", why="tired", **fields)
        assert refused.status_code == 422
        assert "is the only admin who can log in" in refused.text
    assert api(admin, "POST", "/users/boss/disable", {"why": "tired"}).status_code == 422
    account("deputy", "admin")
    assert post(admin, "/admin/people/boss/roles", role=["viewer"], why="rests").status_code == 303
    assert admin.get("/admin/people").status_code == 403  # at once


def test_accounts_over_the_api(admin: httpx.Client) -> None:
    new = {"name": "ada", "full_name": "Ada Lovelace", "password": FIRST, "roles": ["viewer"]}
    opened = api(admin, "POST", "/users", new)
    assert opened.status_code == 201
    assert {
        "name": "ada",
        "roles": ["viewer"],
        "state": "has to choose a password",
    }.items() <= opened.json().items()
    assert "password" not in set(opened.json())
    assert api(admin, "POST", "/users", new).status_code == 422
    roles = {"roles": ["engineer"], "why": "trains models"}
    assert api(admin, "PUT", "/users/ada/roles", roles).json()["roles"] == ["engineer"]
    assert api(admin, "PUT", "/users/ada/password", {"password": "too short"}).status_code == 422
    assert api(admin, "PUT", "/users/ada/password", {"password": "one more sentence"}).status_code == 200
    assert api(admin, "POST", "/users/ada/disable", {"why": "left"}).json()["state"] == "disabled"
    assert api(admin, "POST", "/users/ada/enable", {"why": "back"}).status_code == 200
    assert [one["name"] for one in api(admin, "GET", "/users").json()["items"]] == ["ada", "boss", "viewer"]
    assert api(admin, "GET", "/users/eve").status_code == 404
    assert api(admin, "GET", "/users/%00").status_code == 404


def test_a_login_is_ended(admin: httpx.Client, browser: Browser, sessions: Sessions) -> None:
    other = browser("viewer")
    page = admin.get("/admin/logins").text
    assert page.count("this browser") == 1
    (address,) = re.findall(r'action="(/admin/logins/[0-9a-f]{64}/end)"', page)
    assert other.get("/").status_code == 200
    assert post(admin, address).headers["location"] == "/admin/logins"
    assert other.get("/").status_code == 303
    assert post(admin, address).status_code == 404
    assert admin.get("/").status_code == 200
    last = told(sessions, "login.ended")[-1]
    assert (last.actor, last.subject) == ("boss", "viewer")
    assert set(last.detail) == {"address", "began_at"}
    assert [one["user"] for one in api(admin, "GET", "/logins").json()["items"]] == ["boss"]
    assert api(admin, "POST", f"/logins/{'0' * 64}/end").status_code == 404
    assert api(admin, "POST", "/logins/nonsense/end").status_code == 422


def test_retention_is_set_signed_held_and_applied(
    admin: httpx.Client, sessions: Sessions, plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = datetime.now(UTC) - timedelta(days=30)
    id_ = uuid7(old)
    plant.accept(id=id_, captured_at=old, received_at=old, lot="L7")
    plant.judge(id_, "ok", judged_at=old)
    rule = {"product": "tile", "verdict": "ok", "maps_days": "10", "why": "storage"}
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "policy,retention")
    assert "takes an electronic signature" in post(admin, "/admin/retention/rules", **rule).text
    assert post(admin, "/admin/retention/rules", **rule, password="a wild guess").status_code == 422
    assert post(admin, "/admin/retention/rules", **rule, password=PASSWORD).status_code == 303
    (set_,) = told(sessions, "retention.policy")
    assert (set_.actor, set_.detail["maps_days"], set_.detail["before"]) == ("boss", 10, None)
    assert set_.detail["signature"]["user"] == "boss"

    assert post(admin, "/admin/retention/holds", lot="L7", why="a complaint").status_code == 303
    assert post(admin, "/admin/retention/holds", lot="L7", why="a complaint").status_code == 422
    assert "Nothing is due." in admin.get("/admin/retention?due=true").text
    assert post(admin, "/admin/retention/holds", lot="L8", why="to come").status_code == 303
    assert "no part has that lot yet" in admin.get("/admin/retention").text
    assert post(admin, "/admin/retention/holds/lift", lot="L7", why="settled").status_code == 422
    lifted = post(admin, "/admin/retention/holds/lift", lot="L7", why="settled", password=PASSWORD)
    assert lifted.status_code == 303

    assert "Due: maps of 1 inspection of tile, ok" in admin.get("/admin/retention?due=true").text
    (due,) = api(admin, "GET", "/retention/due").json()
    assert (due["what"], due["inspections"], due["id"]) == ("maps", 1, None)
    assert post(admin, "/admin/retention/apply").status_code == 422
    applied = post(admin, "/admin/retention/apply", password=PASSWORD)
    assert applied.status_code == 200
    assert "Let go: maps of 1 inspection of tile, ok." in applied.text
    (act,) = told(sessions, "retention.act")
    assert (act.actor, act.detail["signature"]["user"]) == ("boss", "boss")
    assert admin.get(f"/inspections/{id_}/map.png").status_code == 410
    assert api(admin, "POST", "/retention/apply", {"password": PASSWORD}).json() == {"acts": [], "left": []}

    gone = {"product": "tile", "verdict": "ok", "why": "changed our mind", "password": PASSWORD}
    assert post(admin, "/admin/retention/rules/remove", **gone).status_code == 303
    assert told(sessions, "retention.policy")[-1].detail["before"]["maps_days"] == 10
    assert "There is no rule" in admin.get("/admin/retention").text


def test_retention_over_the_api(admin: httpx.Client, plant: Any) -> None:
    plant.inspect("ok")
    rule = {"product": "tile", "images_days": 30, "why": "storage"}
    (set_,) = api(admin, "POST", "/retention/rules", rule).json()["rules"]
    assert {"product": "tile", "verdict": None, "images_days": 30, "by": "boss"}.items() <= set_.items()
    for wrong in (
        {"product": "tyle"},
        {"images_days": 0},
        {"verdict": "great"},
        {"images_days": 9, "rows_days": 8},
    ):
        assert api(admin, "POST", "/retention/rules", {**rule, **wrong}).status_code == 422, wrong
    held = api(admin, "POST", "/retention/holds", {"lot": "L1", "why": "a complaint"}).json()
    assert [one["lot"] for one in held["holds"]] == ["L1"]
    assert api(admin, "POST", "/retention/holds/lift", {"lot": "L2", "why": "x"}).status_code == 422
    assert api(admin, "POST", "/retention/holds/lift", {"lot": "L1", "why": "settled"}).json()["holds"] == []
    removed = api(admin, "POST", "/retention/rules/remove", {"product": "tile", "why": "no"})
    assert removed.json()["rules"] == []
    assert api(admin, "GET", "/retention").json()["signed"] == []


def test_two_who_let_go_at_once_wait_for_each_other(
    admin: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db.leases import lease
    from db.retention.turn import LEASE

    with lease(sessions, LEASE, 60) as mine:
        assert mine
        refused = post(admin, "/admin/retention/apply")
        assert "A worker is letting go what is due right now" in refused.text
        assert api(admin, "POST", "/retention/apply", {}).status_code == 409
    monkeypatch.setattr(retention, "TURN_S", 0.0)
    assert api(admin, "POST", "/retention/apply", {}).status_code == 200


def test_settings_are_shown_with_their_source_and_no_secret(
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    account("boss", "admin")
    secret = tmp_path / "secret"
    secret.write_text("unspeakable-in-a-file")
    monkeypatch.setenv("PYRAMIDION_S3_SECRET_ACCESS_KEY_FILE", str(secret))
    monkeypatch.setenv("PYRAMIDION_S3_ACCESS_KEY_ID", "unspeakable-too")
    monkeypatch.setenv("PYRAMIDION_WEB_LOGIN_HOURS", "11")
    Path("pyramidion.toml").write_text("database_pool_size = 4\n")
    with httpx.Client(base_url=serve(database), timeout=20) as client:
        client.post("/login", data={"name": "boss", "password": PASSWORD})
        text = client.get("/admin/settings").text
        found = {one["name"]: one for one in client.get("/api/v1/settings").json()["settings"]}
        assert "Settings of your own" in client.get("/admin").text
    assert "unspeakable" not in text + str(found)
    sources = {name: (found[name]["value"], found[name]["source"]) for name in found}
    assert sources["s3_secret_access_key"] == ("***", "secret file")
    assert sources["s3_access_key_id"] == ("***", "environment")
    assert sources["web_login_hours"] == ("11.0", "environment")
    assert sources["database_pool_size"] == ("4", "configuration file")
    assert sources["web_port"] == ("8000", "default")
    monkeypatch.setenv("PYRAMIDION_WEB_PORT", "many")
    assert "PYRAMIDION_WEB_PORT='many'" in shown({"Page": WebSettings}).wrong["Page"]


def test_the_overview_says_what_wants_looking_after(
    admin: httpx.Client, sessions: Sessions, plant: Any
) -> None:
    plant.inspect("ok")
    with sessions.begin() as session:
        users.add(session, "bob", "Bob", FIRST, "boss", ["inspector"])
        tokens.make(session, "old one", ["read"], "boss", expires_at=datetime.now(UTC) + timedelta(days=3))
    text = " ".join(admin.get("/admin").text.split())
    for sentence in (
        "! No model judges tile",
        "! Nothing for a day from s1",
        "! Within 30 days ends old one",
        "never used: old one",
        "has to choose a password: 1",
        "! Only boss is admin",
        "all is kept for ever",
    ):
        assert sentence in text, sentence
    assert "No product is trained by a schedule" in admin.get("/admin/schedules").text


def test_only_admins_see_it(browser: Browser) -> None:
    viewer = browser("viewer")
    assert 'href="/admin"' not in viewer.get("/").text
    assert viewer.get("/admin").status_code == 403
    assert api(viewer, "GET", "/products").status_code == 200
    assert api(viewer, "GET", "/stations").status_code == 200
    assert api(viewer, "POST", "/products", {"name": "x"}).status_code == 403
