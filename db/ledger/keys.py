"""The public keys that may sign blocks, each introduced by the one before.

Both sign the introduction. So whoever trusts one of them can trust all: the later ones were signed for, and
the earlier ones accepted; nobody can put a key of their own before one that is trusted.

The private key is not here: see db.ledger.signers. Rotation overlaps: from its introduction on the new key
may sign, and the one before may until `overlap_until`, so that several sealers change over at leisure.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import events
from db.ledger.canonical import canonical
from db.ledger.heads import moment
from db.ledger.settings import LedgerSettings
from db.ledger.signers import CURE, LedgerKeyError, Signer, is_signed, key_id, make_key, open_signer
from db.tables import LedgerKey

FORM: Final = "pyramidion-key/1"
CLOCKS: Final = timedelta(minutes=5)  # by how much the clocks of two sealers may differ


def introduction(number: int, new: str, before: str | None, at: datetime, until: datetime | None) -> bytes:
    """Give the bytes with which a key is introduced."""
    return canonical(as_json(number, new, before, at, until))


def as_json(
    number: int, new: str, before: str | None, at: datetime, until: datetime | None
) -> dict[str, Any]:
    return {
        "form": FORM,
        "number": number,
        "key": new,
        "introduced_by": before,
        "introduced_at": moment(at),
        "overlap_until": None if until is None else moment(until),
    }


def told(keys: Sequence[LedgerKey]) -> list[dict[str, Any]]:
    """Give the keys with their introductions and signatures, as they are handed out."""
    before = [None, *(key.id for key in keys)]
    return [
        {
            **as_json(key.number, key.id, by, key.introduced_at, key.overlap_until),
            "public_key": key.public_key.hex(),
            "signature": key.signature.hex(),
            "acceptance": key.acceptance.hex(),
        }
        for key, by in zip(keys, before, strict=False)
    ]


def known(session: Session) -> list[LedgerKey]:
    """Give the keys in the order of their introduction."""
    return list(session.scalars(select(LedgerKey).order_by(LedgerKey.number)))


def signer_for(session: Session, settings: LedgerSettings) -> Signer:
    """Give the signer of the settings, which must be one that the ledger knows and that may still sign.

    Where the ledger has no key yet, one is made if need be, and introduced; that session must be able to
    write. Raises LedgerKeyError.
    """
    keys = known(session)
    signer = open_signer(settings)
    if not keys:
        signer = signer or make_key(settings.key_path())
        introduce(session, [], signer, signer, None)
        return signer
    if signer is None:
        raise LedgerKeyError(
            f"the ledger is sealed with key {keys[-1].id[:16]}, which is not at {settings.key_path()}: {CURE}"
        )
    require_valid(keys, signer, datetime.now(UTC))
    return signer


def require_valid(keys: Sequence[LedgerKey], signer: Signer, at: datetime) -> None:
    """Raise LedgerKeyError unless the signer is known and not retired."""
    index = next((i for i, key in enumerate(keys) if key.id == signer.key_id), None)
    if index is None:
        raise LedgerKeyError(
            f"the ledger does not know key {signer.key_id[:16]}, it is sealed with {keys[-1].id[:16]}: {CURE}"
        )
    if not may_sign(keys, index, at):
        raise LedgerKeyError(
            f"key {signer.key_id[:16]} may not sign at {moment(at)}: it was retired, or this clock is wrong; "
            f"set PYRAMIDION_LEDGER_KEY_PATH to the file of {keys[-1].id[:16]}"
        )


def may_sign(keys: Sequence[LedgerKey], index: int, at: datetime) -> bool:
    """Whether the key at `index` may sign at a time."""
    if at < keys[index].introduced_at - CLOCKS:
        return False
    if index + 1 == len(keys):
        return True
    after = keys[index + 1]
    return at <= (after.overlap_until or after.introduced_at) + CLOCKS


def introduce(
    session: Session, keys: Sequence[LedgerKey], by: Signer, new: Signer, overlap: timedelta | None
) -> LedgerKey:
    """Let a new key sign, signed for by the one before (the first by itself); an event tells of it."""
    if any(key.id == new.key_id for key in keys):
        raise LedgerKeyError(f"key {new.key_id[:16]} is known already: give the file of a new one")
    now = datetime.now(UTC)
    until = None if overlap is None else now + overlap
    before = keys[-1].id if keys else None
    number = len(keys) + 1
    content = introduction(number, new.key_id, before, now, until)
    row = LedgerKey(
        number=number,
        id=new.key_id,
        public_key=new.public_key,
        introduced_at=now,
        overlap_until=until,
        signature=by.sign(content),
        acceptance=new.sign(content),
    )
    session.add(row)
    detail = {
        "number": number,
        "key": new.key_id,
        "introduced_by": before,
        "signed_by": by.key_id,
        "overlap_until": None if until is None else moment(until),
    }
    events.record(session, "ledger.key", "ledger", new.key_id, detail)
    return row


def faults(keys: Sequence[LedgerKey], trusted: Sequence[str] = ()) -> list[str]:
    """Say which keys are not what they should be.

    A key that introduces itself, since the one before was lost, is one of them unless it is `trusted` (ids,
    or the beginnings of them): nothing in the ledger can tell that from a forger's.
    """
    found = [
        f"no key of the ledger is {one}, which you trust"
        for one in trusted
        if not any(key.id.startswith(one) for key in keys)
    ]
    for index, key in enumerate(keys):
        before = keys[index - 1] if index else None
        if key_id(key.public_key) != key.id:
            found.append(f"public key {key.id[:16]} was changed")
            continue
        content = introduction(
            key.number, key.id, None if before is None else before.id, key.introduced_at, key.overlap_until
        )
        signed_for = is_signed((before or key).public_key, key.signature, content)
        if key.number != index + 1:
            found.append(f"key {index + 1} is missing")
        elif not is_signed(key.public_key, key.acceptance, content):
            found.append(f"key {key.id[:16]} has not accepted the key before it")
        elif not signed_for and not any(key.id.startswith(one) for one in trusted):
            by = "itself" if before is None else f"key {before.id[:16]}"
            found.append(f"key {key.id[:16]} is not signed for by {by}")
    return found
