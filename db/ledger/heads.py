"""Block heads: what is signed, and how one names the other."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from db.ledger.canonical import canonical
from db.tables import Block

FORM: Final = "pyramidion-block/1"
BEFORE_THE_FIRST: Final = bytes(32)


@dataclass(frozen=True)
class Head:
    """The head of a block. `previous` and `root` are hashes of 32 bytes, `key_id` 64 hexadecimal digits."""

    number: int
    previous: bytes
    root: bytes
    leaves: int
    sealed_at: datetime
    key_id: str

    def content(self) -> bytes:
        """Give the bytes that are signed."""
        return canonical(self.as_json())

    def hash(self) -> bytes:
        return sha256(self.content()).digest()

    def as_json(self) -> dict[str, Any]:
        return {
            "form": FORM,
            "number": self.number,
            "previous": self.previous.hex(),
            "root": self.root.hex(),
            "leaves": self.leaves,
            "sealed_at": moment(self.sealed_at),
            "key": self.key_id,
        }


def head_of(block: Block) -> Head:
    return Head(block.number, block.previous, block.root, block.leaves, block.sealed_at, block.key_id)


def signed(block: Block) -> dict[str, Any]:
    """Give a head with its hash and signature, as it is told outside."""
    head = head_of(block)
    return {**head.as_json(), "hash": head.hash().hex(), "signature": block.signature.hex()}


def moment(at: datetime) -> str:
    """Write a time as facts have it: UTC, microseconds, Z."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
