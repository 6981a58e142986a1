"""Partition inspections, results and their maps by month, and let go what the ledger says is released.

Revision: 0004, after 0003
"""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# table, kind in released_facts, column that is its key
REMOVABLE = (("inspections", 1, "id"), ("results", 2, "inspection_id"), ("reviews", 3, "id"))
MAP = 102  # kind in released_facts
MAP_COLUMNS = ("inspection_id", "encoding", "bits", "low", "high", "width", "height", "sha256")
WHY = "{table} is insert-only: a change of mind is a new row"
FIRST_MONTH = datetime(2000, 1, 1, tzinfo=UTC)  # what is older came from a clock that was never set


def upgrade() -> None:
    op.create_table(
        "released_facts",
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("fact", types.Id(), nullable=False),
        sa.Column("act", types.Id(), nullable=False),
        sa.ForeignKeyConstraint(["act"], ["events.id"], name=op.f("fk_released_facts_act")),
        sa.PrimaryKeyConstraint("kind", "fact", name=op.f("pk_released_facts")),
    )
    op.create_index("ix_released_facts_act_kind_fact", "released_facts", ["act", "kind", "fact"])
    if op.get_context().dialect.name == "sqlite":
        guard_on_sqlite()
    else:
        partition()
        guard_on_postgresql()
    op.create_index(
        "ix_results_defects",
        "results",
        ["inspection_id"],
        postgresql_where=sa.text("regions <> '[]'::jsonb"),
        sqlite_where=sa.text("regions <> '[]'"),
    )
    op.create_index("ix_results_score_inspection_id", "results", ["score", "inspection_id"])


def guard_on_sqlite() -> None:
    for table, kind, key in REMOVABLE:
        op.execute(f"DROP TRIGGER {table}_no_delete")
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT EXISTS "
            f"(SELECT 1 FROM released_facts r WHERE r.kind = {kind} AND r.fact = OLD.{key}) "
            f"BEGIN SELECT RAISE(ABORT, '{WHY.format(table=table)}'); END"
        )
    same = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in MAP_COLUMNS)
    why = WHY.format(table="anomaly_maps")
    for change, exception in (
        ("UPDATE", f"{same} AND length(NEW.data) = 0 AND {released(MAP)}"),
        ("DELETE", released(2)),
    ):
        op.execute(f"DROP TRIGGER anomaly_maps_no_{change.lower()}")
        op.execute(
            f"CREATE TRIGGER anomaly_maps_no_{change.lower()} BEFORE {change} ON anomaly_maps "
            f"WHEN NOT ({exception}) BEGIN SELECT RAISE(ABORT, '{why}'); END"
        )
    why = WHY.format(table="released_facts")
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER released_facts_no_{change.lower()} BEFORE {change} ON released_facts "
            f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
        )


def released(kind: int, key: str = "inspection_id") -> str:
    return f"EXISTS (SELECT 1 FROM released_facts r WHERE r.kind = {kind} AND r.fact = OLD.{key})"


def guard_on_postgresql() -> None:
    for table, kind, key in REMOVABLE:
        replace_guard(
            table, f"IF TG_OP = 'DELETE' THEN IF {released(kind, key)} THEN RETURN OLD; END IF; END IF;"
        )
    same = " AND ".join(f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in MAP_COLUMNS)
    replace_guard(
        "anomaly_maps",
        f"IF TG_OP = 'DELETE' THEN IF {released(2)} THEN RETURN OLD; END IF; END IF; "
        f"IF TG_OP = 'UPDATE' THEN IF {same} AND length(NEW.data) = 0 AND {released(MAP)} "
        "THEN RETURN NEW; END IF; END IF;",
    )
    replace_guard("released_facts", "")
    op.execute(
        "CREATE TRIGGER released_facts_no_change BEFORE UPDATE OR DELETE ON released_facts "
        "FOR EACH ROW EXECUTE FUNCTION released_facts_insert_only()"
    )
    op.execute(
        "CREATE TRIGGER released_facts_no_truncate BEFORE TRUNCATE ON released_facts "
        "FOR EACH STATEMENT EXECUTE FUNCTION released_facts_insert_only()"
    )


