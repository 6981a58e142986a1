"""Which images a training may look at, and that what is frozen is named the same everywhere."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from db import clock, datasets, golden, models, results, snapshot
from db.golden import StoredImage
from db.ids import uuid7
from db.snapshot import Candidate
from db.tables import Dataset, GoldenSample, GoldenTrial, Review

Accept = Callable[..., list[UUID]]
Sessions = sessionmaker[Session]


@pytest.fixture
def judged(sessions: Sessions, accepted: Accept, new_result: Any, model_version: str) -> Callable[..., UUID]:
    """Accept a part, judge it, and review it in the words given, from old to new."""
    count = 0

    def judge(verdict: str = "ok", *said: str, **changes: Any) -> UUID:
        nonlocal count
        count += 1
        (id_,) = accepted(**{"image_sha256": f"{count:064x}", **changes})
        values = {"score": 0.25, "threshold": 0.5, "model_version": model_version, "error": None}
        with sessions.begin() as session:
            given = {} if verdict == "error" else values
            results.record(session, [new_result(id_, verdict=verdict, **given)])
            at = clock.now(session)
            for second, word in enumerate(said):
                when = at + timedelta(seconds=second)
                session.add(
                    Review(id=uuid7(when), inspection_id=id_, verdict=word, reviewer="ada", created_at=when)
                )
        return id_

    return judge


def newest(sessions: Sessions, station: str = "s1", limit: int = 100) -> list[Candidate]:
    with sessions() as session:
        return snapshot.stretches(session, "tile", [station], limit, limit)[station].newest


def test_what_people_say_decides(sessions: Sessions, judged: Callable[..., UUID]) -> None:
    cases: list[tuple[str, list[str], tuple[bool, str | None] | None]] = [
        # verdict, reviews from old to new; trusted and what speaks against it, None where it is no candidate
        ("ok", [], (False, None)),
        ("ok", ["confirm"], (True, None)),
        ("ok", ["overrule"], (False, "doubted")),
        ("ok", ["inconclusive"], (False, "doubted")),
        ("ok", ["overrule", "confirm"], (True, None)),
        ("ok", ["confirm", "overrule"], (False, "doubted")),
        ("ng", [], None),
        ("ng", ["confirm"], None),
        ("ng", ["inconclusive"], None),
        ("ng", ["overrule"], (True, None)),
        ("ng", ["overrule", "confirm"], None),
        ("inconclusive", [], None),
        ("inconclusive", ["confirm"], None),
        ("error", ["confirm"], None),
    ]
    ids = [judged(verdict, *said) for verdict, said, _ in cases]
    found = {one.id: (one.trusted, one.against) for one in newest(sessions)}
    for id_, (verdict, said, expected) in zip(ids, cases, strict=True):
        assert found.get(id_) == expected, (verdict, said)


def test_the_same_file_as_one_that_is_doubted_is_doubted_as_well(
    sessions: Sessions, judged: Callable[..., UUID]
) -> None:
    twin = judged(image_sha256="d" * 64)
    for verdict, said in [("ok", "overrule"), ("ng", "confirm")]:
        judged(verdict, said, image_sha256="d" * 64)
    assert next(one for one in newest(sessions) if one.id == twin).against == "doubted"


def test_golden_samples_and_their_trials_are_held_out_for_ever(
    sessions: Sessions, judged: Callable[..., UUID]
) -> None:
    there, retired, tried, reviewed = (judged(), judged(), judged(), judged("ng", "overrule"))
    files = {one.id: one.sha256 for one in newest(sessions)}
    with sessions.begin() as session:
        now = clock.now(session)
        for id_, gone in [(there, None), (retired, now), (reviewed, None)]:
            sample = GoldenSample(
                id=id_,
                product="tile",
                station="s1",
                name=str(id_),
                expected="ok",
                image_sha256=files[id_],
                image_bytes=1000,
                image_width=320,
                image_height=240,
                image_format="PNG",
                added_by="ada",
                added_at=now,
                retired_at=gone,
            )
            session.add(sample)
        session.flush()
        session.add(GoldenTrial(inspection_id=tried, sample=there, sent_at=now))
    assert {one.id: one.against for one in newest(sessions)} == dict.fromkeys(files, "golden")


def test_other_images_of_a_golden_sample_s_part_are_held_out(
    sessions: Sessions, judged: Callable[..., UUID]
) -> None:
    taken, again = judged("ng", serial="A7"), judged(serial="A7")
    tests = [judged(serial="TEST") for _ in range(22)]  # no part's name
    with sessions.begin() as session:
        for id_ in (taken, tests[0]):
            image = StoredImage(f"{id_.int:064x}", 1000, 8, 8, "PNG", id_)
            golden.add(session, "tile", "s1", str(id_), "ng", image, "ada")
    found = {one.id: one.against for one in newest(sessions)}
    assert found == {again: "golden"} | dict.fromkeys(tests)


def test_stations_have_their_own_newest_and_oldest(sessions: Sessions, judged: Callable[..., UUID]) -> None:
    ids = [judged(station=f"s{n % 2}", serial=f"{n}", lot="L") for n in range(8)]
    with sessions() as session:
        assert snapshot.stations(session, "tile") == ["s0", "s1"]
        assert snapshot.stations(session, "cube") == []
        found = snapshot.stretches(session, "tile", ["s0", "s1"], 3, 2)
    assert [one.id for one in found["s0"].newest] == [ids[6], ids[4], ids[2]]
    assert [one.id for one in found["s1"].oldest] == [ids[1], ids[3]]
    first = found["s1"].oldest[0]
    assert (first.station, first.serial, first.lot, first.score) == ("s1", "1", "L", 0.25)


def test_a_dataset_is_named_by_its_entries_and_kept_once(sessions: Sessions) -> None:
    entries = [{"sha256": "a" * 64, "part": "train", "id": "1", "group": "serial:Größe"}]
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        name = datasets.keep(session, "tile", entries, {"left_out": {}})
        assert datasets.keep(session, "tile", [dict(reversed(entries[0].items()))], {}) == name
    # The same on every database, machine and Python: it stands in the manifests of models.
    assert name == "1ea48f541fef432bb54d486fb8cbfdc45c1a58fe871551cf6e12b7d0810f4cdb"
    with sessions() as session:
        kept = datasets.find(session, name)
        assert kept is not None
        assert (kept.entries, kept.summary) == (entries, {"left_out": {}})
        assert datasets.digest(kept.entries) == name
        assert session.scalar(select(func.count()).select_from(Dataset)) == 1
