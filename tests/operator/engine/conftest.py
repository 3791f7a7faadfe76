"""An operator that runs over a namespace and a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver import ApiServer
from custom_resources import Resources
from database import TestInstallation
from operating import Operating


@pytest.fixture
def operating(
    api: ApiServer, resources: Resources, installation: TestInstallation
) -> Iterator[Operating]:
    with Operating(api, resources, installation) as made:
        yield made
