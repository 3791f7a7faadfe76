"""A token endpoint on loopback that behaves as Google's and Microsoft's do, and as badly.

Access tokens are good at a `DovecotServer` that asks the same `IntrospectionServer`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from dovecot import Authority, IntrospectionServer
from mailhearth_core.oauth.consent import challenge
from mailhearth_core.oauth.model import SCOPES, OAuthClient
from mailhearth_core.secrets import Secret

KEEP, ROTATE, ROTATE_STRICTLY = "keep", "rotate", "rotate strictly"
"""What becomes of a refresh token that was used: it stays the one (Google); a new one comes and the
old stays good (Microsoft); a new one comes and using an old one again ends them all (RFC 9700)."""


@dataclass
class Grant:
    """One owner's consent."""

    account: str
    scope: str
    good: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    withdrawn_at_mail: bool = False


class TokenEndpoint:
    """Serves POST /token; a context manager.

    Attributes:
        asked: the form of every request, in order.
        lifetime_s: what answers say of an access token.
        names_account: whether answers carry an identity token.
        before: called with the form before it is answered (to hold a request, or to look).
    """

    def __init__(
        self,
        introspection: IntrospectionServer | None = None,
        *,
        provider: str = "gmail",
        rotation: str = KEEP,
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.provider, self.rotation = provider, rotation
        self.client_id, self.secret = f"{provider}-client", secrets.token_urlsafe(12)
        self.asked: list[dict[str, str]] = []
        self.answered: list[str] = []
        self.lifetime_s: Any = 3600
        self.names_account = True
        self.before: Callable[[dict[str, str]], object] = lambda form: None
        self._introspection = introspection
        self._grants: list[Grant] = []
        self._codes: dict[str, tuple[dict[str, str], Grant]] = {}
        self._answers: list[tuple[int, bytes | Iterator[bytes]]] = []
        self._lock = threading.Lock()
        self._server = self._made(certificate)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://{host}:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    @property
    def client(self) -> OAuthClient:
        return OAuthClient(self.provider, self.url, self.client_id, Secret(self.secret))

    # -- what owners do -----------------------------------------------------------------------

    def consent(self, account: str, scope: str | None = None) -> str:
        """An owner's consent; the refresh token that comes of it."""
        grant = Grant(account, " ".join(SCOPES[self.provider]) if scope is None else scope)
        self._grants.append(grant)
        return self._new_refresh_token(grant)

    def sign_in(self, url: str, account: str, *, scope: str | None = None, says: str = "") -> str:
        """What a browser does at the authorization address: its owner picks an account and agrees.

        Args:
            url: where the product sent it.
            says: an error in place of the code.
        Returns:
            the address of the product's that the browser is sent to.
        """
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == self.client_id
        assert asked["code_challenge_method"] == "S256"
        assert set(SCOPES[self.provider]) <= set(asked["scope"].split())
        lasting = asked.get("access_type") == "offline" or "offline_access" in asked["scope"]
        assert lasting, "no refresh token would come of it"
        answer = {"error": says} if says else {"code": self._new_code(asked, account, scope)}
        return f"{asked['redirect_uri']}?{urlencode({'state': asked['state'], **answer})}"

    def _new_code(self, asked: dict[str, str], account: str, scope: str | None) -> str:
        code = f"4/{secrets.token_urlsafe(24)}"
        granted = " ".join(SCOPES[self.provider]) if scope is None else scope
        self._codes[code] = (asked, Grant(account, granted))
        return code

    def withdraw(self, account: str) -> None:
        """The owner takes the consent back: refresh tokens end, access tokens that are out too."""
        self._of(account).good.clear()
        self.end_access_tokens(account)

    def withdraw_at_mail_servers(self, account: str, withdrawn: bool = True) -> None:
        """The mail servers refuse the account's tokens, which the endpoint still gives out."""
        self._of(account).withdrawn_at_mail = withdrawn
        self.end_access_tokens(account)

    def end_access_tokens(self, account: str) -> None:
        """Those that are out are good no more; new ones are."""
        assert self._introspection is not None
        for token in [t for t, a in self._introspection._tokens.items() if a == account]:
            self._introspection.revoke(token)

    def current(self, account: str) -> set[str]:
        """The account's refresh tokens that would be taken."""
        return set(self._of(account).good)

    # -- misbehaving --------------------------------------------------------------------------

    def answer(self, status: int, body: bytes | dict[str, Any] | Iterator[bytes]) -> None:
        """What the next request gets in place of a proper answer."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        self._answers.append((status, raw))

    # -- the server ---------------------------------------------------------------------------

    def reply(self, form: dict[str, str]) -> tuple[int, bytes | Iterator[bytes]]:
        with self._lock:
            self.asked.append(form)
        self.before(form)
        with self._lock:
            if self._answers:
                return self._answers.pop(0)
            status, told = self._token(form)
            return status, json.dumps(told).encode()

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.secret):
            return 401, {"error": "invalid_client", "error_description": "Unauthorized"}
        if form.get("grant_type") == "authorization_code":
            return self._first_tokens(form)
        if form.get("grant_type") != "refresh_token":
            return 400, {"error": "unsupported_grant_type"}
        token = form.get("refresh_token", "")
        grant = next((g for g in self._grants if token in g.good | g.spent), None)
        if grant is None or token not in grant.good:
            if grant is not None and self.rotation == ROTATE_STRICTLY:
                grant.good.clear()
            return 400, {
                "error": "invalid_grant",
                "error_description": "Token has been expired or revoked.",
            }
        told = self._told(grant)
        if self.rotation != KEEP:
            if self.rotation == ROTATE_STRICTLY:
                grant.good.discard(token)
                grant.spent.add(token)
            told["refresh_token"] = self._new_refresh_token(grant)
        return 200, told

    def _first_tokens(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """A code is good once, for the redirect address and the verifier that it was asked with."""
        asked, grant = self._codes.pop(form.get("code", ""), ({}, Grant("", "")))
        proof = challenge(form.get("code_verifier", ""))
        if asked.get("redirect_uri") != form.get("redirect_uri") or proof != asked.get(
            "code_challenge"
        ):
            return 400, {"error": "invalid_grant", "error_description": "Bad Request"}
        self._grants.append(grant)
        return 200, self._told(grant) | {"refresh_token": self._new_refresh_token(grant)}

    def _told(self, grant: Grant) -> dict[str, Any]:
        told: dict[str, Any] = {
            "access_token": self._access_token(grant),
            "token_type": "Bearer",
            "expires_in": self.lifetime_s,
            "scope": grant.scope,
        }
        if self.names_account:
            told["id_token"] = self._identity(grant.account)
        return told

    def _access_token(self, grant: Grant) -> str:
        if self._introspection is None or grant.withdrawn_at_mail:
            token = secrets.token_urlsafe(24)
        else:
            token = self._introspection.issue(grant.account)
        self.answered.append(token)
        return token

    def _new_refresh_token(self, grant: Grant) -> str:
        token = f"1//{secrets.token_urlsafe(24)}"
        grant.good.add(token)
        return token

    def _identity(self, account: str) -> str:
        name = "email" if self.provider == "gmail" else "preferred_username"
        parts = ({"alg": "none"}, {"aud": self.client_id, name: account.upper()})
        encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
        return b".".join([*encoded, b"signature"]).decode()

    def _of(self, account: str) -> Grant:
        return next(grant for grant in reversed(self._grants) if grant.account == account)

    def _made(self, certificate: tuple[Path, Path] | None) -> ThreadingHTTPServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                form = parse_qs(self.rfile.read(size).decode())
                status, body = outer.reply({name: values[0] for name, values in form.items()})
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                with contextlib.suppress(OSError):  # the client gave up, as it should
                    self._write(body)

            def _write(self, body: bytes | Iterator[bytes]) -> None:
                if isinstance(body, bytes):
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in body:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        return server


def certified(folder: Path) -> tuple[tuple[Path, Path], str]:
    """A certificate (with its key) for localhost and its authority's PEM."""
    authority = Authority()
    return authority.issue(folder, ("localhost",)), authority.pem
