"""What a list is made of, and may be of: looked up for its first page, and remembered for who pages on."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.facets import Facets, facets
from db.matching import Filter
from db.tables import Product, Station

COUNTED: Final = 2_000  # of the newest matches: more would take longer than a page may
KEPT_S: Final = 60.0
LISTS: Final = 200  # that are remembered
NAMES_OFFERED: Final = 200  # products and stations to choose from; beyond that a list is no help


class Counts:
    """The counts of the lists that were looked at last. Safe to share among threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Filter, tuple[float, Facets]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: Session, asked: Filter, *, is_first: bool) -> Facets:
        """Give the counts of what matches: as they are now for a first page, up to KEPT_S old for another."""
        with self._lock:
            found = self._kept.get(asked)
        if not is_first and found is not None and monotonic() < found[0] + KEPT_S:
            return found[1]
        counted = facets(session, asked, COUNTED)
        with self._lock:
            self._kept[asked] = monotonic(), counted
            self._kept.move_to_end(asked)
            while len(self._kept) > LISTS:
                self._kept.popitem(last=False)
        return counted


class Offered:
    """The products and stations to choose from, up to KEPT_S old beyond a first page. Safe to share."""

    def __init__(self) -> None:
        self._kept: tuple[float, dict[str, Sequence[str]]] = (float("-inf"), {})

    def names(self, session: Session, *, is_first: bool) -> dict[str, Sequence[str]]:
        at, names = self._kept
        if is_first or monotonic() > at + KEPT_S:
            names = {
                kind: session.scalars(select(name).order_by(name).limit(NAMES_OFFERED)).all()
                for kind, name in (("product", Product.name), ("station", Station.name))
            }
            self._kept = monotonic(), names
        return names
