"""Mailboxes that Secrets declare: sealed in, followed, refused with a sentence, never deleted."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from database import ACTOR
from mailhearth_core.sealing import Binding, PrivateKey, open_sealed
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.credentials import destinations
from operating import ANN, SECONDS, Operating
from waiting import wait_for


def declare(operating: Operating, *names: str) -> None:
    spec = {"mailboxes": [{"secretName": name} for name in names]}
    operating.patch("MailboxPool", "sales", {"spec": spec})


def sealed(operating: Operating) -> None:
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")


def refused(operating: Operating) -> str:
    found = operating.until("MailboxPool", "sales", "CredentialsSealed", "False", "SecretRefused")
    message: str = found["message"]
    return message


def boxes(operating: Operating) -> list[dict[str, Any]]:
    return mailboxes.listing(operating.installation.door, operating.workspace_id())


def password_of(operating: Operating, address: str) -> str:
    """As a worker would open it, with the key in the cluster."""
    (box,) = (one for one in boxes(operating) if one["address"] == address)
    row = operating.installation.one(
        "SELECT key_version, sealed FROM sealed_credentials"
        " WHERE mailbox_id = %s AND field = 'imap_password'",
        box["id"],
    )
    name = f"mailhearth-key-{operating.workspace_id()}-{row['key_version']}"
    secret = operating.get("Secret", name) or {}
    key = PrivateKey(base64.b64decode(secret["data"]["private"]))
    field, version = "imap_password", row["key_version"]
    where = destinations(box)[field]
    binding = Binding(operating.workspace_id(), box["id"], field, version, where)
    return open_sealed(key, binding, row["sealed"]).reveal()


@pytest.fixture
def with_ann(operating: Operating) -> Operating:
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}])
    sealed(operating)
    return operating


def test_a_changed_password_is_sealed_anew_and_nothing_else(with_ann: Operating) -> None:
    assert password_of(with_ann, ANN["address"]) == "first"
    with_ann.secret("ann", {**ANN, "password": "second\n"})
    wait_for(lambda: password_of(with_ann, ANN["address"]) == "second", SECONDS)
    (box,) = boxes(with_ann)
    assert (box["consent"], box["state"], box["imap_host"]) == (
        "workspace",
        "active",
        "imap.example.com",
    )
    generation = "SELECT generation FROM sealed_credentials WHERE field = 'imap_password'"
    before = with_ann.installation.one(generation)
    with_ann.look()
    assert with_ann.installation.one(generation) == before  # once for each change


def test_new_servers_zone_and_consent_are_followed(with_ann: Operating) -> None:
    changes = {"imap": "mail.example.com:993", "timezone": "Asia/Tokyo", "consent": "false"}
    with_ann.secret("ann", {**ANN, **changes})
    wait_for(lambda: boxes(with_ann)[0]["consent"] == "none", SECONDS)
    (box,) = boxes(with_ann)
    assert (box["imap_host"], box["timezone"]) == ("mail.example.com", "Asia/Tokyo")
    with_ann.secret("ann", {**ANN, "consent": "true"})
    wait_for(lambda: boxes(with_ann)[0]["consent"] == "workspace", SECONDS)
    consents = with_ann.installation.rows("SELECT actor FROM consent_ledger")
    assert {row["actor"] for row in consents} == {f"secret {with_ann.namespace}/ann"}


def test_a_secret_without_the_label_is_refused_until_it_has_it(with_ann: Operating) -> None:
    with_ann.secret("bob", {**ANN, "address": "bob@example.com"}, labelled=False)
    declare(with_ann, "ann", "bob")
    told = refused(with_ann)
    assert "kubectl label secret bob mailhearth.io/mailbox=true" in told
    assert [box["address"] for box in boxes(with_ann)] == [ANN["address"]]
    wait_for(lambda: with_ann.events("SecretRefused"))
    with_ann.patch("Secret", "bob", {"metadata": {"labels": {"mailhearth.io/mailbox": "true"}}})
    sealed(with_ann)
    assert len(boxes(with_ann)) == 2
    # Taken off again: what was sealed stays, and it is said.
    with_ann.patch("Secret", "bob", {"metadata": {"labels": {"mailhearth.io/mailbox": None}}})
    refused(with_ann)
    assert len(boxes(with_ann)) == 2


MISTAKES: list[tuple[dict[str, str], str]] = [
    ({"pasword": "x"}, "'pasword' is none of"),
    ({"address": "no address"}, "address"),
    ({"imap": "imap.example.com:none"}, "imap"),
    ({"tls": "none"}, "tls"),
    ({"password": ""}, "password"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"imap": "imap.gmail.com:993"}, "OAuth"),
]


def test_a_secret_with_a_mistake_is_refused_and_harms_no_other(with_ann: Operating) -> None:
    bob = {**ANN, "address": "bob@example.com"}
    declare(with_ann, "bob", "ann")
    for change, told in MISTAKES:
        with_ann.secret("bob", bob | change)
        wait_for(lambda told=told: told in refused(with_ann), SECONDS)  # type: ignore[misc]
        assert [box["address"] for box in boxes(with_ann)] == [ANN["address"]]
    with_ann.secret("bob", bob)
    sealed(with_ann)
    assert len(boxes(with_ann)) == 2


def test_two_secrets_of_one_address_do_not_take_turns(with_ann: Operating) -> None:
    with_ann.secret("ann-too", {**ANN, "password": "other"})
    declare(with_ann, "ann-too", "ann")
    assert "declared by the Secret ann already" in refused(with_ann)
    generation = "SELECT generation FROM sealed_credentials WHERE field = 'imap_password'"
    before = with_ann.installation.one(generation)
    for _ in range(3):
        with_ann.look()
    assert with_ann.installation.one(generation) == before
    assert password_of(with_ann, ANN["address"]) == "first"
    declare(with_ann, "ann-too")  # the other is taken out: this one takes the mailbox over
    sealed(with_ann)
    assert password_of(with_ann, ANN["address"]) == "other"


def test_a_mailbox_that_is_no_longer_declared_stays_and_is_taken_up_again(
    with_ann: Operating,
) -> None:
    (before,) = boxes(with_ann)
    declare(with_ann)
    with_ann.until("MailboxPool", "sales", "CredentialsSealed", "True", "NoneDeclared")
    (detached,) = boxes(with_ann)
    assert (detached["id"], detached["state"]) == (before["id"], "active")
    assert password_of(with_ann, ANN["address"]) == "first"
    with_ann.secret("ann", {**ANN, "password": "later"})
    with_ann.look()
    assert password_of(with_ann, ANN["address"]) == "first"  # it is not ours to change now
    declare(with_ann, "ann")
    wait_for(lambda: password_of(with_ann, ANN["address"]) == "later", SECONDS)
    assert [box["id"] for box in boxes(with_ann)] == [before["id"]]


def test_a_deleted_secret_is_said_and_its_mailbox_stays(with_ann: Operating) -> None:
    with_ann.delete("Secret", "ann")
    assert "ann: there is no such Secret" in refused(with_ann)
    assert len(boxes(with_ann)) == 1


def test_a_declared_mailbox_that_somebody_removed_is_added_anew_once(with_ann: Operating) -> None:
    (before,) = boxes(with_ann)
    mailboxes.remove(with_ann.installation.door, with_ann.workspace_id(), before, ACTOR)
    with_ann.look()
    (after,) = boxes(with_ann)
    assert after["id"] != before["id"]
    with_ann.look()
    assert [box["id"] for box in boxes(with_ann)] == [after["id"]]
    sealed(with_ann)
