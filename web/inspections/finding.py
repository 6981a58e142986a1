"""From what stands on a part, or is scanned from it, to its page."""

from urllib.parse import urlencode

from sqlalchemy.orm import Session

from db.history import find, search
from db.matching import Filter

SHORTEST_ID = 8  # hexadecimal digits: a number on a part is rarely meant as the beginning of an id


def address_of(session: Session, text: str) -> str:
    """Give the page of the only inspection with that serial, lot or beginning of an id.

    Of several, their list; where there is none, the list that says so.
    """
    text = text.strip()
    if not text:
        return "/"
    spelt = dict.fromkeys((text, text.upper(), text.lower()))
    for asked in (*(Filter(serial=one) for one in spelt), *(Filter(lot=one) for one in spelt)):
        rows = search(session, asked, 2)
        if rows:
            found = {"lot": asked.lot} if asked.serial is None else {"serial": asked.serial}
            return f"/inspections/{rows[0].id}" if len(rows) == 1 else f"/?{urlencode(found)}"
    ids = _with_beginning(session, text)
    return f"/inspections/{ids[0]}" if len(ids) == 1 else f"/?{urlencode({'serial': text})}"


def _with_beginning(session: Session, text: str) -> list[object]:
    if len(text.replace("-", "")) < SHORTEST_ID:
        return []
    try:
        return list(find(session, text, limit=2))
    except ValueError:  # no beginning of an id
        return []
