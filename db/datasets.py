"""What models were trained on: frozen lists of images, each named by its hash, insert-only."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from db import clock
from db.insert import insert_into
from db.tables import Dataset

_LEFT_OUT: Final = {
    "doubted": "that people doubt",
    "duplicates": "near-duplicates",
    "golden": "of golden samples",
    "tail": "with scores far above those around them",
    "unreadable": "that can't be read",
}


def digest(entries: Sequence[dict[str, Any]]) -> str:
    """Give the SHA-256 of the entries as JSON with sorted keys and no spaces, one a line."""
    lines = (json.dumps(one, sort_keys=True, separators=(",", ":"), ensure_ascii=True) for one in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def keep(session: Session, product: str, entries: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """Keep a dataset, unless it is kept already; gives its hash."""
    row = {
        "sha256": digest(entries),
        "product": product,
        "made_at": clock.now(session),
        "entries": entries,
        "summary": summary,
    }
    session.execute(insert_into(session, Dataset).values(row).on_conflict_do_nothing())
    return str(row["sha256"])


def left_out(summary: dict[str, Any]) -> str:
    """Say how many images were left out for which reason; nothing where none was."""
    return ", ".join(f"{number} {_LEFT_OUT[reason]}" for reason, number in summary["left_out"].items())


def find(session: Session, sha256: str) -> Dataset | None:
    return session.get(Dataset, sha256)
