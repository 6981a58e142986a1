"""Give a product a deadline for its verdicts.

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("products", sa.Column("deadline_ms", sa.Integer(), nullable=True))


def downgrade() -> None:
    raise RuntimeError("verdicts that were marked late would have no deadline: to go back, restore a backup")
