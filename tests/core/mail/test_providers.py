"""The imap_smtp provider and the step-by-step test of a mailbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dovecot import free_port
from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.model import (
    Endpoint,
    FailureKind,
    Login,
    MailError,
    Mechanism,
    Secret,
    TlsMode,
)
from mailhearth_core.mail.probe import Step, probe
from mailhearth_core.providers.base import MailboxConfig, Placement, Providers
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.providers.names import provider_name_for

PROVIDER = ImapSmtpProvider()


def config_of(post: Any) -> MailboxConfig:
    return MailboxConfig(post.address, post.imap_endpoint(), post.smtp_endpoint())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("imap.gmail.com", "gmail"),
        ("gmail-smtp-in.l.google.com.", "gmail"),
        ("Outlook.Office365.com", "outlook"),
        ("contoso-com.mail.protection.outlook.com", "outlook"),
        ("mail.example.com", "other"),
        ("notgmail.com", "other"),
    ],
)
def test_hosts_have_a_providers_name(host: str, name: str) -> None:
    assert provider_name_for(host) == name
    assert PROVIDER.name_for(host) == name


def test_passwords_for_google_and_microsoft_point_to_oauth() -> None:
    gmail = MailboxConfig(
        "a@gmail.com",
        Endpoint("imap.gmail.com", 993, TlsMode.IMPLICIT),
        Endpoint("smtp.gmail.com", 465, TlsMode.IMPLICIT),
    )
    password = Login("a@gmail.com", Secret("word"))
    with pytest.raises(MailError, match="Google") as caught:
        PROVIDER.check_login(gmail, password)
    assert (caught.value.code, caught.value.kind) == ("oauth_required", FailureKind.REAUTHENTICATE)
    PROVIDER.check_login(gmail, Login("a@gmail.com", Secret("token"), Mechanism.OAUTH))
    ImapSmtpProvider(allow_app_passwords=True).check_login(gmail, password)


def test_a_message_is_rescued_filed_and_deleted(new_post: Any) -> None:
    me, you = new_post(), new_post()
    you.dovecot.junk_when(f'header :contains "subject" "offer for {you.address}"')
    me.send(you.address, f"Message-ID: <o@x.test>\nSubject: offer for {you.address}\n\nHi".encode())
    reader = PROVIDER.open_reader(config_of(you), you.login, you.dialer)
    folders = reader.folders()
    assert PROVIDER.scan_folders(folders) == ("INBOX", "Junk")
    uids = reader.find_message_id("Junk", "<o@x.test>")
    assert PROVIDER.placement("Junk", folders) is Placement.JUNK
    rescued = PROVIDER.rescue(reader, "Junk", uids, folders) or {}
    assert PROVIDER.placement("INBOX", folders) is Placement.INBOX
    assert reader.find_message_id("INBOX", "<o@x.test>") == list(rescued.values())
    filed = PROVIDER.file(reader, "INBOX", list(rescued.values()), "Mailhearth") or {}
    assert PROVIDER.placement("Mailhearth", folders) is Placement.OTHER
    assert PROVIDER.delete(reader, "Mailhearth", list(filed.values()), folders)
    for folder in ("INBOX", "Junk", "Trash", "Mailhearth"):
        assert reader.find_message_id(folder, "<o@x.test>") == []
    reader.close()


def test_a_copy_left_in_junk_ends_there(new_post: Any) -> None:
    me, you = new_post(), new_post()
    me.send(you.address, b"Message-ID: <h@x.test>\nSubject: half\n\nHi")
    reader = PROVIDER.open_reader(config_of(you), you.login, you.dialer)
    folders = reader.folders()
    reader.select("INBOX")
    reader._client.copy(reader.find_message_id("INBOX", "<h@x.test>"), "Junk")
    PROVIDER.end_rescue(reader, "Junk", reader.find_message_id("Junk", "<h@x.test>"), folders)
    assert reader.find_message_id("Junk", "<h@x.test>") == []
    assert len(reader.find_message_id("INBOX", "<h@x.test>")) == 1
    reader.close()


def test_the_registry_names_what_it_knows() -> None:
    providers = Providers([PROVIDER])
    assert providers.get("imap_smtp") is PROVIDER
    with pytest.raises(InvalidValue, match="imap_smtp"):
        providers.get("pigeon")


def run(post: Any, config: MailboxConfig, login: Login) -> dict[str, Step]:
    told: list[Step] = []
    steps = probe(PROVIDER, config, login, post.dialer, told.append)
    assert list(steps) == told
    assert "wrong-secret-word" not in repr(steps)
    return {step.name: step for step in steps}


def test_a_good_mailbox_passes_every_step(new_post: Any) -> None:
    me = new_post()
    steps = run(me, config_of(me), me.login)
    assert list(steps) == [
        "imap.resolve", "imap.connect", "imap.tls", "imap.login", "imap.folders",
        "smtp.resolve", "smtp.connect", "smtp.tls", "smtp.login",
    ]  # fmt: skip
    assert all(step.ok for step in steps.values())
    assert "Junk is Junk" in steps["imap.folders"].detail


def test_each_failure_ends_its_side_at_the_right_step(new_post: Any) -> None:
    me = new_post()
    good = config_of(me)
    wrong = run(me, good, Login(me.address, Secret("wrong-secret-word")))
    assert [name for name, step in wrong.items() if not step.ok] == ["imap.login", "smtp.login"]
    assert wrong["imap.login"].code == "bad_credentials"
    assert wrong["imap.login"].hint

    broken = replace(
        good,
        imap=replace(good.imap, host="nowhere.test"),
        smtp=replace(good.smtp, port=free_port()),
    )
    steps = run(me, broken, me.login)
    assert {n: s.code for n, s in steps.items() if not s.ok} == {
        "imap.resolve": "name_not_found",
        "smtp.connect": "connection_failed",
    }

    swapped = replace(
        good,
        imap=replace(me.imap_endpoint(TlsMode.STARTTLS), tls=TlsMode.IMPLICIT),
        smtp=replace(good.smtp, ca_pem=None),
    )
    steps = run(me, swapped, me.login)
    assert {n: s.code for n, s in steps.items() if not s.ok} == {
        "imap.tls": "tls_failed",
        "smtp.tls": "tls_certificate",
    }
    assert "STARTTLS" in steps["imap.tls"].hint
