"""Rescorings, and what other models say of inspections.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rescorings",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("filter", types.Json, nullable=False),
        sa.Column("first", types.Id(), nullable=False),
        sa.Column("last", types.Id(), nullable=False),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("requested_at", types.UTCDateTime(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed_images", sa.Integer(), nullable=False),
        sa.Column("cursor", types.Id(), nullable=True),
        sa.Column("trying_to", types.Id(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_at", types.UTCDateTime(), nullable=True),
        sa.Column("updated_at", types.UTCDateTime(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('requested', 'running', 'done', 'cancelled', 'failed')",
            name=op.f("ck_rescorings_state"),
        ),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_rescorings_error")),
        sa.ForeignKeyConstraint(["product"], ["products.name"], name=op.f("fk_rescorings_product")),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_rescorings_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rescorings")),
    )
    op.create_table(
        "rescores",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("rescoring_id", types.Id(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("map", sa.LargeBinary(), nullable=True),
        sa.Column("bits", sa.Integer(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("scored_at", types.UTCDateTime(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("origin IN ('rescore', 'shadow')", name=op.f("ck_rescores_origin")),
        sa.CheckConstraint(
            "verdict IN ('ok', 'ng', 'inconclusive', 'error')", name=op.f("ck_rescores_verdict")
        ),
        sa.CheckConstraint("(verdict = 'error') = (error IS NOT NULL)", name=op.f("ck_rescores_error")),
        sa.CheckConstraint(
            "verdict = 'error' OR (score IS NOT NULL AND threshold IS NOT NULL)",
            name=op.f("ck_rescores_scored"),
        ),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.id"], name=op.f("fk_rescores_model_version")
        ),
        sa.ForeignKeyConstraint(["rescoring_id"], ["rescorings.id"], name=op.f("fk_rescores_rescoring_id")),
        sa.PrimaryKeyConstraint("inspection_id", "model_version", name=op.f("pk_rescores")),
    )


def downgrade() -> None:
    raise RuntimeError("what other models said is not forgotten: to go back, restore a backup")
