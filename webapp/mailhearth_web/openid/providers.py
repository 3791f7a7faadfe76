"""The OpenID providers of an installation, as its settings name them.

`MAILHEARTH_OIDC_PROVIDERS` (or the file that `MAILHEARTH_OIDC_PROVIDERS_FILE` names) is TOML, one
table for each provider; the table's name is part of the address that the provider sends people back
to, and is not changed later:

    [google]
    label = "Google"
    issuer = "https://accounts.google.com"
    client_id = "1234.apps.googleusercontent.com"
    client_secret_file = "/run/secrets/google"
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from mailhearth_core.errors import InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import is_loopback

MAX_PROVIDERS = 12
DEFAULT_SCOPES = ("openid", "email", "profile")
ClientAuth = Literal["basic", "post"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_FIELDS = {
    "label",
    "issuer",
    "client_id",
    "client_secret",
    "client_secret_file",
    "client_auth",
    "scopes",
    "fresh_prompt",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider.

    Attributes:
        name: in addresses: lower case letters, digits and dashes.
        label: what the button says.
        issuer: exactly as the provider writes it, a trailing slash included.
        client_secret: empty for a public client, which PKCE alone guards.
        client_auth: how the secret is sent to the token endpoint; None takes what the provider
            lists, `basic` first.
        fresh_prompt: a `prompt` that makes this provider ask again, beside `max_age=0`, where it
            needs one ("login" at Microsoft, "select_account" at Google).
    """

    name: str
    label: str
    issuer: str
    client_id: str
    client_secret: Secret
    client_auth: ClientAuth | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    fresh_prompt: str = ""


def parse_providers(text: str) -> tuple[Provider, ...]:
    """The providers in the order of the text; empty text names none.

    Raises:
        InvalidValue: names the provider, the field and what is allowed.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The text holds secrets, so nothing of it is told but the place.
        place = re.search(r"at line \d+, column \d+|at end of document", str(error))
        raise InvalidValue("the text", place.group(0) if place else "?", "TOML") from None
    if len(tables) > MAX_PROVIDERS:
        raise InvalidValue("the number of providers", len(tables), f"at most {MAX_PROVIDERS}")
    providers = tuple(_provider(name, table) for name, table in tables.items())
    issuers = [provider.issuer for provider in providers]
    for provider in providers:
        # One issuer twice would be two doors to one identity, each with other rules.
        if issuers.count(provider.issuer) > 1:
            raise InvalidValue(f"{provider.name}.issuer", provider.issuer, "each issuer once")
    return providers


def _provider(name: str, table: object) -> Provider:
    if not _NAME.fullmatch(name):
        raise InvalidValue("provider", name, "a-z, 0-9 and dashes, at most 32")
    if not isinstance(table, dict):
        raise InvalidValue("provider", name, "a table such as [google]")
    if unknown := sorted(table.keys() - _FIELDS):
        raise InvalidValue(name, unknown[0], ", ".join(sorted(_FIELDS)))
    auth = _text(name, table, "client_auth", "")
    if auth not in ("", "basic", "post"):
        raise InvalidValue(f"{name}.client_auth", auth, "basic or post")
    return Provider(
        name=name,
        label=_text(name, table, "label", name.capitalize())[:40],
        issuer=_issuer(name, _text(name, table, "issuer")),
        client_id=_text(name, table, "client_id"),
        client_secret=_secret(name, table),
        client_auth=cast("ClientAuth | None", auth or None),
        scopes=_scopes(name, table.get("scopes", list(DEFAULT_SCOPES))),
        fresh_prompt=_text(name, table, "fresh_prompt", ""),
    )


def _text(name: str, table: dict[str, Any], field: str, default: str | None = None) -> str:
    value = table.get(field, default)
    if not isinstance(value, str) or (not value and default is None) or not value.isprintable():
        shown = "missing" if value is None else value
        if field == "client_secret":
            shown = "what is there"
        raise InvalidValue(f"{name}.{field}", shown, "a line of text")
    return value.strip()


def _issuer(name: str, text: str) -> str:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        url = urlsplit("")
    secure = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))
    plain = not (url.query or url.fragment or "@" in url.netloc)
    if not secure or not url.hostname or not plain or not text.isascii():
        raise InvalidValue(f"{name}.issuer", text, "an https:// address without a query")
    return text


def _secret(name: str, table: dict[str, Any]) -> Secret:
    if "client_secret" in table and "client_secret_file" in table:
        raise InvalidValue(name, "both", "client_secret or client_secret_file")
    if "client_secret_file" not in table:
        return Secret(_text(name, table, "client_secret", ""))
    path = _text(name, table, "client_secret_file")
    try:
        return Secret(Path(path).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        raise InvalidValue(f"{name}.client_secret_file", path, "a file that can be read") from None


def _scopes(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(scope, str) and _SCOPE.fullmatch(scope) for scope in value
    ):
        raise InvalidValue(f"{name}.scopes", value, 'a list such as ["openid", "email"]')
    if "openid" not in value:
        raise InvalidValue(f"{name}.scopes", value, '"openid" among them')
    return tuple(value)
