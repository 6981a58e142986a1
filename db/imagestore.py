"""The image store: blobs under their own sha256, in a folder, an S3-compatible store, or memory."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, TypeVar
from uuid import uuid4

from obstore.exceptions import BaseError

from db.backends import Backend, open_backend
from db.durable import write_durably
from db.settings import DatabaseSettings

THREADS = 16  # waiting for a disk or a network, not computing
_PATIENCE_S: Final = 0.005  # some hundred images, where a disk has them in memory
_FRESH = timedelta(hours=12)
_BLOBS = "sha256"  # below it they lie; what they leave when they are removed stays
CURE = "see PYRAMIDION_IMAGE_STORE_URL, PYRAMIDION_IMAGE_STORE_ENDPOINT and `pyramidion doctor`"

T = TypeVar("T")
R = TypeVar("R")


class ImageStoreError(Exception):
    """A blob can't be stored or had."""


class MissingBlobError(ImageStoreError):
    def __init__(self, sha256: str, where: str) -> None:
        super().__init__(f"image {sha256} is not in {where}: it was removed, or the store is another one")


class CorruptBlobError(ImageStoreError):
    def __init__(self, sha256: str, where: str, found: str) -> None:
        super().__init__(
            f"image {sha256} in {where} was altered: its bytes now hash to {found}; "
            "`pyramidion restore DIR --only-images` brings it back from a backup"
        )


class ImageStoreUnavailableError(ImageStoreError):
    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"image store {where} can't be used: {reason} ({CURE})")


