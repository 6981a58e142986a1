"""Restoring a backup into an empty place; the same command goes on with a restore that was cut off."""

import getpass
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete

from db import events, holdings, migrate
from db.engine import make_engine, reading, session_factory
from db.home import private_file, private_folder
from db.imagestore import ImageStore, open_image_store
from db.ledger import unsealed
from db.ledger.settings import LedgerSettings
from db.ledger.signers import LedgerKeyError, open_signer
from db.settings import DatabaseSettings, redacted
from db.tables import Lease
from pyramidion.backup import blobs, manifest
from pyramidion.backup.dumps import FILES, is_empty, load
from pyramidion.backup.make import Told, image_store
from pyramidion.backup.manifest import HEADS, IMAGES, KEY, Blobs, Manifest
from pyramidion.drafts import whole
from pyramidion.errors import UserError


@dataclass(frozen=True)
class Restored:
    """What was restored, and what a person has to see to: `notes`, in sentences."""

    backup: Path
    manifest: Manifest
    blobs: Blobs | None
    notes: list[str]


def restore(settings: DatabaseSettings, ledger: LedgerSettings, given: Path, told: Told) -> Restored:
    """Restore database, images, heads and, where it is there, the key; leaves the event backup.restored.

    `given` is a folder of backups, of which the newest is taken, or one of them. Raises UserError before
    anything is written where a file of the backup is damaged or the place is not empty, and what database and
    image store raise when they are away.
    """
    place = manifest.choose(given)
    said = manifest.read(place)
    file = place / FILES.get(said.database, manifest.NAME)
    if said.blobs is not None:
        _require_images(place.parent)
    engine = _open(said, settings, place)
    try:
        if _must_load(engine, settings, said):
            _verify_files(place, said, told)
            try:
                load(engine, settings, file)
            except OSError as error:
                raise UserError(f"cannot restore {redacted(engine.url)}: {error.strerror or error}") from None
            migrate.upgrade(engine)  # a backup of an earlier release
        notes = [_restore_heads(place, ledger), _restore_key(place, said, ledger)]
        copied = None
        if said.blobs is not None:
            total = said.holdings.blobs
            copied = _bring(
                engine, open_image_store(settings), place.parent, lambda done: told("images", done, total)
            )
        detail = {"made_at": said.made_at, "head": said.holdings.head, "rows": said.holdings.rows}
        with session_factory(engine).begin() as session:
            unsealed.wait_anew(session)
            session.execute(delete(Lease))  # whoever held one, the backup among them, is not here
            events.record(session, "backup.restored", getpass.getuser(), place.name, detail)
    finally:
        engine.dispose()
    return Restored(place, said, copied, [note for note in notes if note is not None])


def restore_images(settings: DatabaseSettings, engine: Engine, given: Path, told: Told) -> Blobs:
    """Bring back the images and weights that the image store has lost or that are damaged, and no rows.

    Raises UserError, and what database and image store raise when they are away.
    """
    folder = manifest.choose(given).parent
    _require_images(folder)
    with reading(engine).connect() as connection:
        total = holdings.look(connection).blobs
    return _bring(engine, open_image_store(settings), folder, lambda done: told("images", done, total))


def _bring(engine: Engine, store: ImageStore, folder: Path, told: Callable[[int], None]) -> Blobs:
    named = holdings.blobs(session_factory(engine, read_only=True))
    return blobs.copy(named, image_store(folder), blobs.whole(store), store.put_many, told)


def _require_images(folder: Path) -> None:
    if not (folder / IMAGES).is_dir():
        raise UserError(f"there is no folder {folder / IMAGES}: it belongs to the backups, copy it with them")


def _open(said: Manifest, settings: DatabaseSettings, place: Path) -> Engine:
    """Open the database of the settings, which must be of the backup's kind; raises UserError."""
    kind = settings.url().get_backend_name()
    if said.database != kind:
        raise UserError(
            f"{place} is of a database of the kind {said.database}, {redacted(settings.url())} is {kind}: "
            "set PYRAMIDION_DATABASE_URL to one of the same kind; histories don't move from one to the other"
        )
    if not migrate.knows(said.revision):
        raise UserError(
            f"{place} is at revision {said.revision}, which this program doesn't know: restore it with the "
            f"Pyramidion that made it ({said.made_by}), or a newer one"
        )
    return make_engine(settings)


def _must_load(engine: Engine, settings: DatabaseSettings, said: Manifest) -> bool:
    """Whether the database is empty; False where it is as the backup has it, from an earlier call."""
    if is_empty(engine, settings):
        return True
    where = redacted(engine.url)
    if migrate.revision(engine) is not None:
        with reading(engine).connect() as connection:
            if holdings.look(connection) == said.holdings:
                migrate.upgrade(engine)
                return False
    raise UserError(
        f"{where} is not empty, and nothing is restored over a history: stop what runs there and move it "
        "away, or name an empty place with PYRAMIDION_HOME or PYRAMIDION_DATABASE_URL. --only-images "
        "restores images into the store of a database that is there"
    )


def _verify_files(place: Path, said: Manifest, told: Told) -> None:
    for number, (name, wanted) in enumerate(said.files.items()):
        told("verifying", number, len(said.files))
        try:
            found: dict[str, Any] = manifest.described(place / name)
        except OSError as error:
            why = f"{place / name} can't be read: {error.strerror}; take another backup"
            raise UserError(why) from None
        if found != wanted:
            raise UserError(
                f"{place / name} is not what was backed up: {found['bytes']} bytes, SHA-256 "
                f"{found['sha256']}; the manifest says {wanted['bytes']}, {wanted['sha256']}. Take another "
                "backup, such as an earlier one beside it"
            )


def _restore_heads(place: Path, ledger: LedgerSettings) -> str | None:
    """Put the heads back, or give the sentence that a person needs to know."""
    source, target = place / HEADS, ledger.anchor_file()
    if not source.exists() or (
        target.exists() and manifest.described(target) == manifest.described(source)  # by an earlier call
    ):
        return None
    if target.exists():
        return (
            f"{target} was left as it is. Where it tells of blocks that came after the backup, verify names "
            f"them as gone, which is true: keep that file elsewhere, and put {source} in its place"
        )
    _copy_private(source, target)
    return None


def _restore_key(place: Path, said: Manifest, ledger: LedgerSettings) -> str | None:
    """Put the key back, or give the sentence that a person needs to know."""
    wanted = said.holdings.key
    try:
        signer = open_signer(ledger)
    except LedgerKeyError as error:
        return str(error)
    if wanted is None or (signer is not None and signer.key_id == wanted):
        return None
    sealed = f"the ledger is sealed with key {wanted}"
    if signer is not None:
        return f"{sealed}, and this machine has {signer.key_id}: put that one here"
    if (place / KEY).exists():
        _copy_private(place / KEY, ledger.key_path())
        return None
    return (
        f"{sealed}, which is not in the backup: put its file at {ledger.key_path()} before anything runs "
        "here (lost for good: `pyramidion audit rotate --lost`)"
    )


def _copy_private(source: Path, target: Path) -> None:
    private_folder(target.parent)
    with whole(target) as draft:
        private_file(draft)
        shutil.copyfile(source, draft)
