"""Which inspections an address asks for: the URL is the query, to be shared, saved and exported."""

import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)
from starlette.datastructures import QueryParams

from db.matching import PENDING, UNREVIEWED, Filter
from db.tables import VERDICTS
from db.text import LONGEST_NAME
from web.asked import KEEPABLE

VERDICT_CHOICES: Final = (*VERDICTS, PENDING)
REVIEWED_CHOICES: Final = ("confirm", "overrule", "inconclusive", UNREVIEWED)
PERIODS: Final = ("today", "yesterday", "last-7-days")
LONGEST_QUERY: Final = 4_000  # characters of an address that is kept
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_RANGES: Final = (("min_score", "max_score"), ("min_defect_area", "max_defect_area"))


class InvalidFilterError(Exception):
    """Inspections were asked for with a filter that makes no sense; the message is for who asked."""


def _dated(value: Any) -> Any:
    if isinstance(value, str) and not _DATE.match(value):  # else 2026 were a moment in 1970
        raise ValueError("a time begins with a date, such as 2026-03-01 or 2026-03-01T06:00")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such time in UTC") from None


Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME, pattern=KEEPABLE)]
Moment = Annotated[datetime, BeforeValidator(_dated), AfterValidator(_in_utc)]


class Asked(BaseModel):
    """The filters. What is not given doesn't matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    product: Name | None = Field(None, description="Only this product.")
    station: Name | None = Field(None, description="Only this station.")
    line: Name | None = Field(None, description="Only this line.")
    serial: Name | None = Field(None, description="Only this serial.")
    lot: Name | None = Field(None, description="Only this lot.")
    verdict: Literal["ok", "ng", "inconclusive", "error", "pending"] | None = Field(
        None, description="Only this verdict; `pending` has none yet."
    )
    reviewed: Literal["confirm", "overrule", "inconclusive", "unreviewed"] | None = Field(
        None, description="Only what the newest review says this of; `unreviewed` has none."
    )
    period: Literal["today", "yesterday", "last-7-days"] | None = Field(
        None, description="Captured on these days, by UTC; in place of `since` and `until`."
    )
    since: Moment | None = Field(None, description="Captured at or after this time; UTC without a zone.")
    until: Moment | None = Field(None, description="Captured before this time.")
    model_version: Name | None = Field(None, description="Only verdicts of this model version.")
    min_score: FiniteFloat | None = Field(None, description="Only scores of at least this.")
    max_score: FiniteFloat | None = Field(None, description="Only scores of at most this.")
    min_defect_area: FiniteFloat | None = Field(
        None, description="Only where the largest marked region has at least so many pixels."
    )
    max_defect_area: FiniteFloat | None = Field(
        None, description="Only where the largest marked region has at most so many pixels."
    )
    late: bool | None = Field(None, description="`true`: only verdicts that missed their product's deadline.")

    @model_validator(mode="after")
    def _something_can_match(self) -> Self:
        if self.period is not None and (self.since is not None or self.until is not None):
            raise ValueError("period stands in place of since and until: give one or the other")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}: nothing lies between")
        for least, most in _RANGES:
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise ValueError(f"{least} {low} is above {most} {high}: nothing lies between them")
        return self

    def filter(self, now: datetime | None = None) -> Filter:
        """Give the filter, with a period as the times that it means now."""
        since, until = _days(self.period, now or datetime.now(UTC)) or (self.since, self.until)
        values = {name: getattr(self, name) for name in FILTERS - {"period", "since", "until", "late"}}
        return Filter(**values, since=since, until=until, late=self.late or None)

    def chosen(self) -> dict[str, str]:
        """Give the filters that are set, as an address has them."""
        return _plain(self.model_dump(mode="json", include=FILTERS, exclude_none=True))


FILTERS: Final = set(Asked.model_fields)
Kind = TypeVar("Kind", bound=Asked)


class Wanted(Asked):
    """A list as a page shows it: its filters, where its page begins, and how it looks."""

    after: UUID | None = None  # the page begins after this inspection, with older ones
    before: UUID | None = None  # the page ends before this inspection, with newer ones
    view: Literal["table", "sheet"] = "table"

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.after is not None and self.before is not None:
            raise ValueError("a page begins after an inspection or ends before one: give one of the two")
        return self

    def url(self, **changes: Any) -> str:
        """Give the address of this list with some filters changed; it begins at the newest again."""
        pairs = {**self._pairs, **{name: _pair(name, value) for name, value in changes.items()}}
        query = "&".join(pair for pair in pairs.values() if pair)
        return f"/?{query}" if query else "/"

    @cached_property
    def _pairs(self) -> dict[str, str]:
        """Its filters and how it looks, by name, as an address has them: a page leads to a hundred others.

        A model_copy(update=...) would keep those of the original: make a new one instead.
        """
        looks = {} if self.view == "table" else {"view": self.view}
        return {name: _pair(name, value) for name, value in {**self.chosen(), **looks}.items()}

    def period_url(self, period: str | None) -> str:
        return self.url(period=period, since=None, until=None)

    def query(self) -> str:
        """Give what follows the question mark in the address of this list, from its beginning."""
        return self.url().removeprefix("/").removeprefix("?")


def read(query: QueryParams, kind: type[Kind]) -> Kind:
    """Read the filters from a URL; empty ones, as forms send them, don't count.

    Raises InvalidFilterError for names and values that no inspection could have.
    """
    found: dict[str, str] = {}
    for name, value in query.multi_items():
        if name in found:
            raise InvalidFilterError(f"The filter {name!r} is given twice; one value is enough.")
        if value:
            found[name] = value
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise InvalidFilterError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if first["type"] == "string_pattern_mismatch":
        said = "no name holds NUL"
    if not first["loc"]:
        return f"These filters can match nothing: {said}."
    name = str(first["loc"][0])[:40]
    if first["type"] == "extra_forbidden":
        return f"There is no filter {name!r}; those there are: {', '.join(Asked.model_fields)}."
    return f"The filter {name!r} can't be {str(first['input'])[:40]!r}: {said}."


def _days(period: str | None, now: datetime) -> tuple[datetime, datetime | None] | None:
    if period is None:
        return None
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "yesterday":
        return today - timedelta(days=1), today
    return (today if period == "today" else today - timedelta(days=6)), None


def _pair(name: str, value: Any) -> str:
    return "" if value is None else urlencode(_plain({name: value}))


def _plain(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()
    }
