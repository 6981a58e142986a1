"""Which pages there are, in the order in which they stand at the top of each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from web.access import Principal


@dataclass(frozen=True)
class Page:
    title: str
    address: str
    permission: str  # a value of web.access.Permission
    is_here: bool = False


PAGES: Final = (
    Page("Live", "/live", "read"),
    Page("Inspections", "/", "read"),
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
    here = max((page.address for page in allowed if _belongs(path, page.address)), key=len, default=None)
    return [Page(page.title, page.address, page.permission, page.address == here) for page in allowed]


def _belongs(path: str, address: str) -> bool:
    return path == address or path.startswith(f"{address.rstrip('/')}/")
