"""The review queue, one part at a time; and what people say of a part, here and on its own page."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from db import history, review_claims, review_queue, reviews
from db.approvals import ApprovalSettings
from db.review_queue import SOURCES
from db.reviews import LONGEST_REASON, ReviewedMeanwhileError, ReviewError
from db.tables import Review
from db.users import LONGEST_PASSWORD, AccountError, WrongCredentialsError
from web.access import Permission, Principal, Who, needs
from web.asked import given
from web.login.pages import inside
from web.review import shown
from web.review.asked import OnPage
from web.review.saying import PasswordNeededError, Said, say
from web.site import Here, Site

router = APIRouter(include_in_schema=False)
WRONG_PASSWORD = "Your password is wrong, or your account is locked for a while. Nothing was changed."  # noqa: S105


@router.get("/review", dependencies=[needs(Permission.REVIEW)])
def queue(request: Request, site: Here, who: Who, asked: Annotated[OnPage, Query()]) -> Response:
    """Give somebody the next part to look at, and nobody else meanwhile."""
    if asked.part is not None:
        found: shown.Shown | None = shown.one_part(site, who, asked.part)
    else:
        found = shown.next_part(site, who, asked)
    with site.reading() as session:
        counts = review_queue.counts(session, asked.wanted())
        before = None if asked.after is None else _before(site, who, asked.after)
    if found is not None and found.form is not None:
        here = asked.url(after=found.detail.inspection.id)
        found = replace(found, form=replace(found.form, next=here))
    return site.page(
        request,
        "review/queue.html",
        asked=asked,
        shown=found,
        before=before,
        counts=counts,
        sources=SOURCES,
        borderline=ApprovalSettings().review_borderline,
        lasting=shown.lasting(),
    )


def _before(site: Site, who: Principal, id_: UUID) -> Review | None:
    """Give what the reviewer said of the part before, None where it was skipped."""
    with site.reading() as session:
        said = reviews.of(session, id_)
    return said[-1] if said and said[-1].reviewer == who.name else None


@router.post("/review/leave", dependencies=[needs(Permission.REVIEW)])
def leave(site: Here, who: Who) -> Response:
    """Give up what somebody holds: others may be given it at once."""
    site.act(lambda session: review_claims.free(session, who.name))
    return RedirectResponse("/", 303)


@router.post("/inspections/{id_}/review", dependencies=[needs(Permission.REVIEW)])
def review(
    id_: UUID,
    request: Request,
    site: Here,
    who: Who,
    verdict: Annotated[str, Form(max_length=32)] = "",
    reason_code: Annotated[str, Form(max_length=64)] = "",
    reason: Annotated[str, Form(max_length=LONGEST_REASON)] = "",
    password: Annotated[str, Form(max_length=LONGEST_PASSWORD)] = "",
    known: Annotated[str, Form(max_length=36, pattern=r"^([0-9a-fA-F-]{32,36})?$")] = "",
    wanted: Annotated[str, Form(alias="next", max_length=2000)] = "",
) -> Response:
    """Take a review; where it can't be, show what it was once more, and why."""
    said = Said(verdict, given(reason_code), given(reason), password or None, _id(known))
    back = inside(wanted) if wanted else f"/inspections/{id_}"
    try:
        say(site, who, id_, said)
    except ReviewedMeanwhileError as error:
        return _once_more(request, site, who, id_, said, back, 409, str(error), error.reviews)
    except (PasswordNeededError, AccountError) as error:
        return _once_more(request, site, who, id_, said, back, 403, str(error))
    except WrongCredentialsError:
        return _once_more(request, site, who, id_, said, back, 403, WRONG_PASSWORD)
    except ReviewError as error:
        return _once_more(request, site, who, id_, said, back, 422, str(error))
    return RedirectResponse(back, 303)


def _once_more(
    request: Request,
    site: Site,
    who: Principal,
    id_: UUID,
    said: Said,
    back: str,
    status: int,
    told: str,
    meanwhile: tuple[Review, ...] = (),
) -> Response:
    filled = {"reason_code": said.reason_code or "", "reason": said.reason or "", "verdict": said.verdict}
    with site.reading() as session:
        detail = history.inspection(session, id_)
        asked = shown.form(session, detail, who, next=back, filled=filled, told=told, meanwhile=meanwhile)
    return site.page(request, "review/again.html", status, it=detail.inspection, review_form=asked, told=told)


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
