"""The readable page of evidence: what was found, for people; what proves it stands beside it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup

from db.evidence.collect import Part
from db.ledger.heads import moment
from db.matching import PENDING
from db.said import said
from db.tables import VERDICTS, LedgerKey


@dataclass(frozen=True)
class Row:
    """An inspection in the page; times are as they were sealed, files are names in the archive."""

    id: str
    serial: str
    captured_at: str
    verdict: str
    score: float | None
    threshold: float | None
    model: str
    error: str
    reviews: list[str]  # newest first
    files: dict[str, str]


def row_of(part: Part, files: dict[str, str]) -> Row:
    result = part.result or {}
    return Row(
        id=part.inspection["id"],
        serial=part.inspection["serial"] or "",
        captured_at=part.inspection["captured_at"],
        verdict=result.get("verdict", "pending"),
        score=result.get("score"),
        threshold=result.get("threshold"),
        model=(result.get("model_version") or "")[:12],
        error=result.get("error") or "",
        reviews=[f"{_day_and_time(one['created_at'])}: {said(one)}" for one in reversed(part.reviews)],
        files=files,
    )


def _day_and_time(moment: str) -> str:
    return f"{moment[:10]} {moment[11:19]}"


def page(
    statement: dict[str, Any], rows: Sequence[Row], heads: Sequence[dict[str, Any]], keys: Sequence[LedgerKey]
) -> str:
    environment = Environment(
        loader=BaseLoader(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = Counter(row.verdict for row in rows)
    return environment.from_string(_file("report.html")).render(
        style=Markup(_file("report.css")),  # noqa: S704  # our own file, with nothing of a user's in it
        statement=statement,
        rows=rows,
        verdicts=[(one, number) for one in (*VERDICTS, PENDING) if (number := counts[one])],
        heads=heads,
        keys=[(key.id, moment(key.introduced_at)) for key in keys],
    )


def _file(name: str) -> str:
    return resources.files("db.evidence").joinpath(name).read_text(encoding="utf-8")
