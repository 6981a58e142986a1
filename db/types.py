"""Column types that mean the same on SQLite and PostgreSQL."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Dialect, LargeBinary, String, Uuid
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.types import TypeDecorator, TypeEngine


class NotStorableError(ValueError, DontWrapMixin):
    """A value that no column can keep. It arrives as it is, not wrapped into SQLAlchemy's StatementError."""


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC with microseconds; naive datetimes are refused with NotStorableError, a ValueError."""

    impl = String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise NotStorableError(f"{value} has no time zone; times are kept in UTC, use datetime.now(UTC)")
        value = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return value
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # text order is time order

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.fromisoformat(value)


class Id(TypeDecorator[UUID]):
    """A UUID: native on PostgreSQL, its 16 bytes on SQLite; both sort as the UUID does."""

    impl = LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Uuid())
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:  # noqa: ARG002
        if value is None or isinstance(value, UUID):
            return value
        return UUID(bytes=value)


def to_json(value: object) -> str:
    """Write JSON as the standard has it; NaN and infinities, which it lacks, raise NotStorableError."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise NotStorableError(f"{value!r} can't be kept as JSON: {error}") from None


Json = JSON().with_variant(postgresql.JSONB(), "postgresql")
# Where there may be none: else None would be kept as the JSON text null.
JsonOrNull = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
