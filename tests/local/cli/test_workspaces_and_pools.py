"""workspace, pool, content, keys, migrate: success, and the most likely mistakes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Any  # tests/local/cli/conftest.py: CommandLine


def test_a_workspace_is_made_listed_shown_and_deleted(cli: Cli, folder: Path) -> None:
    made = cli.ok("workspace", "create", "shortlived")
    assert (made["state"], made["active_key"]) == ("active", 1)
    assert made["created_at"].endswith("Z")
    assert made in cli.ok("workspace", "list")
    cli.ok("pool", "create", "main", "-w", "shortlived")
    shown = cli.ok("workspace", "show", made["id"])
    assert [pool["name"] for pool in shown["pools"]] == ["main"]
    assert shown["keys"] == [{"version": 1, "state": "active", "seals": 0}]
    assert (folder / "keys" / made["id"] / "1").is_file()

    refused = cli("workspace", "delete", "shortlived", stdin=b"acme\n")
    assert refused.code == 1
    assert "'acme' is not the workspace's name" in refused.err
    assert cli("workspace", "delete", "shortlived").code == 1  # nobody answers
    assert cli("workspace", "delete", "shortlived", stdin=b"shortlived\n").code == 0
    assert not (folder / "keys" / made["id"] / "1").exists()
    gone = cli("workspace", "show", "shortlived", "--json")
    assert (gone.code, gone.error["code"]) == (1, "not_found")
    assert "acme" in gone.error["hint"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("workspace", "create", "acme"), "A workspace named 'acme' exists already."),
        (("workspace", "create", "Team North"), "workspace: 'Team North' is not allowed"),
        (("pool", "create", "sales"), "A pool named 'sales' exists already."),
        (("pool", "create", "x", "-w", "nowhere"), "There is no workspace named 'nowhere'."),
        (("pool", "show", "nopool"), "There is no pool named 'nopool'"),
        (("pool", "set", "sales", "peering_scope=world"), "pool, workspace, network"),
        (("pool", "set", "sales", "cap=51"), "cap: 51 is not allowed; allowed: a whole number"),
        (("keys", "destroy", "1", "--yes"), "Key version 1 is active"),
        (("keys", "destroy", "9", "--yes"), "There is no key version 9."),
        (("keys", "destroy", "1"), "Nothing was destroyed."),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(cli: Cli, words: tuple[str, ...], told: str) -> None:
    answer = cli(*words, *(() if words[0] == "workspace" or "-w" in words else ("-w", "acme")))
    assert answer.code == 1
    assert answer.err.startswith(f"error: {told}") or told in answer.err.splitlines()[0]
    assert answer.out == ""


def test_a_policy_out_of_bounds_is_refused_whole(cli: Cli) -> None:
    before = cli.ok("pool", "show", "sales", "-w", "acme")
    answer = cli(
        "pool", "set", "sales", "-w", "acme", "step=2", "cap=0", "capp=9", "weekdays=mon-fry"
    )
    assert answer.code == 1
    for told in ("cap: 0", "capp: '9'", "did you mean cap", "weekdays", "Nothing was changed."):
        assert told in answer.err
    assert "step: " not in answer.err
    assert cli.ok("pool", "show", "sales", "-w", "acme") == before


def test_pool_set_changes_policy_and_scope_and_says_what_changed(cli: Cli) -> None:
    cli.ok("pool", "create", "tuned", "-w", "acme", "mode=conservative", "weekdays=mon-sat")
    shown = cli.ok(
        "pool", "set", "tuned", "-w", "acme", "cap=12", "step=2", "peering_scope=workspace"
    )
    assert set(shown["changed"]) == {"mode", "step", "cap", "peering_scope"}
    assert shown["policy"]["cap"] == 12
    assert shown["policy"]["weekdays"] == ["mon", "tue", "wed", "thu", "fri", "sat"]
    assert shown["peering_scope"] == "workspace"
    assert shown["generation"] == 2
    text = cli("pool", "set", "tuned", "-w", "acme", "cap=13").out
    assert "cap 12 -> 13" in text


def test_a_pool_too_small_for_its_volume_says_how_many_it_lacks(cli: Cli) -> None:
    cli.ok("workspace", "create", "tiny")
    # 8 mails a day of which a quarter are replies: 6 new threads, for 24 h gaps 6 peers and itself.
    cli.ok(
        "pool", "create", "p", "-w", "tiny", "cap=8", "reply_rate_percent=25", "pair_gap_hours=24"
    )
    for name in "abc":
        cli.add_mailbox(f"{name}@tiny.test", "-w", "tiny")
    cli.add_mailbox("off@tiny.test", "-w", "tiny")
    cli.ok("mailbox", "consent", "off@tiny.test", "--withdraw")
    shown = cli.ok("pool", "show", "p", "-w", "tiny")
    assert shown["mailboxes"] == 4
    assert shown["shortage"] == {"volume": 8, "available": 3, "needed": 7, "lacking": 4}
    told = "pool too small: 4 more mailboxes needed for 8 mails a day (3 of 7)"
    assert told in cli("pool", "set", "p", "-w", "tiny", "step=1").out
    assert told in cli("status", "-w", "tiny").out
    assert told in cli("doctor").out

    # Another pool's mailboxes count when both pools write beyond themselves.
    cli.ok("pool", "create", "q", "-w", "tiny", "peering_scope=workspace")
    cli.add_mailbox("d@tiny.test", "-w", "tiny", "-p", "q")
    assert cli.ok("pool", "show", "p", "-w", "tiny")["shortage"]["available"] == 3
    cli.ok("pool", "set", "p", "-w", "tiny", "peering_scope=workspace")
    assert cli.ok("pool", "show", "p", "-w", "tiny")["shortage"]["available"] == 4
    small = cli.ok("pool", "set", "p", "-w", "tiny", "cap=4", "mode=custom", "start_volume=2")
    assert small["shortage"] is None


def test_help_of_pool_set_lists_every_field_with_its_bounds(cli: Cli) -> None:
    text = " ".join(cli("pool", "set", "--help").out.split())
    for told in ("peering_scope", "pair_gap_hours a whole number from 24 to 720", "default 72"):
        assert told in text


def test_keys_are_rotated_listed_and_destroyed_when_nothing_needs_them(cli: Cli) -> None:
    cli.ok("workspace", "create", "keyed")
    cli.ok("pool", "create", "main", "-w", "keyed")
    cli.add_mailbox("a@keyed.test", "-w", "keyed")
    assert cli.ok("keys", "rotate", "-w", "keyed")["active_key"] == 2
    rows = cli.ok("keys", "list", "-w", "keyed")
    assert [(r["version"], r["state"], r["seals"]) for r in rows] == [
        (1, "retiring", 2),
        (2, "active", 0),
    ]
    assert (
        "Key version 1 is retiring and seals 2"
        in cli(*("keys", "destroy", "1", "-w", "keyed", "--yes")).err
    )
    cli.ok("mailbox", "remove", "a@keyed.test", "-w", "keyed")
    cli.ok("keys", "rotate", "-w", "keyed")  # the provisioner's next pass archives what is free
    deadline = time.monotonic() + 20
    while cli.ok("keys", "list", "-w", "keyed")[0]["state"] != "archived":
        assert time.monotonic() < deadline
        cli.ok("pool", "create", f"p{time.monotonic_ns()}", "-w", "keyed")
    destroyed = cli.ok("keys", "destroy", "1", "-w", "keyed", "--yes")
    assert "destroyed" in destroyed["outcome"]
    assert cli.ok("keys", "list", "-w", "keyed")[0]["state"] == "destroyed"


def own_library() -> str:
    """Ten openings about the garden, with enough words to vary them."""
    plants = (
        "roses",
        "beans",
        "ferns",
        "lilies",
        "herbs",
        "leeks",
        "plums",
        "pears",
        "figs",
        "kale",
    )
    openings = [
        f"Have you {{seen|noticed}} how the {plant} by {{thing}} {{did|fared}} {{lately|now}}?"
        for plant in plants
    ]
    things = (
        "gate",
        "wall",
        "pond",
        "shed",
        "fence",
        "path",
        "bench",
        "tree",
        "well",
        "arch",
        "barn",
    )
    return "\n".join(
        [
            *("[words thing]", *(f"the {thing}" for thing in things), ""),
            *("[greetings plain]", "Hello {recipient},", "", "[sign-offs plain]", "{sender}", ""),
            *("[thread]", "tone: plain", "subject: The garden"),
            *("opening:", "\nor:\n".join(openings)),
            *("reply:", "They did well, better than I thought.", ""),
        ]
    )


def test_content_is_checked_whole_and_then_listed(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("[thread]\nsubject: see https://example.com\nopening: Hello\n")
    refused = cli("content", "add", str(bad), "-w", "acme")
    assert refused.code == 1
    assert "a link; links are not allowed" in refused.err
    assert (
        cli("content", "add", str(bad), "-w", "acme", "--json").error["code"] == "invalid_content"
    )
    bad.write_bytes(b"\xff\xfe")
    assert "UTF-8" in cli("content", "add", str(bad), "-w", "acme").err
    assert cli.ok("content", "list", "-w", "acme") == []

    good = tmp_path / "good.txt"
    good.write_text(own_library())
    added = cli.ok("content", "add", str(good), "-w", "acme", "--name", "ours")
    assert added["version"] == f"own/{added['id']}"
    assert [row["name"] for row in cli.ok("content", "list", "-w", "acme")] == ["ours"]
    again = cli("content", "add", str(good), "-w", "acme")
    assert (again.code, "this very text already" in again.err) == (1, True)


def test_the_data_folder_is_named_before_or_after_the_command(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    elsewhere = {"MAILHEARTH_DATA": str(tmp_path / "other")}
    for words in (
        ("--data", str(folder), "pool", "list", "-w", "acme"),
        ("pool", "--data", str(folder), "list", "-w", "acme"),
        ("pool", "list", "-w", "acme", "--data", str(folder)),
    ):
        answer = cli(*words, environ=elsewhere)
        assert "sales" in answer.out, answer.err
    assert not (tmp_path / "other").exists()


def test_migrate_has_nothing_to_do_beside_services_of_this_version(cli: Cli) -> None:
    answer = cli.ok("migrate")
    assert answer["applied"] == []
    assert answer["version"][:4].isdigit()


def test_prompts_are_asked_at_a_terminal(cli: Cli, at_terminal: Callable[[str], None]) -> None:
    cli.ok("workspace", "create", "asked")
    at_terminal("asked")
    assert cli("workspace", "delete", "asked").code == 0
