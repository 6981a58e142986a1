"""Proving that facts are in the ledger: their content, and the path from it to a signed head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from db.ledger import facts, merkle
from db.ledger.facts import FORMS, Kind
from db.ledger.heads import head_of
from db.ledger.seal import as_uuid
from db.ledger.unsealed import key_of
from db.tables import Block, SealedFact

_AT_ONCE: Final = 500
_TREES: Final = 8  # facts of one time stand in few blocks


class NotAsSealedError(Exception):
    """A fact is not what was sealed, so nothing can be proved of it."""

    def __init__(self, kind: Kind, fact: UUID) -> None:
        super().__init__(
            f"{kind.word} {key_of(kind, fact)} is not as it was sealed: run `pyramidion audit verify`"
        )


@dataclass(frozen=True)
class Proof:
    """A fact's leaf, and the siblings on its way to the root of its block."""

    kind: Kind
    content: bytes
    block: int
    position: int
    path: list[bytes]


class Prover:
    """Proves facts within one snapshot; keeps the trees of the blocks that were asked for last."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tree = lru_cache(_TREES)(self._read_tree)
        self.blocks: set[int] = set()  # those that the proofs so far lead to

    def prove(self, kind: Kind, ids: Sequence[UUID]) -> Iterator[Proof]:
        """Prove those of the facts that are sealed, by id; raises NotAsSealedError."""
        connection = self._session.connection()
        ordered = sorted(ids)
        for some in (ordered[i : i + _AT_ONCE] for i in range(0, len(ordered), _AT_ONCE)):
            for fact, content, block, position, leaf in sorted(_sealed(connection, kind, some)):
                if merkle.leaf_hash(content) != leaf:
                    raise NotAsSealedError(kind, fact)
                root, rows = self._tree(block)
                path = merkle.path(rows, position)
                if merkle.root_from(leaf, position, len(rows[0]), path) != root:
                    raise NotAsSealedError(kind, fact)
                self.blocks.add(block)
                yield Proof(kind, content, block, position, path)

    def _read_tree(self, block: int) -> tuple[bytes, list[list[bytes]]]:
        leaves = select(SealedFact.leaf).where(SealedFact.block == block).order_by(SealedFact.position)
        head = head_of(self._session.get_one(Block, block))
        return head.root, merkle.levels(self._session.scalars(leaves).all())


def _sealed(
    connection: Connection, kind: Kind, ids: Sequence[UUID]
) -> Iterator[tuple[UUID, bytes, int, int, bytes]]:
    for form in FORMS:
        if form.kind is not kind:
            continue
        rows = facts.read(
            connection,
            form,
            "sealed_facts",
            "s.fact, s.block, s.position, s.leaf",
            "s.kind = :kind AND s.form = :form AND s.fact IN :facts",
            {"form": form.number, "facts": list(ids)},
        )
        for row in rows:
            fact, block, position, leaf = row.marks
            if row.content is None:
                raise NotAsSealedError(kind, as_uuid(fact))
            yield as_uuid(fact), row.content, block, position, leaf
