"""The list's address: which inspections it asks for. The URL is the query, so every view can be shared."""

from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import QueryParams

from db.matching import PENDING, Filter
from db.tables import VERDICTS

VERDICT_CHOICES = (*VERDICTS, PENDING)
NAMES = ("product", "station", "lot", "serial", "verdict")
LONGEST_VALUE = 255


class InvalidFilterError(Exception):
    """A list was asked for with a filter that makes no sense; the message is for the person who asked."""


@dataclass(frozen=True)
class Wanted:
    """The filters of a list, and the id after which its page begins."""

    product: str | None = None
    station: str | None = None
    lot: str | None = None
    serial: str | None = None
    verdict: str | None = None
    after: UUID | None = None

    def filter(self) -> Filter:
        return Filter(
            product=self.product,
            station=self.station,
            lot=self.lot,
            serial=self.serial,
            verdict=self.verdict,
        )

    def chosen(self) -> dict[str, str]:
        """Give the filters that are set."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}

    def url(self, **changes: str | UUID | None) -> str:
        """Give the address of this list with some filters changed; it begins at the newest again."""
        wanted = {**self.chosen(), **changes}
        query = urlencode({name: str(value) for name, value in wanted.items() if value is not None})
        return f"/?{query}" if query else "/"


def read(query: QueryParams) -> Wanted:
    """Read the filters from a URL; empty ones, as forms send them, don't count.

    Raises InvalidFilterError for names and values that no inspection could have.
    """
    found: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in {*NAMES, "after"}:
            raise InvalidFilterError(f"There is no filter {name!r}; those there are: {', '.join(NAMES)}.")
        if not value:
            continue
        if name in found:
            raise InvalidFilterError(f"The filter {name!r} is given twice; one value is enough.")
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise InvalidFilterError(
                f"The filter {name!r} takes up to {LONGEST_VALUE} printable characters, not {value[:40]!r}."
            )
        found[name] = value
    verdict = found.get("verdict")
    if verdict is not None and verdict not in VERDICT_CHOICES:
        raise InvalidFilterError(f"{verdict!r} is no verdict; choose one of {', '.join(VERDICT_CHOICES)}.")
    after = found.pop("after", None)
    return Wanted(**found, after=None if after is None else _id(after))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidFilterError(
            f"A page begins after an inspection's id, which {text!r} is not; start again at the newest."
        ) from None
