"""How a model's scores lie around the threshold, as seen when a part was judged."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import one_by_one
from db.golden import is_trial
from db.tables import Result

PARTS: Final = 500  # before a part that are looked at: enough for a shape, and read in a moment


@dataclass(frozen=True)
class Scores:
    """Scores of parts that were judged ok and ng."""

    ok: list[float]
    ng: list[float]


def scores_before(session: Session, part: UUID, model_version: str, most: int = PARTS) -> Scores:
    """Give the scores among the `most` parts just before one that the same model judged.

    Scores of another one can't be compared. Without golden samples.
    """
    query = (
        select(Result.verdict, Result.score)
        .where(Result.inspection_id < part, Result.model_version == model_version)
        .where(~is_trial(Result.inspection_id))
        .order_by(Result.inspection_id.desc())
        .limit(most)
    )
    found = Scores([], [])
    with one_by_one(session):
        for verdict, score in session.execute(query):
            if verdict in {"ok", "ng"} and score is not None:
                (found.ok if verdict == "ok" else found.ng).append(score)
    return found
