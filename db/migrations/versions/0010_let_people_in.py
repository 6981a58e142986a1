"""Let people and machines in: roles, logins, tokens, saved filters, what to review and by whom, answers of the API.

Revision: 0010, after 0009
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from db import types

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What there was to review before anybody noted it: db.review_queue, with its default of what is borderline.
TO_REVIEW = {
    "ng": "r.verdict = 'ng'",
    "inconclusive": "r.verdict = 'inconclusive'",
    "error": "r.verdict = 'error'",
    "borderline": "r.verdict IN ('ok', 'ng') AND abs(r.score - r.threshold) <= 0.05 * r.threshold",
    "disagreement": "EXISTS (SELECT 1 FROM rescores s WHERE s.inspection_id = r.inspection_id "
    "AND s.origin = 'shadow' AND s.verdict <> r.verdict)",
}


def upgrade() -> None:
    op.add_column("users", sa.Column("roles", types.Json, nullable=False, server_default="[]"))
    op.create_table(
        "logins",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=255), nullable=False),
        sa.Column("began_at", types.UTCDateTime(), nullable=False),
        sa.Column("seen_at", types.UTCDateTime(), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name=op.f("fk_logins_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
    )
    op.create_index(op.f("ix_logins_user"), "logins", ["user"])
    op.create_table(
        "tokens",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", types.Json, nullable=False),
        sa.Column("station", sa.String(length=255), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", types.UTCDateTime(), nullable=False),
        sa.Column("expires_at", types.UTCDateTime(), nullable=True),
        sa.Column("used_at", types.UTCDateTime(), nullable=True),
        sa.Column("revoked_at", types.UTCDateTime(), nullable=True),
        sa.Column("revoked_by", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index(
        "uq_tokens_name",
        "tokens",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
        sqlite_where=sa.text("revoked_at IS NULL"),
    )
    op.create_index(op.f("uq_tokens_secret_sha256"), "tokens", ["secret_sha256"], unique=True)
    op.create_table(
        "saved_filters",
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("is_shared", sa.Boolean(), nullable=False),
        sa.Column("saved_at", types.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["users.name"], name=op.f("fk_saved_filters_owner")),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_saved_filters")),
    )
    op.create_table(
        "review_claims",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("inspection_id", name=op.f("pk_review_claims")),
    )
    op.create_index(op.f("ix_review_claims_holder"), "review_claims", ["holder"])
    op.create_table(
        "answered",
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", types.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_answered")),
    )
    op.create_index(op.f("ix_answered_at"), "answered", ["at"])
    op.create_index(op.f("ix_events_actor_id"), "events", ["actor", "id"])
    op.create_table(
        "verifications",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("requested_at", types.UTCDateTime(), nullable=False),
        sa.Column("since", types.UTCDateTime(), nullable=True),
        sa.Column("until", types.UTCDateTime(), nullable=True),
        sa.Column("blobs", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_at", types.UTCDateTime(), nullable=True),
        sa.Column("updated_at", types.UTCDateTime(), nullable=False),
        sa.Column("event", types.Id(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('requested', 'running', 'done', 'failed')", name=op.f("ck_verifications_state")
        ),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_verifications_error")),
        sa.CheckConstraint("(state = 'done') = (event IS NOT NULL)", name=op.f("ck_verifications_event")),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name=op.f("fk_verifications_event")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
    )
    op.create_index(
        "uq_verifications_state",
        "verifications",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state IN ('requested', 'running')"),
        sqlite_where=sa.text("state IN ('requested', 'running')"),
    )
    op.create_table(
        "to_review",
        sa.Column("inspection_id", types.Id(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("product", sa.String(length=255), nullable=False),
        sa.Column("line", sa.String(length=255), nullable=True),
        sa.Column("lot", sa.String(length=255), nullable=True),
        sa.CheckConstraint(
            "source IN ('ng', 'inconclusive', 'error', 'disagreement', 'borderline')",
            name=op.f("ck_to_review_source"),
        ),
        sa.PrimaryKeyConstraint("inspection_id", "source", name=op.f("pk_to_review")),
    )
    for statement in fill_queue():
        op.execute(statement)
    op.create_index(
        op.f("ix_to_review_source_inspection_id_product_line_lot"),
        "to_review",
        ["source", "inspection_id", "product", "line", "lot"],
    )
    op.create_index(
        op.f("ix_to_review_lot_source_inspection_id"), "to_review", ["lot", "source", "inspection_id"]
    )
    op.drop_index("ix_results_model_version", "results")  # which had to be sorted for a page of a model
    op.create_index("ix_results_model_version_inspection_id", "results", ["model_version", "inspection_id"])
    op.create_index(
        "ix_results_late",
        "results",
        ["inspection_id"],
        postgresql_where=sa.text("(timings ->> 'late_ms') IS NOT NULL"),
        sqlite_where=sa.text("json_extract(timings, '$.late_ms') IS NOT NULL"),
    )


def fill_queue() -> Iterator[str]:
    for source, condition in TO_REVIEW.items():
        yield (
            f"INSERT INTO to_review (source, inspection_id, product, line, lot) "
            f"SELECT '{source}', i.id, i.product, i.line, i.lot "
            f"FROM results r JOIN inspections i ON i.id = r.inspection_id "
            f"WHERE {condition} "
            f"AND NOT EXISTS (SELECT 1 FROM reviews w WHERE w.inspection_id = i.id) "
            f"AND NOT EXISTS (SELECT 1 FROM golden_trials g WHERE g.inspection_id = i.id) "
            f"AND NOT EXISTS (SELECT 1 FROM released_facts f WHERE f.kind = 101 AND f.fact = i.id)"
        )


def downgrade() -> None:
    raise RuntimeError("nobody could log in any more: to go back, restore a backup")
