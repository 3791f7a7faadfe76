"""Logging: one JSON object per line, UTC, with the correlation id of the work it belongs to.

Records of libraries (rq, redis, psycopg) take the same road. `Secret` values, values under
telltale keys, and passwords within URLs are masked; exceptions are logged without the local
variables of their frames.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from mailhearth_core.secrets import MASK, Secret

_TELLTALE = re.compile(
    r"passw|secret|token|authorization|cookie|credential|api_?key|private_?key|dsn", re.IGNORECASE
)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
_ASSIGNMENT = re.compile(
    r"(?i)\b((?:[\w-]*(?:password|passwd|secret|token)|authorization)[\"']?\s*[=:]\s*"
    r"(?:bearer\s+|basic\s+)?)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)"
)
_MAX_DEPTH = 12


def configure(process: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (default: stderr); calling again replaces it.

    Args:
        process: the name each line carries, such as `worker`.
        level: the lowest level that is written (DEBUG, INFO, WARNING, ERROR).
    """
    shared = _processors(process)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=_describe),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Put values (`correlation_id=`, `mailbox=`) on every line logged within, in this context."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def mask(value: object, depth: int = 0) -> object:
    """A copy of a loggable value without its secrets."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return _mask_text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if depth >= _MAX_DEPTH and isinstance(value, Mapping | list | tuple | set | frozenset):
        return "..."
    if isinstance(value, Mapping):
        return {key: _mask_item(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth + 1) for item in value]
    return value


def _mask_item(key: str, value: object, depth: int) -> object:
    # Numbers stay: a lease's fencing token is no secret, and no credential is a number.
    if _TELLTALE.search(key) and not isinstance(value, int | float | None):
        return MASK
    return mask(value, depth)


def _mask_text(text: str) -> str:
    return _ASSIGNMENT.sub(rf"\1{MASK}", _URL_LOGIN.sub(f"{MASK}@", text))


def _mask_event(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    inner = ("_record", "_from_structlog")  # structlog's own, removed before rendering
    return {
        key: value if key in inner else _mask_item(key, value, 0) for key, value in event.items()
    }


def _describe(value: object) -> str:
    """What JSON cannot hold, in text; masked, because a repr may quote a URL."""
    return _mask_text(repr(value))


def _processors(process: str) -> list[Processor]:
    def add_process(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    def move_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        exc_info: Any = event.pop("exc_info", None)
        if exc_info is True:
            exc_info = sys.exc_info()
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        if exc_info and exc_info[0] is not None:
            event["exception"] = transform(exc_info)
        return event

    transform = ExceptionDictTransformer(show_locals=False)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        add_process,
        move_exception,
        _mask_event,
    ]
