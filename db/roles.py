"""Who people are on the page, and what machines may do with a token."""

from collections.abc import Iterable
from typing import Final, Literal

Role = Literal["viewer", "inspector", "engineer", "auditor", "admin"]
Scope = Literal["read", "upload", "metrics"]

ROLES: Final[dict[Role, str]] = {
    "viewer": "looks at everything that was inspected",
    "inspector": "reviews verdicts",
    "engineer": "looks after models, schedules, golden samples and alarms",
    "auditor": "reads the audit trail, verifies the ledger, exports evidence",
    "admin": "opens accounts and tokens, sets up products and retention",
}
SCOPES: Final[dict[Scope, str]] = {
    "read": "reads inspections, lots, models, alarms",
    "upload": "hands images in, for one station or any",
    "metrics": "reads /metrics",
}


class UnknownRoleError(ValueError):
    """A role or scope that there is none of; the message lists those there are."""


def roles(names: Iterable[str]) -> list[str]:
    """Give the roles of these names, each once, in the order of ROLES. Raises UnknownRoleError."""
    return _known("role", names, ROLES)


def scopes(names: Iterable[str]) -> list[str]:
    """Give the scopes of these names, each once, in the order of SCOPES. Raises UnknownRoleError."""
    return _known("scope", names, SCOPES)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    asked, there = {name.strip().lower() for name in names}, list(known)
    wrong = sorted(asked - set(there))
    if wrong:
        raise UnknownRoleError(f"{wrong[0]!r} is no {what}; there are {', '.join(there)}")
    return [name for name in there if name in asked]
