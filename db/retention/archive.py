"""Keeping, in the schema `archive` of PostgreSQL, the rows that go one by one and the reviews of months.

Months are kept as the tables they were. What goes alone is kept as JSON, in one table: so a migration that
adds a column later has nothing to change here.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.ledger.facts import Kind
from db.partitions import ARCHIVE
from db.retention.policy import RetentionError

# Whose rows, by which column, go with the facts of a kind; reviews go by themselves in months, too.
REVIEWS: Final = ((Kind.REVIEW, "reviews", "id"),)
ALL: Final = (
    (Kind.INSPECTION, "inspections", "id"),
    (Kind.RESULT, "results", "inspection_id"),
    (Kind.RESULT, "anomaly_maps", "inspection_id"),
    *REVIEWS,
)
_ROWS: Final = (
    f"CREATE TABLE IF NOT EXISTS {ARCHIVE}.rows (table_name text, fact uuid, act uuid NOT NULL, "
    "data jsonb NOT NULL, PRIMARY KEY (table_name, fact))"
)


def require(dialect: str) -> None:
    """Raise RetentionError on SQLite, which has no schema to keep rows in: they would be gone."""
    if dialect == "sqlite":
        raise RetentionError(
            "PYRAMIDION_RETENTION_ARCHIVE is set, and SQLite has no schema to archive rows in, so nothing "
            "was let go: unset it to let rows go for good, or move to PostgreSQL"
        )


def keep(session: Session, act: UUID, sources: tuple[tuple[Kind, str, str], ...]) -> None:
    """Copy the rows that an act names in released_facts, before they are deleted in its transaction."""
    session.execute(text(f"CREATE SCHEMA IF NOT EXISTS {ARCHIVE}"))
    session.execute(text(_ROWS))
    for kind, table, key in sources:
        named = (
            f"INSERT INTO {ARCHIVE}.rows SELECT '{table}', r.fact, r.act, to_jsonb(f) "  # noqa: S608  # our names
            f"FROM released_facts r JOIN {table} f ON f.{key} = r.fact WHERE r.act = :act AND r.kind = :kind"
        )
        session.execute(text(named), {"act": act, "kind": kind.value})
