"""The fixtures of the dashboard's tests; what they are made of is in `tests/support/web.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from web import Web, running_valkey, running_web


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One Valkey for all tests of the session."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as started:
        yield started


@pytest.fixture
def web(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Web]:
    """The dashboard at https://dash.test over a database of the test's own."""
    with running_web(installation, valkey) as made:
        yield made
