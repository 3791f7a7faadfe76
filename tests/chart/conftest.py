"""One API server for the tests that ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver import ApiServer, require_control_plane
from helm import require_helm


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real etcd and kube-apiserver."""
    require_helm()
    with ApiServer(require_control_plane(), tmp_path_factory.mktemp("control-plane")) as started:
        yield started
