"""The lines' part of the API: how inspections flow, lines with their stations, alarms."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from db import alarms, flow
from web.access import Permission, Who, needs
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.live import addresses
from web.live.alarms import LONGEST_REASON, close, named
from web.live.board import LineNow, State, StationNow
from web.live.hub import Live
from web.live.pages import Window, offered
from web.site import Here
from workers import queue

router = api_router("live")
_BROKER_S: Final = 0.5  # for the broker to answer a question
_AWAY: Final = "the broker can't be asked; `pyramidion doctor` on the server says why"


class _Fact(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AlarmOut(_Fact):
    """Something that a person should look at."""

    id: UUID
    kind: str = Field(examples=["drift"])
    product: str = Field(examples=["tile"])
    station: str = Field(examples=["s1"])
    statistic: str = Field(
        description="What drifted, or golden: and the sample's name.", examples=["brightness"]
    )
    since: datetime = Field(description="When what it tells of began.")
    opened_at: datetime
    said: str = Field(examples=["brightness of tile at s1 is 3.1, allowed are 3"])
    detail: dict[str, Any]
    holds: bool = Field(
        description="While it is open, the station's verdicts on the product are inconclusive."
    )
    closed_at: datetime | None
    closed_by: str | None


class Closing(BaseModel):
    """Why an alarm is closed."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(
        min_length=1,
        max_length=LONGEST_REASON,
        description="What was found or done; the audit trail keeps it.",
        examples=["lamp 2 replaced"],
    )


class StationFlowOut(_Fact):
    """What a station captured within the window: accepted = judged + error + pending."""

    station: str = Field(examples=["s1"])
    accepted: int
    judged: int
    error: int
    pending: int
    late: int = Field(description="Verdicts that missed their product's deadline.")
    images_per_s: float
    last_captured_at: datetime = Field(description="By the station's clock.")
    clock_ahead_s: float = Field(description="Of the database's; 0 within two seconds.")


class WorkerFlowOut(_Fact):
    """What a worker judged of the window."""

    worker: str
    judged: int
    images_per_s: float
    batch_images: float | None = Field(description="Mean size of the batches that they came in.")


class QueueOut(_Fact):
    """Messages in the scoring queue; null, with the reason, where the broker is away."""

    messages: int | None
    oldest_s: float | None
    other_versions: dict[int, int] = Field(description="Messages for workers of another release, by version.")
    error: str | None


class StatusOut(_Fact):
    """How inspections flow just now. Spools are known on their stations' machines only."""

    since: datetime = Field(description="Begin of the window.")
    stations: list[StationFlowOut]
    workers: list[WorkerFlowOut]
    waiting: int = Field(description="All that is accepted and unjudged, however old.")
    oldest_waiting_s: float | None
    latency_ms: dict[str, float] = Field(
        description="From capture to verdict, of the newest.", examples=[{"p50": 80.1, "p95": 160.4}]
    )
    alarms: list[AlarmOut]
    queue: QueueOut


class FiguresOut(_Fact):
    """captured = ok + ng + inconclusive + error + pending."""

    captured: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int
    first_pass_yield: float | None = Field(description="Share of ok among what was judged, errors included.")


class StationOut(BaseModel):
    """A station as it is now."""

    station: str = Field(examples=["s1"])
    is_up: bool = Field(description="It captured lately: within PYRAMIDION_WEB_STATION_DOWN_S.")
    last_captured_at: datetime | None = Field(description="By the database's clock.")
    clock_ahead_s: float
    images_per_s: float = Field(description="Captured, over the last minute.")
    waiting: int
    oldest_waiting_s: float | None
    holds: bool = Field(description="An alarm makes its verdicts inconclusive.")
    figures: FiguresOut | None = Field(description="Of the window; null while it is being counted.")


class LineOut(BaseModel):
    """A line as it is now."""

    line: str = Field(examples=["line-1"])
    images_per_s: float
    waiting: int
    oldest_waiting_s: float | None
    alarms: int = Field(description="Open ones.")
    figures: FiguresOut | None
    stations: list[StationOut]


