"""The command line as a user meets it, beside services that run, and a mail server to speak to."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhearth_local.cli.app import run
from mailhearth_local.embedded.folder import FolderLock
from mailhearth_local.run.reconciler import Reconciler
from mailhearth_local.sandbox.accounts import DemoUser
from mailhearth_local.sandbox.demo import ensure_demo_users
from mailhearth_local.sandbox.service import MailSandbox
from mailhearth_local.services.runfile import SUPERVISOR, RunFile, remove_run, write_run
from mailhearth_local.services.stack import Stack

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What one call gave."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """Of a call with --json that failed."""
        found: dict[str, str] = json.loads(self.err)["error"]
        return found


class Stdin(io.TextIOWrapper):
    """What the program reads; `terminal` says whether a person sits there."""

    def __init__(self, content: bytes, terminal: bool) -> None:
        super().__init__(io.BytesIO(content))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class CommandLine:
    """Calls the program's own entry in this process, on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.terminal = False
        self.environ: Mapping[str, str] = {**os.environ, "MAILHEARTH_DATA": str(data)}

    def __call__(
        self, *words: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> Answer:
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = Stdin(stdin, self.terminal)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(words, {**self.environ, **(environ or {})})
        finally:
            sys.stdin = before
        return Answer(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, stdin: bytes = b"") -> Any:
        """The JSON of a call that must succeed."""
        answer = self(*words, "--json", stdin=stdin)
        assert answer.code == 0, answer.err
        return answer.json()

    def add_mailbox(self, address: str, *words: str, stdin: bytes = b"letmein\n") -> Any:
        """A mailbox on loopback servers that need not exist, with consent; in acme if not told."""
        if "-w" not in words:
            words = ("-w", "acme", "-p", "sales", *words)
        return self.ok(
            *("mailbox", "add", "--address", address, "--imap", "127.0.0.1:1"),
            *("--smtp", "127.0.0.1:2", "--tls", "none", "--password-stdin", "--consent", *words),
            stdin=stdin,
        )


class Services:
    """What `mailhearth up` runs for a folder, without worker and scheduler; in this process."""

    def __init__(self, data: Path) -> None:
        self.stack = Stack(data, {"PATH": os.environ["PATH"]})
        self._lock = FolderLock(self.stack.data)
        self._reconciler = Reconciler(lambda: self.stack.urls.operator, self.stack.provisioner)

    def start(self) -> None:
        self._lock.acquire()
        self.stack.start_services()
        self._reconciler.start()
        urls = self.stack.urls
        pids = {SUPERVISOR: os.getpid(), **self.stack.pids()}
        write_run(self.stack.data, RunFile(urls.cli, urls.redis_admin, [], pids))

    def stop(self) -> None:
        remove_run(self.stack.data)
        self._reconciler.stop()
        self.stack.close()
        self.stack.stop_services()
        self._lock.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module's data folder; nothing runs on it by itself."""
    return tmp_path_factory.mktemp("mailhearth") / "data"


@pytest.fixture(scope="module")
def services(folder: Path) -> Iterator[Services]:
    """Services beside which commands run, as beside `up`; neither worker nor scheduler lives."""
    held = Services(folder)
    try:
        held.start()
        yield held
    finally:
        held.stop()


@pytest.fixture(scope="module")
def cli(services: Services, folder: Path) -> CommandLine:
    """The command line beside running services, with the workspace `acme` and its pool `sales`."""
    made = CommandLine(folder)
    made.ok("workspace", "create", "acme")
    made.ok("pool", "create", "sales", "--workspace", "acme")
    return made


@dataclass(frozen=True)
class Post:
    """A mail server on this machine: the words that name it to `mailbox add`, and its people."""

    servers: tuple[str, ...]
    users: list[DemoUser]


@pytest.fixture(scope="session")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    data = tmp_path_factory.mktemp("post")
    users = ensure_demo_users(data)
    sandbox = MailSandbox(data)
    try:
        info = sandbox.ensure_started()
        servers = (
            *("--imap", f"127.0.0.1:{info.imap_port}", "--smtp", f"127.0.0.1:{info.smtps_port}"),
            *("--tls", "implicit", "--ca", info.ca_file),
        )
        yield Post(servers, users)
    finally:
        sandbox.stop()


@pytest.fixture(scope="module")
def alone(folder: Path, post: Post) -> Path:
    """A folder on which nothing runs, with a mailbox that works and one whose password is wrong."""
    services = Services(folder)
    try:
        services.start()
        line = CommandLine(folder)
        line.ok("workspace", "create", "acme")
        line.ok("pool", "create", "sales")
        for user, secret in (
            (post.users[0], post.users[0].password.reveal()),
            (post.users[1], "no"),
        ):
            line.ok(
                *("mailbox", "add", "--address", user.address, *post.servers),
                *("--password-stdin", "--consent"),
                stdin=f"{secret}\n".encode(),
            )
    finally:
        services.stop()
    return folder


@pytest.fixture(scope="module")
def up(alone: Path) -> Iterator[Path]:
    """`mailhearth up` on the prepared folder."""
    said = alone.parent / "up.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            [*PROGRAM, "up", "--data", str(alone)],
            env={"PATH": os.environ["PATH"], "HOME": str(alone)},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (alone / "run.json").exists():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield alone
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.fixture
def at_terminal(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Makes prompts answer with given text, as if a person sat at a terminal."""

    def answer(text: str) -> None:
        monkeypatch.setattr("click.termui.hidden_prompt_func", lambda prompt: text)
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: text)
        cli.terminal = True

    yield answer
    cli.terminal = False


@pytest.fixture(scope="session")
def command_line() -> type[CommandLine]:
    """Makes a command line on a folder."""
    return CommandLine
