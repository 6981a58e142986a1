"""Reviewing, as page and API do it."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from db import reviews, signatures
from db.approvals import SignatureRequiredError
from db.reviews import ReviewError
from db.tables import Review
from web.access import Principal
from web.site import Site

SIGN: Final = "Overruling an ng takes your signature here: give your password with it. Nothing was changed"


@dataclass(frozen=True)
class Said:
    """What a reviewer says; `known` is the newest review that the reviewer was shown, None for none."""

    verdict: str
    reason_code: str | None
    reason: str | None
    password: str | None
    known: UUID | None


class PasswordNeededError(ReviewError):
    """A review takes a signature and came without a password."""


def say(site: Site, who: Principal, id_: UUID, said: Said) -> Review:
    """Record a review, again where retention came between; signed where a password was given.

    Raises what db.reviews.record raises, db.users.WrongCredentialsError, and PasswordNeededError.
    """

    def work(session: Session) -> Review:
        signature = None
        if said.password:
            signature = signatures.sign(session, who.name, said.password, f"review: {said.verdict}")
        return reviews.record(
            session, id_, said.verdict, who.name, said.reason_code, said.reason, signature, said.known
        )

    try:
        return site.act(work)
    except SignatureRequiredError:
        raise PasswordNeededError(SIGN) from None
