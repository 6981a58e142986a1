"""What is asked of events, by the address of a page."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import Field

from db.events import Asked
from web.inspections.filters import Moment, Name
from web.lots.asked import FilledIn


class Wanted(FilledIn):
    """Which events."""

    kind: Name | None = Field(
        None, description="This kind, such as model.promoted, or all that begin so: user."
    )
    subject: Name | None = Field(None, description="What was done to this: a product, a user, a lot.")
    actor: Name | None = Field(None, description="Who did it.")
    since: Moment | None = Field(None, description="At or after this time; UTC without a zone.")
    until: Moment | None = Field(None, description="Before this time.")
    after: UUID | None = Field(None, description="The page begins after this event, with older ones.")

    def asked(self) -> Asked:
        return Asked(self.kind, self.subject, self.since, self.until, self.actor)

    def chosen(self) -> dict[str, str]:
        """Give the filters that are set, as an address has them."""
        given = {name: getattr(self, name) for name in ("kind", "subject", "actor", "since", "until")}
        return {name: _text(value) for name, value in given.items() if value is not None}

    def query(self, **changes: Any) -> str:
        """Give what follows the address of a list, with some of it changed; it begins at the newest again."""
        given = {**self.chosen(), **changes}
        told = urlencode({name: str(value) for name, value in given.items() if value is not None})
        return f"?{told}" if told else ""


def _text(value: Any) -> str:
    return in_field(value) if isinstance(value, datetime) else str(value)


def in_field(at: datetime | None) -> str:
    """Write a time as a form's field for times has it: UTC, to the second where it is one."""
    return "" if at is None else at.replace(tzinfo=None).isoformat()
