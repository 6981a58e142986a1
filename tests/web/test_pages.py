"""The list and the page of one inspection."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from db import reviews
from db.retention import acts, policy
from db.settings import DatabaseSettings

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def ids_on(text: str) -> list[str]:
    return re.findall(r'<a href="/inspections/([0-9a-f-]{36})">', text)


def counts_on(text: str) -> dict[str, int]:
    found = re.findall(r"<b>([\d\N{NARROW NO-BREAK SPACE}]+)</b> (\w+)</a>", text)
    return {name: int(re.sub(r"\D", "", count)) for count, name in found}


def test_an_empty_database_says_what_to_do(page: httpx.Client) -> None:
    answer = page.get("/")
    assert answer.status_code == 200
    assert "pyramidion capture" in answer.text


def test_the_list_shows_the_newest_first_with_counts(page: httpx.Client, plant: Any) -> None:
    made = [plant.inspect(verdict) for verdict in ("ok", "ng", "inconclusive", "error", "ok")]
    made.append(plant.accept())
    answer = page.get("/")
    assert ids_on(answer.text) == [str(id_) for id_ in reversed(made)]
    assert counts_on(answer.text) == {
        "accepted": 6,
        "ok": 2,
        "ng": 1,
        "inconclusive": 1,
        "error": 1,
        "pending": 1,
    }
    assert "the worker died three times on this image" in answer.text
    assert "2026-03-01 06:00:04.000" in answer.text


def test_each_filter_narrows_the_list_and_stands_in_the_form(page: httpx.Client, plant: Any) -> None:
    other = plant.accept(product="cube", station="s 2&3", lot="L/9", serial="C#1")
    plant.inspect("ok")
    bad = plant.inspect("ng")
    for name, value in {"product": "cube", "station": "s 2&3", "lot": "L/9", "serial": "C#1"}.items():
        answer = page.get("/", params={name: value})
        assert ids_on(answer.text) == [str(other)]
        assert f'name="{name}" value="{value.replace("&", "&amp;")}"' in answer.text
    assert ids_on(page.get("/?verdict=pending").text) == [str(other)]
    assert ids_on(page.get("/?verdict=ng&product=tile&station=&lot=&serial=").text) == [str(bad)]
    assert counts_on(page.get("/?verdict=ng&product=tile").text)["accepted"] == 2
    nothing = page.get("/?product=tile&serial=C%231")
    assert ids_on(nothing.text) == []
    assert "No inspection matches" in nothing.text


def test_paging_shows_every_inspection_once_while_new_ones_arrive(page: httpx.Client, plant: Any) -> None:
    wanted = [str(plant.accept(lot="big lot & co")) for _ in range(103)]
    plant.accept(lot="other")
    address, seen = "/?lot=big+lot+%26+co", []
    for _ in range(3):
        answer = page.get(address)
        seen += ids_on(answer.text)
        plant.accept(lot="big lot & co")
        older = re.search(r'<a href="([^"]+)" rel="next">', answer.text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert address == ""
    assert seen == wanted[::-1]


def test_filters_that_make_no_sense_are_refused(page: httpx.Client) -> None:
    for query, sentence in {
        "verdict=bad": "'verdict' can't be 'bad': it should be 'ok', 'ng', 'inconclusive', 'error' or",
        "prodct=tile": "no filter 'prodct'",
        "lot=a&lot=b": "'lot' is given twice",
        "lot=%00": "no name holds NUL",
        "serial=" + "x" * 256: "at most 255 characters",
        "after=yesterday": "'after' can't be 'yesterday': it should be a valid UUID",
        f"after={uuid4()}&before={uuid4()}": "give one of the two",
        "since=2026": "'since' can't be '2026': a time begins with a date",
        "until=0001-01-01T00:00:00%2B10:00": "there is no such time in UTC",
        "since=2026-03-02&until=2026-03-01": "nothing lies between",
        "period=today&since=2026-03-01": "period stands in place of since and until",
        "min_score=2&max_score=1": "min_score 2.0 is above max_score 1.0",
        "max_defect_area=nan": "it should be a finite number",
        "late=perhaps": "it should be a valid boolean",
        "view=wall": "it should be 'table' or 'sheet'",
    }.items():
        answer = page.get(f"/?{query}")
        assert answer.status_code == 422
        assert sentence in answer.text.replace("&#39;", "'")


def test_a_hostile_filter_is_only_a_value(page: httpx.Client, plant: Any) -> None:
    plant.inspect("ok")
    for hostile in ("' OR 1=1 --", "%", "\\", "\N{GRINNING FACE}", "\N{REPLACEMENT CHARACTER}", HOSTILE):
        answer = page.get("/", params={"serial": hostile, "product": hostile})
        assert answer.status_code == 200
        assert ids_on(answer.text) == []
        assert "<script" not in answer.text


def test_a_hostile_serial_is_shown_as_text(page: httpx.Client, plant: Any) -> None:
    id_ = plant.accept(serial=HOSTILE, lot=HOSTILE, station=HOSTILE, line=HOSTILE)
    plant.judge(id_, "error", worker=HOSTILE, error=HOSTILE)
    for address in ("/", f"/inspections/{id_}"):
        text = page.get(address).text.replace('<script type="module" src="/static/inspections.js">', "")
        assert "<script" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{7*7}}" in text
    link = re.search(r'<a href="(/\?serial=[^"]+)"', page.get(f"/inspections/{id_}").text)
    assert link
    assert ids_on(page.get(link[1].replace("&amp;", "&")).text) == [str(id_)]


def test_an_inspection_shows_all_its_facts(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ng", line="L2")
    text = page.get(f"/inspections/{id_}").text
    facts = ["ng", "0.8000", "0.2000", plant.model, "worker-7", "T-0001", "L1", "tile", "s1", "L2", str(id_)]
    facts += [
        "2026-03-01 06:00:00.000",
        "2026-03-01 06:01:00.000",
        "12.5",
        "30 \N{MULTIPLICATION SIGN} 20",
        "PNG, 160",
    ]
    facts += ["its hash is right", f"/inspections/{id_}/overlay.png", f"/inspections/{id_}/view.png"]
    assert [fact for fact in facts if fact not in text] == []


def test_a_review_is_shown_with_all_of_its_signature(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ng")
    signature = {
        "user": "ada",
        "name": "Ada <b>",
        "at": "2026-03-01T06:00:00Z",
        "meaning": "review: overrule",
    }
    with plant.sessions.begin() as session:
        reviews.record(session, id_, "overrule", "ada", "lighting", "reflex", signature)
    text = page.get(f"/inspections/{id_}").text
    assert "overrule by ada (lighting): reflex; signed by Ada &lt;b&gt; (ada) at 2026-03-01T06:00:00Z" in text
    assert "meaning review: overrule" in text


def test_a_pending_inspection_says_how_long_it_waits(page: httpx.Client, plant: Any) -> None:
    id_ = plant.accept()
    text = page.get(f"/inspections/{id_}").text
    assert "No verdict yet" in text
    assert "in the queue since 2026-03-01 06:00:00.000" in text
    assert "overlay.png" not in text


def test_an_inspection_that_failed_says_why(page: httpx.Client, plant: Any) -> None:
    text = page.get(f"/inspections/{plant.inspect('error')}").text
    assert "the worker died three times on this image" in text
    assert "overlay.png" not in text


def test_unknown_addresses_are_answered_with_a_sentence(page: httpx.Client) -> None:
    missing = uuid4()
    for address, sentence in {
        f"/inspections/{missing}": f"There is no inspection {missing}",
        f"/inspections/{missing}/image": f"There is no inspection {missing}",
        "/inspections/abc": "There is nothing with the id 'abc'",
        "/inspections/..%2f..%2fetc%2fpasswd": "no such page",
        "/nowhere": "no such page",
    }.items():
        answer = page.get(address)
        assert answer.status_code == 404
        assert sentence in answer.text.replace("&#39;", "'")
    assert page.post("/").status_code == 405


@pytest.mark.parametrize(("harm", "sentence"), [("removed", "was removed"), ("altered", "was altered")])
def test_a_lost_or_altered_image_is_said_plainly(
    page: httpx.Client, plant: Any, database: DatabaseSettings, harm: str, sentence: str
) -> None:
    id_ = plant.inspect("ng")
    (blob,) = (file for file in (database.home / "images").rglob("*") if file.is_file())
    if harm == "removed":
        blob.unlink()
    else:
        blob.chmod(0o600)
        blob.write_bytes(b"something else")
    answer = page.get(f"/inspections/{id_}")
    assert answer.status_code == 200
    assert sentence in answer.text
    assert "0.8000" in answer.text  # the facts are still there
    for picture in ("image", "view.png", "overlay.png"):
        answer = page.get(f"/inspections/{id_}/{picture}")
        assert answer.status_code == {"removed": 404, "altered": 502}[harm]
        assert sentence in answer.text


def test_an_image_that_does_not_decode_is_said_plainly(page: httpx.Client, plant: Any) -> None:
    id_ = plant.accept(data=b"\x89PNG\r\n\x1a\n and then nothing")
    assert "can&#39;t be decoded" in page.get(f"/inspections/{id_}").text
    assert page.get(f"/inspections/{id_}/view.png").status_code == 404
    assert page.get(f"/inspections/{id_}/image").content.startswith(b"\x89PNG")


def test_what_retention_let_go_is_said_to_be_gone(page: httpx.Client, plant: Any) -> None:
    kept, gone = plant.inspect("ng"), plant.inspect("ok")
    terms = policy.Terms(images_days=1, maps_days=2)
    with plant.sessions.begin() as session:
        policy.set_rule(session, "tile", "ok", terms, "engineer", "storage")
    done = acts.apply(plant.sessions.kw["bind"], plant.store, "retention", archive=False)
    assert [act.what for act in done] == ["images", "maps"]
    answer = page.get(f"/inspections/{gone}")
    assert answer.status_code == 200
    assert "The image is no longer kept." in answer.text
    assert "The anomaly map is no longer kept." in answer.text
    assert "overlay.png" not in answer.text
    for part in ("image", "view.png", "map.png", "overlay.png"):
        refused = page.get(f"/inspections/{gone}/{part}")
        assert refused.status_code == 410
        assert "Retention let the" in refused.text
        assert page.get(f"/inspections/{kept}/{part}").status_code == 200
