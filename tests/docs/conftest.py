"""One API server for the examples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver import ApiServer, require_control_plane
from custom_resources import install_definitions


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real etcd and kube-apiserver that knows Mailhearth's resources."""
    with ApiServer(require_control_plane(), tmp_path_factory.mktemp("control-plane")) as started:
        install_definitions(started)
        yield started
