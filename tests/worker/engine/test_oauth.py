"""Mailboxes connected by OAuth: real Dovecot and Postfix, and a token endpoint of the tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from database import ACTOR, TestInstallation
from dovecot import DovecotServer, IntrospectionServer, require_dovecot
from engine import MONDAY, Engine
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import Endpoint, FailureKind, Login, MailError, Stage, TlsMode
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.oauth.model import GrantRefused
from mailhearth_core.providers.gmail.provider import GmailProvider
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import attempts, keys, mailboxes
from mailhearth_core.verbs.mailbox_spec import MailboxSpec
from mailhearth_core.verbs.oauth import parse_grant
from mailhearth_worker.credentials import reseal
from mailhearth_worker.drain import drain
from mailhearth_worker.main import build
from mailhearth_worker.tokens import Tokens, clients_of
from postfix import PostfixServer, require_postfix
from token_endpoint import KEEP, ROTATE, ROTATE_STRICTLY, TokenEndpoint


@dataclass
class Servers:
    """The mail servers of all tests here."""

    introspection: IntrospectionServer
    dovecot: DovecotServer
    postfix: PostfixServer


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    require_dovecot()
    require_postfix()
    with ExitStack() as stack:
        introspection = IntrospectionServer()
        stack.callback(introspection.close)
        dovecot = stack.enter_context(
            DovecotServer(
                introspection_url=introspection.url,
                junk="[Gmail]/Spam",
                sent="[Gmail]/Sent Mail",
                trash="[Gmail]/Trash",
                drafts="[Gmail]/Drafts",
                everything="[Gmail]/All Mail",
            )
        )
        yield Servers(introspection, dovecot, stack.enter_context(PostfixServer(dovecot)))


class Rig:
    """An engine whose mailboxes are connected by OAuth."""

    def __init__(self, engine: Engine, servers: Servers, endpoints: list[TokenEndpoint]) -> None:
        self.engine, self.servers = engine, servers
        self.endpoints = {endpoint.provider: endpoint for endpoint in endpoints}
        self.given: list[str] = [endpoint.secret for endpoint in endpoints]
        self.workspace = engine.installation.workspace("north")
        self.pool = engine.installation.pool(self.workspace, pair_gap_hours=24, retention_hours=48)
        # Domains that the sandbox's zone knows, so that they may be peers.
        self.domains = [engine.users[n].address.rpartition("@")[2] for n in (0, 4)]
        self.door = engine.runtime.doors.door(self.workspace)

    def address(self, name: str = "ann", domain: int = 0) -> str:
        return f"{name}@{self.domains[domain]}"

    def spec(self, provider: str, address: str, token: str = "", **values: str) -> MailboxSpec:
        """A mailbox as somebody connects it, with a consent of its own unless one is given."""
        endpoint = self.endpoints[provider]
        token = token or endpoint.consent(address)
        self.given.append(token)
        fields = {
            "address": address,
            "imap": f"127.0.0.1:{self.servers.dovecot.imaps_port}",
            "smtp": f"127.0.0.1:{self.servers.postfix.submissions_port}",
            "tls": "implicit",
            "ca": str(self.servers.dovecot.ca_path),
            "consent": "workspace",
        }
        return parse_grant(
            provider,
            fields | values,
            Secret(token),
            token_endpoint=endpoint.url,
            client_id=endpoint.client_id,
        )

    def connect(self, provider: str, address: str, **values: str) -> UUID:
        self.servers.postfix.add_user(address, "an unknown password")
        spec = self.spec(provider, address, **values)
        return mailboxes.add(self.engine.installation.door, self.workspace, self.pool, spec, ACTOR)

    def reconnect(self, mailbox: UUID, provider: str, address: str) -> None:
        mailboxes.reconnect(
            self.engine.installation.door,
            self.workspace,
            self.engine.row(self.workspace, mailbox),
            self.spec(provider, address),
            ACTOR,
        )

    def look(self, mailbox: UUID, *, later: timedelta = timedelta(0)) -> dict[str, Any]:
        """Signs in afresh and looks into the mailbox; its row afterwards."""
        self.engine.runtime.sessions.forget(mailbox)
        self.engine.set_clock(self.engine.now + later)
        self.engine.ask_poll(self.workspace, mailbox, self.engine.now)
        self.engine.rows(
            "UPDATE action SET due_at = %s WHERE kind = 'poll' AND state = 'pending' "
            "AND mailbox_id = %s",
            *(self.engine.now, mailbox),
        )
        self.engine.drain(self.workspace, mailbox)
        return self.engine.row(self.workspace, mailbox)

    def tokens(self) -> Tokens:
        """The memory of one more worker."""
        runtime = self.engine.runtime
        return Tokens(clients_of(runtime.settings), runtime.keys, runtime.dialer)

    def row(self, mailbox: UUID) -> dict[str, Any]:
        """The mailbox as a worker reads it."""
        with self.door.tx() as conn:
            row: dict[str, Any] = named("worker").mailbox(
                conn, workspace_id=self.workspace, mailbox_id=mailbox
            )
        return row

    def wait_for_deliveries(
        self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] = lambda: None
    ) -> None:
        """From now on what was sent has arrived before the clock goes on, and `then` was called."""
        real = SmtpSession.finish

        def delivered(session: SmtpSession, **more: Any) -> Any:
            reply = real(session, **more)
            self.servers.postfix.wait_until_delivered()
            then()
            return reply

        monkeypatch.setattr(SmtpSession, "finish", delivered)

    def owner(self, address: str) -> ImapSession:
        """The owner's own mail program."""
        dovecot = self.servers.dovecot
        login = Login(address, Secret(dovecot.users[address]))
        endpoint = Endpoint("127.0.0.1", dovecot.imaps_port, TlsMode.IMPLICIT, dovecot.ca_pem)
        return ImapSession.open(endpoint, login, self.engine.runtime.dialer)

    def messages(self, address: str) -> tuple[set[str], int]:
        """The Message-IDs in all folders of a mailbox, and how many messages ever were in Trash."""
        session = self.owner(address)
        folders = session.folders()
        found: set[str] = set()
        for folder in (
            *(folders.inbox, folders.junk, folders.sent, folders.everything),
            *(folders.trash, *folders.others),
        ):
            assert folder is not None
            session.examine(folder)
            found |= {header.message_id for header in session.headers(first_uid=1)}
        assert folders.trash is not None
        ever = session.status(folders.trash).uidnext - 1
        session.close()
        return found, ever

    def secrets(self) -> list[str]:
        """Everything that must be seen nowhere."""
        found = set(self.given)
        for endpoint in self.endpoints.values():
            found |= {*endpoint.answered, *(form["refresh_token"] for form in endpoint.asked)}
            for grant in endpoint._grants:
                found |= grant.good | grant.spent
        return sorted(found)


