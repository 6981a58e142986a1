"""What workers saw of each station's images, summed up by windows of time.

A sample is written in the transaction of its verdicts, so an image counts with its verdict, and once. A
window is closed in the transaction that takes its samples away: whoever is killed meanwhile leaves either
samples or window. What comes after that is only counted, as late.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from db import clock
from db.ids import EPOCH, uuid7
from db.insert import insert_missing
from db.tables import DriftSample, DriftWindow, Product

SCORE: Final = "score"


@dataclass(frozen=True)
class Seen:
    """A judged image, and numbers by name: its score (SCORE) and its looks; an `error` has none."""

    product: str
    station: str
    judged_at: datetime
    verdict: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Key:
    """Whose window it is, and when it begins."""

    product: str
    station: str
    model_version: str
    starts_at: datetime

    def is_of(self, table: type[DriftSample] | type[DriftWindow]) -> tuple[ColumnElement[bool], ...]:
        return (
            table.product == self.product,
            table.station == self.station,
            table.model_version == self.model_version,
        )


@dataclass(frozen=True)
class Taken:
    """All that was seen in a window: verdicts counted, and numbers by name, one an image with a score."""

    verdicts: Counter[str]
    numbers: dict[str, list[float]]

    @property
    def images(self) -> int:
        return len(self.numbers.get(SCORE, ()))


def add(session: Session, model_version: str, seen: Sequence[Seen], window_s: int) -> None:
    """Note what a batch has shown, in the transaction of its verdicts: one statement, a row a station."""
    groups: dict[tuple[str, str, int], list[Seen]] = defaultdict(list)
    for one in seen:
        groups[one.product, one.station, int(one.judged_at.timestamp()) // window_s].append(one)
    if not groups:
        return
    now = clock.now(session)
    rows = [
        {
            "id": uuid7(now),
            "product": product,
            "station": station,
            "model_version": model_version,
            "starts_at": EPOCH + timedelta(seconds=number * window_s),
            "written_at": now,
            "verdicts": dict(Counter(one.verdict for one in some)),
            "seen": _by_name([one.numbers for one in some if one.numbers]),
        }
        for (product, station, number), some in groups.items()
    ]
    insert_missing(session, DriftSample, DriftSample.id, rows)


def _by_name(scored: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Give a list for each number, shortened, as it is kept until the window is closed.

    One that JSON can't hold is left out: no verdict waits because of it. Looks are around 1, scores anywhere.
    """
    found = {}
    for name in scored[0] if scored else ():
        values = [value for one in scored if math.isfinite(value := one[name])]
        found[name] = [float(f"{value:.6g}") if name == SCORE else round(value, 6) for value in values]
    return found


def ripe(session: Session, now: datetime, window_s: int, wait_s: float, most: int) -> list[Key]:
    """Give up to `most` windows that are over and of which nothing came for `wait_s`, the oldest first."""
    columns = (DriftSample.product, DriftSample.station, DriftSample.model_version, DriftSample.starts_at)
    query = (
        select(*columns)
        .where(DriftSample.starts_at <= now - timedelta(seconds=window_s))
        .group_by(*columns)
        .having(func.max(DriftSample.written_at) <= now - timedelta(seconds=wait_s))
        .order_by(DriftSample.starts_at, *columns[:3])
        .limit(most)
    )
    return [Key(*row) for row in session.execute(query)]


def lock(session: Session, product: str) -> None:
    """Let one closing of a product follow the other, and a promotion too, so that each sees what was before.

    Scoring, which only refers to the product, doesn't wait.
    """
    session.execute(select(Product.name).where(Product.name == product).with_for_update(key_share=True))


def take(session: Session, key: Key) -> Taken:
    """Take the samples of a window away; there are none where another has."""
    query = (
        delete(DriftSample)
        .where(*key.is_of(DriftSample), DriftSample.starts_at == key.starts_at)
        .returning(DriftSample.verdicts, DriftSample.seen)
        .execution_options(synchronize_session=False)
    )
    verdicts: Counter[str] = Counter()
    numbers: dict[str, list[float]] = defaultdict(list)
    for counts, seen in session.execute(query):
        verdicts.update(counts)
        for name, values in seen.items():
            numbers[name] += values
    return Taken(verdicts, dict(numbers))


def came_late(session: Session, key: Key, taken: Taken) -> bool:
    """Count what was taken of a window that is closed already; says no where it isn't."""
    there = session.get(DriftWindow, (key.product, key.station, key.model_version, key.starts_at))
    if there is None:
        return False
    there.late += taken.verdicts.total()
    return True


def keep(session: Session, key: Key, ends_at: datetime, taken: Taken, statistics: dict[str, Any]) -> None:
    """Write a window down; the product is locked, so nobody else does."""
    window = DriftWindow(
        **vars(key),
        ends_at=ends_at,
        images=taken.images,
        late=0,
        verdicts=dict(taken.verdicts),
        statistics=statistics,
    )
    session.add(window)
    session.flush()


def latest(session: Session, key: Key, number: int, before: datetime | None = None) -> Sequence[DriftWindow]:
    """Give the newest windows of a station and model, of those that begin before a time; newest first."""
    query = select(DriftWindow).where(*key.is_of(DriftWindow))
    if before is not None:
        query = query.where(DriftWindow.starts_at < before)
    return session.scalars(query.order_by(DriftWindow.starts_at.desc()).limit(number)).all()


def listed(
    session: Session,
    product: str | None = None,
    station: str | None = None,
    since: datetime | None = None,
    number: int | None = None,
) -> Sequence[DriftWindow]:
    """Give windows for people to read, newest first."""
    query = select(DriftWindow).limit(number)
    if product is not None:
        query = query.where(DriftWindow.product == product)
    if station is not None:
        query = query.where(DriftWindow.station == station)
    if since is not None:
        query = query.where(DriftWindow.starts_at >= since)
    newest_first = (DriftWindow.starts_at.desc(), DriftWindow.product, DriftWindow.station)
    return session.scalars(query.order_by(*newest_first)).all()


def forget(session: Session, before: datetime) -> None:
    """Let windows go that ended before a time."""
    session.execute(
        delete(DriftWindow).where(DriftWindow.ends_at < before).execution_options(synchronize_session=False)
    )


def is_beyond(statistic: Mapping[str, float]) -> bool:
    return abs(statistic["value"]) > statistic["limit"]


def is_calm(statistic: Mapping[str, float], share: float) -> bool:
    """Say whether it is at most that share of its limit."""
    return abs(statistic["value"]) <= share * statistic["limit"]
