"""Verifying: that what the database holds is what was sealed, all of it and nothing else.

In one snapshot: the keys, the chain of heads and their signatures, each fact against its leaf and each
block's leaves against its root, what is in no block, what the rows say of each other, and the heads that were
told outside. Blocks are read a few thousand facts at a time: memory doesn't grow with the history.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import partitions
from db.ledger import beside, facts, keys, merkle, released, told
from db.ledger.bad import Bad
from db.ledger.blobs import Blobs
from db.ledger.facts import FORMS, Kind
from db.ledger.heads import BEFORE_THE_FIRST, Head, head_of
from db.ledger.seal import as_uuid, snapshot
from db.ledger.signed import is_of_its_record
from db.ledger.signers import Signer, is_signed
from db.ledger.unsealed import key_of
from db.tables import Block, LedgerKey, UnsealedFact

NAMED: Final = 20  # more faults are only counted
_FACTS_AT_ONCE: Final = 4096
_BEFORE_ANY: Final = -(2**62)
_SENSELESS: Final = (ValueError, TypeError, AttributeError, KeyError, OverflowError, OperationalError)
_HEADS_AT_ONCE: Final = 1000


@dataclass
class Report:
    """What was verified, and what is wrong.

    `unsealed` facts wait for their block, which is no fault; `released` ones were let go by retention, which
    is none either.
    """

    facts: int = 0
    released: int = 0
    blocks: int = 0
    blobs: int = 0
    unsealed: int = 0
    faults: int = 0
    head: str | None = None  # the newest head's hash: compare it with what you have kept elsewhere
    keys: list[str] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)  # the first NAMED, in the order of the chain

    @property
    def ok(self) -> bool:
        return self.faults == 0

    def add(self, bad: Bad) -> None:
        self.faults += 1
        if len(self.bad) < NAMED:
            self.bad.append(bad)


class Leaf(NamedTuple):
    """A leaf as it stands in the ledger, and the fact's content as it stands in its table: None if gone."""

    kind: Kind
    raw_fact: Any  # as the driver gives it: a UUID or its bytes, which sort alike
    block: int
    position: int
    hash: bytes
    content: bytes | None

    @property
    def fact(self) -> UUID:
        return as_uuid(self.raw_fact)

    def bad(self, why: str) -> Bad:
        return Bad(why, self.kind.word, key_of(self.kind, self.fact), self.block)


@dataclass(frozen=True)
class Wanted:
    """What to verify: facts sealed since <= time < until (the chain is verified whole), against which trust.

    `trusted` are ids of keys, or their beginnings; `signer` is the key of this machine; `heads` are files of
    heads that were told outside.
    """

    since: datetime | None = None
    until: datetime | None = None
    trusted: Sequence[str] = ()
    signer: Signer | None = None
    heads: Sequence[Path] = ()

    def holds(self, at: datetime) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


def verify(
    engine: Engine,
    wanted: Wanted,
    blobs: Blobs | None = None,
    progress: Callable[[int], None] = lambda _facts: None,
) -> Report:
    """Verify the ledger, and the bytes that `blobs` looks at.

    `progress` is told now and then how many facts have been looked at. Raises what the database or the image
    store raise when they are away, and db.ledger.told.HeadsFileError.
    """
    report = Report()
    with snapshot(engine) as connection, Session(connection) as session:
        partitions.keep(connection)
        known: list[LedgerKey] = []
        with _readable(report, "the ledger's keys"):
            known = keys.known(session)
            _verify_keys(known, wanted, report)
        with _readable(report, "the chain of blocks"):
            for batch in _batches(_chain(session, known, report), wanted):
                _verify_blocks(connection, batch, report, blobs)
                progress(report.facts)
        if blobs is not None:
            for bad in blobs.rest():
                report.add(bad)
            report.blobs = blobs.looked_at
        for file in wanted.heads:
            with _readable(report, "the chain of blocks"):
                for bad in told.compare(session, file):
                    report.add(bad)
        for look in beside.LOOKS:
            with _readable(report, look.__name__.replace("_", " ")):
                for bad in look(session):
                    report.add(bad)
        report.unsealed = session.scalar(select(func.count()).select_from(UnsealedFact)) or 0
    return report


