"""`pyramidion models` as an engineer types it, who asks which model judges and what a new one says."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from db import datasets, events, inspections, models, policies, promotion, results, reviews, runs, shadow
from db.ids import uuid7
from db.imagestore import key_of
from db.policies import Rules
from db.results import NewMap, NewResult
from db.tables import Event
from pyramidion.cli import app
from pyramidion.context import Context, open_context
from pyramidion.errors import known_errors

NOW = datetime.now(UTC)


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), value).save(out, "PNG")
    return out.getvalue()


def manifest(weights: str, **more: Any) -> str:
    calibration = {"threshold": 1.0, "target_rate": 0.005, "images": 199, "note": "rank 199 of 199"}
    training = {"epochs": 7, "images": 100}
    network = {"preset": "pyramid", "size": [64, 64]}
    content = {
        "calibration": calibration,
        "training": training,
        "network": network,
        "weights_sha256": weights,
    }
    return json.dumps({**content, **more})


@pytest.fixture
def type_(home: object, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def context(home: object) -> Context:
    return open_context()


@pytest.fixture
def versions(context: Context) -> tuple[str, str]:
    """The champion of `tile`, and its challenger, which a run made and the gate let through."""
    weights = hashlib.sha256(b"weights").hexdigest()
    context.store.put(b"weights")
    with context.sessions.begin() as session:
        models.ensure_product(session, "tile")
        policies.change(session, "tile", Rules(shadow_share=1.0), "ada")
        summary = {"stations": {"s1": {"train": 90, "hold_out": 10}}, "left_out": {"doubted": 2}}
        dataset = datasets.keep(session, "tile", [{"id": "1", "sha256": "a" * 64}], summary)
        texts = manifest(weights), manifest(weights, dataset=dataset)
        ids = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        models.register(session, ids[0], "tile", texts[0], weights, 50, "from a folder")
        models.set_champion(session, "tile", ids[0], "ada", "the first")
        runs.request(session, "tile", "schedule", "clock")
        held = runs.take(session, 30, 3)
        assert held is not None
        models.register(session, ids[1], "tile", texts[1], weights, 100, "from the line")
        runs.succeed(session, held, ids[1], "trained")
        said = {"passed": True, "said": ["rejects 0 of 40 good parts"], "champion": ids[0], "evidence": {}}
        events.record(session, "model.examined", "trainer", "tile", {"model": ids[1], "run": "r", **said})
        models.set_challenger(session, "tile", ids[1], "trainer", said)
    return ids[0], ids[1]


@pytest.fixture
def scored(context: Context, versions: tuple[str, str]) -> list[UUID]:
    """Four parts: one that both accept, one that the challenger rejects, one that only it accepts and people
    call bad, and one of which its map is not kept.
    """
    champion, challenger = versions
    said = [("ok", "ok"), ("ok", "ng"), ("ng", "ok"), ("ok", "ng")]
    ids = [accept(context, number) for number in range(4)]
    with context.sessions.begin() as session:
        judged = [say(id_, pair[0], champion) for id_, pair in zip(ids, said, strict=True)]
        results.record(session, judged)
        one = models.challenger(session, "tile")
        assert one is not None
        rescored = [say(id_, pair[1], challenger) for id_, pair in zip(ids, said, strict=True)]
        rescored[3] = replace(rescored[3], map=None)
        assert shadow.record(session, one, rescored)
        reviews.record(session, ids[2], "confirm", "ada")
    return ids


def accept(context: Context, number: int) -> UUID:
    data = png(40 * number)
    sha256 = hashlib.sha256(data).hexdigest()
    context.store.put(data)
    id_ = uuid7(NOW)
    image = (sha256, key_of(sha256), len(data), 8, 8, "PNG")
    with context.sessions.begin() as session:
        new = inspections.NewInspection(id_, "tile", "s1", None, None, None, NOW, NOW, *image)
        inspections.accept(session, [new])
    return id_


def say(id_: UUID, verdict: str, model: str) -> NewResult:
    data = png(200)
    map_ = NewMap(8, 0.0, 2.0, 8, 8, data, hashlib.sha256(data).hexdigest())
    return NewResult(id_, verdict, 0.9, 1.0, model, "w1", 1, NOW, {}, [], None, map_)


def refusal(answer: Result) -> str:
    assert isinstance(answer.exception, known_errors()), answer.output
    return str(answer.exception)


def aliases(context: Context) -> tuple[str | None, str | None]:
    with context.reading() as session:
        champion, challenger = models.champion(session, "tile"), models.challenger(session, "tile")
    return champion.id if champion else None, challenger.model_version if challenger else None


def promotions(session: Session) -> list[Event]:
    return list(session.scalars(select(Event).where(Event.kind == models.PROMOTED).order_by(Event.id)))


def test_models_are_listed_with_the_part_that_they_play(
    type_: Callable[..., Result], context: Context, versions: tuple[str, str], scored: list[UUID]
) -> None:
    listed = json.loads(type_("models", "--json").stdout)
    plays = {one["version"]: (one["champion"], one["challenger"]) for one in listed}
    assert plays == {versions[0]: (True, False), versions[1]: (False, True)}
    shown = type_("models").stdout
    assert f"{versions[1][:12]}  challenger" in shown
    assert f"{versions[0][:12]}  champion" in shown
    assert (
        f"{versions[1][:12]} of tile has scored 4 images beside the champion, and is decided on after 200"
        in shown
    )
    with context.sessions.begin() as session:
        policies.change(session, "tile", Rules(shadow_images=4), "ada")
        (one,) = shadow.challengers(session)
        assert promotion.settle(session, one) is not None
    assert "and waits for a person: the product's policy leaves" in type_("models").stdout
    assert {
        one["shadow"] and one["shadow"]["images"] for one in json.loads(type_("models", "--json").stdout)
    } == {
        None,
        4,
    }


def test_two_models_are_compared_by_all_that_is_known(
    type_: Callable[..., Result], versions: tuple[str, str], scored: list[UUID]
) -> None:
    found = json.loads(type_("models", "compare", "tile", "--json").stdout)
    assert [one["plays"] for one in found["models"]] == ["champion", "challenger"]
    assert [one["version"] for one in found["models"]] == list(versions)
    assert [one["training_images"] for one in found["models"]] == [50, 100]
    assert found["models"][1]["dataset_summary"]["left_out"] == {"doubted": 2}
    assert found["models"][1]["gate"]["said"] == ["rejects 0 of 40 good parts"]
    assert found["shadow"]["verdicts"] == [
        {"champion": "ng", "challenger": "ok", "images": 1},
        {"champion": "ok", "challenger": "ng", "images": 2},
        {"champion": "ok", "challenger": "ok", "images": 1},
    ]
    assert (found["shadow"]["disagreements"], found["shadow"]["called_bad_and_missed"]) == (3, 1)
    turned = json.loads(type_("models", "compare", "tile", versions[1], versions[0], "--json").stdout)
    assert turned["shadow"] == found["shadow"]
    shown = type_("models", "compare", "tile").stdout
    for words in ("false rejects", "at most 0.50%", "64 x 64", "passed", "rejects 0 of 40 good parts"):
        assert words in shown
    assert "of 1 parts that people call bad it misses 1" in shown
    assert "with itself" in refusal(type_("models", "compare", "tile", versions[0]))
    assert type_("models", "withdraw", "tile", "--why", "no better").exit_code == 0
    assert "has no challenger" in refusal(type_("models", "compare", "tile"))
    assert json.loads(type_("models", "compare", "tile", versions[1][:9], "--json").stdout)["shadow"]


def test_disagreements_are_listed_and_drawn_with_both_maps(
    type_: Callable[..., Result],
    context: Context,
    versions: tuple[str, str],
    scored: list[UUID],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "maps"
    answer = type_("models", "disagreements", "tile", "--save-maps", str(folder), "--json")
    found = json.loads(answer.stdout)
    assert [UUID(one["inspection_id"]) for one in found] == sorted(scored[1:], reverse=True)
    by_id = {UUID(one["inspection_id"]): one for one in found}
    assert by_id[scored[2]]["called"] == "bad"
    assert (by_id[scored[1]]["champion"], by_id[scored[1]]["challenger"]) == ("ok", "ng")
    both = by_id[scored[1]]["pictures"]
    assert set(both) == {"champion", "challenger"}
    for file in both.values():
        with Image.open(file) as picture:
            assert picture.width > 2 * picture.height
    assert set(by_id[scored[3]]["pictures"]) == {"champion"}
    assert "challenger's map is not kept" in answer.stderr
    shown = type_("models", "disagreements", "tile", "--limit", "1").stdout
    assert "... and 2 more" in shown
    assert "3 disagreements" in shown
    assert f"{max(scored[1:])} s1: " in shown
    lost = hashlib.sha256(png(40)).hexdigest()
    context.store.remove([lost], older_than=datetime.now(UTC) + timedelta(days=1))
    answer = type_("models", "disagreements", "tile", "--save-maps", str(folder), "--json")
    drawn = {UUID(one["inspection_id"]): set(one["pictures"]) for one in json.loads(answer.stdout)}
    assert drawn == {scored[1]: set(), scored[2]: {"champion", "challenger"}, scored[3]: {"champion"}}
    assert f"{scored[1]}: image {lost} is not in" in answer.stderr


def test_a_model_s_lineage_goes_back_to_its_images(
    type_: Callable[..., Result], context: Context, versions: tuple[str, str]
) -> None:
    promoted = type_("models", "promote", "tile", "--challenger", "--why", "fewer false rejects")
    assert promoted.exit_code == 0
    assert type_("models", "rollback", "tile", "--why", "after all not").exit_code == 0
    found = json.loads(type_("models", "lineage", "tile", versions[1][:10], "--json").stdout)
    assert found["dataset_summary"]["stations"] == {"s1": {"train": 90, "hold_out": 10}}
    assert (found["run"]["why"], found["run"]["requested_by"]) == ("schedule", "clock")
    assert [one["kind"] for one in found["events"]] == [
        "model.examined",
        "model.challenger",
        "model.promoted",
        "model.promoted",
    ]
    reigns = [(one["version"], one["rolled_back"], one["until"] is None) for one in found["champions"]]
    first, second = versions
    assert reigns == [(first, False, False), (second, False, False), (first, True, True)]
    shown = type_("models", "lineage", "tile").stdout
    assert f"model {first} of tile" in shown
    assert "by no run" in shown
    assert "(rolled back): after all not <- this one" in shown
    assert "s1 train 90, hold_out 10" in type_("models", "lineage", "tile", second).stdout


def test_the_challenger_is_promoted_with_what_it_said(
    type_: Callable[..., Result], context: Context, versions: tuple[str, str], scored: list[UUID]
) -> None:
    assert "name a version, or the challenger" in refusal(type_("models", "promote", "tile"))
    both = ("models", "promote", "tile", versions[1], "--challenger")
    assert "name a version, or the challenger" in refusal(type_(*both))
    assert aliases(context) == versions
    assert "workers take it up" in type_("models", "promote", "tile", "--challenger").stdout
    assert aliases(context) == (versions[1], None)
    with context.reading() as session:
        event = promotions(session)[-1]
    assert (event.detail["evidence"]["images"], event.detail["evidence"]["disagreements"]) == (4, 3)
    assert "has no challenger" in refusal(type_("models", "promote", "tile", "--challenger"))
    assert "unknown product 'nut'" in refusal(type_("models", "promote", "nut", "--challenger"))


def test_a_challenger_is_withdrawn_with_a_reason(
    type_: Callable[..., Result], context: Context, versions: tuple[str, str]
) -> None:
    assert type_("models", "withdraw", "tile").exit_code == 2
    assert "is no challenger" in type_("models", "withdraw", "tile", "--why", "blurred").stdout
    assert aliases(context) == (versions[0], None)
    assert "has no challenger" in refusal(type_("models", "withdraw", "tile", "--why", "blurred"))
    assert "why blurred" in type_("audit", "events", "--kind", "model.withdrawn").stdout


@pytest.mark.parametrize("what", ["weights", "manifest", "lost"])
def test_a_model_that_is_not_what_it_was_is_not_let_judge(
    type_: Callable[..., Result], context: Context, versions: tuple[str, str], what: str
) -> None:
    file = Path(context.settings.home) / "images" / key_of(hashlib.sha256(b"weights").hexdigest())
    if what == "weights":
        file.chmod(0o600)
        file.write_bytes(b"heavier")
    elif what == "lost":
        file.unlink()
    else:
        with context.engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER model_versions_no_update")
            connection.exec_driver_sql("UPDATE model_versions SET manifest = '{}' || manifest")
    for words in (("promote", "tile", "--challenger"), ("promote", "tile", versions[1])):
        assert refusal(type_("models", *words))
        assert aliases(context) == versions
    with context.sessions.begin() as session:
        models.set_champion(session, "tile", versions[1], "ada", "past the command")
    assert refusal(type_("models", "rollback", "tile"))
    assert aliases(context) == (versions[1], None)
