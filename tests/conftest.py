"""Fixtures that many tests share; what they are made of is in `tests/support`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database import Cluster, TestInstallation, fresh_installation, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One Postgres for all tests of the session, made when the first asks for it."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def installation(cluster: Cluster, tmp_path: Path) -> Iterator[TestInstallation]:
    """A database of the test's own, migrated, with its doors and its provisioner."""
    with fresh_installation(cluster, tmp_path) as made:
        yield made
