"""An engine of the test's own, its log lines, and the mailboxes most tests begin with."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog

from database import TestInstallation
from engine import Engine
from mailhearth_core import logs
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the product logs, as JSON lines."""
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
def signins(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each address was signed in to, on either server."""
    count: Counter[str] = Counter()
    for name in ("open_reader", "open_sender"):
        real = getattr(ImapSmtpProvider, name)

        def counted(
            self: ImapSmtpProvider, config: Any, *rest: Any, real: Any = real, **more: Any
        ) -> Any:
            count[config.address] += 1
            return real(self, config, *rest, **more)

        monkeypatch.setattr(ImapSmtpProvider, name, counted)
    return count


@pytest.fixture
def team(engine: Engine) -> tuple[UUID, list[UUID]]:
    """A workspace with four mailboxes, the first two of one domain; mail is kept for two days.

    Nobody has signed in to them yet.
    """
    workspace = engine.installation.workspace("north")
    pool = engine.installation.pool(workspace, pair_gap_hours=24, retention_hours=48)
    people = (*engine.users[:2], engine.users[4], engine.users[8])
    return workspace, [engine.connect(workspace, pool, user) for user in people]
