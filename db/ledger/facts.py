"""What is sealed, and the bytes that stand for each fact.

A fact is a row; its leaf is the RFC 8785 form of its columns. Forms are numbered and never changed: where a
table gains a column, a new form names it, and older leaves keep the form they were made with. Rows are read
without SQLAlchemy's types: what the database holds is sealed, not what Python makes of it, and it is faster.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import JSON, Connection, Double, bindparam, text

from db import tables
from db.ledger.canonical import WRITE, UnusualError, canonical, usual, usual_float
from db.types import Id, UTCDateTime


class Kind(IntEnum):
    """The kinds of facts, in the order in which they stand in a block."""

    INSPECTION = 1
    RESULT = 2  # with the scale and the hash of its map
    REVIEW = 3
    EVENT = 4  # changes of aliases and acts of retention among them
    MODEL_VERSION = 5

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Form:
    """How a leaf is made: a table, its key, the columns; `map_columns` are those of the result's map."""

    kind: Kind
    number: int
    table: str
    key: str
    columns: tuple[str, ...]
    map_columns: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        return f"{self.kind.word}/{self.number}"


_MAP: Final = ("encoding", "bits", "low", "high", "width", "height", "sha256")
FORMS: Final = (
    Form(
        Kind.INSPECTION,
        1,
        "inspections",
        "id",
        (
            "id",
            "product",
            "station",
            "line",
            "serial",
            "lot",
            "captured_at",
            "received_at",
            "image_sha256",
            "image_key",
            "image_bytes",
            "image_width",
            "image_height",
            "image_format",
        ),
    ),
    Form(
        Kind.RESULT,
        1,
        "results",
        "inspection_id",
        (
            "inspection_id",
            "verdict",
            "score",
            "threshold",
            "model_version",
            "worker",
            "attempts",
            "judged_at",
            "timings",
            "regions",
            "error",
        ),
        _MAP,
    ),
    Form(
        Kind.REVIEW,
        1,
        "reviews",
        "id",
        ("id", "inspection_id", "verdict", "reviewer", "reason", "created_at"),
    ),
    Form(
        Kind.REVIEW,
        2,
        "reviews",
        "id",
        (
            "id",
            "inspection_id",
            "verdict",
            "reviewer",
            "reason_code",
            "reason",
            "created_at",
            "signature",
        ),
    ),
    Form(Kind.EVENT, 1, "events", "id", ("id", "at", "kind", "actor", "subject", "detail")),
    Form(
        Kind.MODEL_VERSION,
        1,
        "model_versions",
        "id",
        ("id", "product", "created_at", "manifest", "weights_sha256", "training_images", "note"),
    ),
)
NEWEST: Final = {form.kind: form for form in FORMS}
BY_NUMBER: Final = {(form.kind.value, form.number): form for form in FORMS}
OF_TABLE: Final = {form.table: form.kind for form in FORMS}


def fact_id(kind: Kind, key: UUID | str) -> UUID:
    """Give the id that the ledger knows a fact by: its own, or the first 128 bits of a model version's."""
    if isinstance(key, UUID):
        return key
    return UUID(hex=key[:32]) if kind is Kind.MODEL_VERSION else UUID(key)


class Read(NamedTuple):  # made a million times: a frozen dataclass takes twice as long
    """Columns of the ledger's row (`marks`), and the fact's leaf: None where its table has no such row."""

    marks: tuple[Any, ...]
    content: bytes | None


def read(
    connection: Connection, form: Form, source: str, marks: str, condition: str, values: dict[str, Any]
) -> Iterator[Read]:
    """Give the facts of a form that `source`, known as s, names under a condition, in no order.

    `marks` are the columns of `source` to give along, such as "s.block, s.position". `values` are those of
    the condition, beside `kind`, which it has to ask for; a list of ids is called facts.
    """
    query, make = _reader(connection.dialect.name, form, source, marks)
    statement = text(f"{query} WHERE {condition}")
    if "facts" in values:
        statement = statement.bindparams(bindparam("facts", type_=Id(), expanding=True))
    for row in connection.execute(statement, {"kind": form.kind.value, **values}):
        yield make(row)


