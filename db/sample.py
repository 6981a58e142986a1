"""A random sample of what was judged, without reading all of it."""

import random
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger.released import IMAGE, MAP, is_let_go
from db.tables import Result


def judged(session: Session, number: int) -> list[UUID]:
    """Give up to `number` inspections that a model has judged, spread over the time that the history spans.

    What has no image or map any more, since retention let it go, is not drawn.

    Each is drawn with the probability of the pause before it: a busy hour is not drawn more often than a
    quiet one. Fewer are given where fewer there are, or where draws meet.
    """
    let_go = is_let_go(IMAGE, Result.inspection_id) | is_let_go(MAP, Result.inspection_id)
    scored = select(Result.inspection_id).where(Result.model_version.is_not(None), ~let_go)
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
