"""Scoring history again, as page and API ask for it."""

from uuid import UUID

from db import rescorings
from db.matching import Filter
from db.tables import Rescoring
from web.access import Principal
from web.site import Site


class UnknownRescoringError(Exception):
    """There is no such rescoring."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"there is no rescoring {id_}; /models/rescorings lists them")


def start(
    site: Site, who: Principal, product: str, model: str, wanted: Filter, limit: int | None
) -> Rescoring:
    """Ask for it; raises UnknownProductError, UnknownModelError and RescoringError."""
    return site.act(lambda session: rescorings.request(session, product, model, wanted, limit, who.name))


def find(site: Site, id_: UUID) -> Rescoring:
    """Give one; raises UnknownRescoringError."""
    with site.reading() as session:
        found = session.get(Rescoring, id_)
    if found is None:
        raise UnknownRescoringError(id_)
    return found


def cancel(site: Site, who: Principal, id_: UUID) -> None:
    """End one; raises UnknownRescoringError, and RescoringError where it has ended already."""
    find(site, id_)
    site.act(lambda session: rescorings.cancel(session, id_, who.name))
