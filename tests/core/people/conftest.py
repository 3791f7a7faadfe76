"""People on a database of the test's own."""

from __future__ import annotations

import pytest

from database import TestInstallation
from people import People


@pytest.fixture
def people_here(installation: TestInstallation) -> People:
    return People(installation)
