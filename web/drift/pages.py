"""Drift: scores, verdicts and looks of each station's images over time, and how production goes."""

import threading
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import HTMLResponse

from db import alarms, drift_history, models, trends
from db.drift_history import Wanted
from db.inspections import require_product
from db.matching import Filter
from db.tables import Station
from web.access import Permission, needs
from web.asked import Asked, given
from web.drift import charts, span
from web.drift.plotting import script
from web.site import Here

router = APIRouter(include_in_schema=False)
READ = [needs(Permission.READ)]
GET = ["GET", "HEAD"]
ROWS = 48  # windows of a page of the table: half a day of quarters of an hour
MARKS = 200  # the newest, that are drawn and listed
# Counting a long time keeps a processor busy for seconds, which scoring wants as well.
SUMMING = threading.BoundedSemaphore(2)
Time = Annotated[str | None, Query(max_length=40)]
Days = Annotated[int | None, Query(ge=1, le=span.LONGEST_DAYS)]
Page = Annotated[int, Query(ge=0, le=1000)]
By = Annotated[Literal["hour", "shift", "day"], Query()]


@router.api_route("/drift", methods=GET, dependencies=READ)
def drift_page(
    request: Request,
    site: Here,
    product: Asked = None,
    station: Asked = None,
    since: Time = None,
    until: Time = None,
    days: Days = None,
    page: Page = 0,
) -> HTMLResponse:
    """Show a station's windows over time; without a station, the newest of each."""
    product, station = given(product), given(station)
    time = span.read(since, until, days)
    with site.reading() as session:
        if product is not None:
            require_product(session, product)
        newest = drift_history.newest(session, product)
        pairs = sorted({(one.product, one.station) for one in newest})
        if product is not None and station is None and len(pairs) == 1:
            station = pairs[0][1]
        if product is None or station is None:
            raised = alarms.newest(session, product, only_open=True)
            return site.page(
                request,
                "drift/stations.html",
                newest=newest,
                names=drift_history.names(newest),
                beyond={id(one): drift_history.beyond(one) for one in newest},
                alarms=raised,
                product=product,
                products=models.products(session),
                titles=charts.TITLES,
                station=station,
                time=time,
            )
        wanted = Wanted(product, station, time.since, time.until)
        found = drift_history.windows(session, wanted, charts.MOST + 1)
        raised = drift_history.alarms(session, wanted)
        marks = drift_history.marks(session, product, time.since, time.until)[-MARKS:]
        products = models.products(session)
        stations = [one.station for one in newest if one.product == product]
    drawn = found[: charts.MOST]
    rows = drawn[page * ROWS : (page + 1) * ROWS]
    return site.page(
        request,
        "drift/drift.html",
        product=product,
        station=station,
        products=products,
        stations=sorted({*stations, station}),
        time=time,
        since=span.plain(time.since),
        until=span.plain(time.until),
        chart=charts.of_drift(time, drawn, raised, marks),
        cut=len(found) > charts.MOST,
        most=charts.MOST,
        rows=rows,
        names=drift_history.names(drawn),
        beyond=drift_history.beyond,
        titles=charts.TITLES,
        page=page,
        older=time.query(product=product, station=station, page=str(page + 1))
        if len(drawn) > (page + 1) * ROWS
        else None,
        alarms=list(reversed(raised)),
        marks=list(reversed(marks)),
        all_days=span.DAYS,
        script=script(),
    )


@router.api_route("/drift/yield", methods=GET, dependencies=READ)
def yield_page(
    request: Request,
    site: Here,
    product: Asked = None,
    station: Asked = None,
    by: By = "hour",
    zone: Asked = None,
    shifts: Asked = None,
    since: Time = None,
    until: Time = None,
    days: Days = None,
) -> HTMLResponse:
    """Show first-pass yield and how often reviews overrule, by hour, shift or day."""
    product, station = given(product), given(station)
    time = span.read(since, until, days, usual=1)  # each part of it is counted anew
    zone, shifts = given(zone) or "UTC", given(shifts) or USUAL_SHIFTS
    place, starts = trends.read_zone(zone), trends.read_shifts(shifts)
    wanted = Filter(product=product, station=station, since=time.since, until=time.until)
    with SUMMING, site.reading() as session:
        if product is not None:
            require_product(session, product)
        periods = trends.trend(session, wanted, by, place, starts)
        marks = [] if product is None else drift_history.marks(session, product, time.since, time.until)
        products = models.products(session)
        stations = list(session.scalars(select(Station.name).order_by(Station.name).limit(200)))
    return site.page(
        request,
        "drift/yield.html",
        product=product,
        station=station,
        products=products,
        stations=stations,
        by=by,
        zone=zone,
        shifts=shifts,
        time=time,
        since=span.plain(time.since),
        until=span.plain(time.until),
        periods=list(reversed(periods)),
        chart=charts.of_yield(time, periods, marks[-MARKS:]),
        all_days=span.DAYS,
        script=script(),
    )


USUAL_SHIFTS = ",".join(f"{one:%H:%M}" for one in trends.SHIFTS)
