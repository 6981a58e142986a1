"""What acts on the page have in common: who does them, and the signature that some take."""

from typing import Any

from sqlalchemy.orm import Session

from db import signatures
from db.approvals import Act
from web.access import Principal


def signature(
    session: Session, act: Act, who: Principal, password: str | None, meaning: str
) -> dict[str, Any] | None:
    """Give the signature of who is logged in for an act's record, None where no password was given.

    Hand it on as `db.signatures.approval` says. Raises SignatureRequiredError where the settings have the act
    signed and no password was given, and what `db.signatures.sign` raises.
    """
    user = who.name if who.is_person and password else None
    return signatures.approval(session, act, user, password, meaning)
