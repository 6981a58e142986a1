"""What a challenger says of the images that its champion judged, and what people call those parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from db.reviewed import newest
from db.shadow import is_shadow
from db.tables import Inspection, Rescore, Result, Review

Called = Literal["good", "bad"]


@dataclass(frozen=True)
class Agreement:
    """How many images the champion and the challenger judged so, and people called so; None: nobody did."""

    champion: str
    challenger: str
    called: Called | None
    images: int


@dataclass(frozen=True)
class Seen:
    """Counts of images that a champion and its challenger scored both."""

    agreements: tuple[Agreement, ...]

    def count(
        self,
        *,
        champion: str | None = None,
        challenger: str | None = None,
        called: tuple[Called | None, ...] = ("good", "bad", None),
    ) -> int:
        """Count those that the two judged so (None: however) and people called so."""
        return sum(
            one.images
            for one in self.agreements
            if champion in {None, one.champion}
            and challenger in {None, one.challenger}
            and one.called in called
        )

    def table(self) -> list[dict[str, Any]]:
        """Give the counts by the two verdicts, whatever people said."""
        pairs = sorted({(one.champion, one.challenger) for one in self.agreements})
        return [
            {"champion": a, "challenger": b, "images": self.count(champion=a, challenger=b)} for a, b in pairs
        ]

    def disagreements(self) -> int:
        return sum(one.images for one in self.agreements if one.champion != one.challenger)


@dataclass(frozen=True)
class Disagreement:
    """An image that champion and challenger judge differently; `called` is what people say of the part."""

    inspection_id: UUID
    station: str
    champion: str
    champion_score: float | None
    champion_threshold: float | None
    challenger: str
    challenger_score: float | None
    challenger_threshold: float | None
    error: str | None  # why the challenger could not score it
    called: Called | None


def seen(session: Session, champion: str, challenger: str, since: datetime | None = None) -> Seen:
    """Count what both say of what the challenger scored in the champion's shadow, since then if given."""
    query = _beside(
        champion, challenger, since, Result.verdict, Rescore.verdict, Review.verdict, func.count()
    )
    query = query.group_by(Result.verdict, Rescore.verdict, Review.verdict)
    return Seen(
        tuple(Agreement(row[0], row[1], _called(row[0], row[2]), row[3]) for row in session.execute(query))
    )


def scored(session: Session, champion: str, challenger: str, since: datetime) -> int:
    """Count only how many images that are."""
    query = (
        select(func.count()).select_from(Rescore).join(Result, Result.inspection_id == Rescore.inspection_id)
    )
    return session.scalars(query.where(*_of(champion, challenger, since))).one()


def disagreements(
    session: Session, champion: str, challenger: str, limit: int | None = None
) -> Iterator[Disagreement]:
    """Give, newest first, the images that the two judge differently."""
    query = _beside(
        champion,
        challenger,
        None,
        Rescore.inspection_id,
        Inspection.station,
        Result.verdict,
        Result.score,
        Result.threshold,
        Rescore.verdict,
        Rescore.score,
        Rescore.threshold,
        Rescore.error,
        Review.verdict,
    ).join(Inspection, Inspection.id == Rescore.inspection_id)
    query = query.where(Result.verdict != Rescore.verdict).order_by(Rescore.inspection_id.desc()).limit(limit)
    for row in session.execute(query):
        said = [*row]
        said[-1] = _called(row[2], row[-1])
        yield Disagreement(*said)


def _beside(champion: str, challenger: str, since: datetime | None, *columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .select_from(Rescore)
        .join(Result, Result.inspection_id == Rescore.inspection_id)
        .outerjoin(Review, and_(Review.inspection_id == Rescore.inspection_id, newest()))
        .where(*_of(champion, challenger, since))
    )


def _of(champion: str, challenger: str, since: datetime | None) -> Iterator[Any]:
    yield is_shadow()
    yield Rescore.model_version == challenger
    yield Result.model_version == champion
    if since is not None:
        yield Rescore.scored_at >= since


def _called(verdict: str, review: str | None) -> Called | None:
    """Say what the newest review calls a part whose verdict it confirms or overrules (db.reviews)."""
    if verdict not in {"ok", "ng"} or review not in {"confirm", "overrule"}:
        return None
    return "good" if (verdict == "ok") == (review == "confirm") else "bad"


@dataclass(frozen=True)
class Opinion:
    """What a challenger said of one inspection; `error` is why it could not score it."""

    model_version: str
    verdict: str
    score: float | None
    threshold: float | None
    error: str | None


def opinions(session: Session, inspection_id: UUID) -> list[Opinion]:
    """Give what challengers said of an inspection, the newest first, without their maps."""
    query = (
        select(Rescore.model_version, Rescore.verdict, Rescore.score, Rescore.threshold, Rescore.error)
        .where(Rescore.inspection_id == inspection_id, is_shadow())
        .order_by(Rescore.scored_at.desc())
    )
    return [Opinion(*row) for row in session.execute(query)]
