"""Parameters of addresses and forms that several parts of the page take."""

from typing import Annotated, Final

from fastapi import Form, Query
from pydantic import StringConstraints

from db.text import LONGEST_NAME
from db.users import LONGEST_PASSWORD

KEEPABLE: Final = r"^[^\x00]*$"  # no database keeps NUL
LONGEST_REASON: Final = 200  # characters: a signature's meaning holds it, and no more than 255

Text = Annotated[str, StringConstraints(max_length=LONGEST_NAME, pattern=KEEPABLE)]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REASON, pattern=KEEPABLE)
]
Asked = Annotated[str | None, Query(max_length=LONGEST_NAME, pattern=KEEPABLE)]
Field = Annotated[str, Form(max_length=LONGEST_NAME, pattern=KEEPABLE)]
Why = Annotated[Reason, Form()]
Password = Annotated[str, Form(max_length=LONGEST_PASSWORD)]


def given(text: str | None) -> str | None:
    """Give a text, None for an empty one: forms send what is not filled in so."""
    return text.strip() or None if text is not None else None
