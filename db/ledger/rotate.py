"""Changing the key that seals."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from db.ledger import keys
from db.ledger.settings import LedgerSettings
from db.ledger.signers import LedgerKeyError, Signer, make_key, open_signer
from db.tables import LedgerKey


def rotate(
    sessions: sessionmaker[Session],
    settings: LedgerSettings,
    to: Path | None,
    overlap: timedelta,
    *,
    lost: bool = False,
) -> tuple[Signer, Path]:
    """Introduce a new key, signed for by the present one, and give it with its file.

    It is made in the file `to` unless it is there. Without `to` it takes the place of the key file, which is
    kept beside it under its id. With `lost` the key signs for itself, which verify reports until its id is
    trusted. May be repeated after a crash. Raises LedgerKeyError.
    """
    if to is None and (settings.ledger_key is not None or settings.ledger_signer is not None):
        raise LedgerKeyError(
            "the key that seals is not in a file of this machine: name the new one with --to FILE, and set "
            "PYRAMIDION_LEDGER_KEY_PATH or PYRAMIDION_LEDGER_KEY_FILE to it afterwards"
        )
    with sessions() as session:
        known = keys.known(session)
        if not known:
            raise LedgerKeyError("the ledger has no key yet: `pyramidion audit seal` makes the first one")
    present = None if lost else open_signer(settings)
    if present is None and not lost:
        raise LedgerKeyError(
            f"no key at {settings.key_path()} could sign for a new one: restore it; where it is lost: --lost"
        )
    file = to or settings.key_path().with_name("next.pem")
    if not file.exists():  # else an earlier call may have introduced it
        _require_newest(known, present)
    new = make_key(file)
    with sessions.begin() as session:
        known = keys.known(session)
        if known[-1].id != new.key_id:  # else an earlier call got as far as this
            _require_newest(known, present)
            keys.introduce(session, known, present or new, new, timedelta(0) if lost else overlap)
    if to is not None:
        return new, file
    place = settings.key_path()
    if present is not None and place.exists() and present.key_id != new.key_id:
        place.replace(place.with_name(f"retired-{present.key_id[:16]}.pem"))
    file.replace(place)
    return new, place


def _require_newest(known: Sequence[LedgerKey], present: Signer | None) -> None:
    if present is not None and present.key_id != known[-1].id:
        raise LedgerKeyError(
            f"only the newest key, {known[-1].id[:16]}, may sign for another; this is "
            f"{present.key_id[:16]}: set PYRAMIDION_LEDGER_KEY_PATH to its file"
        )
