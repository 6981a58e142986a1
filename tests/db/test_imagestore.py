"""The image store: what is read is what was written, or an error says why not, in every kind of store."""

import hashlib
import itertools
import os
import socket
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from db.imagestore import (
    CorruptBlobError,
    ImageStore,
    ImageStoreUnavailableError,
    MissingBlobError,
    key_of,
    open_image_store,
)
from db.settings import DatabaseSettings, SettingsError

DATA = b"an image"
SHA256 = hashlib.sha256(DATA).hexdigest()
MISSING = "0" * 64


def s3_settings(endpoint: str, bucket: str = "plant") -> DatabaseSettings:
    return DatabaseSettings(
        image_store_url=SecretStr(f"s3://{bucket}/line/images"),
        image_store_endpoint=endpoint,
        s3_access_key_id=SecretStr("key"),
        s3_secret_access_key=SecretStr("s3cr3t"),
    )


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, home: Path) -> ImageStore:
    if request.param == "s3":
        return open_image_store(s3_settings(request.getfixturevalue("s3_endpoint")))
    if request.param == "memory":
        return open_image_store(DatabaseSettings(image_store_url=SecretStr("memory://")))
    return open_image_store(DatabaseSettings())


def test_what_is_put_is_had_again(store: ImageStore) -> None:
    key = f"sha256/{SHA256[:2]}/{SHA256}"
    assert store.put(DATA) == key
    assert store.put(DATA) == key
    assert store.get(SHA256) == DATA
    assert key_of(SHA256) == key


def test_what_is_not_there_is_said_to_be_missing(store: ImageStore) -> None:
    with pytest.raises(MissingBlobError, match=MISSING):
        store.get(MISSING)