@router.get("/status", dependencies=[needs(Permission.READ)])
def status(
    site: Here,
    minutes: Annotated[float, Query(ge=0.1, le=60, description="How far back rates and counts go.")] = 10,
) -> StatusOut:
    """Tell what stations captured, what workers judged, and what waits."""
    now = datetime.now(UTC)
    with site.reading() as session:
        found = flow.look(session, now, timedelta(minutes=minutes))
        opened = alarms.newest(session, only_open=True)
    asked = queue.look(now, _BROKER_S)
    queued = QueueOut.model_validate(asked).model_copy(update={"error": asked.error and _AWAY})
    return StatusOut.model_validate(
        {**vars(found), "alarms": [AlarmOut.model_validate(one) for one in opened], "queue": queued}
    )


@router.get("/lines", dependencies=[needs(Permission.READ)])
def lines(
    hub: Live,
    window: Window = addresses.USUAL,
    after: Annotated[
        str | None, Query(max_length=255, description="The last line of the page before.")
    ] = None,
    limit: Limit = 100,
) -> Listed[LineOut]:
    """List the lines with their stations as they are now; stations on no line are of the line (no line)."""
    state = hub.now(None, offered(window))
    names = sorted(name for name in state.lines if after is None or name > after)
    query = (
        urlencode({"window": window, "limit": limit, "after": names[limit - 1]}) if names[limit:] else None
    )
    return Listed(
        items=[_line(state, state.lines[name], window) for name in names[:limit]],
        next=f"{PREFIX}/lines?{query}" if query else None,
    )


@router.get("/alarms", dependencies=[needs(Permission.READ)])
def listed(
    site: Here,
    state: Annotated[Literal["open", "closed"] | None, Query(description="Both unless given.")] = None,
    product: Annotated[str | None, Query(max_length=255)] = None,
    after: Annotated[UUID | None, Query(description="The last alarm of the page before.")] = None,
    limit: Limit = 100,
) -> Listed[AlarmOut]:
    """List alarms, newest first."""
    with site.reading() as session:
        found = alarms.newest(
            session,
            named(product),
            only_open=state == "open",
            only_closed=state == "closed",
            limit=limit + 1,
            after=after,
        )
    asked = {"state": state, "product": product, "limit": str(limit)}
    query = {name: value for name, value in asked.items() if value is not None}
    more = urlencode({**query, "after": str(found[limit - 1].id)}) if len(found) > limit else None
    return Listed(
        items=[AlarmOut.model_validate(one) for one in found[:limit]],
        next=f"{PREFIX}/alarms?{more}" if more else None,
    )


@router.get("/alarms/{id_}", dependencies=[needs(Permission.READ)], responses=problems(404))
def alarm(id_: UUID, site: Here) -> AlarmOut:
    """Give an alarm."""
    with site.reading() as session:
        return AlarmOut.model_validate(alarms.get(session, id_))


@router.post("/alarms/{id_}/close", dependencies=[needs(Permission.ALARMS)], responses=problems(404, 409))
def close_it(id_: UUID, closing: Closing, site: Here, who: Who) -> AlarmOut:
    """Close an alarm, which leaves an event; a station that it holds gives verdicts again."""
    return AlarmOut.model_validate(site.act(lambda session: close(session, id_, who.name, closing.why)))


def _line(state: State, line: LineNow, window: int) -> LineOut:
    return LineOut(
        line=line.name,
        images_per_s=line.images_per_s,
        waiting=line.waiting,
        oldest_waiting_s=_age_s(state, line.oldest_received_at),
        alarms=len(line.alarms),
        figures=_figures(state, line.stations, window),
        stations=[_station(state, station, window) for station in line.stations],
    )


def _station(state: State, station: StationNow, window: int) -> StationOut:
    return StationOut(
        station=station.name,
        is_up=station.is_up,
        last_captured_at=station.last_captured_at,
        clock_ahead_s=station.clock_ahead_s,
        images_per_s=station.images_per_s,
        waiting=station.waiting,
        oldest_waiting_s=_age_s(state, station.oldest_received_at),
        holds=station.holds,
        figures=_figures(state, [station], window),
    )


def _figures(state: State, stations: Any, window: int) -> FiguresOut | None:
    found = state.figures(stations, window)
    return None if found is None else FiguresOut.model_validate(found)


def _age_s(state: State, moment: datetime | None) -> float | None:
    return None if moment is None else max(0.0, (state.at - moment).total_seconds())
