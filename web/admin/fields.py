"""What the fields of Admin's forms and documents may hold, and how an act that was refused is told."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Form
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from db.approvals import SignatureRequiredError
from db.inspections import UnknownProductError
from db.products import ProductThereError
from db.retention.policy import RetentionError
from db.roles import UnknownRoleError
from db.stations import UnknownStationError
from db.text import LONGEST_NAME, UnkeepableNameError
from db.tokens import TokenError
from db.users import LONGEST_PASSWORD, AccountError, WrongCredentialsError
from web.asked import KEEPABLE, Reason

LONGEST_DEADLINE_MS: Final = 86_400_000
LONGEST_TERM_DAYS: Final = 36_500
# What a person can cure in the form itself, which is then shown again.
REFUSALS: Final = (
    AccountError,
    ProductThereError,
    RetentionError,
    SignatureRequiredError,
    TokenError,
    UnkeepableNameError,
    UnknownProductError,
    UnknownRoleError,
    UnknownStationError,
    WrongCredentialsError,
)


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=KEEPABLE)]
Password = Annotated[str, Field(min_length=1, max_length=LONGEST_PASSWORD)]
Days = Annotated[int, Field(ge=1, le=LONGEST_TERM_DAYS)]
Deadline = Annotated[int, Field(ge=1, le=LONGEST_DEADLINE_MS)]

NameField = Annotated[Name, Form()]
ReasonField = Annotated[Reason, Form()]
PasswordField = Annotated[Password | None, Form()]  # of who signs


def acted(act: Callable[[], object], to: str, again: Callable[[str], Response]) -> Response:
    """Do what a form asked for and lead on; where it is refused, show the form again with the reason."""
    try:
        act()
    except REFUSALS as error:
        return again(sentence(error))
    return RedirectResponse(to, 303)


def sentence(error: Exception) -> str:
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}".rstrip(".") + "."
