"""The bytes behind the facts, against their hashes: images and weights in the image store; maps."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db.imagestore import ImageStore, ImageStoreError, ImageStoreUnavailableError, MissingBlobError
from db.ledger import released
from db.ledger.bad import Bad
from db.ledger.facts import Kind, document
from db.tables import AnomalyMap

_AT_ONCE: Final = 64
_NOTHING: Final = sha256(b"").hexdigest()


@dataclass(frozen=True)
class _Blob:
    """Bytes that a fact names; those of a result are its map's, which is kept under the inspection's id."""

    kind: Kind
    id: str
    sha256: str
    block: int

    def bad(self, why: str) -> Bad:
        return Bad(why, self.kind.word, self.id, self.block)


class Blobs:
    """Looks at the bytes behind the facts it is shown: all of them, or a random sample of `sample`.

    Weights are always looked at, since they are few and judge everything.
    """

    def __init__(self, store: ImageStore, reading: sessionmaker[Session], sample: int | None) -> None:
        self._store = store
        self._reading = reading
        self._sample = sample
        self._held: list[tuple[Kind, bytes, int]] = []
        self._weights: list[tuple[Kind, bytes, int]] = []
        self._seen = 0
        self.looked_at = 0

    def saw(self, kind: Kind, content: bytes, block: int) -> Iterator[Bad]:
        """Take note of a fact, and give what is wrong with those noted so far, if it is time to look."""
        one = (kind, content, block)
        if kind is Kind.MODEL_VERSION:
            self._weights.append(one)
        if kind not in {Kind.INSPECTION, Kind.RESULT}:
            return
        self._seen += 1
        if self._sample is None or len(self._held) < self._sample:
            self._held.append(one)
        elif self._sample and (place := random.randrange(self._seen)) < self._sample:  # noqa: S311  # Algorithm R
            self._held[place] = one
        if self._sample is None and len(self._held) >= _AT_ONCE:
            yield from self._look(self._held)
            self._held = []

    def rest(self) -> Iterator[Bad]:
        """Give what is wrong with the facts that were noted and not looked at yet.

        Raises db.imagestore.ImageStoreUnavailableError.
        """
        held = sorted(self._held, key=lambda one: one[2]) + self._weights
        for start in range(0, len(held), _AT_ONCE):
            yield from self._look(held[start : start + _AT_ONCE])

    def _look(self, held: list[tuple[Kind, bytes, int]]) -> Iterator[Bad]:
        blobs = [blob for one in held if (blob := _named(*one)) is not None]
        self.looked_at += len(blobs)
        maps = [blob for blob in blobs if blob.kind is Kind.RESULT]
        yield from self._maps(maps)
        stored = [blob for blob in blobs if blob.kind is not Kind.RESULT]
        found = zip(stored, self._store.get_many([b.sha256 for b in stored]), strict=True)
        wrong = [(blob, data) for blob, data in found if isinstance(data, ImageStoreError)]
        lawful = self._let_go([blob for blob, error in wrong if isinstance(error, MissingBlobError)])
        for blob, error in wrong:
            if isinstance(error, ImageStoreUnavailableError):
                raise error
            if blob not in lawful:
                yield blob.bad(str(error))

    def _let_go(self, missing: list[_Blob]) -> set[_Blob]:
        kinds = {Kind.INSPECTION: released.IMAGE, Kind.RESULT: released.MAP}
        found: set[_Blob] = set()
        with self._reading() as session:
            for kind, number in kinds.items():
                of_kind = {UUID(blob.id): blob for blob in missing if blob.kind is kind}
                found |= {of_kind[id_] for id_ in released.of(session.connection(), number, of_kind)}
        return found

    def _maps(self, blobs: list[_Blob]) -> Iterator[Bad]:
        with self._reading() as session:
            query = select(AnomalyMap.inspection_id, AnomalyMap.data)
            wanted = [UUID(blob.id) for blob in blobs]
            found = {
                str(id_): _hash(data)
                for id_, data in session.execute(query.where(AnomalyMap.inspection_id.in_(wanted)))
            }
        lawful = self._let_go([blob for blob in blobs if found.get(blob.id) in {None, _NOTHING}])
        for blob in blobs:
            if found.get(blob.id) != blob.sha256 and blob not in lawful:
                yield blob.bad("the bytes of the anomaly map were changed")


def _hash(data: Any) -> str | None:
    """Hash bytes; SQLite keeps text in any column, which a tamperer may use."""
    return sha256(data).hexdigest() if isinstance(data, bytes) else None


def _named(kind: Kind, content: bytes, block: int) -> _Blob | None:
    fact = document(content)
    if kind is Kind.INSPECTION:
        return _Blob(kind, fact["id"], fact["image_sha256"], block)
    if kind is Kind.MODEL_VERSION:
        return _Blob(kind, fact["id"], fact["weights_sha256"], block)
    return None if fact["map"] is None else _Blob(kind, fact["inspection_id"], fact["map"]["sha256"], block)
