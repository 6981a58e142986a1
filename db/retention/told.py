"""What an act of retention has done, for whoever asked for it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.retention.policy import What


@dataclass(frozen=True)
class Act:
    """What was let go, or with `id` None would be; `month` where it was a whole partition."""

    id: UUID | None
    what: What
    product: str | None
    verdict: str | None
    inspections: int
    month: datetime | None = None
