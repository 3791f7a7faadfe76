"""Real OpenID providers on loopback: npm's `oidc-provider`, steered from the test.

One Node.js process serves any number of issuers, each on a port of its own. `Issuer.visit` is a
person's browser at the provider: it goes where it is sent and stops at the way back.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import pytest
import requests

FOLDER = Path(__file__).with_name("oidc")
SECONDS = 20
SECRET = "a secret of the client's own, of thirty-two letters or more"


def require_openid_providers() -> None:
    """Skips the calling test where Node.js or the provider is not installed."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is missing: apt-get install nodejs npm")
    if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("The OpenID provider is missing: npm ci --prefix tests/support/oidc")


@dataclass
class Issuer:
    """One provider, and the one client it knows.

    Attributes:
        client_id, secret: the client's.
        address: the issuer's identifier.
    """

    control: str
    address: str
    client_id: str = "mailhearth"
    secret: str = SECRET
    cookies: requests.cookies.RequestsCookieJar = field(
        default_factory=requests.cookies.RequestsCookieJar
    )

    # -- how it behaves -----------------------------------------------------------------------

    def sign_in_as(self, subject: str, *, signed_in_at: int | None = None, **claims: Any) -> None:
        """Whoever comes from now on is this person, without being asked.

        Args:
            signed_in_at: when their password was typed, seconds since 1970; else at the visit.
            claims: email, email_verified, name.
        """
        self.set(person={"sub": subject, "claims": claims, "signed_in_at": signed_in_at})

    def refuse(self, why: str = "The person said no.") -> None:
        """Whoever comes from now on presses "cancel"."""
        self.set(person={"deny": why})

    def ask(self) -> None:
        """Whoever comes from now on sees a form, as in a browser."""
        self.set(person=None)

    def tamper(self, **what: Any) -> None:
        """What is changed on the way: discovery, token, userinfo, id_token; spend_codes."""
        self.set(tamper=what)

    def set(self, **changes: Any) -> None:
        """Changes how it behaves; see provider.mjs."""
        requests.patch(self.control, json=changes, timeout=SECONDS).raise_for_status()

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        told = requests.get(self.control, timeout=SECONDS).json()["asked"]
        return sum(line.split(" ")[1] == path for line in told)

    # -- a person's browser -------------------------------------------------------------------

    def forget(self) -> None:
        """A browser that was never here."""
        self.cookies.clear()

    def visit(self, url: str, **changes: str) -> str:
        """Goes to the authorization endpoint and on; returns the address that leads back.

        Args:
            changes: parameters of the request that somebody changed on the way.
        """
        url = changed(url, **changes)
        with requests.Session() as browser:
            browser.cookies = self.cookies
            for _ in range(10):
                if not url.startswith(self.address + "/"):
                    return url
                answer = browser.get(url, allow_redirects=False, timeout=SECONDS)
                assert answer.is_redirect, f"{answer.status_code} from {url}: {answer.text}"
                url = urljoin(url, answer.headers["Location"])
        raise AssertionError("the provider sends the browser round in circles")


class OpenIdProviders:
    """The Node.js process; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "provider.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        assert port, f"the provider ended with {self._process.wait(SECONDS)}"
        self._control = f"http://127.0.0.1:{port}/issuers"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # which ends it
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def issuer(
        self,
        redirect_uris: Sequence[str],
        *,
        claims_in: str = "id_token",
        algorithm: str = "ES256",
        id_token_seconds: int = 300,
        **client: Any,
    ) -> Issuer:
        """A new issuer on a port of its own.

        Args:
            claims_in: `id_token`, or `userinfo` when the ID token holds no more than `sub`.
            algorithm: that ID tokens are signed with: ES256 or RS256.
            client: further metadata of the client.
        """
        about: Mapping[str, Any] = {
            "client_id": Issuer.client_id,
            "client_secret": SECRET,
            "redirect_uris": list(redirect_uris),
            **client,
        }
        told = requests.post(
            self._control,
            json={
                "clients": [about],
                "algorithm": algorithm,
                "claims_in": claims_in,
                "id_token_seconds": id_token_seconds,
            },
            timeout=SECONDS,
        ).json()
        return Issuer(f"{self._control}/{told['id']}", told["issuer"])


def changed(url: str, **changes: str) -> str:
    """The same address with other parameters in its query."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | changes
    return parts._replace(query=urlencode(query)).geturl()


def parameters(url: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
