"""A wrapper that keeps a credential out of logs, exceptions, pickles and JSON."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MASK = "***"


class Secret:
    """Text that only `reveal()` shows: a password, a refresh token, a connection URL.

    `repr`, `str` and `format` give a mask; pickling raises TypeError, as JSON does by itself;
    copying gives the same object. Two secrets compare in constant time. True when not empty.
    As a field of a pydantic model it takes a string and dumps as the mask.
    """

    __hash__ = None  # type: ignore[assignment]  # a hash would let a set or dict leak equality
    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a Secret holds text")  # never the value itself in the message
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("a Secret holds text that UTF-8 can encode")
        self.__value = value

    def reveal(self) -> str:
        """The text itself; keep it no longer than the call that needs it."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.is_instance_schema(cls),
                core_schema.no_info_after_validator_function(
                    cls, core_schema.str_schema(strict=True)
                ),
            ],
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: MASK),
        )
