"""Retention: how long what is kept, which lots are held, and letting go what is due."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from db import approvals, models
from db.events import Asked, told
from db.ledger.released import ACT
from db.retention import acts, by_hand, policy
from db.tables import VERDICTS
from web.access import Permission, Principal, Who, needs
from web.acting import signature
from web.admin.fields import REFUSALS, Days, Name, NameField, PasswordField, ReasonField, acted, sentence
from web.site import Here, Site

router = APIRouter(prefix="/admin/retention", include_in_schema=False)
TURN_S: Final = 20.0  # that a request lets go; what is left waits for the next, or for the worker
ACTS: Final = 20  # that are shown
DaysField = Annotated[Days | None, Form()]
VerdictField = Annotated[str | None, Form(max_length=16)]


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def shown(request: Request, site: Here, due: Annotated[bool, Query()] = False) -> Response:
    """Show rules and holds, and with `due` what the next run would let go."""
    return _show(request, site, due=due)


@router.post("/rules", dependencies=[needs(Permission.ADMIN)])
def set_rule(
    request: Request,
    site: Here,
    who: Who,
    why: ReasonField,
    product: Annotated[Name | None, Form()] = None,
    verdict: VerdictField = None,
    images_days: DaysField = None,
    maps_days: DaysField = None,
    rows_days: DaysField = None,
    password: PasswordField = None,
) -> Response:
    """Set the terms of a product and a verdict."""

    def work(session: Session) -> None:
        terms = policy.Terms(images_days, maps_days, rows_days)
        change(session, who, product, verdict, terms, why, password)

    return _do(request, site, lambda: site.act(work))


@router.post("/rules/remove", dependencies=[needs(Permission.ADMIN)])
def remove_rule(
    request: Request,
    site: Here,
    who: Who,
    why: ReasonField,
    product: Annotated[Name | None, Form()] = None,
    verdict: VerdictField = None,
    password: PasswordField = None,
) -> Response:
    """Take a rule back."""
    return _do(
        request,
        site,
        lambda: site.act(lambda session: change(session, who, product, verdict, None, why, password)),
    )


@router.post("/holds", dependencies=[needs(Permission.ADMIN)])
def hold(request: Request, site: Here, who: Who, lot: NameField, why: ReasonField) -> Response:
    """Keep all of a lot, whatever its terms."""
    return _do(request, site, lambda: site.act(lambda session: policy.hold(session, lot, who.name, why)))


@router.post("/holds/lift", dependencies=[needs(Permission.ADMIN)])
def lift(
    request: Request,
    site: Here,
    who: Who,
    lot: NameField,
    why: ReasonField,
    password: PasswordField = None,
) -> Response:
    """Let the policy have a lot again."""
    return _do(request, site, lambda: site.act(lambda session: lift_hold(session, who, lot, why, password)))


@router.post("/apply", dependencies=[needs(Permission.ADMIN)])
def apply(request: Request, site: Here, who: Who, password: PasswordField = None) -> Response:
    """Let go what is due, for some seconds; the answer says what went and what is left."""
    try:
        done = let_go(site, who, password, archive=request.app.state.retention_archive)
    except REFUSALS as error:
        return _show(request, site, wrong=sentence(error))
    return _show(request, site, due=True, done=done)


def change(
    session: Session,
    who: Principal,
    product: str | None,
    verdict: str | None,
    terms: policy.Terms | None,
    why: str,
    password: str | None,
) -> None:
    """Set or take back a rule, signed where a password is given. Raises what policy.set_rule raises."""
    signed = signature(session, "policy", who, password, f"approval: {why}")
    policy.set_rule(session, product, verdict, terms, who.name, why, signed)


def lift_hold(session: Session, who: Principal, lot: str, why: str, password: str | None) -> None:
    """Lift a hold, signed where a password is given. Raises what policy.lift raises."""
    signed = signature(session, "retention", who, password, f"approval: {why}")
    policy.lift(session, lot, who.name, why, signed)


def let_go(site: Site, who: Principal, password: str | None, *, archive: bool) -> by_hand.Done:
    """Let go what is due for TURN_S. Raises what db.retention.by_hand.apply raises."""

    def sign(session: Session) -> tuple[str, dict[str, Any] | None]:
        return who.name, signature(session, "retention", who, password, "approval: let go")

    return by_hand.apply(site.acts.kw["bind"], site.store, sign, archive=archive, longest_s=TURN_S)


def _do(request: Request, site: Site, act: Any) -> Response:
    return acted(act, "/admin/retention", lambda wrong: _show(request, site, wrong=wrong))


def _show(
    request: Request,
    site: Site,
    *,
    due: bool = False,
    done: by_hand.Done | None = None,
    wrong: str | None = None,
) -> Response:
    with site.reading() as session:
        held = [(one, *by_hand.of_lot(session, lot)) for lot, one in policy.holds(session).items()]
        facts: dict[str, Any] = {
            "rules": policy.rules(session),
            "holds": held,
            "products": models.products(session),
            "last_applied": acts.last_applied(session),
            "acts": list(told(session, Asked(ACT), ACTS)),
        }
        try:
            facts["due"] = acts.plan(session, datetime.now(UTC)) if due else None
        except policy.RetentionError as error:
            facts["due"], wrong = None, wrong or sentence(error)
    return site.page(
        request,
        "admin/retention.html",
        422 if wrong else 200,
        done=done,
        wrong=wrong,
        verdicts=VERDICTS,
        signs={act: approvals.required(act) for act in ("policy", "retention")},
        turn_s=TURN_S,
        **facts,
    )
