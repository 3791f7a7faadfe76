"""A database that is put back to an older state: it is noticed, and nothing old is sent again."""

from __future__ import annotations

import subprocess
from collections import Counter
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from campaign import Campaign
from database import ACTOR, Cluster, TestInstallation
from engine import MONDAY
from mailhearth_core.verbs import restores
from mailhearth_worker.scheduler.generation import DatabaseRestored, GenerationCopy

MESSAGES = 120


def test_after_a_restore_from_an_older_backup_nothing_old_is_sent_again(
    cluster: Cluster, installation: TestInstallation, tmp_path: Path
) -> None:
    campaign = Campaign(installation, tmp_path, messages=MESSAGES)
    engine = campaign.engine
    try:
        campaign.connect()
        campaign.plan()
        campaign.run_to(11.5)
        _start_scheduler(tmp_path, installation)
        _dump(cluster, installation, tmp_path / "backup")
        _start_scheduler(tmp_path, installation)
        at_backup = engine.arrivals()
        campaign.run_to(13.5)
        before, answered = engine.arrivals(), _answers(campaign)
        assert before.total() >= at_backup.total() + MESSAGES // 8
        assert len(answered) >= 3

        _restore(cluster, installation, tmp_path / "backup")
        engine._conn.close()
        engine._conn = psycopg.connect(
            installation.superuser_url, row_factory=dict_row, autocommit=True
        )
        engine._conn.execute("SET search_path = mailhearth")
        for _ in range(2):  # a supervisor starts it again and again
            with pytest.raises(DatabaseRestored):
                _start_scheduler(tmp_path, installation)
        engine.set_clock(MONDAY + timedelta(hours=13, minutes=40))
        again = engine.rows(
            "SELECT id FROM outbound WHERE state = 'bound' AND due_at < %s", engine.now
        )
        assert again
        done = restores.announce(installation.database("cli"), ACTOR)
        assert engine.now >= done.restored_at >= MONDAY + timedelta(hours=13, minutes=40)
        _start_scheduler(tmp_path, installation)

        # A wake-up that lay in the queue comes before the scheduler has looked at anything.
        for mailbox in campaign.mailboxes.values():
            engine.drain(campaign.workspace, mailbox)
        assert engine.arrivals() == before
        campaign.run_to(20)
        campaign.run_out()

        after = engine.arrivals()
        assert set(after.values()) == {1}
        assert after.total() > before.total()  # what was due later went its way
        ends = engine.rows(
            "SELECT DISTINCT state, reason FROM outbound WHERE id = ANY (%s)",
            [row["id"] for row in again],
        )
        ways = {(row["state"], row["reason"]) for row in ends}
        assert ("skipped", "restored") in ways
        assert ways <= {("skipped", "restored"), ("skipped", "late")}
        late = engine.rows(
            "SELECT 1 FROM outbound WHERE sent_at >= %s AND due_at < %s",
            *(done.restored_at, done.restored_at),
        )
        assert late == []
        twice = [parent for parent, times in _answers(campaign).items() if times > 1]
        assert twice == []
        assert campaign.outcome().open == []
    finally:
        campaign.close()


def _start_scheduler(folder: Path, installation: TestInstallation) -> None:
    GenerationCopy(folder / "work").check(installation.database("scheduler"))


def _answers(campaign: Campaign) -> Counter[str]:
    """How often each message was answered, by its Message-ID."""
    engine = campaign.engine
    found = (
        message_from_bytes(mail.raw)["In-Reply-To"]
        for user in engine.users
        for mail in engine.mail(user.address)
    )
    return Counter(str(parent) for parent in found if parent)


def _dump(cluster: Cluster, installation: TestInstallation, file: Path) -> None:
    _run(cluster, "pg_dump", "--format=custom", f"--file={file}", installation.superuser_url)


def _restore(cluster: Cluster, installation: TestInstallation, file: Path) -> None:
    """Puts another database, made from the backup, in the place of the present one."""
    fresh = cluster.create_database(template="template0")
    old = urlsplit(installation.superuser_url).path.removeprefix("/")
    new = urlsplit(fresh).path.removeprefix("/")
    with psycopg.connect(cluster.superuser_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(old)))
        conn.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(new), sql.Identifier(old)
            )
        )
    _run(cluster, "pg_restore", f"--dbname={installation.superuser_url}", str(file))


def _run(cluster: Cluster, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [cluster.server.program_folder / program, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
