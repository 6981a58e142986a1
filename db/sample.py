"""A random sample of what was judged, without reading all of it."""

import random
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import Result


def judged(session: Session, number: int) -> list[UUID]:
    """Give up to `number` inspections that a model has judged, spread over the time that the history spans.

    Each is drawn with the probability of the pause before it: a busy hour is not drawn more often than a
    quiet one. Fewer are given where fewer there are, or where draws meet.
    """
    scored = select(Result.inspection_id).where(Result.model_version.is_not(None))
    few = list(session.scalars(scored.order_by(Result.inspection_id).limit(number + 1)))
    if len(few) <= number:
        return few
    first = few[0]
    last = session.scalars(scored.order_by(Result.inspection_id.desc()).limit(1)).one()
    found: set[UUID] = set()
    for _ in range(4 * number):
        point = UUID(int=random.randint(first.int, last.int))  # noqa: S311  # a sample, not a secret
        drawn = session.scalar(
            scored.where(Result.inspection_id >= point).order_by(Result.inspection_id).limit(1)
        )
        if drawn is not None:
            found.add(drawn)
        if len(found) == number:
            break
    return sorted(found)
