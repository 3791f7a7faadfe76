"""What adding, changing and removing a mailbox writes, and what is refused whole."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.errors import Conflict, InvalidValue, NotFound, NotYet
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import attempts, mailboxes, workspaces
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, parse_spec
from messages import NOW, Messages

GOOD = {"address": "ann@one.test", "imap": "127.0.0.1:1", "smtp": "127.0.0.1:2", "tls": "none"}


def spec(**values: str) -> MailboxSpec:
    return parse_spec(GOOD | {"consent": "workspace"} | values, Secret("letmein"))


def counts(installation: TestInstallation) -> dict[str, int]:
    tables = ("mailboxes", "mailbox_leases", "sealed_credentials", "consent_ledger", "action")
    return {table: installation.one(f"SELECT count(*) AS n FROM {table}")["n"] for table in tables}


def test_adding_writes_everything_that_warmup_needs_and_no_clear_password(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    mailbox = mailboxes.add(installation.door, workspace, pool, spec(), ACTOR)
    assert counts(installation) == {
        "mailboxes": 1,
        "mailbox_leases": 1,
        "sealed_credentials": 2,
        "consent_ledger": 1,
        "action": 1,
    }
    sealed = installation.rows("SELECT field, sealed FROM sealed_credentials ORDER BY field")
    assert [row["field"] for row in sealed] == ["imap_password", "smtp_password"]
    assert all(b"letmein" not in bytes(row["sealed"]) for row in sealed)
    ledger = installation.one("SELECT scope, actor, via FROM consent_ledger")
    assert ledger == {"scope": "workspace", "actor": ACTOR.name, "via": "cli"}
    assert installation.one("SELECT kind, mailbox_id FROM action") == {
        "kind": "poll",
        "mailbox_id": mailbox,
    }


def test_without_consent_no_sign_in_is_asked_for_until_it_is_given(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    mailboxes.add(installation.door, workspace, pool, spec(consent="none"), ACTOR)
    assert counts(installation)["action"] == 0
    _, row = mailboxes.locate(installation.database("cli"), "ann@one.test", None)
    mailboxes.consent(installation.door, workspace, row, "network", ACTOR)
    assert counts(installation)["action"] == 1
    scopes = installation.rows("SELECT scope FROM consent_ledger ORDER BY id")
    assert [row["scope"] for row in scopes] == ["none", "network"]


def test_a_workspace_without_a_key_takes_nothing(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    installation.rows("UPDATE key_versions SET state = 'retiring'")
    with pytest.raises(NotYet, match="no active key"):
        mailboxes.add(installation.door, workspace, pool, spec(), ACTOR)
    assert set(counts(installation).values()) == {0}


def test_a_workspace_being_deleted_takes_nothing(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    workspaces.begin_deletion(installation.database("cli"), workspace, ACTOR)
    with pytest.raises(Conflict, match="being deleted"):
        mailboxes.add(installation.door, workspace, pool, spec(), ACTOR)
    assert counts(installation)["mailboxes"] == 0


def test_of_two_that_add_the_same_address_at_once_one_is_refused(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    gate = threading.Barrier(2)
    outcomes: list[object] = []

    def add() -> None:
        gate.wait()
        try:
            outcomes.append(mailboxes.add(installation.door, workspace, pool, spec(), ACTOR))
        except Conflict as error:
            outcomes.append(error)

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert counts(installation)["mailboxes"] == 1
    assert counts(installation)["sealed_credentials"] == 2


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"imap": "mail.example.com:143"}, InvalidValue),
        ({"smtp": "192.0.2.1:25"}, InvalidValue),
    ],
)
def test_a_connection_in_clear_is_for_this_machine_only(
    installation: TestInstallation, values: dict[str, str], error: type[Exception]
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    with pytest.raises(error, match="tls: 'none' is not allowed"):
        mailboxes.add(installation.door, workspace, pool, spec(**values), ACTOR)


def test_a_sandbox_takes_no_server_beyond_this_machine(installation: TestInstallation) -> None:
    installation.enter_sandbox()
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    far = spec(imap="imap.example.com:993", tls="implicit")
    with pytest.raises(Conflict, match="is no server of this sandbox") as caught:
        mailboxes.add(installation.door, workspace, pool, far, ACTOR)
    assert caught.value.code == "sandbox_refused"
    mailboxes.add(installation.door, workspace, pool, spec(), ACTOR)
    _, row = mailboxes.locate(installation.database("cli"), "ann@one.test", None)
    for change in (
        lambda: mailboxes.reconnect(installation.door, workspace, row, far, ACTOR),
        lambda: attempts.start(installation.door, workspace, row, far, "local"),
    ):
        with pytest.raises(Conflict, match="is no server of this sandbox"):
            change()


def test_a_removed_mailbox_keeps_no_credential_and_no_consent(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    installation.mailbox(workspace, pool, "ann@one.test")
    cli = installation.database("cli")
    _, row = mailboxes.locate(cli, "ann@one.test", None)
    mailboxes.remove(installation.door, workspace, row, ACTOR)
    assert counts(installation)["sealed_credentials"] == 0
    left = installation.one("SELECT state, consent, username, ca_pem FROM mailboxes")
    assert left == {"state": "removed", "consent": "none", "username": "", "ca_pem": None}
    with pytest.raises(NotFound):
        mailboxes.locate(cli, "ann@one.test", None)


def test_reconnecting_forgets_the_strikes_and_seals_anew(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    installation.mailbox(workspace, pool, "ann@one.test")
    installation.rows(
        "UPDATE mailboxes SET state = 'needs_reauth', auth_failures = 10, last_error = 'no'"
    )
    _, row = mailboxes.locate(installation.database("cli"), "ann@one.test", None)
    mailboxes.reconnect(installation.door, workspace, row, spec(imap="127.0.0.1:9"), ACTOR)
    after: dict[str, Any] = installation.one(
        "SELECT state, auth_failures, last_error, imap_port, consent FROM mailboxes"
    )
    assert after == {
        "state": "active",
        "auth_failures": 0,
        "last_error": "",
        "imap_port": 9,
        "consent": "workspace",
    }
    generations = installation.rows("SELECT generation FROM sealed_credentials")
    assert [row["generation"] for row in generations] == [2, 2]


def test_consent_given_again_looks_for_mail_on_its_way_and_cleans_up(
    installation: TestInstallation,
) -> None:
    installation.enter_sandbox(86_400)
    installation.rows("UPDATE business_clock SET business_at = %s", NOW)
    messages = Messages(installation)
    messages.bound(messages.alice, messages.bob)
    twin = messages.twin(messages.sent(messages.alice))
    assert twin is not None
    messages.observed(twin["id"], NOW)
    database = installation.database("cli")
    workspace, row = mailboxes.locate(database, "bob@south.test", None)
    mailboxes.consent(installation.door, workspace, row, "none", ACTOR)
    messages.settle()
    assert open_actions(installation, messages.bob) == []
    for _ in range(2):  # asked twice, planned once
        mailboxes.consent(installation.door, workspace, row, "network", ACTOR)
    retention = timedelta(days=14)
    assert open_actions(installation, messages.bob) == [("expunge", NOW + retention), ("poll", NOW)]


def open_actions(installation: TestInstallation, mailbox: UUID) -> list[tuple[str, datetime]]:
    rows = installation.rows(
        "SELECT kind, due_at FROM action WHERE mailbox_id = %s AND state = 'pending' ORDER BY kind",
        mailbox,
    )
    return [(row["kind"], row["due_at"]) for row in rows]
