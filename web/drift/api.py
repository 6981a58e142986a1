"""The API of drift and of how production goes."""

import base64
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from db import drift_history, trends
from db.drift_history import Place, Wanted
from db.inspections import require_product
from db.matching import Filter
from db.text import UNKEEPABLE
from web.access import Permission, needs
from web.api import Limit, Listed, api_router
from web.asked import Asked, given
from web.drift import span
from web.drift.pages import SUMMING, USUAL_SHIFTS, By, Days, Time
from web.drift.span import InvalidSpanError
from web.models.api import Product, more
from web.site import Here

router = api_router("drift")
READ = [needs(Permission.READ)]
After = Annotated[str | None, Query(max_length=2000, description="As `next` names it.")]


class Statistic(BaseModel):
    """A value beside its limit."""

    value: float
    limit: float
    p: float | None = None


class Window(BaseModel):
    """What a station's images of a stretch of time looked like beside what its model was trained on."""

    model_config = ConfigDict(from_attributes=True)

    product: str = Field(examples=["tile"])
    station: str = Field(examples=["s1"])
    model_version: str
    starts_at: datetime
    ends_at: datetime
    images: int
    late: int = Field(description="Images that came after it was closed.")
    verdicts: dict[str, int]
    statistics: dict[str, Statistic] = Field(
        description="By name: psi, ks, ng_rate, brightness, ...; empty where the images were too few."
    )
    beyond: list[str] = Field(default_factory=list, description="Statistics that are beyond their limits.")


class Mark(BaseModel):
    """What happened to a product's models."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    what: str = Field(examples=["promoted"])
    who: str
    model: str | None
    why: Any


class Period(BaseModel):
    """What was captured in a period, and what became of it: captured = judged + error + pending."""

    begin: datetime
    end: datetime
    captured: int
    judged: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int
    reviewed_ok: int
    reviewed_ng: int
    escapes: int
    false_rejects: int
    first_pass_yield: float | None = Field(description="Share of ok among what was judged, errors included.")
    false_reject_rate: float | None = Field(description="Of rejected parts that people reviewed.")
    escape_rate: float | None = Field(description="Of accepted parts that people reviewed.")


@router.get("/drift", dependencies=READ)
def list_windows(
    site: Here,
    product: Asked = None,
    station: Asked = None,
    since: Time = None,
    until: Time = None,
    days: Days = None,
    after: After = None,
    limit: Limit = 96,
) -> Listed[Window]:
    """List closed windows, newest first; of the last 7 days unless a range is given."""
    time = span.read(since, until, days)
    wanted = Wanted(given(product), given(station), time.since, time.until)
    with site.reading() as session:
        if wanted.product is not None:
            require_product(session, wanted.product)
        found = drift_history.windows(session, wanted, limit + 1, None if after is None else _place(after))
    items = [Window.model_validate(one) for one in found[:limit]]
    for item, one in zip(items, found, strict=False):
        item.beyond = drift_history.beyond(one)
    # The range as it is now, so that it is the same on each page.
    asked = {
        "product": wanted.product,
        "station": wanted.station,
        "since": time.since.isoformat(),
        "until": time.until.isoformat(),
        "limit": limit,
    }
    last = _cursor(drift_history.place(found[limit - 1])) if len(found) > limit else None
    return Listed(items=items, next=more("/drift", asked, last))


@router.get("/drift/marks", dependencies=READ)
def list_marks(
    site: Here, product: Product, since: Time = None, until: Time = None, days: Days = None
) -> list[Mark]:
    """Tell when a product's models were trained and promoted, oldest first."""
    time = span.read(since, until, days)
    with site.reading() as session:
        require_product(session, product)
        found = drift_history.marks(session, product, time.since, time.until)
    return [Mark.model_validate(one) for one in found]


@router.get("/trends", dependencies=READ)
def list_periods(
    site: Here,
    product: Asked = None,
    station: Asked = None,
    by: By = "hour",
    zone: Asked = None,
    shifts: Asked = None,
    since: Time = None,
    until: Time = None,
    days: Days = None,
) -> list[Period]:
    """Sum up hours, shifts or days: counts, first-pass yield, how often reviews overrule; oldest first.

    Of the last 24 hours unless a range is given.
    """
    time = span.read(since, until, days, usual=1)
    place = trends.read_zone(given(zone) or "UTC")
    starts = trends.read_shifts(given(shifts) or USUAL_SHIFTS)
    wanted = Filter(product=given(product), station=given(station), since=time.since, until=time.until)
    with SUMMING, site.reading() as session:
        if wanted.product is not None:
            require_product(session, wanted.product)
        periods = trends.trend(session, wanted, by, place, starts)
    return [Period(begin=one.begin, end=one.end, **one.figures.as_dict()) for one in periods]


def _cursor(place: Place) -> str:
    text = json.dumps([place[0].isoformat(), *place[1:]])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    """Read what _cursor wrote; raises InvalidSpanError."""
    wrong = InvalidSpanError("`after` is not what `next` named: begin with the first page again")
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, *others = json.loads(base64.b64decode(padded, altchars="-_", validate=True))
        begin = datetime.fromisoformat(at)
        product, station, model = others
    except (ValueError, TypeError, RecursionError):
        raise wrong from None
    if begin.tzinfo is None or any(not isinstance(one, str) or UNKEEPABLE.search(one) for one in others):
        raise wrong
    return begin, product, station, model
