"""An engine of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database import TestInstallation
from engine import Engine


@pytest.fixture
def engine(installation: TestInstallation, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(installation, tmp_path)
    try:
        yield made
    finally:
        made.close()
