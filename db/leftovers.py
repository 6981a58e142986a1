"""What people and machines left open and nobody comes back to: ended logins, old claims, old answers."""

from datetime import UTC, datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from db import answered, logins
from db.tables import Answered, ReviewClaim


def remove(session: Session) -> None:
    """Remove what counts no more; nothing of it is a fact."""
    now = datetime.now(UTC)
    logins.forget_old(session)
    session.execute(delete(ReviewClaim).where(ReviewClaim.until < now))
    session.execute(delete(Answered).where(Answered.at <= now - answered.KEPT_FOR))