class ImageStore:
    """Content-addressed blobs: what is read is what was written, or an ImageStoreError says why not.

    Safe to share among threads.
    """

    def __init__(self, backend: Backend) -> None:
        self._store = backend.store
        self._where = backend.where
        self._folder = backend.folder
        self._root = None if backend.folder is None else backend.folder.stat().st_ino
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="images")  # started when used

    def describe(self) -> str:
        """Give where the images are, in words that may be shown."""
        return self._where

    def free_bytes(self) -> int | None:
        """Give how much room is left, None where that can't be told. Raises ImageStoreUnavailableError."""
        if self._folder is None:
            return None
        with self._named_errors():
            return shutil.disk_usage(self._folder).free

    def put(self, data: bytes) -> str:
        """Keep the bytes and give their key; once it returns, they outlive a power cut (a folder is fsynced).

        What is there already is not written again, unless it got damaged or is half a day old: retention
        removes no blob that is younger than a day, whose row may be about to come.
        Raises ImageStoreUnavailableError.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            _, written_at = self._read(sha256)
        except (MissingBlobError, CorruptBlobError):
            written_at = None
        if written_at is None or datetime.now(UTC) - written_at > _FRESH:
            self._write(key_of(sha256), data)
        return key_of(sha256)

    def remove(self, hashes: Sequence[str], older_than: datetime) -> int:
        """Remove blobs that were written before a time; gives how many are younger and stay.

        Raises ImageStoreUnavailableError; what was removed until then is gone.
        """

        def is_young(sha256: str) -> bool:
            key = key_of(sha256)
            try:
                with self._named_errors():
                    if self._store.head(key)["last_modified"] >= older_than:
                        return True
                    self._store.delete(key)
            except FileNotFoundError:
                self._require_root()  # else somebody else was faster
            return False

        return sum(self._in_threads(is_young, hashes))

    def get(self, sha256: str) -> bytes:
        """Give the bytes whose hash is `sha256` (64 hexadecimal digits, else ValueError).

        Raises MissingBlobError, CorruptBlobError, or ImageStoreUnavailableError.
        """
        return self._read(sha256)[0]

    def _read(self, sha256: str) -> tuple[bytes, datetime]:
        """Give the bytes, and when they were written."""
        try:
            with self._named_errors():
                data, written_at = self._fetch(key_of(sha256))
        except FileNotFoundError:
            self._require_root()
            raise MissingBlobError(sha256, self._where) from None
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise CorruptBlobError(sha256, self._where, actual)
        return data, written_at

    def _fetch(self, key: str) -> tuple[bytes, datetime]:
        if self._folder is None:
            found = self._store.get(key)
            return bytes(found.bytes()), found.meta["last_modified"]
        with (self._folder / key).open("rb") as file:  # obstore takes ten times as long
            return file.read(), datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)

    def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """Keep many at once, in threads; the keys come in the order of the blobs. Raises as put() does."""
        return self._in_threads(self.put, blobs)

    def get_many(self, hashes: Sequence[str]) -> list[bytes | ImageStoreError]:
        """Give many at once; what can't be had stands as its error where the bytes would."""

        def attempt(sha256: str) -> bytes | ImageStoreError:
            try:
                return self.get(sha256)
            except ImageStoreError as error:
                return error

        if self._folder is None:
            return self._in_threads(attempt, hashes)
        # A disk gives what was just written from its memory, in less time than threads take to share it out.
        found: list[bytes | ImageStoreError] = []
        patience = monotonic() + _PATIENCE_S
        for number, sha256 in enumerate(hashes):
            if monotonic() > patience:
                return found + self._in_threads(attempt, hashes[number:])
            found.append(attempt(sha256))
        return found

    def sizes(self, hashes: Sequence[str]) -> list[int | None]:
        """Give how many bytes each has, None where it is not there; raises ImageStoreUnavailableError."""

        def attempt(sha256: str) -> int | None:
            try:
                with self._named_errors():
                    if self._folder is not None:
                        return (self._folder / key_of(sha256)).stat().st_size
                    return self._store.head(key_of(sha256))["size"]
            except FileNotFoundError:
                return None

        # A disk answers sooner than a thread starts.
        return self._in_threads(attempt, hashes) if self._folder is None else [attempt(one) for one in hashes]

    def check(self) -> None:
        """Write, read and remove a probe; raises ImageStoreUnavailableError with the cure."""
        key, data = f"probe/{uuid4().hex}", b"pyramidion"
        self._write(key, data)
        try:
            with self._named_errors():
                found = bytes(self._store.get(key).bytes())
                self._store.delete(key)
        except FileNotFoundError:
            raise ImageStoreUnavailableError(self._where, "what was just written is not there") from None
        if found != data:
            raise ImageStoreUnavailableError(self._where, f"wrote {data!r} and read {found!r}")

    def _write(self, key: str, data: bytes) -> None:
        with self._named_errors():
            if self._folder is None:
                self._store.put(key, data, use_multipart=False)
            else:
                self._require_root()
                write_durably(self._folder, key, data)  # obstore renames, but syncs neither file nor folder

    def _in_threads(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        # A disk answers about as soon as a thread is handed an item: it gets some at once.
        turn = 1 if self._folder is None else 4
        if len(items) <= turn:
            return [function(item) for item in items]

        def some(start: int) -> list[R]:
            return [function(item) for item in items[start : start + turn]]

        turns = self._threads.map(some, range(0, len(items), turn))
        return [one for found in turns for one in found]

    def _require_root(self) -> None:
        """Raise ImageStoreUnavailableError where the folder is not the one that was opened.

        A disk that dropped out leaves nothing, or an empty mount point: what was on it isn't lost, and what
        were written there now would be.
        """
        if self._folder is None:
            return
        try:
            root = self._folder.stat().st_ino  # a disk that is mounted again gets another device number
        except OSError as error:
            raise ImageStoreUnavailableError(self._where, error.strerror or str(error)) from None
        if root != self._root:
            raise ImageStoreUnavailableError(self._where, "another folder lies there; is its disk mounted?")

    def is_empty(self) -> bool:
        """Whether a folder never held a blob, as the mount point of a missing disk; other stores never are.

        Raises ImageStoreUnavailableError where it can't be looked into.
        """
        try:  # a probe may have been there
            return self._folder is not None and all(one.name != _BLOBS for one in self._folder.iterdir())
        except OSError as error:
            raise ImageStoreUnavailableError(self._where, error.strerror or str(error)) from None

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            raise ImageStoreUnavailableError(self._where, "the bucket does not exist") from error
        except (BaseError, OSError) as error:
            reason = str(error).split("\n\nDebug source")[0]  # obstore adds a page of its own inner state
            raise ImageStoreUnavailableError(self._where, reason) from error


def open_image_store(settings: DatabaseSettings) -> ImageStore:
    """Open the store of the settings; nothing is sent before the first use.

    Raises SettingsError where the URL is none of ours or the folder can't be made.
    """
    return ImageStore(open_backend(settings))


def is_sha256(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def key_of(sha256: str) -> str:
    """Give the key of a blob; raises ValueError where that is no sha256 in lower-case hexadecimal digits."""
    if not is_sha256(sha256):
        raise ValueError(f"{sha256!r} is not a sha256 of 64 hexadecimal digits")
    return f"{_BLOBS}/{sha256[:2]}/{sha256}"
