"""`pyramidion review`: what a person says of a verdict."""

import getpass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pyramidion.output import out, print_json
from pyramidion.passwords import SignAs, password_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.tables import Review


class Said(StrEnum):
    """What a review can say."""

    CONFIRM = "confirm"
    OVERRULE = "overrule"
    INCONCLUSIVE = "inconclusive"


def review(
    inspection_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    said: Annotated[Said, typer.Argument(metavar="VERDICT", help="confirm, overrule or inconclusive.")],
    reason_code: Annotated[
        str | None,
        typer.Option(help="Why, as one of PYRAMIDION_REASON_CODES; whoever overrules has to say."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, in words.")] = None,
    sign_as: SignAs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say whether a verdict is right. Reviews are added, never changed; the newest one counts."""
    from db import reviews, signatures, users
    from db.again import again
    from pyramidion.commands.show import columns, find_one
    from pyramidion.context import open_context

    context = open_context()
    with context.reading() as session:
        id_ = find_one(session, inspection_id)
    password = password_of(sign_as)
    reviewer = getpass.getuser() if sign_as is None else users.plain(sign_as)

    def add(session: "Session") -> "Review":
        signature = None
        if sign_as is not None:
            signature = signatures.sign(session, sign_as, password or "", f"review: {said.value}")
        return reviews.record(session, id_, said.value, reviewer, reason_code, reason, signature)

    made = again(context.sessions, add)  # retention may be at it just now
    if as_json:
        print_json(columns(made))
        return
    signed = "" if made.signature is None else f", signed by {made.signature['name']}"
    out.print(f"{id_}: {said.value} by {reviewer}{signed}", markup=False, highlight=False, soft_wrap=True)
