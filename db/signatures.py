"""Electronic signatures: whose, when and what for, made by giving user and password anew, and only so.

A signature is no record of its own. It stands in the record that it signs: a review's column, an event's
detail; there it is bound to it (db.ledger.signed) and sealed with it. Which acts require one, a setting says.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from db import users
from db.approvals import Act, require
from db.ledger.heads import moment
from db.text import require_name


def approval(
    session: Session, act: Act, user: str | None, password: str | None, meaning: str
) -> dict[str, Any] | None:
    """Give the signature of an act for its record, None where nobody signs and nobody has to.

    Hand it to `db.events.record` in `detail["signature"]`, or to `db.reviews.record`, in this session's
    transaction. Raises SignatureRequiredError, and what sign() raises.
    """
    signature = None if user is None else sign(session, user, password or "", meaning)
    require(act, signature)
    return signature


def sign(session: Session, user: str, password: str, meaning: str) -> dict[str, Any]:
    """Give a signature: user, printed name, time and meaning (21 CFR 11.50).

    Raises db.users.WrongCredentialsError, having rolled the session back, and db.users.AccountError for a
    password that somebody else chose.
    """
    require_name("meaning", meaning)
    found = users.authenticate(session, user, password, f"signature: {meaning}")
    if found.password_changed_at is None:
        raise users.AccountError(
            f"{found.name} has a password that somebody else chose, which signs nothing: choose "
            f"your own with `pyramidion users password {found.name}`"
        )
    return {"user": found.name, "name": found.full_name, "at": moment(datetime.now(UTC)), "meaning": meaning}
