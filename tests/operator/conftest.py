"""One API server for all tests of the operator; each test has a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver import ApiServer, Json, require_control_plane
from custom_resources import Resources, install_definitions


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real etcd and kube-apiserver."""
    with ApiServer(require_control_plane(), tmp_path_factory.mktemp("control-plane")) as started:
        yield started


@pytest.fixture(scope="session")
def definitions(api: ApiServer) -> dict[str, Json]:
    """By kind, the definitions of crds/ as the API server holds them."""
    return install_definitions(api)


@pytest.fixture
def resources(api: ApiServer, definitions: dict[str, Json]) -> Resources:
    """Mailhearth's resources in a new namespace."""
    return Resources(api, api.make_namespace())
