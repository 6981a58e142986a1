"""The queue's address: which parts somebody wants to look at, and how far that has come."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from db.review_queue import Source, Wanted
from db.text import LONGEST_NAME


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that no name has")
    return text


_Empty = BeforeValidator(lambda given: given or None)  # forms send what is not filled in as empty
_Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_printable)]
Name = Annotated[_Name | None, _Empty]


class Chosen(BaseModel):
    """What is chosen of the queue."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[Source | None, _Empty] = Field(
        None,
        description="Why parts are there: judged ng, inconclusive or error; a challenger's disagreement; a "
        "score near the threshold (borderline). Unset: any of them.",
    )
    product: Name = Field(None, description="Only this product.")
    line: Name = Field(None, description="Only this line.")
    lot: Name = Field(None, description="Only this lot.")

    def wanted(self) -> Wanted:
        return Wanted(self.source, self.product, self.line, self.lot)

    def query(self, **changes: Any) -> str:
        """Give this as the end of an address, with some of it changed; empty where nothing is chosen."""
        chosen = {**self.model_dump(exclude_defaults=True), **changes}
        given = {name: str(value) for name, value in chosen.items() if value is not None}
        return f"?{urlencode(given)}" if given else ""


class Ordered(Chosen):
    """What is chosen of the queue, and what comes next of it."""

    order: Literal["oldest", "newest"] = Field("oldest", description="Which capture comes first.")
    after: Annotated[UUID | None, _Empty] = Field(
        None, description="The inspection before: what comes behind it is given, else the first again."
    )

    def wanted(self) -> Wanted:
        return Wanted(self.source, self.product, self.line, self.lot, self.order == "newest")


class OnPage(Ordered):
    """What the page's address says: `part` is one that somebody wants to see again, such as to undo."""

    part: Annotated[UUID | None, _Empty] = None

    def url(self, **changes: Any) -> str:
        """Give the page's address with some of it changed; where it was is forgotten unless given."""
        return "/review" + self.query(**{"after": None, "part": None, **changes})
