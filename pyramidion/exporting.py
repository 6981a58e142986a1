"""Exports of any length: written in pieces of constant size, joined at the end, resumable in between.

Beside the wanted file a folder `<name>.pieces` holds what was written so far. A piece is renamed into place
when it is whole, and its name holds the last id in it: the same export goes on after that one. Inspections
that arrive meanwhile are left for the next export: they are newer than the first piece, or, where a station
was cut off for a while, lie among what is written. Those that lie beyond are taken along.
"""

import dataclasses
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from db.export_files import FORMS, NAMES, Form, csv_head, csv_rows, jsonl_rows, schema, table
from db.exports import ExportRow, page
from db.matching import Filter, matching
from db.tables import Inspection
from pyramidion.drafts import whole, whole_folder
from pyramidion.errors import UserError

PIECE = 10_000  # rows: some 5 MB in memory
_NOTE = "export.json"


def form_of(file: Path, wanted: Form | None) -> Form:
    """Tell the format by the file's name; raises UserError where it doesn't say."""
    if wanted is not None:
        return wanted
    ending = file.suffix.lstrip(".").lower()
    if ending not in FORMS:
        raise UserError(f"{file} doesn't say its format: end it in {', '.join(FORMS)}, or give --format")
    return ending


def export(
    session: Session,
    wanted: Filter,
    file: Path,
    form: Form,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Write everything that matches, newest first, to `file`, and give the number of rows.

    `told` hears the rows that are written and their number in all. Raises UserError where another export to
    the same file is in hand, and OSError for what the file system refuses: then the pieces stay, and the same
    export goes on with them.
    """
    with _alone_with(_open_pieces(file, wanted, form), file) as pieces:
        done = sorted(pieces.glob(f"*.{form}"))
        rows, after = (0, None) if not done else _written(done[-1])
        total = max(rows, _count(session, wanted, after) + rows)
        told(rows, total)
        while found := page(session, wanted, PIECE, after):
            after = found[-1].id
            rows += len(found)
            with whole(pieces / f"{rows:012}-{after.hex}.{form}") as draft:
                _WRITERS[form](draft, found)
            session.rollback()  # a long read holds up what a database tidies away
            told(rows, max(total, rows))
        with whole(file) as draft:
            _JOINERS[form](draft, sorted(pieces.glob(f"*.{form}")))
        shutil.rmtree(pieces)
    return rows


@contextmanager
def _alone_with(pieces: Path, file: Path) -> Iterator[Path]:
    """Let no other export write pieces meanwhile; raises UserError where one does."""
    with (pieces / _NOTE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another export to {file.name} is in hand: wait for it") from None
        yield pieces


def _open_pieces(file: Path, wanted: Filter, form: Form) -> Path:
    pieces = file.with_name(f"{file.name}.pieces")
    # With its columns: those of another release may be others.
    values = {**dataclasses.asdict(wanted), "form": form, "columns": NAMES}
    asked = json.dumps(values, default=str, sort_keys=True)
    note = pieces / _NOTE
    if pieces.exists():
        if not note.is_file() or note.read_text(encoding="utf-8") != asked:
            raise UserError(
                f"{pieces} holds the pieces of another export to {file.name}: give the same options (to "
                "the same Pyramidion) to go on with that one, or remove the folder"
            )
        return pieces
    with whole_folder(pieces) as draft:
        (draft / note.name).write_text(asked, encoding="utf-8")
    return pieces


def _written(piece: Path) -> tuple[int, UUID]:
    rows, last = piece.stem.split("-")
    return int(rows), UUID(hex=last)


def _count(session: Session, wanted: Filter, after: UUID | None) -> int:
    query = matching(session, wanted, func.count())
    if after is not None:
        query = query.where(Inspection.id < after)
    return session.scalar(query) or 0


def _write_csv(draft: Path, rows: Sequence[ExportRow]) -> None:
    draft.write_bytes(csv_rows(rows))


def _write_jsonl(draft: Path, rows: Sequence[ExportRow]) -> None:
    draft.write_bytes(jsonl_rows(rows))


def _write_parquet(draft: Path, rows: Sequence[ExportRow]) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(rows), draft)


def _join_text(draft: Path, pieces: Iterable[Path], head: bytes = b"") -> None:
    with draft.open("wb") as out:
        out.write(head)
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, out)


def _join_csv(draft: Path, pieces: Iterable[Path]) -> None:
    _join_text(draft, pieces, csv_head())


def _join_parquet(draft: Path, pieces: Iterable[Path]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(draft, schema()) as out:
        for piece in pieces:
            out.write_table(pq.read_table(piece))


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}
_JOINERS = {"csv": _join_csv, "jsonl": _join_text, "parquet": _join_parquet}


def sha256(file: Path) -> str:
    """The hash of the whole file, for the record of who was given what."""
    with file.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()
