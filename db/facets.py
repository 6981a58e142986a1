"""What the inspections that match a filter are made of: how many of each product, lot, verdict and so on."""

from dataclasses import dataclass

from sqlalchemy import func, literal, select, union_all
from sqlalchemy.orm import Session

from db.engine import one_by_one
from db.matching import PENDING, Filter, newest_ids
from db.tables import Inspection, Result

NAMES = ("product", "line", "station", "lot", "verdict", "model_version")
COUNTED = 10_000  # the newest matches: of millions, more would take longer than a page may
VALUES = 20  # of each name, the most frequent


@dataclass(frozen=True)
class Facets:
    """`values` holds, by name, the most frequent values and their counts, a missing one as None.

    `counted` matches were looked at; `complete` says that there are no others. `more` holds, by name, how
    many further values there are.
    """

    counted: int
    complete: bool
    values: dict[str, dict[str | None, int]]
    more: dict[str, int]


def facets(session: Session, wanted: Filter, most: int = COUNTED) -> Facets:
    """Count the newest `most` matches by each name; `pending` is the verdict of those that have none."""
    ids = newest_ids(session, wanted).limit(most + 1).cte("ids")
    of_inspection = (Inspection.product, Inspection.line, Inspection.station, Inspection.lot)
    verdict = func.coalesce(Result.verdict, PENDING).label("verdict")
    newest = (
        select(*of_inspection, verdict, Result.model_version)
        .select_from(ids)
        .join(Inspection, Inspection.id == ids.c.id)
        .join(Result, Result.inspection_id == ids.c.id, isouter=True)
        .cte("newest")
    )
    parts = [
        select(
            literal(name).label("name"), newest.c[name].label("value"), func.count().label("number")
        ).group_by(newest.c[name])
        for name in NAMES
    ]
    found: dict[str, dict[str | None, int]] = {name: {} for name in NAMES}
    with one_by_one(session):
        for name, value, number in session.execute(union_all(*parts)):
            found[name][value] = number
    counted = sum(found["verdict"].values())
    ranked = {
        name: sorted(values.items(), key=lambda one: (-one[1], one[0] or ""))
        for name, values in found.items()
    }
    return Facets(
        counted=min(counted, most),
        complete=counted <= most,
        values={name: dict(values[:VALUES]) for name, values in ranked.items()},
        more={name: max(0, len(values) - VALUES) for name, values in ranked.items()},
    )
