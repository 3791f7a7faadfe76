"""What is asked of somebody who connects a mailbox by OAuth, where it is kept, who gets what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.oauth.addresses import GOOGLE_TOKEN_ENDPOINT, MICROSOFT_TOKEN_ENDPOINT
from mailhearth_core.sealing import Binding, OAuthDestination, SealBroken, open_sealed
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import SettingsError, WorkerSettings
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.mailbox_spec import InvalidMailbox, MailboxSpec, parse_spec
from mailhearth_core.verbs.oauth import parse_grant
from mailhearth_local.services.environment import common, worker_environment

TOKEN = Secret("1//canary-refresh-token")
WORKER = {
    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
    "MAILHEARTH_DATABASE_URL": "postgresql://127.0.0.1/m",
    "MAILHEARTH_LOGINS_FOLDER": "logins",
    "MAILHEARTH_KEYS_FOLDER": "keys",
    "MAILHEARTH_DATA_FOLDER": "data",
    "MAILHEARTH_GROUPS": "local",
    "MAILHEARTH_NAME": "w1",
}


def grant(provider: str = "gmail", token: Secret = TOKEN, **changes: Any) -> MailboxSpec:
    where = {
        "token_endpoint": changes.pop("token_endpoint", GOOGLE_TOKEN_ENDPOINT),
        "client_id": changes.pop("client_id", "our-client"),
    }
    return parse_grant(provider, {"address": "ann@one.test"} | changes, token, **where)


def test_the_servers_are_known_and_no_others_are_taken() -> None:
    spec = grant()
    assert (spec.imap.host, spec.imap.port, spec.imap.tls) == ("imap.gmail.com", 993, "implicit")
    assert (spec.smtp.host, spec.smtp.port, spec.smtp.tls) == ("smtp.gmail.com", 465, "implicit")
    assert (spec.username, spec.password.reveal()) == ("ann@one.test", "")
    outlook = grant("outlook", smtp="smtp-mail.outlook.com:587")
    assert (outlook.imap.host, outlook.smtp.tls) == ("outlook.office365.com", "starttls")
    assert grant(imap="127.0.0.1:1143", smtp="localhost:1587", tls="none").imap.tls == "none"
    assert TOKEN.reveal() not in repr(spec)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"provider": "yahoo"}, ["provider"]),
        ({"imap": "imap.evil.test:993"}, ["imap"]),
        ({"smtp": "outlook.office365.com:587"}, ["smtp"]),
        ({"tls": "none"}, ["imap", "smtp"]),
        ({"ca_pem": "another authority"}, ["ca", "ca"]),
        ({"token": Secret("")}, ["refresh token"]),
        ({"token": Secret("two\nlines")}, ["refresh token"]),
        ({"token_endpoint": "http://oauth2.evil.test/token"}, ["token endpoint"]),
        ({"token_endpoint": "https://me@oauth2.test/"}, ["token endpoint"]),
        ({"client_id": " ", "address": "no", "name": "a\nb"}, ["client id", "address", "name"]),
    ],
)  # fmt: skip
def test_every_mistake_is_told_at_once(changes: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(InvalidMailbox) as caught:
        grant(**changes)
    assert [mistake.field for mistake in caught.value.mistakes] == fields
    assert "two" not in str(caught.value)


def test_a_refresh_token_is_sealed_for_its_endpoint_and_client(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    mailbox = mailboxes.add(installation.door, workspace, pool, grant(), ACTOR)
    row = installation.one("SELECT * FROM mailboxes")
    assert (row["provider"], row["peer_provider"], row["auth"]) == ("gmail", "gmail", "oauth")
    stored = installation.one("SELECT * FROM sealed_credentials")
    assert stored["field"] == "oauth_refresh_token"
    version = installation.one("SELECT * FROM key_versions")
    key = installation.keys.open(workspace, 1, version["fingerprint"])

    def opened(endpoint: str, client: str) -> Secret:
        where = OAuthDestination(endpoint, client)
        binding = Binding(workspace, mailbox, stored["field"], 1, where)
        return open_sealed(key, binding, stored["sealed"])

    assert opened(GOOGLE_TOKEN_ENDPOINT, "our-client") == TOKEN
    for endpoint, client in (
        ("https://oauth2.evil.test/token", "our-client"),
        (GOOGLE_TOKEN_ENDPOINT, "another"),
    ):
        with pytest.raises(SealBroken):
            opened(endpoint, client)

    # With a password it is an ordinary mailbox again, and the other way round; nothing stays.
    installation.rows("UPDATE sealed_credentials SET refresh_claim = uuid7()")
    plain = parse_spec(
        {"address": "ann@one.test", "imap": "mail.one.test:993", "smtp": "mail.one.test:465"},
        Secret("word"),
    )
    for spec, fields in (
        (plain, {"imap_password", "smtp_password"}),
        (grant("outlook", token_endpoint=MICROSOFT_TOKEN_ENDPOINT), {"oauth_refresh_token"}),
    ):
        mailboxes.reconnect(installation.door, workspace, {"id": mailbox}, spec, ACTOR)
        rows = installation.rows("SELECT field, refresh_claim FROM sealed_credentials")
        assert {found["field"] for found in rows} == fields
        assert {found["refresh_claim"] for found in rows} == {None}
    row = installation.one("SELECT * FROM mailboxes")
    assert (row["provider"], row["oauth_token_endpoint"]) == ("outlook", MICROSOFT_TOKEN_ENDPOINT)


def test_clients_are_settings_of_the_workers_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("canary-client-secret\n")
    given = {
        "MAILHEARTH_GOOGLE_CLIENT_ID": "g",
        "MAILHEARTH_GOOGLE_CLIENT_SECRET_FILE": str(file),
        "MAILHEARTH_MICROSOFT_CLIENT_SECRET": "canary-too",
    }
    settings = WorkerSettings.load(WORKER | given)
    assert settings.google_client_secret.reveal() == "canary-client-secret"
    assert settings.google_token_endpoint == GOOGLE_TOKEN_ENDPOINT
    assert "canary" not in repr(settings)
    for url in ("http://tokens.test/", "ftp://x.test", "tokens", "https://a:b@x.test/"):
        with pytest.raises(SettingsError, match="https://"):
            WorkerSettings.load(WORKER | {"MAILHEARTH_MICROSOFT_TOKEN_ENDPOINT": url})
    local = WorkerSettings.load(WORKER | {"MAILHEARTH_GOOGLE_TOKEN_ENDPOINT": "http://127.0.0.1/t"})
    assert local.google_token_endpoint == "http://127.0.0.1/t"
    assert not given.keys() & common(given).keys()  # what every child process gets
    environ = worker_environment(
        tmp_path,
        given,
        environment="development",
        sandbox=False,
        database_url="postgresql://127.0.0.1/m",
        role_prefix="mh",
        redis_url=Secret(""),
        name="w1",
        port=0,
    )
    assert given.items() <= environ.items()
