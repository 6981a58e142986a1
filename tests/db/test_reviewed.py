"""Which parts people have found bad."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from db import results, reviewed
from db.ids import uuid7
from db.tables import Review

Accept = Callable[..., list[UUID]]


def _review(inspection_id: UUID, verdict: str, at: datetime) -> Review:
    return Review(id=uuid7(at), inspection_id=inspection_id, verdict=verdict, reviewer="ada", created_at=at)


def test_the_newest_review_says_what_is_bad(
    sessions: sessionmaker[Session],
    accepted: Accept,
    new_result: Any,
    new_inspection: Any,
    model_version: str,
) -> None:
    noon = new_inspection().captured_at
    cases = [  # verdict, reviews from old to new, whether it is a defect
        ("ng", ["confirm"], True),
        ("ng", [], False),
        ("ng", ["overrule"], False),
        ("ng", ["overrule", "confirm"], True),
        ("ng", ["confirm", "inconclusive"], False),
        ("ok", ["overrule"], True),
        ("ok", ["confirm"], False),
        ("ok", ["overrule", "confirm"], False),
        ("inconclusive", ["confirm"], False),
        ("error", ["confirm"], False),
    ]
    expected = []
    for number, (verdict, said, bad) in enumerate(cases):
        sha256 = f"{number:064x}"
        (id_,) = accepted(image_sha256=sha256)
        judged = {"score": 1.0, "threshold": 1.0, "model_version": model_version, "error": None}
        with sessions.begin() as session:
            values = {} if verdict == "error" else judged
            results.record(session, [new_result(id_, verdict=verdict, **values)])
            for second, word in enumerate(said):
                session.add(_review(id_, word, noon + timedelta(seconds=second)))
        expected += [reviewed.Defect(id_, sha256)] * bad
    with sessions() as session:
        assert reviewed.defects(session, "tile", 100) == expected[::-1]
        assert reviewed.defects(session, "tile", 2) == expected[:-3:-1]
        assert reviewed.defects(session, "gear", 100) == []


def test_the_same_picture_is_no_second_defect(
    sessions: sessionmaker[Session],
    accepted: Accept,
    new_result: Any,
    new_inspection: Any,
    model_version: str,
) -> None:
    noon = new_inspection().captured_at
    first, second = accepted(2, image_sha256="d" * 64)
    judged = {"verdict": "ng", "score": 2.0, "threshold": 1.0, "model_version": model_version, "error": None}
    with sessions.begin() as session:
        results.record(session, [new_result(id_, **judged) for id_ in (first, second)])
        session.add_all([_review(id_, "confirm", noon) for id_ in (first, second)])
    with sessions() as session:
        assert reviewed.defects(session, "tile", 100) == [reviewed.Defect(second, "d" * 64)]
