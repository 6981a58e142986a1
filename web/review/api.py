"""The review queue and reviews, over the API."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from pydantic import AfterValidator, AwareDatetime
from starlette.responses import JSONResponse, Response

from db import history, review_claims, review_queue, reviews
from db.reviews import ReviewedMeanwhileError
from web.access import Permission, Who, needs
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.problems import problem
from web.review import shown
from web.review.asked import Chosen, Ordered
from web.review.documents import (
    ClaimDocument,
    CountDocument,
    Counts,
    NewReview,
    NextPart,
    ReviewDocument,
    part,
)
from web.review.saying import Said, say
from web.site import Here

router = api_router("Reviews")


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such time in UTC") from None


_Moment = Annotated[AwareDatetime, AfterValidator(_utc)]


@router.get("/review/next", dependencies=[needs(Permission.REVIEW)], summary="The next part to review")
def next_part(site: Here, who: Who, asked: Annotated[Ordered, Query()]) -> NextPart:
    """Give a part that nobody has reviewed, and to nobody else for some minutes (its claim).

    Asked again, it gives the same part until that is reviewed, or another comes before it; `after` asks for
    the one behind.
    """
    found = shown.next_part(site, who, asked)
    return NextPart(
        part=None if found is None else part(found), came_round=found is not None and found.came_round
    )


@router.get("/review/counts", dependencies=[needs(Permission.REVIEW)], summary="How many parts wait")
def counts(site: Here, asked: Annotated[Chosen, Query()]) -> Counts:
    """Count what waits for a review by source, whichever source is chosen."""
    with site.reading() as session:
        found = review_queue.counts(session, asked.wanted())
    return Counts(counts={name: CountDocument.model_validate(one) for name, one in found.items()})


@router.put(
    "/review/claims/{id_}",
    dependencies=[needs(Permission.REVIEW)],
    responses=problems(404, 410),
    summary="Go on looking at a part",
)
def claim(id_: UUID, site: Here, who: Who) -> ClaimDocument:
    """Prolong the claim of a part, or take it; where another looks at it, the answer has that one's claim."""
    with site.reading() as session:
        history.inspection(session, id_)
    stands = site.act(lambda session: review_claims.claim(session, id_, who.name, shown.lasting()))
    with site.reading() as session:
        said = reviews.of(session, id_)
    document = ClaimDocument.model_validate(stands)
    return document.model_copy(update={"newest_review": said[-1].id if said else None})


@router.delete(
    "/review/claims/{id_}",
    dependencies=[needs(Permission.REVIEW)],
    status_code=204,
    summary="Let others look at a part",
)
def free(
    id_: UUID,
    site: Here,
    who: Who,
    until: Annotated[_Moment | None, Query(description="Only the claim that lasts until then.")] = None,
) -> Response:
    """Give up one's claim of a part; nothing happens where it is none."""
    site.act(lambda session: review_claims.free(session, who.name, id_, until))
    return Response(status_code=204)


@router.post(
    "/inspections/{id_}/reviews",
    dependencies=[needs(Permission.REVIEW)],
    status_code=201,
    responses=problems(404, 409, 410),
    response_model=ReviewDocument,
    summary="Review a verdict",
)
def review(id_: UUID, new: NewReview, site: Here, who: Who) -> Response | ReviewDocument:
    """Say whether a verdict is right. Reviews are added, never changed; the newest one counts."""
    try:
        made = say(site, who, id_, Said(**new.model_dump()))
    except ReviewedMeanwhileError as error:
        said = [ReviewDocument.model_validate(one).model_dump(mode="json") for one in error.reviews]
        return problem(409, f"{str(error)[:1].upper()}{str(error)[1:]}.", reviews=said)
    document = ReviewDocument.model_validate(made).model_dump(mode="json")
    return JSONResponse(document, 201, {"Location": f"{PREFIX}/inspections/{id_}/reviews"})


@router.get(
    "/inspections/{id_}/reviews",
    dependencies=[needs(Permission.READ)],
    responses=problems(404, 410),
    summary="What people said of a verdict",
)
def listed(
    id_: UUID, request: Request, site: Here, after: UUID | None = None, limit: Limit = 100
) -> Listed[ReviewDocument]:
    """List the reviews of an inspection, the oldest first."""
    with site.reading() as session:
        history.inspection(session, id_)
        found = reviews.of(session, id_, after)[: limit + 1]
    page = found[:limit]
    more = f"{request.url.path}?after={page[-1].id}&limit={limit}" if len(found) > limit else None
    return Listed(items=[ReviewDocument.model_validate(one) for one in page], next=more)