def document(content: bytes) -> dict[str, Any]:
    """Give a leaf's content as it was before it was written."""
    found: dict[str, Any] = json.loads(content)
    return found


@cache
def _reader(dialect: str, form: Form, source: str, marks: str) -> tuple[str, Callable[[Any], Read]]:
    """Give the query up to its WHERE, and what makes a Read of one of its rows."""
    table = tables.Base.metadata.tables[form.table].c
    maps = tables.Base.metadata.tables["anomaly_maps"].c
    columns = [("f", table[name]) for name in form.columns] + [("m", maps[name]) for name in form.map_columns]
    selected = ", ".join([f"f.{form.key} IS NULL", *(_selected(dialect, *one) for one in columns)])
    joined = f"{source} s LEFT JOIN {form.table} f ON {' = '.join(ids(dialect, form))}"
    if form.map_columns:
        joined += f" LEFT JOIN anomaly_maps m ON m.inspection_id = f.{form.key}"
    query = f"SELECT {marks}, {selected} FROM {joined}"  # noqa: S608  # names of ours
    start = marks.count(",") + 2
    places = list(enumerate((column for _, column in columns), start))
    converters = [(place, found) for place, column in places if (found := _converter(dialect, column))]
    numbers = [place for place, column in places if isinstance(column.type, Double)]
    documents = [place for place, column in places if _is_json(column)]

    def make(row: Any) -> Read:
        values = list(row)
        marked = tuple(values[: start - 1])
        if values[start - 1]:
            return Read(marked, None)
        for place, converter in converters:
            if values[place] is not None:
                values[place] = converter(values[place])
        untouched = values.copy()
        try:
            # Most columns hold text and small integers: only the others are looked at.
            for place in numbers:
                if type(values[place]) is float:
                    values[place] = usual_float(values[place])
            for place in documents:
                values[place] = usual(values[place])
            return Read(marked, WRITE(_content(form, values[start:])).encode())
        except (UnusualError, TypeError, UnicodeEncodeError):
            return Read(marked, canonical(_content(form, untouched[start:])))

    return query, make


def _content(form: Form, values: list[Any]) -> dict[str, Any]:
    content = dict(zip(form.columns, values, strict=False))
    content["form"] = form.name
    if form.map_columns:
        found = dict(zip(form.map_columns, values[len(form.columns) :], strict=True))
        content["map"] = found if found["sha256"] is not None else None
    return content


def ids(dialect: str, form: Form) -> tuple[str, str]:
    """Give, in SQL, the id of a fact f and that of a row s of the ledger, for comparing the two."""
    if form.kind is not Kind.MODEL_VERSION:
        return f"f.{form.key}", "s.fact"
    digits = "lower(hex(s.fact))" if dialect == "sqlite" else "replace(CAST(s.fact AS text), '-', '')"
    return f"substr(f.{form.key}, 1, 32)", digits


def _selected(dialect: str, alias: str, column: Any) -> str:
    name = f"{alias}.{column.name}"
    if dialect == "sqlite":
        return name
    if isinstance(column.type, UTCDateTime):
        return f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"CAST({name} AS text)" if isinstance(column.type, Id) or _is_json(column) else name


def _is_json(column: Any) -> bool:
    return isinstance(column.type, JSON)


def _converter(dialect: str, column: Any) -> Callable[[Any], Any] | None:
    if _is_json(column):
        return _parsed
    return _dashed if dialect == "sqlite" and isinstance(column.type, Id) else None


def _parsed(written: Any) -> Any:
    try:
        return json.loads(written)
    except (ValueError, TypeError):
        return {"$unreadable": str(written)}  # tampered with: whatever it was, it is no longer that


def _dashed(id_: Any) -> Any:
    if type(id_) is not bytes or len(id_) != 16:
        return id_
    digits = id_.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