@contextmanager
def _readable(report: Report, what: str) -> Iterator[None]:
    """Report rows that make no sense: SQLite keeps any value in any column, which a tamperer may use."""
    try:
        yield
    except _SENSELESS as error:
        report.add(Bad(_senseless(error, what)))


def _senseless(error: Exception, what: str) -> str:
    if isinstance(error, OperationalError) and "UTF-8" not in str(error.orig):
        raise error  # the database is away
    reason = error.orig if isinstance(error, OperationalError) else error
    return f"{what} can't be read, rows were tampered with: {reason}"


def _verify_keys(known: Sequence[LedgerKey], wanted: Wanted, report: Report) -> None:
    report.keys = [key.id for key in known]
    for why in keys.faults(known, wanted.trusted):
        report.add(Bad(why))
    if wanted.signer is not None and known and wanted.signer.key_id not in report.keys:
        mine = wanted.signer.key_id[:16]
        report.add(Bad(f"this machine's key {mine} is none of the ledger's: it was sealed anew"))


def _chain(session: Session, known: Sequence[LedgerKey], report: Report) -> Iterator[Head]:
    """Give the heads in order, having looked at number, link, signature and key of each."""
    index = {key.id: i for i, key in enumerate(known)}
    number, previous, at = 0, BEFORE_THE_FIRST, datetime.min.replace(tzinfo=UTC)
    after = _BEFORE_ANY
    while True:
        page = session.scalars(
            select(Block).where(Block.number > after).order_by(Block.number).limit(_HEADS_AT_ONCE)
        ).all()
        for block in page:
            head = head_of(block)
            if head.number != number + 1:
                report.add(Bad(f"block {number + 1} is missing before this", block=head.number))
            elif head.previous != previous:
                report.add(Bad("the block does not continue the one before", block=head.number))
            if head.key_id not in index:
                report.add(Bad("the block names a key that the ledger does not know", block=head.number))
            elif not is_signed(known[index[head.key_id]].public_key, block.signature, head.content()):
                report.add(Bad("the block's head is not what was signed", block=head.number))
            elif not keys.may_sign(known, index[head.key_id], head.sealed_at):
                report.add(Bad("the block was signed with a key outside its time", block=head.number))
            if head.sealed_at < at:
                report.add(Bad("the block is older than the one before", block=head.number))
            number, previous, at = head.number, head.hash(), head.sealed_at
            after = number
            report.blocks += 1
            report.head = previous.hex()
            yield head
            session.expunge(block)
        if len(page) < _HEADS_AT_ONCE:
            return


def _batches(heads: Iterator[Head], wanted: Wanted) -> Iterator[list[Head]]:
    """Gather neighbours, so that small blocks don't cost a query each."""
    batch: list[Head] = []
    size = 0
    for head in heads:
        if not wanted.holds(head.sealed_at):
            continue
        if batch and (size + head.leaves > _FACTS_AT_ONCE or head.number != batch[-1].number + 1):
            yield batch
            batch, size = [], 0
        batch.append(head)
        size += head.leaves
    if batch:
        yield batch


def leaves_of(connection: Connection, first: int, last: int) -> dict[int, list[Leaf]]:
    """Give the leaves of the blocks `first` to `last`, each block's by position."""
    found: dict[int, list[Leaf]] = defaultdict(list)
    marks = "s.fact, s.block, s.position, s.leaf"
    for form in FORMS:
        rows = facts.read(
            connection,
            form,
            "sealed_facts",
            marks,
            # The plus keeps SQLite from going through all facts of the kind by the index that begins with it.
            "+s.kind = :kind AND s.form = :form AND s.block BETWEEN :first AND :last",
            {"form": form.number, "first": first, "last": last},
        )
        for row in rows:
            fact, block, position, leaf = row.marks
            found[block].append(Leaf(form.kind, fact, block, position, leaf, row.content))
    for leaves in found.values():
        leaves.sort(key=lambda leaf: leaf.position)
    return found


