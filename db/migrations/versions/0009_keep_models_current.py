"""Keep models current: datasets, policies, drift, alarms, golden samples.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WHY = "datasets is insert-only: a change of mind is a new row"


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("station", sa.String(length=255), nullable=False),
        sa.Column("statistic", sa.String(length=255), nullable=False),
        sa.Column("since", types.UTCDateTime(), nullable=False),
        sa.Column("opened_at", types.UTCDateTime(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("detail", types.Json, nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("closed_at", types.UTCDateTime(), nullable=True),
        sa.Column("closed_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint("kind IN ('drift', 'golden')", name=op.f("ck_alarms_kind")),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name=op.f("ck_alarms_closed")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_alarms_product")),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=op.f("fk_alarms_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["product", "station", "statistic"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "datasets",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("made_at", types.UTCDateTime(), nullable=False),
        sa.Column("entries", types.Json, nullable=False),
        sa.Column("summary", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_datasets_product")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_datasets")),
    )
    op.create_table(
        "golden_samples",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("station", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("expected", sa.String(length=8), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("image_bytes", sa.Integer(), nullable=False),
        sa.Column("image_width", sa.Integer(), nullable=False),
        sa.Column("image_height", sa.Integer(), nullable=False),
        sa.Column("image_format", sa.String(length=16), nullable=False),
        sa.Column("added_by", sa.String(length=255), nullable=False),
        sa.Column("added_at", types.UTCDateTime(), nullable=False),
        sa.Column("retired_at", types.UTCDateTime(), nullable=True),
        sa.CheckConstraint("expected IN ('ok', 'ng')", name=op.f("ck_golden_samples_expected")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_golden_samples_product")),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=op.f("fk_golden_samples_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_golden_samples")),
    )
    op.create_index(
        "uq_golden_samples_name",
        "golden_samples",
        ["product", "station", "name"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
        sqlite_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "golden_schedules",
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("cron", sa.String(length=255), nullable=False),
        sa.Column("time_zone", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(length=255), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("last_due", types.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_golden_schedules_product")),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_golden_schedules")),
    )
    op.create_table(
        "policies",
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("false_reject_rate", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("promotion", sa.String(length=16), nullable=False),
        sa.Column("shadow_share", sa.Double(), nullable=False),
        sa.Column("shadow_images", sa.Integer(), nullable=False),
        sa.Column("retrain_on_drift", sa.Boolean(), nullable=False),
        sa.Column("hold_on_golden", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(length=255), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.CheckConstraint("promotion IN ('person', 'automatic')", name=op.f("ck_policies_promotion")),
        sa.CheckConstraint("confidence >= 0.5 AND confidence < 1", name=op.f("ck_policies_confidence")),
        sa.CheckConstraint(
            "false_reject_rate > 0 AND false_reject_rate < 1", name=op.f("ck_policies_false_reject_rate")
        ),
        sa.CheckConstraint("shadow_images >= 1", name=op.f("ck_policies_shadow_images")),
        sa.CheckConstraint("shadow_share > 0 AND shadow_share <= 1", name=op.f("ck_policies_shadow_share")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_policies_product")),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_policies")),
    )
    op.create_table(
        "drift_samples",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("station", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("starts_at", types.UTCDateTime(), nullable=False),
        sa.Column("written_at", types.UTCDateTime(), nullable=False),
        sa.Column("verdicts", types.Json, nullable=False),
        sa.Column("seen", types.Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_drift_samples_model_version")
        ),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_drift_samples_product")),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=op.f("fk_drift_samples_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_samples")),
    )
    op.create_index(
        op.f("ix_drift_samples_product_station_model_version_starts_at"),
        "drift_samples",
        ["product", "station", "model_version", "starts_at"],
    )
    op.create_table(
        "drift_windows",
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("station", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("starts_at", types.UTCDateTime(), nullable=False),
        sa.Column("ends_at", types.UTCDateTime(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("verdicts", types.Json, nullable=False),
        sa.Column("statistics", types.Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_drift_windows_model_version")
        ),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_drift_windows_product")),
        sa.ForeignKeyConstraint(["station"], ["stations.name"], name=op.f("fk_drift_windows_station")),
        sa.PrimaryKeyConstraint(
            "product", "station", "model_version", "starts_at", name=op.f("pk_drift_windows")
        ),
    )
    op.create_table(
        "golden_trials",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("sample", types.Id(), nullable=False),
        sa.Column("sent_at", types.UTCDateTime(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("checked_at", types.UTCDateTime(), nullable=True),
        sa.CheckConstraint("(passed IS NULL) = (checked_at IS NULL)", name=op.f("ck_golden_trials_checked")),
        sa.ForeignKeyConstraint(["sample"], ["golden_samples.id"], name=op.f("fk_golden_trials_sample")),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_golden_trials")),
    )
    op.create_index(
        "ix_golden_trials_open",
        "golden_trials",
        ["inspection_id"],
        postgresql_where=sa.text("checked_at IS NULL"),
        sqlite_where=sa.text("checked_at IS NULL"),
    )
    op.create_index(
        op.f("ix_golden_trials_sample_inspection_id"), "golden_trials", ["sample", "inspection_id"]
    )
    op.create_table(
        "shadows",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_shadows_model_version")
        ),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_shadows")),
    )
    op.create_index(
        op.f("ix_shadows_model_version_tries_inspection_id"),
        "shadows",
        ["model_version", "tries", "inspection_id"],
    )
    op.create_index(
        "ix_rescores_shadow",
        "rescores",
        ["model_version", "scored_at"],
        postgresql_where=sa.text("origin = 'shadow'"),
        sqlite_where=sa.text("origin = 'shadow'"),
    )
    op.drop_table("training_images")
    op.add_column("training_runs", sa.Column("dataset", sa.String(length=64), nullable=True))
    op.add_column("training_runs", sa.Column("gate_passed", sa.Boolean(), nullable=True))
    op.add_column("training_runs", sa.Column("gate_said", types.JsonOrNull, nullable=True))
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER datasets_no_{change.lower()} BEFORE {change} ON datasets "
                f"BEGIN SELECT RAISE(ABORT, '{WHY}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION datasets_insert_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{WHY}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    for name, changes, each in (
        ("change", "UPDATE OR DELETE", "ROW"),
        ("truncate", "TRUNCATE", "STATEMENT"),
    ):
        op.execute(
            f"CREATE TRIGGER datasets_no_{name} BEFORE {changes} ON datasets "
            f"FOR EACH {each} EXECUTE FUNCTION datasets_insert_only()"
        )


def downgrade() -> None:
    raise RuntimeError("what models were trained on would be gone: to go back, restore a backup")
