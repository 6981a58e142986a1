"""Training runs, what they train on, and schedules that ask for them.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN ('requested', 'running')")


def upgrade() -> None:
    op.create_table(
        "training_runs",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("requested_at", types.UTCDateTime(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("lease_until", types.UTCDateTime(), nullable=True),
        sa.Column("heartbeat_at", types.UTCDateTime(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("epochs", sa.Integer(), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", types.UTCDateTime(), nullable=True),
        sa.Column("ended_at", types.UTCDateTime(), nullable=True),
        sa.Column("log", sa.Text(), nullable=False),
        sa.CheckConstraint("why IN ('on demand', 'schedule', 'drift')", name=op.f("ck_training_runs_why")),
        sa.CheckConstraint(
            "state IN ('requested', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_training_runs_state"),
        ),
        sa.CheckConstraint(
            "(state = 'succeeded') = (model_version IS NOT NULL)", name=op.f("ck_training_runs_model")
        ),
        sa.CheckConstraint("state <> 'failed' OR reason IS NOT NULL", name=op.f("ck_training_runs_reason")),
        sa.CheckConstraint(
            "state <> 'running' OR (holder IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_training_runs_held"),
        ),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_training_runs_product")),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_training_runs_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_runs")),
    )
    op.create_index(
        "uq_training_runs_open",
        "training_runs",
        ["product"],
        unique=True,
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )
    op.create_index("ix_training_runs_product_id", "training_runs", ["product", "id"])
    op.create_table(
        "training_images",
        sa.Column("run", types.Id(), nullable=False),
        sa.Column("sha256s", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["training_runs.id"], name=op.f("fk_training_images_run")),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_training_images")),
    )
    op.create_table(
        "schedules",
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("cron", sa.String(length=255), nullable=False),
        sa.Column("time_zone", sa.String(length=255), nullable=False),
        sa.Column("min_new", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(length=255), nullable=False),
        sa.Column("changed_at", types.UTCDateTime(), nullable=False),
        sa.Column("last_due", types.UTCDateTime(), nullable=False),
        sa.Column("last_skipped", sa.Text(), nullable=True),
        sa.CheckConstraint("min_new >= 0", name=op.f("ck_schedules_min_new")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_schedules_product")),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_schedules")),
    )


def downgrade() -> None:
    raise RuntimeError("the products' schedules would be gone: to go back, restore a backup")
