"""Training: runs and how they go, when products are trained again, and what a new model is asked."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import approvals, datasets, inspections, policies, retraining, runs, schedules
from db.tables import Policy, Schedule
from web.access import Permission, Who, needs
from web.asked import Asked, Field, Password, given
from web.models.pages import GET, address, chosen
from web.site import Here
from web.training import acts

router = APIRouter(include_in_schema=False)
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
ROWS = 25
DUE = 3  # times that are shown
Note = Annotated[Literal["broker", ""], Query()]
OnOff = Annotated[Literal["on", "off"], Form()]


@router.api_route("/models/runs", methods=GET, dependencies=READ)
def list_page(
    request: Request, site: Here, product: Asked = None, after: UUID | None = None, note: Note = ""
) -> HTMLResponse:
    """List the runs, of one product or all, and say when a product is trained again."""
    with site.reading() as session:
        products, product = chosen(session, product)
        found = runs.newest(session, product, ROWS + 1, after)
        schedule = None if product is None else session.get(Schedule, product)
        good = None if product is None else inspections.count_ok(session, product, retraining.LEAST_GOOD)
        is_open = product is not None and runs.is_open(session, product)
    due = [] if schedule is None else schedules.upcoming(schedule, datetime.now(UTC), DUE)
    older = found[ROWS - 1].id if len(found) > ROWS else None
    return site.page(
        request,
        "training/runs.html",
        products=products,
        product=product,
        rows=found[:ROWS],
        after=after,
        older=None if older is None else address("/runs", product=product, after=str(older)),
        schedule=schedule,
        due=due,
        enough=good is not None and good >= retraining.LEAST_GOOD,
        least=retraining.LEAST_GOOD,
        is_open=is_open,
        note=note,
    )


@router.api_route("/models/runs/{id_}", methods=GET, dependencies=READ)
def run_page(id_: UUID, request: Request, site: Here, note: Note = "") -> HTMLResponse:
    """Show a run, how far it is, and the end of its log."""
    with site.reading() as session:
        run = runs.find(session, id_)
        dataset = None if run.dataset is None else datasets.find(session, run.dataset)
    return site.page(
        request,
        "training/run.html",
        products=[],
        product=run.product,
        run=run,
        is_open=run.state in runs.OPEN,
        summary=None if dataset is None else dataset.summary,
        note=note,
    )


@router.post("/models/runs", dependencies=ACT)
def ask(site: Here, who: Who, product: Field) -> Response:
    """Ask for a new model of what the line has produced."""
    run, woken = acts.ask(site, who, product)
    return RedirectResponse(address(f"/runs/{run}", note=None if woken else "broker"), 303)


@router.post("/models/runs/{id_}/cancel", dependencies=ACT)
def cancel(id_: UUID, site: Here, who: Who) -> Response:
    """Cancel a run."""
    acts.cancel(site, who, id_)
    return RedirectResponse(address(f"/runs/{id_}"), 303)


@router.post("/models/schedule", dependencies=ACT)
def change_schedule(
    site: Here,
    who: Who,
    product: Field,
    cron: Field,
    time_zone: Field = "UTC",
    min_new: Annotated[int, Form(ge=0, le=10_000_000)] = 50,
    enabled: OnOff = "on",
) -> Response:
    """Say when a product is trained again."""
    site.act(
        lambda session: schedules.change(
            session,
            product,
            who.name,
            cron=cron,
            time_zone=given(time_zone) or "UTC",
            min_new=min_new,
            enabled=enabled == "on",
        )
    )
    return RedirectResponse(address("/runs", product=product), 303)


@router.api_route("/models/policy", methods=GET, dependencies=READ)
def policy_page(request: Request, site: Here, product: Asked = None) -> HTMLResponse:
    """Show by what a new model is measured, and who lets it judge."""
    with site.reading() as session:
        products, product = chosen(session, product)
        rules = policies.Rules() if product is None else policies.of(session, product)
        row = None if product is None else session.get(Policy, product)
    return site.page(
        request,
        "training/policy.html",
        products=products,
        product=product,
        rules=rules,
        row=row,
        usual=policies.Rules(),
        signed=approvals.required("policy"),
        promotion_signed=approvals.required("promotion"),
    )


@router.post("/models/policy", dependencies=ACT)
def change_policy(
    site: Here,
    who: Who,
    product: Field,
    confidence: Annotated[float, Form(allow_inf_nan=False)],
    promotion: Annotated[policies.Promotion, Form()],
    shadow_share: Annotated[float, Form(allow_inf_nan=False)],
    shadow_images: Annotated[int, Form(le=10_000_000)],
    retrain_on_drift: OnOff,
    hold_on_golden: OnOff,
    false_reject_rate: Annotated[str, Form(max_length=30)] = "",
    password: Password = "",
) -> Response:
    """Let other rules hold from now on."""
    rules = policies.Rules(
        false_reject_rate=_rate(false_reject_rate),
        confidence=confidence,
        promotion=promotion,
        shadow_share=shadow_share,
        shadow_images=shadow_images,
        retrain_on_drift=retrain_on_drift == "on",
        hold_on_golden=hold_on_golden == "on",
    )
    acts.change_policy(site, who, product, asdict(rules), password)
    return RedirectResponse(address("/policy", product=product), 303)


def _rate(text: str) -> float | None:
    """Read the rate of false rejects; nothing is what a candidate was calibrated for."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise policies.PolicyError(
            f"the gate's false-reject rate is a number such as 0.005, or empty, not {text!r}"
        ) from None
