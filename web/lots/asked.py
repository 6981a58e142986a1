"""What is asked of lots, by the address of a page or of the API."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from web.inspections.filters import Name


class FilledIn(BaseModel):
    """Parameters of an address; empty ones, as forms send what is not filled in, don't count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value != ""}


class Wanted(FilledIn):
    """Which lots."""

    product: Name | None = Field(None, description="Only what was captured of this product.")
    begins: Name | None = Field(None, description="Only lots whose names begin so.")
    after: UUID | None = Field(None, description="The page begins after the lot with this newest inspection.")

    def query(self, **changes: Any) -> str:
        """Give what follows the address of a list, with some of it changed; it begins at the newest again."""
        given = {"product": self.product, "begins": self.begins, **changes}
        told = urlencode({name: str(value) for name, value in given.items() if value is not None})
        return f"?{told}" if told else ""


class OneLot(FilledIn):
    """One lot, or a product's part of it."""

    name: Name
    product: Name | None = None


def address(lot: str, product: str | None = None) -> str:
    """Give the address of a lot's page. Names may hold anything, also slashes and dots."""
    return f"/lots/lot?{urlencode({'name': lot} | ({} if product is None else {'product': product}))}"
