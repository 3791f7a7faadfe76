"""How many workers a pool has: scaled, asleep, suspended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apiserver import MERGE
from mailhearth_core.verbs import attempts, mailboxes
from mailhearth_operator.manifests import replicas
from operating import ANN, SECONDS, WORKERS, Operating
from waiting import wait_for


def await_replicas(operating: Operating, count: int) -> None:
    wait_for(lambda: operating.replicas() == count, SECONDS)


def plan(operating: Operating, kind: str, due_at: datetime) -> None:
    """Something that the mailbox `ann` is to do."""
    operating.installation.rows(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at)"
        " SELECT workspace_id, id, %s, %s FROM mailboxes",
        kind,
        due_at,
    )


def nothing_is_due(operating: Operating) -> None:
    operating.installation.rows("UPDATE action SET state = 'done', finished_at = due_at")


def states(operating: Operating) -> list[tuple[str, str]]:
    rows = operating.installation.rows("SELECT state, state_reason FROM mailboxes ORDER BY address")
    return [(row["state"], row["state_reason"]) for row in rows]


def workspace_state(operating: Operating) -> tuple[str, str]:
    row = operating.installation.one("SELECT state, state_reason FROM workspaces")
    return row["state"], row["state_reason"]


@pytest.fixture
def with_ann(operating: Operating) -> Operating:
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}])
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    return operating


def test_the_scale_subresource_scales_the_workers(operating: Operating) -> None:
    operating.settle(replicas={"min": 1, "max": 4})
    path = operating.resources.path("MailboxPool", "sales") + "/scale"
    operating.api.must("PATCH", path, {"spec": {"replicas": 3}}, MERGE)
    await_replicas(operating, 3)
    operating.roll_out(WORKERS)
    wait_for(lambda: operating.api.must("GET", path)["status"].get("replicas") == 3, SECONDS)
    selector = operating.api.must("GET", path)["status"]["selector"]
    deployment = operating.get("Deployment", WORKERS) or {}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for part in selector.split(","):
        key, value = part.split("=")
        assert labels[key] == value
    operating.api.must("PATCH", path, {"spec": {"replicas": 1}}, MERGE)
    await_replicas(operating, 1)


@pytest.fixture
def falls_asleep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "SLEEP_AFTER", timedelta())


@pytest.mark.usefixtures("falls_asleep_at_once")
def test_a_pool_sleeps_and_wakes_for_what_is_due_soon(with_ann: Operating) -> None:
    now = datetime.now(UTC)
    plan(with_ann, "census", now + timedelta(minutes=30))
    with_ann.installation.rows("DELETE FROM action WHERE due_at < %s", now)
    with_ann.patch("MailboxPool", "sales", {"spec": {"replicas": {"min": 0}}})
    await_replicas(with_ann, 0)
    with_ann.roll_out(WORKERS)
    with_ann.until("MailboxPool", "sales", "WorkersAvailable", "True", "Asleep")
    with_ann.until("MailboxPool", "sales", "Ready", "True")
    # It is up before its next work is due.
    plan(with_ann, "census", datetime.now(UTC) + timedelta(seconds=60))
    await_replicas(with_ann, 1)
    nothing_is_due(with_ann)
    await_replicas(with_ann, 0)


@pytest.mark.usefixtures("falls_asleep_at_once")
def test_a_connection_test_wakes_a_pool_within_seconds(with_ann: Operating) -> None:
    nothing_is_due(with_ann)
    with_ann.patch("MailboxPool", "sales", {"spec": {"replicas": {"min": 0}}})
    await_replicas(with_ann, 0)
    with_ann.roll_out(WORKERS)
    door, workspace_id = with_ann.installation.door, with_ann.workspace_id()
    (ann,) = mailboxes.listing(door, workspace_id)
    attempts.start(door, workspace_id, ann, None, ann["worker_group"])
    wait_for(lambda: with_ann.replicas() == 1, 6.0)
    with_ann.until("MailboxPool", "sales", "WorkersAvailable", "False", "Unavailable")
    with_ann.installation.rows("DELETE FROM connection_attempts")
    await_replicas(with_ann, 0)


def test_a_backlog_asks_for_more_workers_up_to_the_most(with_ann: Operating) -> None:
    for _ in range(replicas.WORK_EACH * 3):
        plan(with_ann, "census", datetime.now(UTC))
    await_replicas(with_ann, 3)
    with_ann.patch("MailboxPool", "sales", {"spec": {"autoscale": "None"}})
    await_replicas(with_ann, 1)


def test_a_suspended_pool_rests_and_goes_on_as_it_was(with_ann: Operating) -> None:
    with_ann.patch("MailboxPool", "sales", {"spec": {"suspend": True}})
    await_replicas(with_ann, 0)
    assert states(with_ann) == [("paused", "its pool is suspended")]
    with_ann.patch("MailboxPool", "sales", {"spec": {"suspend": False}})
    await_replicas(with_ann, 1)
    assert states(with_ann) == [("active", "")]


def test_a_mailbox_that_its_owner_paused_stays_paused(with_ann: Operating) -> None:
    with_ann.installation.rows("UPDATE mailboxes SET state = 'paused', state_reason = 'by Ann'")
    for suspend, count in ((True, 0), (False, 1)):
        with_ann.patch("MailboxPool", "sales", {"spec": {"suspend": suspend}})
        await_replicas(with_ann, count)
    assert states(with_ann) == [("paused", "by Ann")]


def test_a_suspended_workspace_rests_and_goes_on(with_ann: Operating) -> None:
    with_ann.patch("Workspace", "acme", {"spec": {"suspend": True}})
    await_replicas(with_ann, 0)
    assert workspace_state(with_ann)[0] == "suspended"
    with_ann.patch("Workspace", "acme", {"spec": {"suspend": False}})
    await_replicas(with_ann, 1)
    assert workspace_state(with_ann) == ("active", "")


def test_what_an_administrator_suspended_is_not_woken(with_ann: Operating) -> None:
    with_ann.installation.rows("UPDATE workspaces SET state = 'suspended', state_reason = 'unpaid'")
    for suspend, count in ((True, 0), (False, 1)):
        with_ann.patch("Workspace", "acme", {"spec": {"suspend": suspend}})
        await_replicas(with_ann, count)
    assert workspace_state(with_ann) == ("suspended", "unpaid")
