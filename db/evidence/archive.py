"""Writing evidence: one zip file that stands on its own."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from tempfile import TemporaryFile
from typing import IO, Any, Final
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.evidence.collect import Gatherer, Part, Subject
from db.evidence.report import Row, page, row_of
from db.evidence.verify import completeness
from db.imagestore import ImageStore, ImageStoreError, ImageStoreUnavailableError
from db.ledger import keys
from db.ledger.heads import moment, signed
from db.ledger.lots_let_go import Proved
from db.ledger.proofs import Proof
from db.ledger.released import IMAGE, MAP, acts
from db.ledger.signers import Signer
from db.tables import AnomalyMap, Block

FORM: Final = "pyramidion-evidence/2"
_SUFFIXES: Final = {"jpeg": "jpg"}
# Image, map, the map's lowest and highest value, threshold, regions: a JPEG of the map over the image, None
# where they can't be drawn.
Picture = Callable[[bytes, bytes, float, float, float, Sequence[Mapping[str, float]]], bytes | None]


class Archive:
    """A zip file that is being written, and the hashes of what it holds."""

    def __init__(self, file: ZipFile) -> None:
        self._file = file
        self.hashes: dict[str, str] = {}

    def put(self, name: str, data: bytes, *, packed: bool = False) -> None:
        """Add a file; pictures are packed already."""
        self._file.writestr(_entry(name, packed=packed), data)
        self.hashes[name] = hashlib.sha256(data).hexdigest()

    def copy(self, name: str, source: IO[bytes]) -> None:
        """Add what was written to a file."""
        source.seek(0)
        found = hashlib.sha256()
        with self._file.open(_entry(name, packed=False), "w", force_zip64=True) as member:
            while part := source.read(1 << 20):
                found.update(part)
                member.write(part)
        self.hashes[name] = found.hexdigest()


def _entry(name: str, *, packed: bool) -> ZipInfo:
    entry = ZipInfo(name, datetime.now(UTC).timetuple()[:6])
    entry.compress_type = ZIP_STORED if packed else ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def write(
    session: Session, store: ImageStore, signer: Signer, subject: Subject, file: IO[bytes], picture: Picture
) -> dict[str, Any]:
    """Write the evidence of a subject to an empty file, and give what it states.

    `session` reads one snapshot. Raises what `Subject` raises, db.ledger.proofs.NotAsSealedError,
    ImageStoreUnavailableError, and OSError; images that are lost are stated as missing.
    """
    ids = subject.ids(session)
    with ZipFile(file, "w") as archive, TemporaryFile() as facts, TemporaryFile() as proofs:
        writer = _Writer(session, store, Archive(archive), facts, proofs, picture)
        return writer.write(subject, ids, signer)


class _Writer:
    def __init__(
        self,
        session: Session,
        store: ImageStore,
        archive: Archive,
        facts: IO[bytes],
        proofs: IO[bytes],
        picture: Picture,
    ) -> None:
        self._session = session
        self._store = store
        self._archive = archive
        self._facts = facts
        self._proofs = proofs
        self._picture = picture
        self._gatherer = Gatherer(session)
        self._missing: list[dict[str, str]] = []
        self._acts: set[UUID] = set()  # of retention
        self._proved = 0

    def write(self, subject: Subject, ids: list[UUID], signer: Signer) -> dict[str, Any]:
        inspections: dict[str, Any] = {}
        results: list[dict[str, Any]] = []
        reviews: list[dict[str, Any]] = []
        rows: list[Row] = []
        versions: set[str] = set()
        went = subject.let_go(self._session)
        self._acts.update(one.act.id for one in went)
        products = {one.went.product for one in went}
        for part in self._gatherer.parts(ids):
            files = self._put_part(part)
            inspections[part.inspection["id"]] = files
            products.add(part.inspection["product"])
            if part.result is not None:
                results.append({key: part.result[key] for key in ("inspection_id", "verdict")})
                versions |= {part.result["model_version"]} - {None}
            reviews += [{key: one[key] for key in ("id", "inspection_id", "verdict")} for one in part.reviews]
            rows.append(row_of(part, files))
        for proof in self._gatherer.models(versions):
            self._put_model(proof)
        for proof in self._gatherer.events(products, self._acts):
            self._put_proof(proof)
        statement = {
            "form": FORM,
            "about": {subject.what: subject.value},
            "made_at": moment(datetime.now(UTC)),
            "made_by": f"pyramidion {version('pyramidion')}",
            "completeness": completeness(
                [{} for _ in inspections], results, reviews, sum(one.went.inspections for one in went)
            ),
            "facts": self._proved,
            "unsealed": self._gatherer.unsealed,
            "let_go": [_told(one) for one in went],
            "missing": self._missing,
            "inspections": inspections,
            "key": signer.key_id,
        }
        self._finish(statement, rows, signer)
        return statement

    def _put_part(self, part: Part) -> dict[str, str]:
        for proof in part.proofs:
            self._put_proof(proof)
        id_ = part.inspection["id"]
        suffix = part.inspection["image_format"].lower()
        files = {"image": f"images/{id_}.{_SUFFIXES.get(suffix, suffix)}"}
        image = self._image(part, files["image"])
        if part.result is not None and part.result["map"] is not None:
            self._put_map(part, image, files)
        return files

    def _image(self, part: Part, name: str) -> bytes | None:
        try:
            data = self._store.get(part.inspection["image_sha256"])
        except ImageStoreUnavailableError:
            raise
        except ImageStoreError as error:
            self._missing.append({"file": name, "why": self._let_go(part, IMAGE) or str(error)})
            return None
        self._archive.put(name, data, packed=True)
        return data

    def _let_go(self, part: Part, kind: int) -> str | None:
        act = acts(self._session, UUID(part.inspection["id"])).get(kind)
        if act is not None:
            self._acts.add(act.id)
        return None if act is None else f"let go by retention at {moment(act.at)}, event {act.id}"

    def _put_map(self, part: Part, image: bytes | None, files: dict[str, str]) -> None:
        result = part.result
        assert result is not None
        id_, map_ = part.inspection["id"], result["map"]
        name = f"maps/{id_}.png"
        query = select(AnomalyMap.data).where(AnomalyMap.inspection_id == UUID(id_))
        data = self._session.scalar(query)
        if data is None or hashlib.sha256(data).hexdigest() != map_["sha256"]:
            why = self._let_go(part, MAP) or "the bytes of the map are not those that were sealed"
            self._missing.append({"file": name, "why": why})
            return
        self._archive.put(name, data, packed=True)
        files["map"] = name
        if image is None:
            return
        scale = map_["low"], map_["high"], result["threshold"]
        picture = self._picture(image, data, *scale, result["regions"])
        if picture is not None:  # else image and map are there all the same
            files["overlay"] = f"overlays/{id_}.jpg"
            self._archive.put(files["overlay"], picture, packed=True)

    def _put_model(self, proof: Proof) -> None:
        self._put_proof(proof)
        fact = json.loads(proof.content)
        self._archive.put(f"models/{fact['id']}.json", fact["manifest"].encode())

    def _put_proof(self, proof: Proof) -> None:
        self._facts.write(proof.content + b"\n")  # a JSON text holds no line break of its own
        path = [one.hex() for one in proof.path]
        line = {"block": proof.block, "position": proof.position, "path": path}
        self._proofs.write(json.dumps(line).encode() + b"\n")
        self._proved += 1

    def _finish(self, statement: dict[str, Any], rows: list[Row], signer: Signer) -> None:
        blocks = sorted(self._gatherer.prover.blocks)
        heads = [signed(self._session.get_one(Block, number)) for number in blocks]
        known = keys.known(self._session)
        self._archive.copy("facts.jsonl", self._facts)
        self._archive.copy("proofs.jsonl", self._proofs)
        self._archive.put("heads.jsonl", _lines(heads))
        self._archive.put("keys.jsonl", _lines(keys.told(known)))
        self._archive.put("report.html", page(statement, rows, heads, known).encode())
        verifier = resources.files("db.evidence").joinpath("verify.py").read_bytes()
        self._archive.put("verify.py", verifier)
        statement["files"] = dict(self._archive.hashes)
        content = json.dumps(statement, indent=1, ensure_ascii=False).encode()
        self._archive.put("evidence.json", content)
        self._archive.put("evidence.sig", signer.sign(content).hex().encode())


def _told(one: Proved) -> dict[str, Any]:
    path = [sibling.hex() for sibling in one.path]
    return {
        **one.went._asdict(),
        "act": str(one.act.id),
        "at": moment(one.act.at),
        "position": one.position,
        "path": path,
    }


def _lines(values: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)
