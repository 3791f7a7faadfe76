"""Whether an object in the cluster is as wished: what is, is not written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

AMOUNTS = ("requests", "limits")
"""Fields whose amounts the server writes in its own way: `1000m` becomes `1`."""


def is_as_wished(live: Any, wished: Any) -> bool:
    """Whether all that `wished` names is so in `live`; the server may have added more.

    Lists of objects are compared by their `name`, or by place where they have none; a list of the
    live object that is longer differs, since somebody added to it.
    """
    if isinstance(wished, Mapping):
        return (
            isinstance(live, Mapping)
            and all(
                _same_amounts(live.get(key), value)
                if key in AMOUNTS
                else is_as_wished(live.get(key), value)
                for key, value in wished.items()
                if not _empty(value)
            )
            and all(_empty(live.get(key)) for key, value in wished.items() if _empty(value))
        )
    if isinstance(wished, list):
        return (
            isinstance(live, list)
            and len(live) == len(wished)
            and all(
                is_as_wished(mine, theirs)
                for mine, theirs in zip(_in_order(live), _in_order(wished), strict=True)
            )
        )
    return bool(live == wished)


def _same_amounts(live: Any, wished: Mapping[str, Any]) -> bool:
    return isinstance(live, Mapping) and {
        name: parse_quantity(amount) for name, amount in live.items()
    } == {name: parse_quantity(amount) for name, amount in wished.items()}


def _empty(value: Any) -> bool:
    return value is None or value in ({}, [])


def _in_order(items: list[Any]) -> list[Any]:
    if all(isinstance(item, Mapping) and "name" in item for item in items):
        return sorted(items, key=lambda item: str(item["name"]))
    return items