def _verify_blocks(
    connection: Connection, heads: Sequence[Head], report: Report, blobs: Blobs | None
) -> None:
    try:
        found = leaves_of(connection, heads[0].number, heads[-1].number)
    except _SENSELESS as error:
        why = _senseless(error, "the block's facts, or their leaves,")
        if len(heads) == 1:
            report.add(Bad(why, block=heads[0].number))
        else:  # so that the right one is named, and the others are looked at
            for head in heads:
                _verify_blocks(connection, [head], report, blobs)
        return
    for head in heads:
        leaves = found.get(head.number, [])
        report.facts += len(leaves)
        actual = [None if leaf.content is None else merkle.leaf_hash(leaf.content) for leaf in leaves]
        report.released += _take_for_granted(connection, leaves, actual)
        for bad in _of_block(head, leaves, actual):
            report.add(bad)
        for leaf, hash_ in zip(leaves, actual, strict=True):
            if leaf.content is not None and hash_ == leaf.hash:
                for bad in _of_content(leaf, leaf.content, blobs):
                    report.add(bad)


def _of_content(leaf: Leaf, content: bytes, blobs: Blobs | None) -> Iterator[Bad]:
    """Say what is wrong with what a fact names, itself being as it was sealed."""
    if not is_of_its_record(leaf.kind, content):
        yield leaf.bad("the signature in it was made for another record")
    if blobs is not None:
        yield from blobs.saw(leaf.kind, content, leaf.block)


def _take_for_granted(connection: Connection, leaves: Sequence[Leaf], actual: list[bytes | None]) -> int:
    """Take what was let go for what its leaf says, since nothing else is left of it; gives how many."""
    gone: dict[Kind, dict[UUID, int]] = defaultdict(dict)
    for place, hash_ in enumerate(actual):
        if hash_ is None:
            gone[leaves[place].kind][leaves[place].fact] = place
    number = 0
    for kind, places in gone.items():
        for fact in released.of(connection, kind.value, places):
            actual[places[fact]] = leaves[places[fact]].hash
            number += 1
    return number


def _of_block(head: Head, leaves: Sequence[Leaf], actual: Sequence[bytes | None]) -> Iterator[Bad]:
    """Say what is wrong with a block, its facts first, by position."""
    if len(leaves) != head.leaves or not leaves:
        why = f"the block was signed with {head.leaves} leaves, but {len(leaves)} are there"
        yield Bad(why, block=head.number)
    elif merkle.root([leaf.hash for leaf in leaves]) != head.root:
        yield from _of_leaves(head, leaves, actual)
    else:  # each leaf is what was signed
        for leaf, found in zip(leaves, actual, strict=True):
            if found != leaf.hash:
                yield leaf.bad("the fact was deleted" if found is None else _changed(leaf))
        if [leaf.position for leaf in leaves] != list(range(len(leaves))):
            yield Bad("the positions of the block's leaves were changed", block=head.number)


def _of_leaves(head: Head, leaves: Sequence[Leaf], actual: Sequence[bytes | None]) -> Iterator[Bad]:
    """Say what was done to the leaves themselves; where the facts still make the root, they tell which."""
    whole = [one for one in actual if one is not None]
    ordered = sorted(leaves, key=lambda leaf: (leaf.kind, leaf.raw_fact))
    if len(whole) == len(leaves) and merkle.root(whole) == head.root:
        for leaf, found in zip(leaves, actual, strict=True):
            if found != leaf.hash:
                yield leaf.bad("the fact's leaf was changed, the fact is as it was sealed")
    elif merkle.root([leaf.hash for leaf in ordered]) == head.root:
        moved = next(leaf for leaf, right in zip(leaves, ordered, strict=True) if leaf is not right)
        yield moved.bad("the order of the block's leaves was changed")
    else:
        for leaf, found in zip(leaves, actual, strict=True):
            if found != leaf.hash:
                yield leaf.bad("the fact is not what its leaf says, nor its leaf what was signed")
        why = "leaves were changed, with or without their facts: they don't make the signed root"
        yield Bad(why, block=head.number)


def _changed(leaf: Leaf) -> str:
    if leaf.kind is Kind.RESULT:
        return "the result, or the scale or hash of its map, was changed"
    return "the fact was changed"
