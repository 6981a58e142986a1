"""How far sealing has come."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger import keys
from db.ledger.beside import LATE
from db.ledger.heads import head_of
from db.ledger.unsealed import Backlog, backlog
from db.tables import Anchor, Block, LedgerKey


@dataclass(frozen=True)
class Status:
    """The newest block, what waits, the keys by introduction, and how far each place has been told."""

    blocks: int
    sealed_at: datetime | None
    head: str | None
    waiting: Backlog
    keys: list[LedgerKey]
    anchors: list[Anchor]

    @property
    def late(self) -> bool:
        """Whether facts have waited for longer than sealing ever takes."""
        return self.waiting.lag_s > LATE.total_seconds()


def look(session: Session) -> Status:
    last = session.scalar(select(Block).order_by(Block.number.desc()).limit(1))
    return Status(
        blocks=0 if last is None else last.number,
        sealed_at=None if last is None else last.sealed_at,
        head=None if last is None else head_of(last).hash().hex(),
        waiting=backlog(session),
        keys=keys.known(session),
        anchors=list(session.scalars(select(Anchor).order_by(Anchor.place))),
    )
