"""The table of server replies, against the words of real servers."""

# Replies stay on one line: they are data.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest

from mailhearth_core.mail.classify import (
    classify_imap,
    classify_smtp,
    clean_text,
    enhanced_code,
    smtp_error,
    table_markdown,
)
from mailhearth_core.mail.model import FailureKind, Scope, Stage

L, R, D, M = Stage.LOGIN, Stage.RCPT, Stage.DOT, Stage.MAIL

SMTP = [
    (535, "5.7.8 Username and Password not accepted. For more information, go to", L, "bad_credentials", "reauthenticate", "mailbox"),
    (535, "5.7.3 Authentication unsuccessful [AM0PR02CA0001.eurprd02.prod.outlook.com]", L, "bad_credentials", "reauthenticate", "mailbox"),
    (534, "5.7.9 Application-specific password required. For more information, go to", L, "app_password_required", "reauthenticate", "mailbox"),
    (534, "5.7.14 <https://accounts.google.com/signin/continue> Please log in via your web browser", L, "web_login_required", "reauthenticate", "mailbox"),
    (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit", L, "tenant_smtp_disabled", "permanent", "mailbox"),
    (535, "5.7.139 Authentication unsuccessful, basic authentication is disabled.", L, "basic_auth_disabled", "reauthenticate", "mailbox"),
    (535, "5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.", L, "auth_policy", "reauthenticate", "mailbox"),
    (454, "4.7.0 Too many login attempts, please try again later.", L, "too_many_logins", "provider_limit", "mailbox"),
    (454, "4.7.0 Temporary authentication failure", L, "auth_unavailable", "try_later", "mailbox"),
    (504, "5.5.4 Unrecognized authentication type", L, "mechanism_unsupported", "permanent", "mailbox"),
    (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded; concurrent connections", L, "too_many_connections", "provider_limit", "mailbox"),
    (530, "5.7.0 Must issue a STARTTLS command first", M, "encryption_required", "permanent", "mailbox"),
    (530, "5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM", M, "sign_in_required", "reauthenticate", "mailbox"),
    (550, "5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to", D, "daily_limit", "provider_limit", "mailbox"),
    (550, "5.4.5 Daily SMTP relay sending limit exceeded for user.", R, "daily_limit", "provider_limit", "mailbox"),
    (550, "5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", D, "daily_limit", "provider_limit", "mailbox"),
    (421, "4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP", R, "rate_unusual", "provider_limit", "mailbox"),
    (550, "5.1.8 Access denied, bad outbound sender AS(42003)", D, "provider_block", "permanent", "mailbox"),
    (550, "5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.", R, "provider_block", "permanent", "mailbox"),
    (550, "5.7.60 SMTP; Client does not have permissions to send as this sender", D, "sender_not_allowed", "permanent", "mailbox"),
    (553, "5.7.1 <a@b.test>: Sender address rejected: not owned by user c@b.test", R, "sender_not_allowed", "permanent", "mailbox"),
    (450, "4.2.0 <a@b.test>: Recipient address rejected: Greylisted, see http://postgrey.example", R, "greylisted", "try_later", "recipient"),
    (451, "4.7.1 Greylisting in action, please come back later", R, "greylisted", "try_later", "recipient"),
    (451, "4.3.0 <a@b.test>: Temporary lookup failure", R, "recipient_later", "try_later", "recipient"),
    (421, "4.3.2 Service not available, closing transmission channel", M, "server_closing", "try_later", "mailbox"),
    (452, "4.3.1 Insufficient system storage", M, "server_full", "try_later", "mailbox"),
    (452, "4.2.2 The recipient's inbox is out of storage space.", R, "recipient_full", "try_later", "recipient"),
    (552, "5.2.2 Mailbox size limit exceeded", R, "recipient_full", "permanent", "recipient"),
    (450, "4.2.1 The user you are trying to contact is receiving mail too quickly.", R, "recipient_rate", "try_later", "recipient"),
    (550, "5.2.1 The email account that you tried to reach is inactive.", R, "recipient_disabled", "permanent", "recipient"),
    (550, "5.1.1 The email account that you tried to reach does not exist.", R, "unknown_recipient", "permanent", "recipient"),
    (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", D, "unknown_recipient", "permanent", "recipient"),
    (550, "5.4.1 Recipient address rejected: Access denied. AS(201806281)", R, "unknown_recipient", "permanent", "recipient"),
    (550, "No such user here", R, "unknown_recipient", "permanent", "recipient"),
    (550, "5.1.2 Host unknown", R, "unknown_domain", "permanent", "recipient"),
    (554, "5.7.1 <a@b.test>: Relay access denied", R, "relay_denied", "permanent", "mailbox"),
    (550, "5.7.515 Access denied, sending domain example.com does not meet the required authentication level", D, "sender_unauthenticated", "permanent", "mailbox"),
    (550, "5.7.26 This mail has been blocked because the sender is unauthenticated.", D, "sender_unauthenticated", "permanent", "mailbox"),
    (554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", R, "blocklisted", "permanent", "mailbox"),
    (550, "5.7.1 Our system has detected that this message is likely unsolicited mail.", D, "policy_rejected", "permanent", "message"),
    (552, "5.3.4 Message size exceeds fixed limit", M, "message_too_big", "permanent", "message"),
    (554, "5.6.0 Message contains bare newlines", D, "content_rejected", "permanent", "message"),
    (554, "No SMTP service here", Stage.GREETING, "server_refused", "permanent", "mailbox"),
    (550, "Go away", R, "recipient_refused", "permanent", "recipient"),
    (554, "Transaction failed", D, "message_refused", "permanent", "message"),
    (299, "?", D, "unexpected_reply", "try_later", "mailbox"),
]  # fmt: skip

IMAP = [
    ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", L, "bad_credentials", "reauthenticate"),
    ("LOGIN failed.", L, "bad_credentials", "reauthenticate"),
    ("[ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)", L, "app_password_required", "reauthenticate"),
    ("[WEBALERT https://accounts.google.com/signin/continue] Web login required.", L, "web_login_required", "reauthenticate"),
    ("[ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page", L, "imap_disabled", "permanent"),
    ("[ALERT] Too many simultaneous connections. (Failure)", L, "too_many_connections", "provider_limit"),
    ("[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", L, "too_many_connections", "provider_limit"),
    ("[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", Stage.FETCH, "bandwidth_limit", "provider_limit"),
    ("Request is throttled. Suggested Backoff Time: 298149 milliseconds", Stage.FETCH, "throttled", "provider_limit"),
    ("User is authenticated but not connected.", Stage.SELECT, "server_later", "try_later"),
    ("[UNAVAILABLE] Temporary authentication failure.", L, "server_later", "try_later"),
    ("[EXPIRED] That password isn't any good any more", L, "credentials_expired", "reauthenticate"),
    ("[AUTHORIZATIONFAILED] No such authorization-ID", L, "not_authorized", "reauthenticate"),
    ("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", L, "encryption_required", "permanent"),
    ("[CONTACTADMIN] Call us", L, "contact_admin", "permanent"),
    ("[NOPERM] Access denied", Stage.MOVE, "no_permission", "permanent"),
    ("[INUSE] Mailbox in use", Stage.SELECT, "server_later", "try_later"),
    ("[LIMIT] At most 32 flags in one mailbox supported", Stage.STORE, "server_limit", "provider_limit"),
    ("[OVERQUOTA] Quota exceeded (mailbox for user is full)", Stage.MOVE, "mailbox_full", "permanent"),
    ("[NONEXISTENT] Unknown Mailbox: nope (Failure)", Stage.SELECT, "no_such_folder", "permanent"),
    ("[TRYCREATE] Mailbox doesn't exist: x", Stage.MOVE, "no_such_folder", "permanent"),
    ("[ALREADYEXISTS] Mailbox already exists", Stage.CREATE, "folder_exists", "permanent"),
    ("Internal error occurred.", Stage.FETCH, "server_later", "try_later"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "stage", "name", "kind", "scope"), SMTP)
def test_smtp_replies(code: int, text: str, stage: Stage, name: str, kind: str, scope: str) -> None:
    verdict = classify_smtp(code, text, stage)
    assert (verdict.code, verdict.kind, verdict.scope) == (name, kind, scope)
    assert verdict.words
    assert verdict.hint
    assert verdict.source


@pytest.mark.parametrize(("text", "stage", "name", "kind"), IMAP)
def test_imap_replies(text: str, stage: Stage, name: str, kind: str) -> None:
    verdict = classify_imap(text, stage)
    assert (verdict.code, verdict.kind) == (name, kind)


def test_bad_and_bye_are_told_apart_from_no() -> None:
    assert classify_imap("Unknown command", Stage.FETCH, status="BAD").code == "command_refused"
    assert classify_imap("Autologout", Stage.FETCH, status="BYE").code == "server_closing"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("5.1.1 no", "5.1.1"),
        ("5.7.139 Authentication", "5.7.139"),
        ("Connection from 10.5.1.1.7 refused", None),
        ("client [192.0.2.1] blocked", None),
        ("nothing", None),
    ],
)
def test_enhanced_codes_are_not_seen_in_addresses(text: str, code: str | None) -> None:
    assert enhanced_code(text) == code


def test_an_error_says_what_was_said_and_hides_the_credential() -> None:
    error = smtp_error(535, "5.7.8 no: hunter2\r\n\x1b[31m", Stage.LOGIN, ["hunter2"])
    assert error.kind is FailureKind.REAUTHENTICATE
    assert error.scope is Scope.MAILBOX
    assert (error.reply_code, error.enhanced) == (535, "5.7.8")
    assert error.server_text == "5.7.8 no: *** [31m"
    assert "hunter2" not in f"{error}{error!r}{error.args}"
    assert error.permanent


def test_server_text_is_short_and_printable() -> None:
    assert len(clean_text("x" * 10_000)) == 300
    assert clean_text("a\x00b\nc\u202ed") == "a b c d"


def test_the_documented_table_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "mail-errors.md"
    assert page.read_text("utf-8") == table_markdown(), (
        "docs/mail-errors.md is old; refresh it: python -c 'from mailhearth_core.mail.classify "
        'import table_markdown; print(table_markdown(), end="")\' > docs/mail-errors.md'
    )
