"""Create every table, and the triggers that keep facts as they were written.

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from db import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
INSERT_ONLY = ("inspections", "results", "anomaly_maps", "model_versions", "reviews", "events")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_kind_id", "events", ["kind", "id"])
    op.create_index("ix_events_subject_id", "events", ["subject", "id"])

    op.create_table(
        "products",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_products")),
    )
    op.create_table(
        "stations",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("line", sa.String(length=255), nullable=True),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_stations")),
    )
    op.create_table(
        "inspections",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("station", sa.String(length=255), nullable=False),
        sa.Column("line", sa.String(length=255), nullable=True),
        sa.Column("serial", sa.String(length=255), nullable=True),
        sa.Column("lot", sa.String(length=255), nullable=True),
        sa.Column("captured_at", types.UTCDateTime(), nullable=False),
        sa.Column("received_at", types.UTCDateTime(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("image_key", sa.String(length=255), nullable=False),
        sa.Column("image_bytes", sa.Integer(), nullable=False),
        sa.Column("image_width", sa.Integer(), nullable=False),
        sa.Column("image_height", sa.Integer(), nullable=False),
        sa.Column("image_format", sa.String(length=16), nullable=False),
        sa.CheckConstraint(
            "image_bytes > 0 AND image_width > 0 AND image_height > 0", name=op.f("ck_inspections_sizes")
        ),
        sa.CheckConstraint("length(image_sha256) = 64", name=op.f("ck_inspections_sha256")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_inspections_product")),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=op.f("fk_inspections_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspections")),
    )
    op.create_index("ix_inspections_lot_id", "inspections", ["lot", "id"])
    op.create_index("ix_inspections_product_id", "inspections", ["product", "id"])
    op.create_index("ix_inspections_serial", "inspections", ["serial"])
    op.create_index("ix_inspections_station_id", "inspections", ["station", "id"])

    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("training_images", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_model_versions_product")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
    )
    op.create_index("ix_model_versions_product_created_at", "model_versions", ["product", "created_at"])

    op.create_table(
        "attempts",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("waiting_since", types.UTCDateTime(), nullable=False),
        sa.Column("last_enqueued_at", types.UTCDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["inspections.id"], name=op.f("fk_attempts_inspection_id")
        ),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_waiting_since_inspection_id", "attempts", ["waiting_since", "inspection_id"])

    op.create_table(
        "model_aliases",
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("alias", sa.String(length=32), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("changed_by", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_model_aliases_model_version")
        ),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_model_aliases_product")),
        sa.PrimaryKeyConstraint("product", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_table(
        "results",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("judged_at", types.UTCDateTime(), nullable=False),
        sa.Column("timings", JSON, nullable=False),
        sa.Column("regions", JSON, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("(verdict = 'error') = (error IS NOT NULL)", name=op.f("ck_results_error")),
        sa.CheckConstraint(
            "verdict = 'error' OR (score IS NOT NULL AND threshold IS NOT NULL AND model_version IS NOT NULL)",
            name=op.f("ck_results_judged"),
        ),
        sa.CheckConstraint(
            "verdict IN ('ok', 'ng', 'inconclusive', 'error')", name=op.f("ck_results_verdict")
        ),
        sa.CheckConstraint("attempts >= 1", name=op.f("ck_results_attempts")),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name=op.f("fk_results_inspection_id")),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_results_model_version")
        ),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_results")),
    )
    op.create_index("ix_results_model_version", "results", ["model_version"])
    op.create_index("ix_results_verdict_inspection_id", "results", ["verdict", "inspection_id"])

    op.create_table(
        "reviews",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('confirm', 'overrule', 'inconclusive')", name=op.f("ck_reviews_verdict")
        ),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name=op.f("fk_reviews_inspection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_inspection_id_id", "reviews", ["inspection_id", "id"])

    op.create_table(
        "anomaly_maps",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("encoding", sa.String(length=8), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.CheckConstraint("encoding = 'png'", name=op.f("ck_anomaly_maps_encoding")),
        sa.CheckConstraint("bits IN (8, 16)", name=op.f("ck_anomaly_maps_bits")),
        sa.CheckConstraint("low <= high AND width > 0 AND height > 0", name=op.f("ck_anomaly_maps_scale")),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["results.inspection_id"], name=op.f("fk_anomaly_maps_inspection_id")
        ),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_anomaly_maps")),
    )
    for table in INSERT_ONLY:
        refuse_changes(table)


def refuse_changes(table: str) -> None:
    # Both databases report it as an integrity error that names the table.
    why = f"{table} is insert-only: a change of mind is a new row"
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_insert_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{why}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_insert_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_insert_only()"
    )


def downgrade() -> None:
    raise RuntimeError("before the first revision there are no tables: to go back, restore a backup")
