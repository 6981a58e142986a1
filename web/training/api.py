"""The API of trainings: runs, schedules, and policies."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from db import models, policies, runs, schedules
from db.policies import Promotion
from db.tables import Schedule
from web.access import Permission, Who, needs
from web.api import Limit, Listed, api_router, problems
from web.asked import Asked, Text, given
from web.models.api import more
from web.models.documents import Secret
from web.site import Here
from web.training import acts

router = api_router("training")
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
RUN = "019ca7fb-7300-7000-8a52-0967e22eef0a"


class Run(BaseModel):
    """A training that somebody or something asked for."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(examples=[RUN])
    product: str = Field(examples=["tile"])
    why: str = Field(description="on demand, schedule or drift.", examples=["schedule"])
    requested_by: str
    requested_at: datetime
    state: str = Field(
        description="requested, running, succeeded, failed or cancelled.", examples=["running"]
    )
    attempt: int = Field(description="How many trainers have taken it up.")
    holder: str | None
    heartbeat_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    epoch: int | None = Field(description="Whole epochs so far.", examples=[12])
    epochs: int | None = Field(description="Epochs at most.", examples=[60])
    loss: float | None = Field(description="On held-out images.")
    eta_s: float | None = Field(description="Seconds that are left.")
    model_version: str | None
    reason: str | None = Field(description="Why it failed.")
    dataset: str | None
    gate_passed: bool | None
    gate_said: list[str] | None


class LoggedRun(Run):
    """A run with the end of its log."""

    log: str


class Ask(BaseModel):
    """Ask for a training of a product."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"product": "tile"}]})

    product: Text


class AskedFor(BaseModel):
    """A run that was asked for."""

    run: UUID = Field(examples=[RUN])
    woken: bool = Field(
        description="False where the broker is away: a trainer finds it within seconds anyway."
    )


class Plan(BaseModel):
    """When a product is trained again."""

    product: str = Field(examples=["tile"])
    cron: str = Field(examples=["0 2 * * 1-5"])
    time_zone: str = Field(examples=["Europe/Berlin"])
    min_new: int = Field(description="Good images that there must be since the last run.", examples=[50])
    enabled: bool
    changed_by: str
    changed_at: datetime
    last_skipped: str | None = Field(description="Why the last due time asked for no run.")
    next_due: list[datetime] = Field(description="The next three times; none while it is off.")


class ChangePlan(BaseModel):
    """Make or change a schedule; what is not given stays, and is UTC, 50 and on for a new one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"product": "tile", "cron": "0 2 * * *"}]}
    )

    product: Text
    cron: Text | None = None
    time_zone: Text | None = None
    min_new: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    enabled: bool | None = None


class Rules(BaseModel):
    """What a product asks of a new model, and who lets it judge."""

    product: str = Field(examples=["tile"])
    false_reject_rate: float | None = Field(description="Null: what it was calibrated for.", examples=[0.005])
    confidence: float = Field(description="Of the gate's intervals.", examples=[0.95])
    promotion: Promotion
    shadow_share: float = Field(description="Of the line's images.", examples=[0.1])
    shadow_images: int = Field(description="That a challenger scores at least.", examples=[200])
    retrain_on_drift: bool
    hold_on_golden: bool


class ChangeRules(BaseModel):
    """Change some of a product's rules; what is not given stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"product": "tile", "promotion": "automatic"}]}
    )

    product: Text
    false_reject_rate: float | None = Field(default=None, gt=0, lt=1)
    confidence: float | None = Field(default=None, ge=0.5, lt=1)
    promotion: Promotion | None = None
    shadow_share: float | None = Field(default=None, gt=0, le=1)
    shadow_images: int | None = Field(default=None, ge=1, le=10_000_000)
    retrain_on_drift: bool | None = None
    hold_on_golden: bool | None = None
    password: Secret | None = Field(default=None, description="Signs it, where that is asked for.")

    def changes(self) -> dict[str, Any]:
        """Give what is to be changed; a rate of null is the default, all else of null was not meant."""
        given_ = self.model_dump(exclude_unset=True, exclude={"product", "password"})
        return {
            name: value for name, value in given_.items() if value is not None or name == "false_reject_rate"
        }


@router.get("/runs", dependencies=READ)
def list_runs(site: Here, product: Asked = None, after: UUID | None = None, limit: Limit = 50) -> Listed[Run]:
    """List training runs, of one product or all, newest first."""
    product = given(product)
    with site.reading() as session:
        found = runs.newest(session, product, limit + 1, after)
    items = [Run.model_validate(one) for one in found[:limit]]
    last = items[-1].id if len(found) > limit else None
    return Listed(items=items, next=more("/runs", {"product": product, "limit": limit}, last))


@router.post("/runs", status_code=202, dependencies=ACT, responses=problems(409))
def ask_for_run(site: Here, who: Who, asked: Ask) -> AskedFor:
    """Ask for a new model of what the line has produced."""
    run, woken = acts.ask(site, who, asked.product)
    return AskedFor(run=run, woken=woken)


@router.get("/runs/{id_}", dependencies=READ, responses=problems(404))
def one_run(site: Here, id_: UUID) -> LoggedRun:
    """Show a run, how far it is, and the end of its log."""
    with site.reading() as session:
        return LoggedRun.model_validate(runs.find(session, id_))


@router.post("/runs/{id_}/cancel", dependencies=ACT, responses=problems(404, 409))
def cancel_run(site: Here, who: Who, id_: UUID) -> LoggedRun:
    """Cancel a run: its trainer stops within seconds, no model comes of it."""
    acts.cancel(site, who, id_)
    return one_run(site, id_)


@router.get("/schedules", dependencies=READ)
def list_schedules(site: Here) -> list[Plan]:
    """List when products are trained again."""
    with site.reading() as session:
        return [_plan(one) for one in schedules.every(session)]


@router.post("/schedules", dependencies=ACT)
def change_schedule(site: Here, who: Who, asked: ChangePlan) -> Plan:
    """Make or change a product's schedule."""
    changes = asked.model_dump(exclude={"product"})
    return _plan(site.act(lambda session: schedules.change(session, asked.product, who.name, **changes)))


@router.get("/policies", dependencies=READ)
def list_policies(site: Here) -> list[Rules]:
    """List what each product asks of a new model."""
    with site.reading() as session:
        products = models.products(session)
        return [Rules(product=one, **asdict(policies.of(session, one))) for one in products]


@router.post("/policies", dependencies=ACT)
def change_policy(site: Here, who: Who, asked: ChangeRules) -> Rules:
    """Let other rules hold for a product from now on."""
    acts.change_policy(site, who, asked.product, asked.changes(), asked.password)
    with site.reading() as session:
        return Rules(product=asked.product, **asdict(policies.of(session, asked.product)))


def _plan(one: Schedule) -> Plan:
    row = {column.name: getattr(one, column.name) for column in one.__table__.columns}
    return Plan.model_validate({**row, "next_due": schedules.upcoming(one, datetime.now(UTC), 3)})
