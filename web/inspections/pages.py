"""The pages: lists of inspections, one of them, and the way from a serial to its part."""

from dataclasses import replace
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, RedirectResponse

from db import replays, saved_filters
from db.export_files import FORMS
from db.text import LONGEST_NAME
from web.access import Permission, Who, needs
from web.asked import KEEPABLE
from web.inspections import detail, filters, finding, lists
from web.review import shown as reviewing
from web.site import Here

router = APIRouter(include_in_schema=False)
ROWS: Final = {"table": 50, "sheet": 60}


@router.api_route("/", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def newest(request: Request, site: Here, who: Who) -> HTMLResponse:
    """List inspections, newest first, and what they are made of."""
    wanted = filters.read(request.query_params, filters.Wanted)
    asked = wanted.filter()
    is_first = wanted.after is None and wanted.before is None
    with site.looking_up() as session:
        part = lists.part(session, asked, ROWS[wanted.view], wanted.after, wanted.before)
        made_of = site.counts.of(session, asked, is_first=is_first)
        verdicts = made_of
        if asked.verdict is not None:
            verdicts = site.counts.of(session, replace(asked, verdict=None), is_first=is_first)
        offered = site.offered.names(session, is_first=is_first)
        saved = saved_filters.seen_by(session, who.name) if who.is_person else []
    return site.page(
        request,
        "inspections/list.html",
        wanted=wanted,
        rows=part.rows,
        older=wanted.url(after=part.rows[-1].id) if part.is_older else None,
        newer=wanted.url(before=part.rows[0].id) if part.is_newer and part.rows else None,
        made_of=made_of,
        verdicts=verdicts,
        offered=offered,
        saved=saved,
        choices=filters,
        forms=FORMS,
    )


@router.api_route("/find", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def find(
    site: Here, part: Annotated[str, Query(max_length=LONGEST_NAME, pattern=KEEPABLE)] = ""
) -> RedirectResponse:
    """Lead from a serial, a lot or the beginning of an id to the part, or to a list of them."""
    with site.looking_up() as session:
        return RedirectResponse(finding.address_of(session, part), 303)


@router.api_route("/inspections/{id_}", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def inspection(id_: UUID, request: Request, site: Here, who: Who) -> HTMLResponse:
    """Show all there is about an inspection."""
    with site.looking_up() as session:
        facts = detail.gather(session, id_)
        replayed = replays.of(session, id_)
        review_form = reviewing.form(session, facts.detail, who)
    it = facts.detail
    return site.page(
        request,
        "inspections/inspection.html",
        it=it.inspection,
        result=it.result,
        map=it.map if it.map_let_go is None else None,
        let_go={"image": it.image_let_go, "anomaly map": it.map_let_go},
        reviews=it.reviews,
        review_form=review_form,
        facts=facts,
        replays=replayed,
        damage=None if it.image_let_go else detail.damage(site.store, it.inspection.image_sha256),
    )


@router.post("/filters", dependencies=[needs(Permission.SAVE)])
def save(
    site: Here,
    who: Who,
    name: Annotated[str, Form(min_length=1, max_length=LONGEST_NAME, pattern=KEEPABLE)],
    query: Annotated[str, Form(max_length=filters.LONGEST_QUERY)] = "",
    is_shared: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    """Keep the filters of a list under a name."""
    wanted = filters.read(QueryParams(query), filters.Wanted)
    site.act(lambda session: saved_filters.save(session, who.name, name, wanted.query(), is_shared=is_shared))
    return RedirectResponse(wanted.url(), 303)


@router.post("/filters/remove", dependencies=[needs(Permission.SAVE)])
def remove(
    site: Here,
    who: Who,
    name: Annotated[str, Form(min_length=1, max_length=LONGEST_NAME, pattern=KEEPABLE)],
    query: Annotated[str, Form(max_length=filters.LONGEST_QUERY)] = "",
) -> RedirectResponse:
    """Forget a filter of one's own."""
    wanted = filters.read(QueryParams(query), filters.Wanted)
    site.act(lambda session: saved_filters.remove(session, who.name, name))
    return RedirectResponse(wanted.url(), 303)
