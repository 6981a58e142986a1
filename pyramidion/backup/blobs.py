"""Copying blobs from one image store to another, in constant memory, past those that are lost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from db.holdings import NamedBlob
from db.imagestore import (
    ImageStore,
    ImageStoreError,
    ImageStoreUnavailableError,
    MissingBlobError,
    is_sha256,
)
from pyramidion.backup.manifest import Blobs

_AT_ONCE: Final = 32  # images in memory

There = Callable[[Sequence[NamedBlob]], Sequence[bool]]
Put = Callable[[list[bytes]], object]
Told = Callable[[int], None]


def copy(named: Iterable[NamedBlob], source: ImageStore, there: There, put: Put, told: Told) -> Blobs:
    """Bring the blobs that are not `there` from `source` to `put`, and count what became of each.

    `told` hears how many were looked at. Raises what `put` raises, and ImageStoreUnavailableError.
    """
    done = Blobs()
    looked_at = 0
    for page in _pages(named):
        looked_at += len(page)
        unknown: dict[str, NamedBlob] = {}  # one image may have been inspected many times
        for blob in page:
            if not (blob.may_be_gone and blob.sha256 in unknown):
                unknown[blob.sha256] = blob
        for sha256 in [sha256 for sha256 in unknown if not is_sha256(sha256)]:
            del unknown[sha256]
            done.lose(sha256, "this is no SHA-256: the row was tampered with")
        blobs = list(unknown.values())
        wanted = [blob.sha256 for blob, is_there in zip(blobs, there(blobs), strict=True) if not is_there]
        found = []
        for sha256, data in zip(wanted, source.get_many(wanted), strict=True):
            if isinstance(data, ImageStoreUnavailableError):
                raise data
            if isinstance(data, MissingBlobError) and unknown[sha256].may_be_gone:
                continue
            if isinstance(data, ImageStoreError):
                done.lose(sha256, str(data))
            else:
                found.append(data)
        put(found)
        done.copied += len(found)
        done.there += len(blobs) - len(wanted)
        told(looked_at)
    return done


def of_its_size(store: ImageStore) -> There:
    """Tell what a store has by its size: enough for one whose files are written whole or not at all."""

    def there(blobs: Sequence[NamedBlob]) -> list[bool]:
        sizes = store.sizes([blob.sha256 for blob in blobs])
        return [
            size is not None and blob.size in {None, size} for blob, size in zip(blobs, sizes, strict=True)
        ]

    return there


def whole(store: ImageStore) -> There:
    """Tell what a store has by reading and hashing it."""

    def there(blobs: Sequence[NamedBlob]) -> list[bool]:
        found = store.get_many([blob.sha256 for blob in blobs])
        away = next((one for one in found if isinstance(one, ImageStoreUnavailableError)), None)
        if away is not None:
            raise away
        return [isinstance(one, bytes) for one in found]

    return there


def _pages(named: Iterable[NamedBlob]) -> Iterator[list[NamedBlob]]:
    left = iter(named)
    while page := list(islice(left, _AT_ONCE)):
        yield page