@pytest.fixture
def rig(
    installation: TestInstallation, tmp_path: Path, servers: Servers, log_lines: io.StringIO
) -> Iterator[Rig]:
    with ExitStack() as stack:
        endpoints = [
            stack.enter_context(
                TokenEndpoint(servers.introspection, provider=provider, rotation=rotation)
            )
            for provider, rotation in (("gmail", KEEP), ("outlook", ROTATE_STRICTLY))
        ]
        environ = {}
        for owner, endpoint in zip(("GOOGLE", "MICROSOFT"), endpoints, strict=True):
            environ[f"MAILHEARTH_{owner}_CLIENT_ID"] = endpoint.client_id
            environ[f"MAILHEARTH_{owner}_CLIENT_SECRET"] = endpoint.secret
            environ[f"MAILHEARTH_{owner}_TOKEN_ENDPOINT"] = endpoint.url
        engine = Engine(installation, tmp_path, environ)
        stack.callback(engine.close)
        yield Rig(engine, servers, endpoints)


def test_days_of_two_mailboxes_whose_tokens_expire_each_hour(
    rig: Rig, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = rig.engine
    runtime = engine.runtime
    aging = Tokens(
        clients_of(runtime.settings),
        runtime.keys,
        runtime.dialer,
        clock=lambda: engine.now.timestamp(),
    )
    engine.runtime = replace(runtime, tokens=aging)
    rig.wait_for_deliveries(monkeypatch)
    boxes = {
        "gmail": rig.connect("gmail", rig.address("gina", 0)),
        "outlook": rig.connect("outlook", rig.address("otto", 1)),
    }
    rig.servers.dovecot.junk_when(f'address :is "from" "{rig.address("otto", 1)}"')
    try:
        for hour in range(1, 79):
            engine.run_until(MONDAY + timedelta(hours=hour))
            runtime.sessions.close()
    finally:
        rig.servers.dovecot.junk_nothing()
    states = engine.rows("SELECT address, state, auth_failures, last_error FROM mailboxes")
    assert {(s["state"], s["auth_failures"], s["last_error"]) for s in states} == {
        ("active", 0, "")
    }
    sent = engine.rows("SELECT * FROM outbound WHERE state IN ('sent', 'uncertain', 'failed')")
    assert {row["mailbox_id"] for row in sent} == set(boxes.values())
    assert {row["state"] for row in sent} == {"sent"}
    arrived = [row for row in sent if row["placement"]]
    assert {(row["placement"], row["placement_provider"]) for row in arrived} == {
        ("junk", "gmail"),
        ("inbox", "outlook"),
    }
    rescued = engine.rows("SELECT 1 FROM inbound WHERE placement = 'junk' AND rescued_at > sent_at")
    assert len(rescued) > 0
    # After their time messages are gone from every folder; at Gmail by way of Trash.
    gone = {row["message_id"] for row in sent if row["sent_at"] < engine.now - timedelta(hours=50)}
    assert len(gone) > 1
    trashed = []
    for name, domain in (("gina", 0), ("otto", 1)):
        left, through_trash = rig.messages(rig.address(name, domain))
        assert left & gone == set(), name
        trashed.append(through_trash > 0)
    assert trashed == [True, False]
    # Tokens were used for an hour each, and the one that rotates strictly never came out of step.
    for provider, endpoint in rig.endpoints.items():
        assert 2 < len(endpoint.asked) < 79, provider
        used = [form["refresh_token"] for form in endpoint.asked]
        assert len(set(used)) == (len(used) if provider == "outlook" else 1)
    generation = engine.one(
        "SELECT generation, refresh_claim FROM sealed_credentials WHERE mailbox_id = %s",
        boxes["outlook"],
    )
    assert generation == {
        "generation": 1 + len(rig.endpoints["outlook"].asked),
        "refresh_claim": None,
    }
    _seen_nowhere(rig, log_lines)


def test_tabs_and_what_lies_in_all_mail_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = rig.engine
    archiving, tabbed = rig.address("archie", 0), rig.address("tabby", 1)
    boxes = {address: rig.connect("gmail", address) for address in (archiving, tabbed)}
    monkeypatch.setattr(GmailProvider, "in_tabs", lambda self, reader, folder, uids: set(uids))

    def archive() -> None:
        session = rig.owner(archiving)
        session.select("INBOX")
        uids = [header.uid for header in session.headers(first_uid=1)]
        if uids:
            session.move(uids, "[Gmail]/All Mail")
        session.close()

    rig.wait_for_deliveries(monkeypatch, archive)
    engine.run_until(MONDAY + timedelta(hours=76))
    inbound = engine.rows("SELECT * FROM inbound WHERE sent_at < %s", MONDAY + timedelta(hours=20))
    found = {(row["mailbox_id"], row["placement"]) for row in inbound}
    assert found == {(boxes[archiving], "other"), (boxes[tabbed], "tab")}
    gone = {row["message_id"] for row in inbound}
    for address in boxes:
        left, ever_in_trash = rig.messages(address)
        assert (left & gone, ever_in_trash > 0) == (set(), True)
    copies = {row["copies"] for row in inbound}
    assert copies == {1}


@pytest.mark.parametrize("provider", ["gmail", "outlook"])
def test_a_rescue_that_breaks_off_in_the_middle_is_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Copied, and then the connection was lost: there are two of it, or one that has two labels."""
    engine = rig.engine
    reading, writing = rig.address("rita", 0), rig.address("wim", 1)
    rig.connect(provider, reading)
    rig.connect("outlook", writing)
    rig.wait_for_deliveries(monkeypatch)
    real, expunge = ImapSmtpProvider.rescue, ImapSession.expunge
    broken: list[str] = []
    expunged: list[str] = []

    def rescue(self: Any, reader: ImapSession, folder: str, *rest: Any) -> Any:
        if broken:
            return real(self, reader, folder, *rest)
        broken.append(folder)
        uids, folders = rest
        reader.select(folder)
        reader._client.copy(uids, folders.inbox)
        raise MailError("lost", kind=FailureKind.TRY_LATER, stage=Stage.MOVE, code="lost")

    def noted(self: ImapSession, folder: str, uids: Sequence[int]) -> bool:
        expunged.append(folder)
        return expunge(self, folder, uids)

    monkeypatch.setattr(ImapSmtpProvider, "rescue", rescue)
    monkeypatch.setattr(ImapSession, "expunge", noted)
    rig.servers.dovecot.junk_when(f'address :is "from" "{writing}"')
    try:
        engine.run_until(MONDAY + timedelta(hours=18))
    finally:
        rig.servers.dovecot.junk_nothing()
    assert broken == ["[Gmail]/Spam"]
    rows = engine.rows("SELECT * FROM inbound WHERE placement = 'junk'")
    assert rows
    assert all(row["rescued_at"] for row in rows)
    assert expunged == ([] if provider == "gmail" else ["[Gmail]/Spam"])
    owner = rig.owner(reading)
    for row in rows:
        assert owner.find_message_id("[Gmail]/Spam", row["message_id"]) == []
        assert any(
            owner.find_message_id(name, row["message_id"]) for name in ("INBOX", "Mailhearth")
        )
    owner.close()


def _seen_nowhere(rig: Rig, log_lines: io.StringIO) -> None:
    tables = rig.engine.rows(
        "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'mailhearth'"
    )
    texts = {"the log": log_lines.getvalue(), "the worker": repr(rig.engine.runtime)}
    assert "token_refreshed" in texts["the log"]
    for table in tables:
        rows = rig.engine.rows(f"SELECT t::text AS text FROM mailhearth.{table['name']} t")
        texts[table["name"]] = "\n".join(row["text"] for row in rows)
    assert "gina@" in texts["mailboxes"]
    secrets = rig.secrets()
    assert len(secrets) > 10
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where
            assert secret.encode().hex() not in text, where


def test_of_two_workers_one_fetches_a_token(rig: Rig) -> None:
    mailbox = rig.connect("outlook", rig.address())
    endpoint = rig.endpoints["outlook"]
    other, _ = build(rig.engine.runtime.settings, CollectorRegistry())
    asked, go = threading.Event(), threading.Event()

    def hold(form: dict[str, str]) -> None:
        asked.set()
        go.wait(20)

    endpoint.before = hold
    first = threading.Thread(target=rig.engine.drain, args=(rig.workspace, mailbox))
    first.start()
    assert asked.wait(20)
    drain(other, rig.workspace, mailbox)  # the mailbox is leased: it returns at once
    go.set()
    first.join()
    other.doors.close()
    assert len(endpoint.asked) == 1
    assert rig.engine.row(rig.workspace, mailbox)["connected_at"] is not None


def test_outside_a_lease_refreshes_still_go_one_by_one(rig: Rig) -> None:
    """A connection test runs beside a drain; with strict rotation two at once would end it all."""
    mailbox = rig.connect("outlook", rig.address())
    endpoint, row = rig.endpoints["outlook"], rig.row(mailbox)
    inside: list[int] = []
    most: list[int] = []

    def count(form: dict[str, str]) -> None:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.3)  # long enough for the others to come in if they could
        inside.pop()

    endpoint.before = count
    workers = [rig.tokens(), rig.tokens()]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(worker.login, rig.door, row) for worker in workers * 2]
        logins = [job.result(30) for job in jobs]
    assert max(most) == 1
    assert len(endpoint.asked) == len(workers)  # each keeps its own token, for all its threads
    assert len({login.secret.reveal() for login in logins}) == len(workers)
    assert endpoint.current(rig.address())


def test_a_crash_before_the_new_refresh_token_was_stored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Survived where the provider lets the old one live, as Google and Microsoft do."""

    def die(*_: Any) -> int:
        raise MemoryError

    endpoint = rig.endpoints["outlook"]
    for rotation, state in (
        (KEEP, "active"),
        (ROTATE, "active"),
        (ROTATE_STRICTLY, "needs_reauth"),
    ):
        mailbox = rig.connect("outlook", rig.address(rotation.replace(" ", "-")))
        endpoint.rotation = rotation
        died = rig.tokens()
        with monkeypatch.context() as patch:
            patch.setattr(died, "_keep", die)
            patch.setattr(named("oauth"), "end_refresh", lambda *_, **__: 0)
            with pytest.raises(MemoryError):
                died.login(rig.door, rig.row(mailbox))
        claimed = "SELECT refresh_until > clock_timestamp() AS held FROM sealed_credentials"
        assert rig.engine.one(f"{claimed} WHERE mailbox_id = %s", mailbox)["held"], rotation
        # Nobody has released it; it runs out.
        rig.engine.rows(
            "UPDATE sealed_credentials SET refresh_until = refresh_until - '1 min'::interval"
        )
        row = rig.look(mailbox)
        assert (row["state"], row["auth_failures"]) == (state, int(state != "active")), rotation


def test_a_database_that_is_away_gets_the_new_refresh_token_when_it_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = rig.connect("outlook", rig.address())
    away = iter([True, True, False])
    real = named("oauth").keep_rotated

    def sometimes(*arguments: Any, **more: Any) -> Any:
        if next(away):
            raise ServiceUnavailable("away")
        return real(*arguments, **more)

    monkeypatch.setattr(named("oauth"), "keep_rotated", sometimes)
    first = rig.tokens().login(rig.door, rig.row(mailbox))
    monkeypatch.undo()
    assert rig.tokens().login(rig.door, rig.row(mailbox)).secret != first.secret


def test_a_withdrawn_consent_asks_for_the_owner_at_once(rig: Rig, log_lines: io.StringIO) -> None:
    address = rig.address()
    mailbox = rig.connect("gmail", address)
    assert rig.look(mailbox)["state"] == "active"
    rig.endpoints["gmail"].withdraw(address)
    row = rig.look(mailbox)
    assert (row["state"], row["auth_failures"]) == ("needs_reauth", 1)
    assert "the consent was withdrawn or has expired" in row["state_reason"]
    assert 'Connect the mailbox again with "Sign in with Google".' in row["state_reason"]
    rig.reconnect(mailbox, "gmail", address)
    row = rig.look(mailbox)
    assert (row["state"], row["auth_failures"], row["last_error"]) == ("active", 0, "")
    _seen_nowhere_else(rig, log_lines)


def _seen_nowhere_else(rig: Rig, log_lines: io.StringIO) -> None:
    text = log_lines.getvalue() + str(rig.engine.rows("SELECT m::text FROM mailboxes m"))
    assert [secret for secret in rig.secrets() if secret in text] == []


def test_a_token_the_mail_server_refuses_is_fetched_anew_once(
    rig: Rig, log_lines: io.StringIO
) -> None:
    address, endpoint = rig.address(), rig.endpoints["gmail"]
    mailbox = rig.connect("gmail", address)
    rig.look(mailbox)
    assert len(endpoint.asked) == 1
    endpoint.end_access_tokens(address)  # before its time
    row = rig.look(mailbox)
    assert (row["state"], row["auth_failures"], row["last_error"]) == ("active", 0, "")
    assert len(endpoint.asked) == 2

    endpoint.withdraw_at_mail_servers(address)
    row = rig.look(mailbox)
    assert (row["state"], row["auth_failures"]) == ("active", 1)
    assert len(endpoint.asked) == 3
    for strikes in (2, 3):
        row = rig.look(mailbox, later=timedelta(hours=1))
        assert row["auth_failures"] == strikes
    assert row["state"] == "needs_reauth"
    assert "refused user name and password, or the token" in row["last_error"]
    endpoint.withdraw_at_mail_servers(address, withdrawn=False)
    row = rig.look(mailbox, later=timedelta(hours=1))
    assert (row["state"], row["auth_failures"]) == ("active", 0)
    _seen_nowhere_else(rig, log_lines)


def test_an_endpoint_in_trouble_is_never_a_strike(rig: Rig) -> None:
    mailbox, endpoint = rig.connect("gmail", rig.address()), rig.endpoints["gmail"]
    for status, body in ((503, b""), (429, b"{}"), (200, b"<html>"), (200, b"{}"), (401, b"{}")):
        endpoint.answer(status, body)
        row = rig.look(mailbox)
        assert (row["state"], row["auth_failures"]) == ("active", 0), status
        assert "token endpoint" in row["last_error"]
        waiting = rig.engine.one(
            "SELECT due_at - business_at AS wait FROM action, business_clock "
            "WHERE mailbox_id = %s AND kind = 'poll' AND state = 'pending'",
            mailbox,
        )
        assert waiting["wait"] >= timedelta(minutes=1)
    endpoint.answer(401, {"error": "invalid_client"})
    row = rig.look(mailbox)
    assert (row["state"], row["auth_failures"]) == ("active", 0)
    assert "MAILHEARTH_GOOGLE_CLIENT_SECRET" in row["last_error"]
    assert rig.look(mailbox)["last_error"] == ""


def test_a_consent_for_too_little_or_by_another_is_not_used(rig: Rig) -> None:
    for name, account, scope, words in (
        ("ann", rig.address("ann"), "openid", "does not cover https://mail.google.com/"),
        ("bob", "eve@x.test", None, "The consent is for eve@x.test, not for bob@"),
    ):
        address = rig.address(name)
        rig.servers.postfix.add_user(address, "an unknown password")
        spec = rig.spec("gmail", address, rig.endpoints["gmail"].consent(account, scope))
        door = rig.engine.installation.door
        mailbox = mailboxes.add(door, rig.workspace, rig.pool, spec, ACTOR)
        row = rig.look(mailbox)
        assert row["state"] == "needs_reauth"
        assert words in row["state_reason"]
        assert row["connected_at"] is None


def test_an_edited_row_gets_no_token(rig: Rig) -> None:
    mailbox, endpoint = rig.connect("gmail", rig.address()), rig.endpoints["gmail"]
    good = rig.row(mailbox)
    rig.engine.runtime.tokens.login(rig.door, good)  # one that is held is not shown either
    endpoint.asked.clear()
    edits = {
        "oauth_token_endpoint": "http://127.0.0.1:9/token",
        "oauth_client_id": "another",
        "imap_host": "imap.evil.test",
        "provider": "imap_smtp",
    }
    for column, value in edits.items():
        rig.engine.rows(f"UPDATE mailboxes SET {column} = %s WHERE id = %s", value, mailbox)
        row = rig.look(mailbox)
        assert row["last_error"] != "", column
        assert row["connected_at"] is None, column
        assert endpoint.asked == [], column
        rig.engine.rows(
            f"UPDATE mailboxes SET {column} = %s, auth_failures = 0 WHERE id = %s",
            *(good[column], mailbox),
        )
    assert rig.look(mailbox)["connected_at"] is not None


def test_a_new_key_during_a_refresh_loses_no_token(rig: Rig) -> None:
    mailbox, endpoint = rig.connect("outlook", rig.address()), rig.endpoints["outlook"]
    installation = rig.engine.installation
    done: list[int] = []

    def rotate(form: dict[str, str]) -> None:
        if not done:
            command = keys.rotate(installation.door, rig.workspace, ACTOR)
            installation.await_wish(rig.workspace, command)
            done.append(reseal(rig.door, rig.engine.runtime.keys, rig.workspace))

    endpoint.before = rotate
    rig.tokens().login(rig.door, rig.row(mailbox))
    assert done == [1]
    stored = rig.engine.one("SELECT key_version, generation FROM sealed_credentials")
    assert stored == {"key_version": 2, "generation": 3}
    rig.tokens().login(rig.door, rig.row(mailbox))  # strictly rotating: it was the new one


def test_who_connects_anew_during_a_refresh_is_not_written_over(rig: Rig) -> None:
    address, endpoint = rig.address(), rig.endpoints["outlook"]
    mailbox = rig.connect("outlook", address)
    row = rig.row(mailbox)
    for withdrawn in (False, True):
        endpoint.before = lambda form: rig.reconnect(mailbox, "outlook", address)
        if withdrawn:
            endpoint.withdraw(address)
        with pytest.raises(MailError) as caught:
            rig.tokens().login(rig.door, row)
        assert (caught.value.code, caught.value.kind) == (
            "credential_changed",
            FailureKind.TRY_LATER,
        )
        assert not isinstance(caught.value, GrantRefused)
        endpoint.before = lambda form: None
        rig.tokens().login(rig.door, row)
        assert endpoint.asked[-1]["refresh_token"] == rig.given[-1]


def test_a_refresh_that_does_not_end_is_not_waited_for_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = rig.connect("gmail", rig.address())
    rig.engine.rows(
        "UPDATE sealed_credentials SET refresh_claim = %s, "
        "refresh_until = clock_timestamp() + interval '60 s'",
        uuid4(),
    )
    monkeypatch.setattr("mailhearth_worker.tokens.WAIT_S", 0.2)
    row = rig.look(mailbox)
    assert (row["auth_failures"], len(rig.endpoints["gmail"].asked)) == (0, 0)
    assert "Another worker" in row["last_error"]


def test_a_connection_test_uses_the_stored_consent(rig: Rig) -> None:
    mailbox, endpoint = rig.connect("outlook", rig.address()), rig.endpoints["outlook"]
    door, row = rig.engine.installation.door, rig.engine.row(rig.workspace, mailbox)
    steps: dict[str, dict[str, Any]] = {}
    for works in (True, False):
        if not works:
            endpoint.withdraw(rig.address())
            rig.engine.runtime.tokens.forget(mailbox)
        attempt = attempts.start(door, rig.workspace, row, None, "local")
        rig.engine.settle_down()
        found = attempts.find(door, rig.workspace, attempt)
        assert found is not None
        assert found["state"] == ("ok" if works else "failed"), found["steps"]
        steps = {step["name"]: step for step in found["steps"]}
    assert steps["credential"]["code"] == "grant_refused"


def test_removing_a_mailbox_ends_what_is_stored_of_its_consent(rig: Rig) -> None:
    mailbox = rig.connect("gmail", rig.address())
    row = rig.row(mailbox)
    rig.engine.runtime.tokens.login(rig.door, row)
    mailboxes.remove(
        rig.engine.installation.door, rig.workspace, rig.engine.row(rig.workspace, mailbox), ACTOR
    )
    assert rig.engine.rows("SELECT 1 FROM sealed_credentials") == []
    with pytest.raises(MailError) as caught:
        rig.engine.runtime.tokens.login(rig.door, row)
    assert caught.value.code == "credential_missing"
