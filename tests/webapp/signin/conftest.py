"""OpenID providers for the tests of signing in: one process for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openid import OpenIdProviders, require_openid_providers


@pytest.fixture(scope="session")
def providers() -> Iterator[OpenIdProviders]:
    require_openid_providers()
    with OpenIdProviders() as running:
        yield running
