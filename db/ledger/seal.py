"""Sealing: facts out of the waiting room into a block.

Several sealers at once are harmless. Facts are read and hashed before the block's own transaction, which then
has nothing to do but insert: a block whose number or whose facts another sealer had first is not made, by
unique keys, and the facts are looked for again.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import events
from db.engine import reading, session_factory
from db.ledger import facts, keys, merkle
from db.ledger.facts import NEWEST, Kind
from db.ledger.heads import BEFORE_THE_FIRST, Head, head_of
from db.ledger.settings import LedgerSettings
from db.ledger.signers import Signer
from db.ledger.unsealed import key_of
from db.tables import Block, SealedFact, UnsealedFact

VANISHED: Final = "ledger.vanished"  # the kind of the event
_ATTEMPTS: Final = 20
_LEAVE: Final = text(
    "DELETE FROM unsealed_facts WHERE number <= :last AND EXISTS (SELECT 1 FROM sealed_facts s "
    "WHERE s.kind = unsealed_facts.kind AND s.fact = unsealed_facts.fact)"
)


@dataclass(frozen=True)
class Sealed:
    """What a call has sealed; `left` says that it stopped for time and more facts wait."""

    blocks: int
    facts: int
    left: bool


@dataclass(frozen=True)
class _Leaf:
    kind: Kind
    fact: UUID
    hash: bytes


@dataclass(frozen=True)
class _Taken:
    """A part of the waiting room; what stands in it but is in no table has vanished, by number."""

    last: int
    newest_block: int  # 0 where there is none
    leaves: list[_Leaf]
    vanished: dict[int, tuple[Kind, UUID]]


class SealingError(Exception):
    """A block could not be made although nothing was away."""


def seal(engine: Engine, settings: LedgerSettings, *, seconds: float | None = None) -> Sealed:
    """Seal what waits, block by block, until nothing does or `seconds` have passed.

    Blocks that are made stay. Raises db.ledger.signers.LedgerKeyError, SealingError, and what the database
    raises when it is away.
    """
    sessions = session_factory(engine)
    signer: Signer | None = None
    deadline = None if seconds is None else time.monotonic() + seconds
    blocks = sealed = failed = 0
    while True:
        with snapshot(engine) as connection:
            try:
                taken = _take(connection, settings.seal_block_facts)
            except (ValueError, TypeError) as error:
                raise SealingError(
                    f"unsealed_facts holds what is no id ({error}): only a person can have written it; look "
                    "at it and delete it"
                ) from error
        if taken is None:
            return Sealed(blocks, sealed, left=False)
        try:
            if signer is None:
                with sessions.begin() as session:
                    signer = keys.signer_for(session, settings)
            added = _write(sessions, signer, taken)
        except IntegrityError as error:  # another sealer was first; what it left is looked for again
            _require_unsealed(sessions, taken)
            failed += 1
            if failed > _ATTEMPTS:
                raise SealingError(
                    f"{_ATTEMPTS} attempts at a block failed ({error.orig}): run `pyramidion audit verify`"
                ) from error
            time.sleep(0.01 * failed)
            continue
        failed = 0
        blocks += added > 0
        sealed += added
        if deadline is not None and time.monotonic() > deadline:
            return Sealed(blocks, sealed, left=True)


def snapshot(engine: Engine) -> Connection:
    """Open a connection whose reads all see the same moment, and that locks nobody out."""
    if engine.dialect.name == "sqlite":
        return reading(engine).connect()
    return reading(engine).execution_options(isolation_level="REPEATABLE READ").connect()


def _take(connection: Connection, limit: int) -> _Taken | None:
    """Read the facts that have waited longest and hash them; None where none waits."""
    last = connection.scalar(
        text(
            "SELECT max(number) FROM "
            "(SELECT number FROM unsealed_facts ORDER BY number LIMIT :limit) AS first_in_line"
        ),
        {"limit": limit},
    )
    if last is None:
        return None
    newest = connection.scalar(text("SELECT max(number) FROM blocks")) or 0
    leaves: dict[tuple[int, UUID], _Leaf] = {}
    vanished = {}
    for form in NEWEST.values():
        for one in facts.read(
            connection,
            form,
            "unsealed_facts",
            "s.number, s.fact",
            "s.kind = :kind AND s.number <= :last",
            {"last": last},
        ):
            number, fact = one.marks[0], as_uuid(one.marks[1])
            if one.content is None:
                vanished[number] = (form.kind, fact)
            else:
                leaves[form.kind, fact] = _Leaf(form.kind, fact, merkle.leaf_hash(one.content))
    return _Taken(last, newest, [leaves[key] for key in sorted(leaves)], vanished)


def _write(sessions: sessionmaker[Session], signer: Signer, taken: _Taken) -> int:
    """Make the block in one transaction; gives the number of its facts.

    Raises IntegrityError where another sealer has made it, or has sealed one of the facts.
    """
    with sessions.begin() as session:
        newer = select(SealedFact.kind, SealedFact.fact).where(SealedFact.block > taken.newest_block)
        sealed = {(kind, fact) for kind, fact in session.execute(newer)}
        fresh = [leaf for leaf in taken.leaves if (leaf.kind.value, leaf.fact) not in sealed]
        if fresh:
            head = _next_head(session, signer, fresh)
            values: dict[str, Any] = {**vars(head), "signature": signer.sign(head.content())}
            session.execute(insert(Block), [values])
            session.execute(insert(SealedFact), _rows(head.number, fresh))
        done = session.execute(_LEAVE, {"last": taken.last})
        for number, (kind, fact) in taken.vanished.items():
            _tell_of_vanished(session, number, kind, fact)
        if not taken.vanished and not done.rowcount and not sealed:  # type: ignore[attr-defined]
            raise SealingError(
                f"unsealed_facts holds rows up to number {taken.last} that name no kind of fact: only a "
                "person can have written them; look at them and delete them"
            )
    return len(fresh)


def _require_unsealed(sessions: sessionmaker[Session], taken: _Taken) -> None:
    """Raise SealingError for a fact that waits although a block has it: all others would wait behind it."""
    same = (SealedFact.kind == UnsealedFact.kind) & (SealedFact.fact == UnsealedFact.fact)
    query = (
        select(UnsealedFact.number, SealedFact)
        .join(SealedFact, same)
        .where(UnsealedFact.number <= taken.last, SealedFact.block <= taken.newest_block)
        .limit(1)
    )
    with sessions() as session:
        found = session.execute(query).first()
    if found is not None:
        number, sealed = found
        kind = Kind(sealed.kind)
        raise SealingError(
            f"{kind.word} {key_of(kind, sealed.fact)} is in block {sealed.block} already and stands in "
            f"unsealed_facts again, as number {number}: only a person can have written it; look at it and "
            "delete it"
        )


def _next_head(session: Session, signer: Signer, leaves: list[_Leaf]) -> Head:
    last = session.scalar(select(Block).order_by(Block.number.desc()).limit(1))
    now = datetime.now(UTC)
    return Head(
        number=1 if last is None else last.number + 1,
        previous=BEFORE_THE_FIRST if last is None else head_of(last).hash(),
        root=merkle.root([leaf.hash for leaf in leaves]),
        leaves=len(leaves),
        sealed_at=now if last is None else max(now, last.sealed_at),  # clocks of sealers differ
        key_id=signer.key_id,
    )


def _rows(block: int, leaves: list[_Leaf]) -> list[dict[str, Any]]:
    return [
        {
            "kind": leaf.kind.value,
            "fact": leaf.fact,
            "block": block,
            "position": position,
            "form": NEWEST[leaf.kind].number,
            "leaf": leaf.hash,
        }
        for position, leaf in enumerate(leaves)
    ]


def _tell_of_vanished(session: Session, number: int, kind: Kind, fact: UUID) -> None:
    """A fact was accepted and is gone before it was sealed: nobody may do that, and an event says so."""
    gone = session.execute(text("DELETE FROM unsealed_facts WHERE number = :number"), {"number": number})
    if gone.rowcount:  # type: ignore[attr-defined]  # else another sealer has told
        detail = {"kind": kind.word, "id": key_of(kind, fact)}
        events.record(session, VANISHED, "ledger", key_of(kind, fact), detail)


def as_uuid(value: Any) -> UUID:
    """Give the id that a driver's row holds."""
    return value if isinstance(value, UUID) else UUID(bytes=value)
