"""What the accounts of those who sign are, compared with what the events say of them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import users
from db.ledger.bad import Bad
from db.tables import Event


def accounts(session: Session) -> Iterator[Bad]:
    """An account is no fact, its changes are: a password that was put in by hand would sign for another."""
    changes = select(Event).where(Event.kind.in_(users.CHANGES)).order_by(Event.id)
    said: dict[str | None, Any] = {}
    opened: Counter[str | None] = Counter()
    for event in session.scalars(changes):
        said[event.subject] = event.detail.get("state")
        opened[event.subject] += event.kind == users.ADDED
    found = {user.name: users.state(user) for user in users.everyone(session)}
    for name in sorted({name for name in said if name is not None} | set(found)):
        if opened[name] > 1:  # which no command does: a name is never given to another person
            why = f"was opened {opened[name]} times, by as many events user.added"
            yield Bad(
                f"the account of user {name} {why}: its signatures may be somebody else's", "user", name
            )
        if _roles_told(said.get(name)) == found.get(name):
            continue
        if name not in said:
            why = "was opened past the application"
        else:
            why = "was changed past the application" if name in found else "was removed"
        yield Bad(f"the account of user {name} {why}: its signatures may be somebody else's", "user", name)


def _roles_told(state: Any) -> Any:
    """Events of before there were roles say nothing of them: there were none."""
    return {"roles": [], **state} if isinstance(state, dict) else state
