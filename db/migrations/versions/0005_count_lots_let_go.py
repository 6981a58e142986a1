"""Count, by lot, the inspections that acts of retention let go.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHY = "released_lots is insert-only: a change of mind is a new row"


def upgrade() -> None:
    op.create_table(
        "released_lots",
        sa.Column("lot", sa.String(length=255), nullable=False),
        sa.Column("act", types.Id(), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("inspections", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["act"], ["events.id"], name=op.f("fk_released_lots_act")),
        sa.PrimaryKeyConstraint("lot", "act", "product", "verdict", name=op.f("pk_released_lots")),
    )
    op.create_index("ix_released_lots_act", "released_lots", ["act"])
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER released_lots_no_{change.lower()} BEFORE {change} ON released_lots "
                f"BEGIN SELECT RAISE(ABORT, '{WHY}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION released_lots_insert_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{WHY}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    for name, changes, each in (
        ("change", "UPDATE OR DELETE", "ROW"),
        ("truncate", "TRUNCATE", "STATEMENT"),
    ):
        op.execute(
            f"CREATE TRIGGER released_lots_no_{name} BEFORE {changes} ON released_lots "
            f"FOR EACH {each} EXECUTE FUNCTION released_lots_insert_only()"
        )


def downgrade() -> None:
    raise RuntimeError("what went is not forgotten: to go back, restore a backup")
