"""Making a backup: the database first, then the images, which are stored before the rows that name them.

A folder holds many backups, each in a folder of its own that is named by its time, and one store of the
blobs that they share: `images/`, where each is under its hash. A backup is written to a draft and renamed
when it is whole; blobs are written whole one by one, and those that no backup names yet harm nobody. What
the snapshot names stays until it is copied: retention waits.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from obstore.store import LocalStore
from sqlalchemy import Connection

from db import holdings, migrate, partitions
from db.backends import Backend
from db.engine import session_factory
from db.home import make_private, private_file
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.ledger.heads import moment
from db.ledger.seal import snapshot
from db.ledger.settings import LedgerSettings
from pyramidion.backup import blobs, manifest
from pyramidion.backup.dumps import FILES, dump
from pyramidion.backup.manifest import HEADS, IMAGES, KEY, TIME, Blobs, Manifest
from pyramidion.backup.staying import images_stay
from pyramidion.context import Context
from pyramidion.drafts import draft_of, whole_folder
from pyramidion.errors import UserError

_LOCK: Final = ".lock"

Told = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Wanted:
    """What goes into a backup, and how many of the newest are kept: None for all."""

    images: bool = True
    with_key: bool = False
    keep: int | None = None


def make(
    context: Context, ledger: LedgerSettings, folder: Path, wanted: Wanted, told: Told
) -> tuple[Path, Manifest]:
    """Add a backup to the folder, and give its place and what it says of itself.

    `told` hears what is in hand, the parts done and their number. Raises UserError, after which the backups
    that were there are as they were, and db.imagestore.ImageStoreUnavailableError.
    """
    key = _key(ledger) if wanted.with_key else None
    try:
        make_private(folder)
        with _alone(folder):
            _tidy(folder)
            now = datetime.now(UTC)
            place = folder / now.strftime(TIME)
            stays = images_stay(context.sessions, lambda: told("retention", 0, None))
            # The draft outside: what is told at the end of the stay still keeps it from becoming a backup.
            with whole_folder(place) as draft, stays if wanted.images else nullcontext():
                written = _write(context, ledger, folder, draft, key, now, wanted, told)
            for old in manifest.backups(folder)[: -wanted.keep] if wanted.keep else ():
                _remove(old)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}. The backups in it are as they were"
        ) from None
    return place, written


def _write(
    context: Context,
    ledger: LedgerSettings,
    folder: Path,
    draft: Path,
    key: bytes | None,
    now: datetime,
    wanted: Wanted,
    told: Told,
) -> Manifest:
    kind = context.engine.dialect.name
    with snapshot(context.engine) as connection:
        partitions.keep(connection)
        found = holdings.look(connection)
        dump(
            connection,
            context.settings,
            draft / FILES[kind],
            lambda done, total: told("database", done, total),
        )
        _copy_heads(connection, ledger.anchor_file(), draft / HEADS)
    if key is not None:
        private_file(draft / KEY)
        (draft / KEY).write_bytes(key)
    files = {file.name: manifest.described(file) for file in sorted(draft.iterdir())}
    copied = None
    if wanted.images:
        copied = _copy_images(context, folder, lambda done: told("images", done, found.blobs))
    written = Manifest(moment(now), kind, migrate.head(), found, files, copied)
    written.write(draft)
    return written


def _copy_images(context: Context, folder: Path, told: Callable[[int], None]) -> Blobs:
    store = image_store(folder)

    def put(found: list[bytes]) -> None:
        try:
            store.put_many(found)
        except ImageStoreUnavailableError as error:  # whose cure speaks of the store in force
            raise error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)) from None

    named = holdings.blobs(session_factory(context.engine, read_only=True))
    return blobs.copy(named, context.store, blobs.of_its_size(store), put, told)


def image_store(folder: Path) -> ImageStore:
    """Open the blobs of the backups in a folder."""
    images = folder / IMAGES
    make_private(images)
    return ImageStore(Backend(LocalStore(images), f"folder {images}", images))


def _copy_heads(connection: Connection, source: Path, target: Path) -> None:
    """Copy the heads that were told to the file, up to the newest block of the snapshot.

    Those after it would seem to be cut off when the backup is restored.
    """
    last = holdings.last_block(connection)
    try:
        told = source.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return  # nothing was told yet
    except OSError as error:
        raise UserError(f"{source} can't be read: {error.strerror}; see PYRAMIDION_ANCHOR_PATH") from None
    with told, target.open("w", encoding="utf-8") as out:
        out.writelines(line for line in told if _number(line) <= last)


def _number(line: str) -> int:
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        return 0  # a torn line, which verify passes over too


def _key(ledger: LedgerSettings) -> bytes:
    if ledger.ledger_signer is not None:
        raise UserError(
            f"PYRAMIDION_LEDGER_SIGNER={ledger.ledger_signer} gives no key away: leave --with-key out, and "
            "keep that key by its own means"
        )
    if ledger.ledger_key is not None:
        return ledger.ledger_key.get_secret_value().encode()
    try:
        return ledger.key_path().read_bytes()
    except OSError as error:
        raise UserError(
            f"the ledger's key {ledger.key_path()} can't be read: {error.strerror}; name it with "
            "PYRAMIDION_LEDGER_KEY_PATH, or leave --with-key out"
        ) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another backup to {folder} is in hand: wait for it") from None
        yield


def _tidy(folder: Path) -> None:
    """Remove what a backup that was killed has left: nobody else is at work here."""
    for draft in folder.glob(".*Z.*"):
        shutil.rmtree(draft, ignore_errors=True)


def _remove(backup: Path) -> None:
    shutil.rmtree(backup.rename(draft_of(backup)))  # killed in between, it must not look whole
