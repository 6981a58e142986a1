"""A condition on many keys for queries that are built once: building one takes as long as its answer."""

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

T = TypeVar("T")


def among(dialect: str, column: InstrumentedAttribute[T], name: str) -> ColumnElement[bool]:
    """Say that a column is one of the values, a list, that are given as `name` whenever the query is asked.

    For PostgreSQL as one array: a text for each number of values would have to be prepared for each. Not for
    keys of partitioned tables, since a plan for any array leaves no month out.
    """
    if dialect != "postgresql":
        return column.in_(bindparam(name, expanding=True))
    values: Any = bindparam(name, type_=ARRAY(column.type))
    return column == any_(values)