@pytest.mark.parametrize("quick", [0, 3, 12, 100])
def test_many_at_once_keep_their_order_and_their_errors(
    store: ImageStore, quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever among them the disk gets slow."""
    clock = itertools.chain([0.0] * (1 + quick), itertools.repeat(60.0))
    monkeypatch.setattr("db.imagestore.monotonic", lambda: next(clock))
    blobs = [b"image %d" % number for number in range(20)]
    hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    assert store.put_many([*blobs, blobs[0]]) == [key_of(sha256) for sha256 in [*hashes, hashes[0]]]
    had = store.get_many([*hashes[:10], MISSING, *hashes[10:]])
    assert had[:10] + had[11:] == blobs
    assert isinstance(had[10], MissingBlobError)
    assert store.put_many([]) == store.get_many([]) == []


def test_the_check_passes_and_leaves_nothing(store: ImageStore, home: Path) -> None:
    store.check()
    assert [file for file in home.rglob("*") if file.is_file()] == []


def test_a_name_that_is_no_hash_is_refused(store: ImageStore) -> None:
    for name in ("", "../../etc/passwd", SHA256.upper(), SHA256 + "0"):
        with pytest.raises(ValueError, match="not a sha256"):
            store.get(name)


def test_a_damaged_file_is_noticed_and_replaced_by_the_next_put(home: Path) -> None:
    store = open_image_store(DatabaseSettings())
    file = home / "images" / store.put(DATA)
    file.write_bytes(b"an imagE")
    with pytest.raises(CorruptBlobError, match=hashlib.sha256(b"an imagE").hexdigest()):
        store.get(SHA256)
    (had,) = store.get_many([SHA256])
    assert isinstance(had, CorruptBlobError)
    store.put(DATA)
    assert store.get(SHA256) == DATA


def test_an_intact_file_is_not_written_again_and_nothing_else_is_left(home: Path) -> None:
    store = open_image_store(DatabaseSettings())
    file = home / "images" / store.put(DATA)
    before = file.stat()
    store.put(DATA)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path for path in (home / "images").rglob("*") if path.is_file()] == [file]


def test_a_folder_that_cannot_be_written_names_itself(home: Path) -> None:
    store = open_image_store(DatabaseSettings())
    (home / "images" / "tmp").write_text("in the way")
    for use in (lambda: store.put(DATA), store.check):
        with pytest.raises(ImageStoreUnavailableError, match=f"{home}/images.*PYRAMIDION_IMAGE_STORE_URL"):
            use()


def test_a_file_url_names_the_folder(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "big disk"
    store = open_image_store(
        DatabaseSettings(image_store_url=SecretStr(f"file://{folder}".replace(" ", "%20")))
    )
    assert (folder / store.put(DATA)).read_bytes() == DATA
    assert store.describe() == f"folder {folder}"


def test_a_missing_bucket_is_no_missing_image(home: Path, s3_endpoint: str) -> None:
    store = open_image_store(s3_settings(s3_endpoint, bucket="elsewhere"))
    for use in (lambda: store.get(SHA256), lambda: store.put(DATA), store.check):
        with pytest.raises(ImageStoreUnavailableError, match="s3://elsewhere"):
            use()


def test_a_store_that_is_away_is_noticed_soon(home: Path) -> None:
    with socket.socket() as taken:  # bound, never listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        store = open_image_store(s3_settings(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        start = time.monotonic()
        with pytest.raises(
            ImageStoreUnavailableError, match=r"^image store s3://plant.*127.0.0.1.*doctor`\)$"
        ) as caught:
            store.put(DATA)
        assert time.monotonic() - start < 15
    assert "s3cr3t" not in str(caught.value)


def test_it_is_described_without_its_secrets(home: Path, s3_endpoint: str) -> None:
    assert open_image_store(s3_settings(s3_endpoint)).describe() == f"s3://plant/line/images at {s3_endpoint}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_store_url": "ftp://host/images"}, "'ftp'"),
        ({"image_store_url": "/srv/images"}, "file:///folder"),
        ({"image_store_url": "file://images"}, "write it whole"),
        ({"image_store_url": "s3://"}, "s3://bucket/prefix"),
        ({"image_store_url": "s3://key:s3cr3t@bucket/x"}, "PYRAMIDION_S3_ACCESS_KEY_ID"),
        ({"image_store_url": "s3://plant", "s3_access_key_id": "key"}, "go together"),
    ],
)
def test_stores_that_cannot_be_are_refused(changes: dict[str, str], reason: str, home: Path) -> None:
    settings = DatabaseSettings(**{name: SecretStr(value) for name, value in changes.items()})
    with pytest.raises(SettingsError, match=reason) as caught:
        open_image_store(settings)
    assert "s3cr3t" not in str(caught.value)


def test_an_aws_profile_is_used_where_no_keys_are_set(
    home: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text(
        "[plant]\naws_access_key_id = key\naws_secret_access_key = s3cr3t\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_PROFILE", "plant")
    settings = DatabaseSettings(
        image_store_url=SecretStr("s3://plant/profile"), image_store_endpoint=s3_endpoint
    )
    store = open_image_store(settings)
    store.put(DATA)
    assert store.get(SHA256) == DATA


def test_a_disk_that_dropped_out_is_an_outage_and_no_loss(home: Path) -> None:
    """Its images are not missing, and nothing is written into the folder that its absence leaves."""
    store = open_image_store(DatabaseSettings())
    store.put(DATA)
    folder = home / "images"
    for leaves_a_mount_point in (False, True):
        folder.rename(home / "away")
        if leaves_a_mount_point:
            folder.mkdir()
        with pytest.raises(ImageStoreUnavailableError, match="images"):
            store.get(SHA256)
        with pytest.raises(ImageStoreUnavailableError, match="images"):
            store.put(b"another")
        if leaves_a_mount_point:
            assert store.is_empty()
        else:
            with pytest.raises(ImageStoreUnavailableError, match="No such file or directory"):
                store.is_empty()
        (home / "away").rename(folder)
        assert store.get(SHA256) == DATA
        store.put(b"another")
