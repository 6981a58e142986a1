"""Retention, over the API."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from db import approvals
from db.retention import acts, policy
from db.retention.due import Act as Found
from web.access import Permission, Who, needs
from web.admin.fields import Days, Name, Password
from web.admin.retention import TURN_S, change, let_go, lift_hold
from web.api import api_router, problems
from web.asked import Reason
from web.site import Here, Site

router = api_router("Retention")
Verdict = Literal["ok", "ng", "inconclusive", "error"]
BUSY = problems(409)


class Rule(BaseModel):
    """How long what of a product and verdict is kept, in days after the verdict; null is for ever."""

    product: str | None = Field(description="null: all that have no rule of their own.")
    verdict: str | None = Field(description="null: all that have no rule of their own.")
    images_days: int | None
    maps_days: int | None
    rows_days: int | None
    event: UUID = Field(description="The event that set it.")
    at: datetime
    by: str


class Hold(BaseModel):
    """A lot of which nothing goes."""

    model_config = ConfigDict(from_attributes=True)

    lot: str = Field(examples=["L7"])
    at: datetime
    by: str
    why: str


class Retention(BaseModel):
    """Rules and holds in force."""

    rules: list[Rule]
    holds: list[Hold]
    last_applied: datetime | None = Field(description="When a worker last let go all that was due.")
    signed: list[str] = Field(description="Acts that take a signature here: policy, retention.")


class Act(BaseModel):
    """What was let go, or with no id is due."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID | None
    what: str = Field(description="images, maps or rows")
    product: str | None
    verdict: str | None
    inspections: int
    month: datetime | None = Field(description="The month that went as a whole, on PostgreSQL.")


class Done(BaseModel):
    """What was let go, and what is due and was left for the next time."""

    acts: list[Act]
    left: list[str]


class Signing(BaseModel):
    """The password of who signs, given anew."""

    model_config = ConfigDict(extra="forbid")

    password: Password | None = Field(default=None, description="Signs the act, which some plants require.")


class NewRule(Signing):
    """A rule to set; it counts instead of the one of the same product and verdict."""

    product: Name | None = None
    verdict: Verdict | None = None
    images_days: Days | None = Field(default=None, examples=[365])
    maps_days: Days | None = None
    rows_days: Days | None = None
    why: Reason = Field(examples=["storage"])


class OldRule(Signing):
    """A rule to take back."""

    product: Name | None = None
    verdict: Verdict | None = None
    why: Reason = Field(examples=["storage"])


class NewHold(BaseModel):
    """A lot to hold."""

    model_config = ConfigDict(extra="forbid")

    lot: Name = Field(examples=["L7"])
    why: Reason = Field(examples=["a customer complained"])


class OldHold(Signing):
    """A hold to lift."""

    lot: Name = Field(examples=["L7"])
    why: Reason = Field(examples=["the complaint is settled"])


@router.get("/retention", dependencies=[needs(Permission.ADMIN)], summary="Rules and holds")
def shown(site: Here) -> Retention:
    """Give what is kept for how long, and which lots are held."""
    return _standing(site)


@router.get("/retention/due", dependencies=[needs(Permission.ADMIN)], summary="What is due")
def due(site: Here) -> list[Act]:
    """Count what the next run would let go; may take seconds where there is much."""
    with site.reading() as session:
        return _acts(acts.plan(session, datetime.now(UTC)))


@router.post("/retention/rules", dependencies=[needs(Permission.ADMIN)], summary="Set a rule")
def set_rule(site: Here, who: Who, new: NewRule) -> Retention:
    """Set the terms of a product and a verdict; nothing is let go before its turn."""
    terms = policy.Terms(new.images_days, new.maps_days, new.rows_days)
    site.act(lambda session: change(session, who, new.product, new.verdict, terms, new.why, new.password))
    return _standing(site)


@router.post("/retention/rules/remove", dependencies=[needs(Permission.ADMIN)], summary="Take a rule back")
def remove_rule(site: Here, who: Who, old: OldRule) -> Retention:
    """Take a rule back; the next wider one counts then."""
    site.act(lambda session: change(session, who, old.product, old.verdict, None, old.why, old.password))
    return _standing(site)


@router.post("/retention/holds", dependencies=[needs(Permission.ADMIN)], summary="Hold a lot")
def hold(site: Here, who: Who, new: NewHold) -> Retention:
    """Keep all of a lot, whatever its terms; it may be one that is still to come."""
    site.act(lambda session: policy.hold(session, new.lot, who.name, new.why))
    return _standing(site)


@router.post("/retention/holds/lift", dependencies=[needs(Permission.ADMIN)], summary="Lift a hold")
def lift(site: Here, who: Who, old: OldHold) -> Retention:
    """Let the policy have a lot again."""
    site.act(lambda session: lift_hold(session, who, old.lot, old.why, old.password))
    return _standing(site)


@router.post(
    "/retention/apply",
    dependencies=[needs(Permission.ADMIN)],
    responses=BUSY,
    summary="Let go what is due",
    description=f"Let go what is due, for {TURN_S:.0f} seconds at most; repeat it while something is left.",
)
def apply(request: Request, site: Here, who: Who, signing: Signing) -> Done:
    done = let_go(site, who, signing.password, archive=request.app.state.retention_archive)
    return Done(acts=_acts(done.acts), left=done.left)


def _standing(site: Site) -> Retention:
    with site.reading() as session:
        rules, holds = policy.rules(session), policy.holds(session)
        return Retention(
            rules=[Rule(**{**vars(rule), **asdict(rule.terms)}) for rule in rules],
            holds=[Hold.model_validate(one) for one in holds.values()],
            last_applied=acts.last_applied(session),
            signed=[act for act in ("policy", "retention") if approvals.required(act)],
        )


def _acts(found: list[Found]) -> list[Act]:
    return [Act.model_validate(one) for one in found]
