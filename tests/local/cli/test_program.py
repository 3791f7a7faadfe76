"""The program as a whole: help, usage errors, exit codes, unexpected ends."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mailhearth_core.errors import MailhearthError
from mailhearth_local.cli import docs, migrate
from mailhearth_local.cli.app import root, run

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]


def commands() -> dict[str, click.Command]:
    return dict(docs.walk("mailhearth", root))


def test_the_page_of_the_documentation_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "cli.md"
    assert page.read_text() == docs.page(), "run: python -m mailhearth_local.cli.docs > docs/cli.md"


def test_every_command_has_help_that_shows_an_example_and_its_json() -> None:
    leaves = {n: c for n, c in commands().items() if not isinstance(c, click.Group)}
    assert len(leaves) > 25
    for name, command in leaves.items():
        text = docs.help_text(name, command)
        assert f"\n  {name}" in text or f"mailhearth {name.split()[1]}" in text, name
        options = {word for p in command.params for word in p.opts}
        if "--json" in options and name != "mailhearth up":
            assert "JSON" in (command.help or ""), f"{name} does not say what --json gives"


def test_lines_of_help_in_the_tables_name_every_command_of_the_issue() -> None:
    assert set(commands()) >= {
        f"mailhearth {words}"
        for words in (
            *("up", "worker", "scheduler", "web", "migrate", "doctor", "status"),
            *("workspace create", "workspace list", "workspace show", "workspace delete"),
            *("pool create", "pool list", "pool show", "pool set"),
            *("mailbox add", "mailbox import", "mailbox list", "mailbox show", "mailbox test"),
            *("mailbox pause", "mailbox resume", "mailbox remove", "mailbox why"),
            *("mailbox consent", "content add", "content list"),
            *("keys rotate", "keys list", "keys destroy"),
        )
    }


def test_help_imports_no_command_nor_what_commands_need() -> None:
    heavy = ("psycopg", "rich", "pydantic", "redis", "mailhearth_local.services.stack")
    code = (
        "import sys\nfrom mailhearth_local.cli.app import run\n"
        f"assert run(['--help']) == 0\nprint([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["mailbox", "lst"], "Did you mean 'list'?"),
        (["mailbox", "add", "--adress", "x"], "--address"),
        (["workspace", "create"], "Missing argument 'NAME'"),
        (["keys", "destroy", "zero"], "'zero' is not a valid integer"),
        (["pool", "set", "sales", "cap"], "'cap' is not KEY=VALUE"),
        (["pool", "set", "sales", "cap=1", "cap=2"], "'cap' is given twice"),
        (["mailbox", "consent", "a@b.test", "--network", "--withdraw"], "contradict each other"),
        (["mailbox", "test", "a@b.test", "--save"], "nothing new to save"),
        (["mailbox", "import", "no-such-file.csv"], "no-such-file.csv"),
        (["up", "--report", "x"], "--days"),
    ],
)
def test_a_usage_error_is_told_in_one_line_with_where_to_look(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--data", str(tmp_path), *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ")
    assert told in lines[0]
    assert re.fullmatch(r"hint: `mailhearth.* --help` shows what is allowed\.", lines[1])
    assert run(["--data", str(tmp_path), "--json", *words]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage"


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MailhearthError("It broke.", hint="Mend it."), 1, "error: It broke.\nhint: Mend it.\n"),
        (KeyboardInterrupt(), 130, "error: Interrupted.\n"),
    ],
)
def test_an_end_that_is_foreseen_is_one_line(
    error: BaseException,
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(migrate.migrate, "callback", raising(error))
    assert run(["migrate", "--data", str(tmp_path)]) == code
    assert capsys.readouterr().err.strip() == line.strip()


def test_an_unexpected_end_is_one_line_and_a_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        migrate.migrate, "callback", raising(RuntimeError("at postgresql://me:hush@db.example/x"))
    )
    assert run(["migrate", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr()
    log = tmp_path / "log" / "cli.log"
    assert "Traceback" not in told.err + told.out
    assert str(log) in told.err
    story = log.read_text()
    assert "RuntimeError: at postgresql" in story
    assert "hush" not in story
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_unknown_error_of_ours_is_json_with_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(migrate.migrate, "callback", raising(MailhearthError("No.", hint="Yes.")))
    assert run(["migrate", "--json", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err) == {"error": {"code": "error", "message": "No.", "hint": "Yes."}}


def test_worker_scheduler_and_web_tell_all_wrong_settings_at_once(tmp_path: Path) -> None:
    for words in (["worker", "--group", "Sales Team"], ["scheduler"], ["web"]):
        done = subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
        )
        assert done.returncode == 1
        assert "MAILHEARTH_DATABASE_URL: is not set" in done.stderr
        assert "MAILHEARTH_REDIS_URL: is not set" in done.stderr
        assert ("MAILHEARTH_GROUPS" in done.stderr) == (words[0] == "worker")
        assert ("MAILHEARTH_PUBLIC_URL" in done.stderr) == (words[0] == "web")
        assert "Traceback" not in done.stderr


def test_worker_hands_the_group_over_and_becomes_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execve", lambda path, words, env: became.append((words, env)))
    environ = {
        "MAILHEARTH_DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
        "MAILHEARTH_LOGINS_FOLDER": str(tmp_path),
        "MAILHEARTH_KEYS_FOLDER": str(tmp_path),
        "MAILHEARTH_NAME": "w1",
    }
    words = ["worker", "--group", "sales", "--group", "shared", "--data", str(tmp_path)]
    assert run(words, environ) == 0
    assert run(["scheduler", "--data", str(tmp_path)], environ) == 0
    web = {**environ, "MAILHEARTH_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}
    assert run(["web"], web | {"MAILHEARTH_PUBLIC_URL": "https://warm.example.org"}) == 0
    (worker, given), (scheduler, _), (dashboard, _) = became
    assert worker[1:] == ["-m", "mailhearth_worker"]
    assert given["MAILHEARTH_GROUPS"] == "sales,shared"
    assert given["MAILHEARTH_DATA_FOLDER"] == str(tmp_path)
    assert scheduler[1:] == ["-m", "mailhearth_worker.scheduler"]
    assert dashboard[1:] == ["-m", "mailhearth_web"]
