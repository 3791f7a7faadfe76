"""SQL never asks the server for the time where business time is meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mailhearth_core

ROOT = Path(mailhearth_core.__file__).parents[2]
SOURCES = ("core", "worker", "local", "webapp", "operator")
ASKS = re.compile(
    r"(?<![\w.])(?:now\s*\(\s*\)|(?:transaction|statement)_timestamp\s*\(|timeofday\s*\("
    r"|current_timestamp|current_date|current_time|localtimestamp|localtime"
    r"|'(?:now|today|tomorrow|yesterday)')(?!\w)",
    re.IGNORECASE,
)
MACHINE = re.compile(r"clock_timestamp\s*\(", re.IGNORECASE)
STATEMENT = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|VALUES|INTERVAL)\b")

MACHINE_TIME = {
    # function or query -> why it means the machine's clock
    "uuid7": "a key's time order",
    "sched.tick": "moves the business clock by the machine's",
    "sched.reclaim": "leases",
    "sched.settle": "connection attempts expire",
    "sched.forget_imports": "imports expire",
    "sched.take_wakes": "wake-ups under way",
    "sched.take_attempts": "connection attempts",
    "sched.pool_demand": "connection attempts",
    "take_lease": "leases",
    "claim_refresh": "leases",
    "renew_lease": "leases",
    "save_dns_report": "shown to a person as when it was looked at",
    "begin_sending": "leases",
    "begin_send": "leases",
    "take_mailbox": "leases",
    "release_leases_of": "leases",
    "start_attempt": "connection attempts",
    "report_attempt": "connection attempts",
    "steward.restored": "how long a sandbox's clock stood still, and a generation never had before",
}
MACHINE_TIME_FILES = {
    "local/mailhearth_local/cli/examine.py"  # compares the database's clock with this machine's
}


def without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)


def sql_files() -> list[Path]:
    files = [path for source in SOURCES for path in (ROOT / source).rglob("*.sql")]
    assert len(files) >= 11
    return files


def python_strings() -> list[tuple[str, str]]:
    """Every string literal that looks like SQL, by where it is."""
    found = []
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Constant):
                    continue
                if isinstance(node.value, str) and STATEMENT.search(node.value):
                    found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node.value))
    assert len(found) > 30
    return found


def test_no_sql_asks_for_the_time() -> None:
    texts = [(str(p.relative_to(ROOT)), without_comments(p.read_text())) for p in sql_files()]
    found = [
        f"{where}: {match.group()}"
        for where, text in [*texts, *python_strings()]
        for match in ASKS.finditer(text)
    ]
    assert found == []


def test_the_machines_time_is_asked_only_where_it_is_meant() -> None:
    start = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION ([\w.]+)|^-- name: (\w+)", re.MULTILINE)
    asking: set[str] = set()
    for path in sql_files():
        text = path.read_text()
        heads = list(start.finditer(text))
        for head, following in zip(heads, [*heads[1:], None], strict=False):
            body = text[head.end() : following.start() if following else len(text)]
            if MACHINE.search(without_comments(body)):
                asking.add(head.group(1) or head.group(2))
        before = text[: heads[0].start()] if heads else text
        assert not MACHINE.search(without_comments(before)), path
    assert asking <= set(MACHINE_TIME), asking - set(MACHINE_TIME)
    files = {where.split(":")[0] for where, text in python_strings() if MACHINE.search(text)}
    assert files <= MACHINE_TIME_FILES


@pytest.mark.parametrize(
    "statement",
    ["SELECT now()", "WHERE at < CURRENT_TIMESTAMP", "x > NOW ( )", "DEFAULT 'now'", "localtime"],
)
def test_the_scan_finds_what_is_forbidden(statement: str) -> None:
    assert ASKS.search(statement)


@pytest.mark.parametrize("statement", [":now", "p_now", "due_now", "now_at", "known(x)"])
def test_the_scan_lets_names_pass(statement: str) -> None:
    assert not ASKS.search(statement)
