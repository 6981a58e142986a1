"""Binding an electronic signature to the record that it signs, and telling whether it is that record's own.

A signature stands within its record, so both are sealed in one leaf. It also names the hash of the rest of
the record: one that was moved to another record is found, also where that happened before the leaf was made.
"""

import hashlib
from typing import Any, Final

from db.ledger.canonical import canonical
from db.ledger.facts import Kind, document

SIGNATURE: Final = "signature"
_RECORD: Final = "record_sha256"
_MARK: Final = b'"signature":{'  # in canonical JSON, where quotes within a text are escaped


def bound(signature: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Give the signature with the hash of the record, which is as its leaf has it, but without signature."""
    return {**signature, _RECORD: _hash(record)}


def is_of_its_record(kind: Kind, content: bytes) -> bool:
    """Tell whether the signature in a leaf, if there is one, was made for this record."""
    if kind not in {Kind.REVIEW, Kind.EVENT} or _MARK not in content:
        return True
    record = document(content)
    del record["form"]
    holder = record["detail"] if kind is Kind.EVENT else record
    signature = holder.pop(SIGNATURE, None)
    return not isinstance(signature, dict) or signature.get(_RECORD) == _hash(record)


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(record)).hexdigest()
