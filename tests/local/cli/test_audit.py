"""`mailhearth audit` as a user meets it, and `workspace delete` where nothing else runs."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailhearth_core.storage.doors import Database
from mailhearth_worker.scheduler.seal import Signer, seal_events

Cli = Any  # tests/local/cli/conftest.py: CommandLine
Services = Any


def seal(services: Services, folder: Path) -> None:
    """What the scheduler does."""
    database = Database(services.stack.urls.scheduler)
    try:
        with database.tx() as conn:
            seal_events(conn)
        with database.tx() as conn:
            Signer(folder / "work", io.StringIO()).sign_heads(conn)
    finally:
        database.close()


def test_the_trail_is_listed_verified_exported_and_erased_from(
    cli: Cli, services: Services, folder: Path, tmp_path: Path
) -> None:
    cli.add_mailbox("ann@x.test")
    cli.ok("mailbox", "pause", "ann@x.test", "-w", "acme")
    told = cli.ok("audit", "list", "-w", "acme")
    assert told[0]["action"] == "mailbox.paused"
    assert (told[0]["subject"], told[0]["seq"]) == ("ann@x.test", None)
    assert cli.ok("audit", "list", "--platform")[-1]["action"] == "workspace.created"
    plain = cli("audit", "verify")
    assert plain.code == 0
    assert "No anchor" in plain.out

    seal(services, folder)
    kept = tmp_path / "kept.jsonl"
    shutil.copy(folder / "work" / "audit" / "checkpoints.jsonl", kept)
    whole = cli.ok("audit", "verify")
    assert (whole["ok"], whole["anchor"]) == (True, str(folder / "work/audit/checkpoints.jsonl"))
    mine = next(c for c in whole["chains"] if c["events"] > 2)
    assert (mine["unsealed"], mine["checkpoint"]) == (0, mine["last"])
    assert cli.ok("audit", "list", "-w", "acme")[0]["seq"] == mine["last"]

    exported = cli("audit", "export", "-w", "acme").out
    head, *events, point, end = [json.loads(line) for line in exported.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, mine["last"] + 1))
    assert {part["scope"] for part in (head, *events, point)} == {mine["scope"]}
    assert (point["seq"], end) == (mine["last"], {"end": mine["last"]})
    file = tmp_path / "acme.jsonl"
    file.write_bytes(exported.encode())
    found = cli.ok("audit", "examine", str(file), "--anchor", str(kept))
    assert (found["ok"], found["key"]) == (True, point["public_key"])
    file.write_bytes(cli("audit", "export", "-w", "acme", "--csv").out.encode())
    assert cli.ok("audit", "examine", str(file))["chain"]["events"] == mine["last"]
    file.write_bytes(exported.replace("mailbox.paused", "mailbox.active").encode())
    changed = cli("audit", "examine", str(file))
    assert (changed.code, "BROKEN" in changed.out) == (1, True)

    refused = cli("audit", "erase", "ann@x.test", "-w", "acme", stdin=b"bob@x.test\n")
    assert (refused.code, "Nothing was erased" in refused.err) == (1, True)
    erased = cli.ok("audit", "erase", "ann@x.test", "-w", "acme", "--yes")
    assert erased["erased_fields"] >= 2
    assert "ann@x.test" not in cli("audit", "export", "-w", "acme").out
    assert cli.ok("audit", "verify", "--anchor", str(kept))["ok"]


def test_a_cut_is_told_by_the_anchor_and_the_exit_code(
    cli: Cli, services: Services, folder: Path, tmp_path: Path
) -> None:
    seal(services, folder)
    kept = folder / "work" / "audit" / "checkpoints.jsonl"
    url = services.stack.postgres.superuser_url.reveal()
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT current_database()").fetchone()
        assert row is not None
    url = url.rpartition("/")[0] + "/mailhearth"
    with psycopg.connect(url) as conn:
        conn.execute("SET search_path = mailhearth")
        conn.execute("DELETE FROM audit_checkpoints")
        gone = conn.execute(
            "DELETE FROM audit_events WHERE (workspace_id, seq) IN (SELECT workspace_id, max(seq) "
            "FROM audit_events GROUP BY 1) RETURNING seq"
        ).fetchall()
    assert gone
    answer = cli("audit", "verify", "--anchor", str(kept))
    assert answer.code == 1
    assert "CUT_OFF" in answer.out
    assert f"event {gone[0][0]}" in answer.out
    empty = tmp_path / "empty"
    empty.write_text("")
    assert cli("audit", "verify", "--anchor", str(empty)).code == 1
    missing = cli("audit", "verify", "--anchor", str(tmp_path / "missing"))
    assert missing.code == 1
    assert "a file that can be read" in missing.err
    assert cli("audit", "list", "--platform", "-w", "acme").code == 1
    assert cli("audit", "erase", "x", "--everywhere", "-w", "acme", "--yes").code == 1


@pytest.mark.parametrize("words", [("list",), ("export",), ("erase", "x", "--yes")])
def test_an_unknown_workspace_is_told(cli: Cli, words: tuple[str, ...]) -> None:
    answer = cli("audit", *words, "-w", "nowhere")
    assert answer.code == 1
    assert "There is no workspace named 'nowhere'." in answer.err
