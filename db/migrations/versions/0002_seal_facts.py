"""Create the ledger, and put every fact there is into its waiting room.

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSERT_ONLY = ("ledger_keys", "blocks", "sealed_facts")
# kind, table, column that is the fact's id, in the order of db.ledger.facts.Kind
FACTS = (
    (1, "inspections", "id"),
    (2, "results", "inspection_id"),
    (3, "reviews", "id"),
    (4, "events", "id"),
)
MODEL_VERSION = 5


def upgrade() -> None:
    op.create_table(
        "unsealed_facts",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("fact", types.Id(), nullable=False),
        sa.Column("since", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_unsealed_facts")),
    )
    op.create_table(
        "ledger_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("introduced_at", types.UTCDateTime(), nullable=False),
        sa.Column("overlap_until", types.UTCDateTime(), nullable=True),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("acceptance", sa.LargeBinary(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_ledger_keys")),
        sa.UniqueConstraint("id", name=op.f("uq_ledger_keys_id")),
    )
    op.create_table(
        "blocks",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("leaves", sa.Integer(), nullable=False),
        sa.Column("sealed_at", types.UTCDateTime(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["ledger_keys.id"], name=op.f("fk_blocks_key_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_blocks")),
    )
    op.create_table(
        "sealed_facts",
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("fact", types.Id(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("form", sa.SmallInteger(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["block"], ["blocks.number"], name=op.f("fk_sealed_facts_block")),
        sa.PrimaryKeyConstraint("kind", "fact", name=op.f("pk_sealed_facts")),
        sa.UniqueConstraint("block", "position", name=op.f("uq_sealed_facts_block_position")),
    )
    op.create_table(
        "anchors",
        sa.Column("place", sa.String(length=255), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", types.UTCDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_anchors")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    for table in INSERT_ONLY:
        refuse_changes(table)
    queue_what_is_there()


def queue_what_is_there() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')" if sqlite else "clock_timestamp()"
    insert = "INSERT INTO unsealed_facts (kind, fact, since)"
    for kind, table, key in FACTS:
        op.execute(f"{insert} SELECT {kind}, {key}, {now} FROM {table} ORDER BY {key}")
    connection = op.get_bind()
    rows = [
        {"kind": MODEL_VERSION, "fact": bytes.fromhex(id_[:32]) if sqlite else id_[:32]}
        for (id_,) in connection.execute(sa.text("SELECT id FROM model_versions ORDER BY id"))
    ]
    fact = ":fact" if sqlite else "CAST(:fact AS uuid)"
    if rows:
        connection.execute(sa.text(f"{insert} VALUES (:kind, {fact}, {now})"), rows)


def refuse_changes(table: str) -> None:
    # As revision 0001 does it for the facts themselves.
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
    raise RuntimeError("a ledger is not taken back: to go back, restore a backup")
