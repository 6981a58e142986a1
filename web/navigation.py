"""Which pages there are, in the order in which they stand at the top of each."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from web.access import Principal


@dataclass(frozen=True)
class Page:
    title: str
    address: str
    permission: str  # a value of web.access.Permission
    also: tuple[str, ...] = ()  # addresses below which it is this page as well
    is_here: bool = False


PAGES: Final = (
    Page("Live", "/live", "read", ("/alarms",)),
    Page("Inspections", "/", "read", ("/inspections",)),
    Page("Review", "/review", "review"),
    Page("Lots", "/lots", "read"),
    Page("Models", "/models", "read"),
    Page("Drift", "/drift", "read"),
    Page("Audit", "/audit", "audit"),
    Page("Admin", "/admin", "administrate"),
)


def pages_for(who: "Principal | None", path: str) -> list[Page]:
    """Give the pages that somebody may see; that to which an address belongs says so."""
    if who is None:
        return []
    allowed = [page for page in PAGES if page.permission in who.permissions]
    return [replace(page, is_here=_belongs(path, page)) for page in allowed]


def _belongs(path: str, page: Page) -> bool:
    here = (page.address, *page.also)
    return path in here or any(path.startswith(f"{one}/") for one in here if one != "/")