def replace_guard(table: str, exception: str) -> None:
    op.execute(
        f"CREATE OR REPLACE FUNCTION {table}_insert_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {exception} RAISE EXCEPTION '{WHY.format(table=table)}' "
        "USING ERRCODE = 'restrict_violation'; END $$"
    )


def partition() -> None:
    """Make the tables anew, as partitions of a month each, and move what they hold.

    An id begins with the time of capture, so a range of ids is a range of time, and a primary key stays unique.
    """
    op.execute("ALTER TABLE attempts DROP CONSTRAINT fk_attempts_inspection_id")
    op.execute("ALTER TABLE reviews DROP CONSTRAINT fk_reviews_inspection_id")
    months = months_of_inspections()
    for table, key in (
        ("inspections", "id"),
        ("results", "inspection_id"),
        ("anomaly_maps", "inspection_id"),
    ):
        op.execute(f"ALTER TABLE {table} RENAME TO whole_{table}")
        op.execute(
            f"CREATE TABLE {table} (LIKE whole_{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
            f"PARTITION BY RANGE ({key})"
        )
        op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
        for month in months:
            following = next_month(month)
            op.execute(
                f"CREATE TABLE {table}_{month:%Y_%m} PARTITION OF {table} "
                f"FOR VALUES FROM ('{first_id(month)}') TO ('{first_id(following)}')"
            )
        op.execute(f"INSERT INTO {table} SELECT * FROM whole_{table}")
    for table in ("anomaly_maps", "results", "inspections"):
        op.execute(f"DROP TABLE whole_{table}")
    keys_and_indexes()
    for table in ("inspections", "results", "anomaly_maps"):
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_insert_only()"
        )
        # Row triggers are handed down to partitions, that of a statement is not.
        for part in (table, f"{table}_rest", *(f"{table}_{month:%Y_%m}" for month in months)):
            op.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {part} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_insert_only()"
            )


def keys_and_indexes() -> None:
    op.create_primary_key("pk_inspections", "inspections", ["id"])
    op.create_primary_key("pk_results", "results", ["inspection_id"])
    op.create_primary_key("pk_anomaly_maps", "anomaly_maps", ["inspection_id"])
    for table, columns in (
        ("inspections", ["lot", "id"]),
        ("inspections", ["product", "id"]),
        ("inspections", ["serial"]),
        ("inspections", ["station", "id"]),
        ("results", ["model_version"]),
        ("results", ["verdict", "inspection_id"]),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
    for table, column, other, key in (
        ("inspections", "product", "products", "name"),
        ("inspections", "station", "stations", "name"),
        ("results", "inspection_id", "inspections", "id"),
        ("results", "model_version", "model_versions", "id"),
        ("anomaly_maps", "inspection_id", "results", "inspection_id"),
        ("attempts", "inspection_id", "inspections", "id"),
        ("reviews", "inspection_id", "inspections", "id"),
    ):
        op.create_foreign_key(f"fk_{table}_{column}", table, other, [column], [key])


def months_of_inspections() -> list[datetime]:
    milliseconds = "('x' || substr(replace(CAST(id AS text), '-', ''), 1, 12))::bit(48)::bigint"
    found = op.get_bind().execute(
        sa.text(
            f"SELECT DISTINCT date_trunc('month', to_timestamp({milliseconds} / 1000.0), 'UTC') FROM inspections"
        )
    )
    now = datetime.now(UTC)
    months = {month.astimezone(UTC) for (month,) in found}
    return sorted(month for month in months if FIRST_MONTH <= month <= now)


def next_month(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def first_id(month: datetime) -> UUID:
    return UUID(int=int(month.timestamp() * 1000) << 80 | 7 << 76)


def downgrade() -> None:
    raise RuntimeError("partitions are not taken back: to go back, restore a backup")
