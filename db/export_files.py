"""Rows of an export as CSV, JSON Lines or Parquet, for files that are written and for what is sent.

Parquet and JSON Lines hold every value as it is. In CSV a text that a spreadsheet would take for a formula
has an apostrophe before it: what a station or a person wrote must not compute on somebody's desk.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from db.exports import ExportRow

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["csv", "jsonl", "parquet"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
NAMES: Final = [field.name for field in dataclasses.fields(ExportRow)]
_TIMES: Final = ("captured_at", "received_at", "judged_at", "reviewed_at", "image_let_go", "map_let_go")
_NUMBERS: Final = ("score", "threshold")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # how one begins (OWASP, CSV injection)


def harmless(value: Any) -> Any:
    """Give a value as CSV may hold it: with an apostrophe before a text that would be a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_head() -> bytes:
    """Give the line of names with which a CSV file begins."""
    return _lines([NAMES])


def csv_rows(rows: Iterable[ExportRow]) -> bytes:
    """Give rows as a CSV file has them, the regions as JSON."""
    return _lines([harmless(value) for value in _values(_flat(row)).values()] for row in rows)


def jsonl_rows(rows: Iterable[ExportRow]) -> bytes:
    """Give rows as JSON, one a line."""
    return "".join(json.dumps(_values(row)) + "\n" for row in rows).encode()


def table(rows: Sequence[ExportRow]) -> "pa.Table":
    """Give rows as a Parquet file has them, the regions as JSON."""
    import pyarrow as pa  # noqa: PLC0415  half a second that only those pay who want it

    flat = [_flat(row) for row in rows]
    columns = {name: [getattr(row, name) for row in flat] for name in NAMES}
    columns["id"] = [str(id_) for id_ in columns["id"]]
    return pa.table(columns, schema=schema())


def schema() -> "pa.Schema":
    """Give the columns of a Parquet file and their types; times are UTC."""
    import pyarrow as pa  # noqa: PLC0415

    kinds = dict.fromkeys(_TIMES, pa.timestamp("us", "UTC")) | dict.fromkeys(_NUMBERS, pa.float64())
    return pa.schema([(name, kinds.get(name, pa.string())) for name in NAMES])


def encoded(form: Form, pages: Iterable[Sequence[ExportRow]]) -> Iterator[bytes]:
    """Give a whole file piece by piece, one for each page and what stands around them."""
    if form == "csv":
        yield csv_head()
    if form == "parquet":
        yield from _parquet(pages)
        return
    rows: Callable[[Iterable[ExportRow]], bytes] = csv_rows if form == "csv" else jsonl_rows
    yield from map(rows, pages)


def _parquet(pages: Iterable[Sequence[ExportRow]]) -> Iterator[bytes]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    out = _Outgoing()
    with pq.ParquetWriter(out, schema()) as writer:
        for rows in pages:
            writer.write_table(table(rows))
            yield out.take()
    yield out.take()


class _Outgoing(io.RawIOBase):
    """A file whose bytes are taken away as they are written."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def _values(row: Any) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in NAMES} | {"id": str(row.id)}
    return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in values.items()}


def _flat(row: ExportRow) -> Any:
    return dataclasses.replace(row, regions=json.dumps(row.regions))  # type: ignore[arg-type]


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
