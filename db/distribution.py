"""How a product's scores lie around the threshold, as seen when a part was judged."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import one_by_one
from db.golden import is_trial
from db.matching import Filter, newest_ids
from db.tables import Inspection, Result

PARTS = 1_000  # before a part that are looked at: enough for a shape, and read in a moment


@dataclass(frozen=True)
class Scores:
    """Scores of parts that were judged ok and ng."""

    ok: list[float]
    ng: list[float]


def scores_before(session: Session, part: Inspection, model_version: str, most: int = PARTS) -> Scores:
    """Give the scores among the `most` parts of the same product just before one.

    Only those of one model, whose scores can be compared, and without golden samples.
    """
    ids = newest_ids(session, Filter(product=part.product), after=part.id).limit(most).subquery("ids")
    query = (
        select(Result.verdict, Result.score)
        .select_from(ids)
        .join(Result, Result.inspection_id == ids.c.id)
        .where(Result.model_version == model_version, ~is_trial(Result.inspection_id))
    )
    found = Scores([], [])
    with one_by_one(session):
        for verdict, score in session.execute(query):
            if verdict in {"ok", "ng"} and score is not None:
                (found.ok if verdict == "ok" else found.ng).append(score)
    return found
