"""What all tables share."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Double,
    MetaData,
    String,
)
from sqlalchemy.orm import DeclarativeBase

from db.types import Id, Json, UTCDateTime


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's interface)
        datetime: UTCDateTime(),
        UUID: Id(),
        float: Double(),
        str: String(255),
        dict[str, Any]: Json,
        dict[str, float]: Json,
        list[dict[str, float]]: Json,
    }
