"""Connecting a mailbox by its owner's consent (OAuth): a refresh token in place of a password.

The browser's part of it (the sign-in page and the exchange of its code) comes before this. What
comes out, the refresh token, is sealed for its token endpoint and client; a worker alone opens it.
`mailboxes.add` and `mailboxes.reconnect` take what `parse_grant` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.model import Endpoint, TlsMode
from mailhearth_core.oauth.http import split_endpoint
from mailhearth_core.oauth.model import OWNERS, OAuthGrant
from mailhearth_core.providers.oauth_servers import SERVERS, OAuthServers
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import is_loopback
from mailhearth_core.verbs.mailbox_spec import InvalidMailbox, MailboxSpec, Server, parse_spec


def parse_grant(
    provider: str,
    values: Mapping[str, str | None],
    refresh_token: Secret,
    *,
    token_endpoint: str,
    client_id: str,
) -> MailboxSpec:
    """A mailbox of Google's or Microsoft's, checked whole.

    Args:
        provider: `gmail` or `outlook`.
        values: as `mailbox_spec.parse_spec`; imap and smtp may be left out, they are known. Others
            are taken on loopback only (a sandbox, the tests), and `ca` only there.
        token_endpoint, client_id: of the workers' settings; the token is sealed for these two.
    Raises:
        InvalidMailbox: with one `InvalidValue` for each mistake.
    """
    if provider not in SERVERS:
        raise InvalidMailbox([InvalidValue("provider", provider, ", ".join(SERVERS))])
    kind = SERVERS[provider]
    mistakes: list[InvalidValue] = []
    if not client_id.strip() or not client_id.isprintable():
        name = OWNERS[provider].upper()
        allowed = f"the OAuth client's id, as MAILHEARTH_{name}_CLIENT_ID of the workers"
        mistakes.append(InvalidValue("client id", client_id, allowed))
    try:
        parts = split_endpoint(token_endpoint)
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            mistakes.append(InvalidValue("token endpoint", token_endpoint, "an https:// address"))
    except InvalidValue as mistake:
        mistakes.append(mistake)
    token = refresh_token.reveal()
    if not token or not token.isascii() or not token.isprintable():
        mistakes.append(InvalidValue("refresh token", "***", "one line of printable ASCII"))
        token = "unusable"  # noqa: S105 - so that the other values are still checked
    given = dict(values)
    given["imap"] = given.get("imap") or _text(kind.imap)
    given["smtp"] = given.get("smtp") or _text(kind.smtp)
    spec = None
    try:
        spec = parse_spec(given, Secret(token), allow_app_passwords=True)
        mistakes += _wrong_servers(kind, spec)
    except InvalidMailbox as more:
        mistakes += more.mistakes
    if mistakes or spec is None:
        raise InvalidMailbox(mistakes)
    grant = OAuthGrant(provider, token_endpoint, client_id, refresh_token)
    return replace(spec, password=Secret(""), grant=grant)


def _wrong_servers(kind: OAuthServers, spec: MailboxSpec) -> list[InvalidValue]:
    mistakes = []
    known = {
        "imap": ({kind.imap.host}, spec.imap, kind.imap),
        "smtp": ({kind.smtp.host} | kind.more_smtp_hosts, spec.smtp, kind.smtp),
    }
    for field, (hosts, server, usual) in known.items():
        if is_loopback(server.host):
            continue
        if server.host not in hosts or server.tls == "none":
            mistakes.append(InvalidValue(field, _named(server), _text(usual)))
        elif spec.ca_pem is not None:
            mistakes.append(InvalidValue("ca", "a file", f"none for {kind.owner}'s own servers"))
    return mistakes


def _named(server: Server) -> str:
    return f"{server.host}:{server.port} ({server.tls})"


def _text(endpoint: Endpoint) -> str:
    assert endpoint.tls is not TlsMode.NONE
    return f"{endpoint.host}:{endpoint.port}"
