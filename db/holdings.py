"""What a database holds: numbers that tell two states apart, and the blobs that its rows name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import golden
from db.ledger import keys
from db.ledger.heads import head_of
from db.ledger.released import IMAGE, is_let_go
from db.retention.policy import holds
from db.tables import Block, Inspection, ModelVersion

COUNTED: Final = ("inspections", "results", "anomaly_maps", "reviews", "events", "model_versions", "blocks")
_ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Holdings:
    """How many rows of each kind there are, the hash of the newest block's head, and the newest key's id."""

    rows: dict[str, int]
    head: str | None
    key: str | None

    @property
    def blobs(self) -> int:
        """How many blobs are named at most: several rows may name one."""
        return self.rows["inspections"] + self.rows["model_versions"]


class NamedBlob(NamedTuple):
    """A blob that a row names; `size` in bytes is None where no row says it.

    One that `may_be_gone` was let go, and is there only where its lot was held before it was removed.
    """

    sha256: str
    size: int | None
    may_be_gone: bool = False


def look(connection: Connection) -> Holdings:
    """Count what is there, as the connection's transaction sees it."""
    rows = {
        table: int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608  # names of ours
        for table in COUNTED
    }
    with Session(connection) as session:
        last = session.scalar(select(Block).order_by(Block.number.desc()).limit(1))
        known = keys.known(session)
    head = None if last is None else head_of(last).hash().hex()
    return Holdings(rows, head, known[-1].id if known else None)


def last_block(connection: Connection) -> int:
    """Give the number of the newest block, 0 where there is none."""
    return connection.scalar(select(func.max(Block.number))) or 0


def blobs(sessions: sessionmaker[Session]) -> Iterator[NamedBlob]:
    """Give the blobs that rows name and that retention has not let go, weights first; some more than once.

    Those of golden samples that are in use are never let go.

    At last those that it has let go of lots that are held: of these some may be there. In pages, each in a
    short transaction of its own: a copy may take hours.
    """
    with sessions() as session:
        weights = session.scalars(select(ModelVersion.weights_sha256)).all()
        samples = golden.in_use(session)
    yield from (NamedBlob(sha256, None) for sha256 in weights)
    yield from (NamedBlob(one.image_sha256, one.image_bytes) for one in samples)
    gone = is_let_go(IMAGE, Inspection.id)
    images = select(Inspection.id, Inspection.image_sha256, Inspection.image_bytes).order_by(Inspection.id)
    yield from _images(sessions, images.where(~gone), may_be_gone=False)
    with sessions() as session:
        lots = list(holds(session))
    for lot in lots:
        yield from _images(sessions, images.where(gone, Inspection.lot == lot), may_be_gone=True)


def _images(
    sessions: sessionmaker[Session], images: Select[UUID, str, int], *, may_be_gone: bool
) -> Iterator[NamedBlob]:
    after: Any = None
    while True:
        query = images if after is None else images.where(Inspection.id > after)
        with sessions() as session:
            page = session.execute(query.limit(_ROWS_AT_ONCE)).all()
        yield from (NamedBlob(sha256, size, may_be_gone) for _, sha256, size in page)
        if len(page) < _ROWS_AT_ONCE:
            return
        after = page[-1].id
