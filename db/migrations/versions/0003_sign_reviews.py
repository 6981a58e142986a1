"""Accounts of people, and reviews with a reason code and an electronic signature.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("full_name", sa.String(length=255), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.Column("password_changed_at", types.UTCDateTime(), nullable=True),
        sa.Column("failed_attempts", sa.Integer(), nullable=False),
        sa.Column("locked_until", types.UTCDateTime(), nullable=True),
        sa.Column("disabled_at", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
    )
    # Plainly added, not by making the table anew: triggers of SQLite stay with their table.
    op.add_column("reviews", sa.Column("reason_code", sa.String(length=64), nullable=True))
    op.add_column("reviews", sa.Column("signature", types.Json, nullable=True))


def downgrade() -> None:
    raise RuntimeError("signatures are not taken back: to go back, restore a backup")
