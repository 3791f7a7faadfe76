"""An engine of the test's own, its log lines, and the mailboxes most tests begin with."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog

from database import TestInstallation
from engine import Engine
from mailhearth_core import logs


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the product logs, as JSON lines; see `logged`."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("test", "INFO", stream)
    try:
        yield stream
    finally:
        root.handlers[:], root.level = handlers, level
        logging.captureWarnings(False)
        structlog.reset_defaults()


@pytest.fixture
def engine(
    installation: TestInstallation, tmp_path: Path, log_lines: io.StringIO
) -> Iterator[Engine]:
    made = Engine(installation, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def team(engine: Engine) -> tuple[UUID, list[UUID]]:
    """A workspace with four connected mailboxes, the first two of one domain; two days of retention.

    The first day is not sized yet: each test lets it begin.
    """
    workspace = engine.installation.workspace("north")
    pool = engine.installation.pool(workspace, pair_gap_hours=24, retention_hours=48)
    people = (*engine.users[:2], engine.users[4], engine.users[8])
    return workspace, [engine.connect(workspace, pool, user) for user in people]


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]
