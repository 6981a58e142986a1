"""Golden samples: parts that are known to be good or bad, when they are sent, and how they did."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request, UploadFile
from sqlalchemy import select
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import golden, golden_schedules, golden_trials, history, schedules
from db.golden import GoldenError
from db.tables import GoldenSchedule, Station
from web.access import Permission, Who, needs
from web.asked import Asked, Field, Why, given
from web.golden import acts
from web.inspections import overlay
from web.inspections.blobs import FOREVER
from web.models.pages import GET, address, chosen
from web.site import Here
from web.training.pages import DUE, Note, OnOff

router = APIRouter(include_in_schema=False)
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
TRIALS = 25
THUMBNAIL = 128  # pixels of its longer side


@router.api_route("/models/golden", methods=GET, dependencies=READ)
def golden_page(
    request: Request,
    site: Here,
    product: Asked = None,
    after: UUID | None = None,
    inspection: UUID | None = None,
    note: Note = "",
) -> HTMLResponse:
    """List golden samples and their trials; the image of `inspection` is offered for one."""
    with site.reading() as session:
        part = None if inspection is None else history.inspection(session, inspection).inspection
        products, product = chosen(session, product if part is None else part.product)
        samples = golden.in_use(session, product)
        last = golden.last_sent(session)
        trials = golden_trials.newest(session, product, TRIALS + 1, after)
        schedule = None if product is None else session.get(GoldenSchedule, product)
        stations = session.scalars(select(Station.name).order_by(Station.name).limit(200)).all()
    older = trials[TRIALS - 1].trial if len(trials) > TRIALS else None
    return site.page(
        request,
        "golden/golden.html",
        products=products,
        product=product,
        samples=[(one, *last.get(one.id, (None, None))) for one in samples],
        trials=trials[:TRIALS],
        after=after,
        older=None if older is None else address("/golden", product=product, after=str(older)),
        schedule=schedule,
        due=[] if schedule is None else schedules.upcoming(schedule, datetime.now(UTC), DUE),
        stations=stations,
        part=part,
        note=note,
    )


@router.api_route("/models/golden/{id_}/view.png", methods=GET, dependencies=READ)
def view(id_: UUID, site: Here) -> Response:
    """Draw a sample's image small. It never changes: a sample keeps its image."""
    with site.reading() as session:
        sample = golden.find(session, id_)
    stored = site.store.get(sample.image_sha256)
    with site.drawings.turn:
        picture = overlay.as_png(overlay.upright(stored, THUMBNAIL))
    return Response(picture, headers={"Cache-Control": FOREVER}, media_type="image/png")


@router.post("/models/golden", dependencies=ACT)
def add(
    site: Here,
    who: Who,
    product: Field,
    station: Field,
    name: Field,
    expected: Annotated[Literal["ok", "ng"], Form()],
    inspection: Annotated[str, Form(max_length=64)] = "",
    image: UploadFile | None = None,
) -> Response:
    """Add a sample, from an inspection or by an image."""
    data = image.file.read() if image is not None and image.filename else None
    acts.add(site, who, product, station, name, expected, inspection=_id(given(inspection)), image=data)
    return RedirectResponse(address("/golden", product=product), 303)


@router.post("/models/golden/retire", dependencies=ACT)
def retire(site: Here, who: Who, product: Field, station: Field, name: Field, why: Why) -> Response:
    """Send a sample no more."""
    acts.retire(site, who, product, station, name, why)
    return RedirectResponse(address("/golden", product=product), 303)


@router.post("/models/golden/send", dependencies=ACT)
def send(site: Here, who: Who, product: Field, station: Field = "") -> Response:
    """Send the samples through the pipeline now."""
    _, queued = acts.send(site, who, product, given(station))
    return RedirectResponse(address("/golden", product=product, note=None if queued else "broker"), 303)


@router.post("/models/golden/schedule", dependencies=ACT)
def change_schedule(
    site: Here, who: Who, product: Field, cron: Field, time_zone: Field = "UTC", enabled: OnOff = "on"
) -> Response:
    """Say when a product's samples are sent."""
    zone = given(time_zone) or "UTC"
    site.act(
        lambda session: golden_schedules.change(
            session, product, who.name, cron=cron, time_zone=zone, enabled=enabled == "on"
        )
    )
    return RedirectResponse(address("/golden", product=product), 303)


def _id(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise GoldenError(f"{text!r} is no inspection's id, which has 32 hexadecimal digits") from None
