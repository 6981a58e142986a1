"""The API of models."""

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Path, Query, Response
from sqlalchemy.orm import Session

from db import beside, comparison, lineage, models
from db.tables import CHALLENGER, CHAMPION, ModelVersion
from web.access import Permission, Who, needs
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.asked import Asked, given
from web.models import acts, documents, shown
from web.models.documents import Beside, Detail, Disagreement, Judging, Promote, RollBack, Version, Withdraw
from web.site import Here

router = api_router("models")
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
Id = Annotated[str, Path(max_length=64, description="The version's id, of 64 hexadecimal digits.")]
OfVersion = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="A version's id.")]
Product = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$", examples=["tile"])]


def more(path: str, asked: dict[str, Any], after: object | None) -> str | None:
    """Give the address of a list's next page, None where there is none."""
    if after is None:
        return None
    query = {name: value for name, value in {**asked, "after": after}.items() if value is not None}
    return f"{PREFIX}{path}?{urlencode(query)}"


@router.get("/models", dependencies=READ, responses=problems(404))
def list_models(
    site: Here, product: Asked = None, after: OfVersion = None, limit: Limit = 50
) -> Listed[Version]:
    """List model versions, of one product or all, newest first."""
    product = given(product)
    with site.reading() as session:
        last = None if after is None else shown.find(session, after)
        found = models.versions(session, product, limit + 1, last)
        playing = _playing(session, {one.product for one in found})
        items = [_version(one, playing) for one in found[:limit]]
    last_id = items[-1].id if len(found) > limit else None
    return Listed(items=items, next=more("/models", {"product": product, "limit": limit}, last_id))


@router.get("/models/judging", dependencies=READ)
def who_judges(site: Here, product: Product) -> Judging:
    """Tell who judges a product, who may, and who did before."""
    with site.reading() as session:
        now = shown.judging(session, product)
    return Judging(
        product=product,
        champion=now.champion,
        former=now.former,
        challenger=now.challenger,
        standing=None if now.standing is None else documents.Standing.model_validate(vars(now.standing)),
    )


@router.get("/models/compare", dependencies=READ, responses=problems(404, 409))
def compare(site: Here, product: Product, first: OfVersion = None, second: OfVersion = None) -> Beside:
    """Put two versions side by side: of none the champion and the challenger, of one the champion and it."""
    with site.reading() as session:
        ids = _two(session, product, first, second)
        told = [beside.told(session, shown.find(session, one)) for one in ids]
        shadow = beside.shadow(session, *ids).as_dict()
    seen = documents.Shadow.model_validate(shadow) if shadow["images"] else None
    return Beside(product=product, models=told, shadow=seen)


@router.get("/models/disagreements", dependencies=READ, responses=problems(404, 409))
def disagreements(
    site: Here, product: Product, first: OfVersion = None, second: OfVersion = None, limit: Limit = 50
) -> list[Disagreement]:
    """List the newest images that two versions judge differently; which two, as of compare."""
    with site.reading() as session:
        pair = beside.shadow(session, *_two(session, product, first, second))
        found = comparison.disagreements(session, pair.champion, pair.challenger, limit)
        return [Disagreement.model_validate(one) for one in found]


@router.get("/models/{id_}", dependencies=READ, responses=problems(404))
def one_model(site: Here, id_: Id) -> Detail:
    """Show all there is about a version."""
    with site.reading() as session:
        version = shown.find(session, id_)
        found = lineage.of(session, version)
        return Detail(
            id=version.id,
            product=version.product,
            plays=beside.plays(session, version),
            **beside.facts(found),
            run=None if found.run is None else str(found.run.id),
            manifest=found.manifest,
            events=[documents.Told.model_validate(event) for event in found.events],
        )


@router.post("/models/{id_}/promote", status_code=204, dependencies=ACT, responses=problems(404, 409))
def promote(site: Here, who: Who, id_: Id, asked: Promote) -> Response:
    """Let a version judge from now on; workers take it up with their next batch."""
    with site.reading() as session:
        product = shown.find(session, id_).product
    acts.promote(site, who, product, id_, asked.expected, asked.why, asked.password)
    return Response(status_code=204)


@router.post("/models/rollback", dependencies=ACT, responses=problems(404, 409))
def roll_back(site: Here, who: Who, asked: RollBack) -> Judging:
    """Let the model that judged before judge again; once more goes one further back."""
    acts.roll_back(site, who, asked.product, asked.expected, asked.why, asked.password)
    return who_judges(site, asked.product)


@router.post("/models/withdraw", status_code=204, dependencies=ACT, responses=problems(404, 409))
def withdraw(site: Here, who: Who, asked: Withdraw) -> Response:
    """Let the challenger score no more; its version stays, and what it said."""
    acts.withdraw(site, who, asked.product, asked.expected, asked.why)
    return Response(status_code=204)


def _two(session: Session, product: str, first: str | None, second: str | None) -> tuple[str, str]:
    chosen = [shown.find(session, one) for one in (first, second) if one is not None]
    for one in chosen:
        if one.product != product:
            raise models.UnknownModelError(product, one.id)
    return beside.two(session, product, [one.id for one in chosen])


def _playing(session: Session, products: set[str]) -> dict[str, str]:
    """Give what versions of the products play, by id."""
    playing = {one.id: CHAMPION for one in models.champions(session, products).values()}
    for product in products:
        beside_it = models.challenger(session, product)
        if beside_it is not None:
            playing[beside_it.model_version] = CHALLENGER
    return playing


def _version(one: ModelVersion, playing: dict[str, str]) -> Version:
    return Version(
        id=one.id,
        product=one.product,
        plays=playing.get(one.id),
        created_at=one.created_at,
        training_images=one.training_images,
        threshold=json.loads(one.manifest).get("calibration", {}).get("threshold"),
        note=one.note,
    )
