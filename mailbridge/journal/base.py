"""What all tables of the journal are made with: their base, and times that cannot be mistaken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase

__all__ = ["Base", "UtcTime"]


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime in, the same instant in UTC out, on databases with and without zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the journal takes aware times only")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables of the journal."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form
        datetime: UtcTime(),
        str: Text(),
        int: BigInteger().with_variant(Integer(), "sqlite"),
        bool: Boolean(),
        bytes: LargeBinary(),
    }
