"""A backup that is restored is the history that was backed up, proofs and all; nothing half-written stays."""

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, make_url, select, update

from db import events, inspections, models
from db.engine import make_engine, session_factory
from db.ids import uuid7
from db.imagestore import key_of
from db.leases import lease
from db.ledger import anchors, released
from db.ledger.blobs import Blobs as BlobsToVerify
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Report, Wanted, verify
from db.retention import policy, turn
from db.settings import DatabaseSettings
from db.tables import Event, Inspection, Lease, UnsealedFact
from pyramidion.backup import dumps, make, manifest, staying
from pyramidion.backup.make import Wanted as WantedBackup
from pyramidion.backup.restore import Restored, restore, restore_images
from pyramidion.context import Context, open_context
from pyramidion.errors import UserError

NOW = datetime.now(UTC)
IMAGES = [b"image %d" % number for number in range(5)]
WEIGHTS = b"weights"

Backup = Callable[..., tuple[Path, manifest.Manifest]]


def quiet(_what: str, _done: int, _total: int | None) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Context]]:
    """Open what the environment names; closed with the test."""
    made: list[Context] = []

    def opening() -> Context:
        made.append(open_context())
        return made[-1]

    yield opening
    for one in made:
        one.engine.dispose()


@pytest.fixture
def plant(
    database: DatabaseSettings,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[], Context],
) -> Context:
    """A sealed history with images and weights, on each kind of database in turn."""
    if database.database_url is not None:
        bin_path = request.getfixturevalue("postgres_server").bin_path
        monkeypatch.setenv("PYRAMIDION_POSTGRES_BIN", str(bin_path))
    context = opened()
    fill(context)
    return context


@pytest.fixture
def machine(home: Path, opened: Callable[[], Context]) -> Context:
    """The same on a single machine."""
    context = opened()
    fill(context)
    return context


def fill(context: Context) -> None:
    for data in (*IMAGES, WEIGHTS):
        context.store.put(data)
    text = json.dumps({"threshold": 0.5})
    weights = sha256(WEIGHTS).hexdigest()
    with context.sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, sha256(text.encode()).hexdigest(), "tile", text, weights, 100)
    accept(context, IMAGES)
    seal_all(context)


def accept(context: Context, images: list[bytes]) -> None:
    new = []
    for number, data in enumerate(images):
        at, hash_ = NOW + timedelta(seconds=number), sha256(data).hexdigest()
        names = ("tile", "s1", "line 1", None, "L1")
        new.append(
            inspections.NewInspection(
                uuid7(at), *names, at, NOW, hash_, key_of(hash_), len(data), 64, 64, "PNG"
            )
        )
    with context.sessions.begin() as session:
        inspections.accept(session, new)


def seal_all(context: Context) -> None:
    settings = LedgerSettings()
    seal(context.engine, settings)
    assert anchors.tell(context.sessions, settings) == {}


@pytest.fixture
def back_up(folder: Path) -> Backup:
    def do(context: Context, told: make.Told = quiet, **wanted: Any) -> tuple[Path, manifest.Manifest]:
        return make.make(context, LedgerSettings(), folder, WantedBackup(**wanted), told)

    return do


@pytest.fixture
def elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], Path]:
    """Move to an empty place: another home, and an empty database of the same kind."""

    def move() -> Path:
        if DatabaseSettings().database_url is not None:
            url = request.getfixturevalue("new_postgres_database")()
            monkeypatch.setenv("PYRAMIDION_DATABASE_URL", url)
        monkeypatch.setenv("PYRAMIDION_HOME", str(tmp_path / "elsewhere"))
        return tmp_path / "elsewhere"

    return move


def restore_here(given: Path, told: make.Told = quiet) -> Restored:
    return restore(DatabaseSettings(), LedgerSettings(), given, told)


