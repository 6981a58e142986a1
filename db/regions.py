"""What results keep as JSON, in SQL: sizes of defects, and lateness; each database has its own way."""

from typing import Any

from sqlalchemy import ColumnElement, Double, String, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from db.tables import Result


class _LargestArea(GenericFunction[float]):
    type = Double()
    inherit_cache = True


@compiles(_LargestArea, "sqlite")
def _on_sqlite(element: _LargestArea, compiler: SQLCompiler, **options: Any) -> str:
    regions = compiler.process(element.clauses, **options)
    return f"(SELECT max(json_extract(region.value, '$.area')) FROM json_each({regions}) region)"  # noqa: S608


@compiles(_LargestArea, "postgresql")
def _on_postgresql(element: _LargestArea, compiler: SQLCompiler, **options: Any) -> str:
    regions = compiler.process(element.clauses, **options)
    return f"(SELECT max(CAST(region ->> 'area' AS float8)) FROM jsonb_array_elements({regions}) region)"  # noqa: S608


def largest_area() -> ColumnElement[float]:
    """Give the area of a result's largest region, in pixels of the upright image; NULL where it has none."""
    return _LargestArea(Result.regions)


def has_regions() -> ColumnElement[bool]:
    """Say that a result has a region, in the words of the index ix_results_defects."""
    return text("results.regions <> '[]'")  # type: ignore[return-value]


class _LateMs(GenericFunction[str]):
    type = String()
    inherit_cache = True


@compiles(_LateMs, "sqlite")
def _late_on_sqlite(_element: _LateMs, _compiler: SQLCompiler, **_options: Any) -> str:
    return "json_extract(results.timings, '$.late_ms')"


@compiles(_LateMs, "postgresql")
def _late_on_postgresql(_element: _LateMs, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(results.timings ->> 'late_ms')"


def is_late() -> ColumnElement[bool]:
    """Say that a result missed its product's deadline, in the words of the index ix_results_late."""
    return _LateMs(Result.timings).is_not(None)