def verified(context: Context) -> Report:
    settings = LedgerSettings()
    blobs = BlobsToVerify(context.store, session_factory(context.engine, read_only=True), None)
    return verify(context.engine, Wanted(heads=[settings.anchor_file()]), blobs)


def test_what_is_restored_is_what_was_backed_up_and_its_chain_verifies(
    plant: Context, back_up: Backup, elsewhere: Any, opened: Any, folder: Path
) -> None:
    accept(plant, IMAGES[:1])  # waits to be sealed, and for long when it is restored
    with plant.sessions.begin() as session:
        session.execute(update(UnsealedFact).values(since=NOW - timedelta(days=1)))
    place, made = back_up(plant, with_key=True)
    accept(plant, [b"later"])  # what comes after the backup is not in it, nor may it seem to be cut off
    seal_all(plant)
    before = verified(plant)
    home = elsewhere()
    done = restore_here(folder)
    assert (done.backup, done.notes) == (place, [])
    assert done.blobs is not None
    assert (done.blobs.copied, done.blobs.lost) == (len(IMAGES) + 1, 0)

    context = opened()
    assert verified(context).bad == []
    seal_all(context)  # with the key that was restored
    report = verified(context)
    assert report.bad == []
    assert report.blobs == len(IMAGES) + 2  # one image twice, and the weights
    assert report.keys == before.keys
    with lease(context.sessions, turn.LEASE, 60) as mine:
        assert mine is not None  # the backup held it, and is no longer there to give it back
    assert made.holdings.head in (home / "ledger" / "heads.jsonl").read_text()
    with context.sessions() as session:
        assert set(session.scalars(select(Inspection.image_sha256))) == {
            sha256(data).hexdigest() for data in IMAGES
        }
        (event,) = session.scalars(select(Event).where(Event.kind == "backup.restored"))
    assert (event.subject, event.detail["head"]) == (place.name, made.holdings.head)
    for file in (home / "ledger" / "key.pem", *place.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 or file.parent == place, file
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(place.stat().st_mode) == 0o700


def test_writers_go_on_and_the_backup_ends_and_is_of_one_moment(
    plant: Context,
    back_up: Backup,
    elsewhere: Any,
    opened: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dumps, "_PAGES", 1)
    written, run = 0, dumps._run

    def another_writes(what: str, _done: int, _total: int | None) -> None:
        nonlocal written
        if what == "database" and written < 50:
            written += 1
            with plant.sessions.begin() as session:
                events.record(session, "test", "tester")

    def run_meanwhile(*words: Any) -> None:
        another_writes("database", 0, None)
        run(*words)

    with monkeypatch.context() as patched:
        patched.setattr(dumps, "_run", run_meanwhile)
        _, made = back_up(plant, another_writes)
    assert written == (1 if plant.engine.dialect.name == "postgresql" else 50)
    elsewhere()
    restore_here(folder)
    context = opened()
    with context.sessions() as session:
        kinds = session.scalars(select(Event.kind)).all()
    assert len(kinds) == made.holdings.rows["events"] + 1  # and that of the restore
    assert "test" not in kinds
    assert verified(context).bad == []


def test_the_next_backup_copies_only_new_images_and_the_oldest_goes(
    machine: Context, back_up: Backup, folder: Path
) -> None:
    first, _ = back_up(machine)
    machine.store.put(b"new")
    accept(machine, [b"new", IMAGES[0]])
    second, made = back_up(machine)
    assert made.blobs is not None
    assert (made.blobs.copied, made.blobs.there, made.blobs.lost) == (1, len(IMAGES) + 1, 0)
    assert manifest.backups(folder) == [first, second]
    third, _ = back_up(machine, keep=2)
    assert manifest.backups(folder) == [second, third]
    assert {path.name for path in folder.iterdir()} == {second.name, third.name, "images", ".lock"}


def test_a_lost_and_a_damaged_image_are_named_and_the_rest_is_kept(
    machine: Context, back_up: Backup, run: Any, folder: Path, home: Path
) -> None:
    lost, damaged = (home / "images" / key_of(sha256(IMAGES[i]).hexdigest()) for i in (0, 1))
    back_up(machine)
    kept = folder / "images" / key_of(sha256(IMAGES[0]).hexdigest())
    kept.unlink()
    (folder / "images" / key_of(sha256(IMAGES[1]).hexdigest())).unlink()
    lost.unlink()
    damaged.write_bytes(b"image X")
    answer = run("backup", str(folder), "--json")
    assert answer.code == 1
    said = answer.json()["blobs"]
    assert (said["copied"], said["there"], said["lost"]) == (0, len(IMAGES) - 1, 2)
    assert "is not in folder" in said["named"][lost.name]
    assert "was altered" in said["named"][damaged.name]
    assert len(manifest.backups(folder)) == 2


def test_an_image_that_retention_let_go_is_not_missed_and_one_that_a_hold_kept_is_there(
    machine: Context, back_up: Backup, home: Path, folder: Path
) -> None:
    gone, kept = (sha256(data).hexdigest() for data in IMAGES[:2])
    with machine.sessions.begin() as session:
        ids = session.scalars(select(Inspection.id).where(Inspection.image_sha256.in_((gone, kept)))).all()
        act = events.record(session, released.ACT, "retention", None, {})
        released.add(session, act, released.IMAGE, ids)
    (home / "images" / key_of(gone)).unlink()
    _, made = back_up(machine)
    assert made.blobs is not None
    assert (made.blobs.copied, made.blobs.lost) == (len(IMAGES) - 1, 0)
    with machine.sessions.begin() as session:
        policy.hold(session, "L1", "counsel", "claim 7")
    _, made = back_up(machine)
    assert made.blobs is not None
    assert (made.blobs.copied, made.blobs.lost) == (1, 0)
    assert (folder / "images" / key_of(kept)).read_bytes() == IMAGES[1]


def test_retention_and_a_backup_of_images_wait_for_each_other(
    plant: Context, back_up: Backup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, waited = list[object](), list[str]()

    def retention(what: str, _done: int, _total: int | None) -> None:
        if what == "images":
            with lease(plant.sessions, turn.LEASE, 60) as mine:
                taken.append(mine)

    back_up(plant, retention)
    assert set(taken) == {None}
    monkeypatch.setattr(staying, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(staying, "_EVERY_S", 0.2)
    with lease(plant.sessions, turn.LEASE, 60) as mine:
        assert mine is not None
        with pytest.raises(UserError, match="retention is letting images go"):
            back_up(plant, lambda what, *_: waited.append(what))
        back_up(plant, images=False)
    assert waited == ["retention"]
    assert len(manifest.backups(folder)) == 2


def test_a_backup_during_which_retention_may_have_begun_is_not_kept(
    plant: Context, back_up: Backup, folder: Path
) -> None:
    def lose(what: str, _done: int, _total: int | None) -> None:
        if what == "images":
            with plant.sessions.begin() as session:
                session.execute(delete(Lease).where(Lease.name == turn.LEASE))

    with pytest.raises(UserError, match="retention may have let images go: back up again"):
        back_up(plant, lose)
    assert manifest.backups(folder) == []
    assert not list(folder.glob(".*Z.*"))


def test_images_alone_are_brought_back(machine: Context, back_up: Backup, folder: Path, home: Path) -> None:
    back_up(machine)
    lost, damaged = (home / "images" / key_of(sha256(IMAGES[i]).hexdigest()) for i in (0, 1))
    lost.unlink()
    damaged.write_bytes(b"image X")
    assert len(verified(machine).bad) == 2
    done = restore_images(machine.settings, machine.engine, folder, quiet)
    assert (done.copied, done.lost) == (2, 0)
    assert verified(machine).bad == []


def test_images_of_an_s3_store_are_backed_up_and_restored_into_one(
    home: Path, s3_endpoint: str, back_up: Backup, elsewhere: Any, opened: Any, folder: Path, monkeypatch: Any
) -> None:
    for name, value in (
        ("IMAGE_STORE_URL", "s3://plant/before"),
        ("IMAGE_STORE_ENDPOINT", s3_endpoint),
        ("S3_ACCESS_KEY_ID", "key"),
        ("S3_SECRET_ACCESS_KEY", "s3cr3t"),
    ):
        monkeypatch.setenv(f"PYRAMIDION_{name}", value)
    context = opened()
    fill(context)
    back_up(context)
    elsewhere()
    monkeypatch.setenv("PYRAMIDION_IMAGE_STORE_URL", "s3://plant/after")
    done = restore_here(folder)
    assert done.blobs is not None
    assert (done.blobs.copied, done.blobs.lost) == (len(IMAGES) + 1, 0)
    restored = opened()
    assert restored.store.describe().startswith("s3://plant/after")
    assert verified(restored).bad == []


def test_without_the_key_the_one_that_is_needed_is_named(
    machine: Context, back_up: Backup, elsewhere: Any, folder: Path
) -> None:
    place, made = back_up(machine)
    assert not (place / "key.pem").exists()
    home = elsewhere()
    (note,) = restore_here(folder).notes
    assert f"key {made.holdings.key}, which is not in the backup" in note
    assert str(home / "ledger" / "key.pem") in note


@pytest.mark.parametrize(("room", "why"), [(20_000, "can't be copied to"), (1_000_000, "File too large")])
def test_a_full_disk_leaves_the_last_backup_as_it_was(
    no_room_beyond: Any,
    room: int,
    why: str,
    machine: Context,
    back_up: Backup,
    elsewhere: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, _ = back_up(machine)
    # Which writes into the database, on another disk.
    monkeypatch.setattr(make, "images_stay", lambda *_: nullcontext())
    large = bytes(room)
    machine.store.put(large)
    accept(machine, [large])
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    with no_room_beyond(room - 1), pytest.raises(UserError, match=why):
        back_up(machine)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == files
    assert manifest.backups(folder) == [place]
    elsewhere()
    restore_here(folder)


def test_what_a_killed_backup_left_is_removed_by_the_next(
    machine: Context, back_up: Backup, folder: Path
) -> None:
    place, _ = back_up(machine)
    left = folder / f".{place.name}.0123456789abcdef"
    shutil.copytree(place, left)
    assert manifest.choose(folder) == place
    back_up(machine)
    assert not left.exists()


def test_two_at_once_are_one_too_many(machine: Context, back_up: Backup, folder: Path) -> None:
    def again(_what: str, _done: int, _total: int | None) -> None:
        with pytest.raises(UserError, match=r"another backup to .* is in hand"):
            back_up(machine)

    back_up(machine, again)
    assert len(manifest.backups(folder)) == 1


def test_a_restore_that_was_cut_off_goes_on(
    plant: Context, back_up: Backup, elsewhere: Any, opened: Any, folder: Path
) -> None:
    back_up(plant)
    elsewhere()

    def killed(what: str, _done: int, _total: int | None) -> None:
        if what == "images":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_here(folder, killed)
    assert restore_here(folder).blobs is not None
    context = opened()
    assert verified(context).bad == []
    with pytest.raises(UserError, match="is not empty, and nothing is restored over a history"):
        restore_here(folder)


def test_a_damaged_backup_is_refused_before_anything_is_written(
    plant: Context, back_up: Backup, elsewhere: Any, folder: Path
) -> None:
    place, _ = back_up(plant)
    file = place / dumps.FILES[plant.engine.dialect.name]
    whole = file.read_bytes()
    elsewhere()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is not what was backed up.*Take another backup"):
            restore_here(folder)
    file.unlink()
    with pytest.raises(UserError, match="can't be read: No such file"):
        restore_here(folder)
    engine = make_engine(DatabaseSettings())
    assert dumps.is_empty(engine, DatabaseSettings())
    file.write_bytes(whole)
    restore_here(folder)
    engine.dispose()


def test_what_does_not_fit_is_refused(
    machine: Context,
    back_up: Backup,
    elsewhere: Any,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, made = back_up(machine)
    accept(machine, [b"later"])
    with pytest.raises(UserError, match="is not empty, and nothing is restored over a history"):
        restore_here(folder)
    home = elsewhere()
    home.mkdir()
    (home / "pyramidion.db-wal").write_bytes(b"commits")
    with pytest.raises(UserError, match="may hold its newest commits"):
        restore_here(folder)
    assert (home / "pyramidion.db-wal").read_bytes() == b"commits"
    (home / "pyramidion.db-wal").unlink()
    for changes, said in (
        ({"database": "postgresql"}, "of the kind postgresql, .* is sqlite"),
        ({"revision": "9999"}, "revision 9999, which this program doesn't know"),
        ({"form": "pyramidion-backup/9"}, "a newer Pyramidion made it"),
    ):
        replace(made, **changes).write(place)
        with pytest.raises(UserError, match=said):
            restore_here(folder)
    (place / "backup.json").write_text("{")
    with pytest.raises(UserError, match="is no manifest of a backup"):
        restore_here(folder)
    with pytest.raises(UserError, match="there is no backup in"):
        restore_here(tmp_path)


def test_pg_dump_is_missing_or_older_than_the_server(
    new_postgres_database: Any,
    migrated_template: str,
    home: Path,
    back_up: Backup,
    opened: Any,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL", new_postgres_database(migrated_template))
    context = opened()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    monkeypatch.setenv("PYRAMIDION_POSTGRES_BIN", str(bin_))
    context = replace(context, settings=DatabaseSettings())
    with pytest.raises(UserError, match=r"pg_dump is not in .*install postgresql-client-\d\d"):
        back_up(context)
    program = bin_ / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.1'\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"is 12, which is older than the server.*postgresql-client-\d\d"):
        back_up(context)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_no_password_stands_on_a_command_line(
    new_postgres_database: Any,
    migrated_template: str,
    postgres_server: Any,
    home: Path,
    opened: Any,
    back_up: Backup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bin_, seen = tmp_path / "bin", tmp_path / "seen"
    bin_.mkdir()
    program = bin_ / "pg_dump"
    real = f'exec {postgres_server.bin_path}/pg_dump "$@"'
    program.write_text(f'#!/bin/sh\necho "$@" "PGPASSWORD=$PGPASSWORD" >>{seen}\n{real}\n')
    program.chmod(0o755)
    url = make_url(new_postgres_database(migrated_template)).set(password="hush")
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("PYRAMIDION_POSTGRES_BIN", str(bin_))
    back_up(opened())
    words, _, environment = seen.read_text().splitlines()[-1].partition("PGPASSWORD=")
    assert "--snapshot=" in words
    assert ("hush" in words, environment) == (False, "hush")


def test_the_commands_as_a_person_gives_them(
    machine: Context, run: Any, folder: Path, tmp_path: Path
) -> None:
    made = run("backup", str(folder))
    assert (made.code, f"{len(IMAGES)} inspections" in made.out) == (0, True)
    assert "is not in it: keep its file elsewhere" in made.out
    here = {"PYRAMIDION_HOME": str(tmp_path / "elsewhere")}
    done = run("restore", str(folder), env=here)
    assert (done.code, f"{len(IMAGES) + 1} copied" in done.out) == (0, True)
    again = run("restore", str(folder), env=here)
    assert (again.code, "is not empty" in again.err) == (1, True)
    with machine.sessions() as session:
        assert session.scalars(select(Event.kind)).all().count("backup.made") == 1
