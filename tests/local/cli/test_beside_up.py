"""Commands beside a running `mailhearth up`: its worker does the tests, and all is well."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
Post = Any


def test_the_running_worker_does_a_test(up: Path, command_line: Any, post: Post) -> None:
    cli = command_line(up)
    good, bad = (cli("mailbox", "test", user.address, "--json") for user in post.users[:2])
    assert (good.code, good.json()["ok"]) == (0, True), good
    assert (bad.code, bad.json()["ok"]) == (1, False)
    wrong = [step for step in bad.json()["steps"] if not step["ok"]]
    assert {step["name"] for step in wrong} == {"imap.login", "smtp.login"}
    assert all(step["hint"] for step in wrong)


def test_a_right_password_is_saved_after_its_test_and_a_wrong_one_is_not(
    up: Path, command_line: Any, post: Post
) -> None:
    cli, user = command_line(up), post.users[2]
    place = ("--address", user.address, *post.servers, "--password-stdin", "--consent")
    cli.ok("mailbox", "add", *place, stdin=b"wrong\n")
    words = ("mailbox", "test", user.address, "--password-stdin", "--save")
    refused = cli(*words, stdin=b"nor this\n")
    assert (refused.code, refused.out.splitlines()[-1]) == (
        1,
        f"{user.address} does not work. Nothing was saved.",
    )
    assert "FAIL imap.login" in refused.out
    saved = cli.ok(*words, stdin=user.password.reveal().encode() + b"\n")
    assert (saved["ok"], saved["saved"]) == (True, True)
    assert cli.ok("mailbox", "test", user.address)["ok"] is True


def test_ctrl_c_during_a_test_is_one_line_and_leaves_nothing_behind(
    up: Path, post: Post, command_line: Any
) -> None:
    """A server that takes the connection and stays silent keeps the test going meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = ("mailbox", "test", post.users[0].address, "--password-stdin")
        process = subprocess.Popen(
            [*PROGRAM, *words, "--imap", f"127.0.0.1:{silent.getsockname()[1]}", "--data", str(up)],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write("letmein\n")
        process.stdin.flush()
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, err.strip()) == (130, "error: Interrupted.")
    assert "Traceback" not in out
    assert "test" not in {group["reason"] for group in command_line(up).ok("status")["demand"]}


def test_doctor_finds_nothing_wrong(up: Path, command_line: Any) -> None:
    answer = command_line(up)("doctor", "--json")
    failed = [f for f in answer.json()["findings"] if f["level"] == "fail"]
    assert (answer.code, failed) == (0, [])
    assert [f["level"] for f in answer.json()["findings"] if f["check"] == "health"] == ["ok"] * 3


def test_status_and_rotation_go_by_the_running_services(up: Path, command_line: Any) -> None:
    cli = command_line(up)
    assert cli.ok("status")["running"] is True
    sealed = sum(key["seals"] for key in cli.ok("keys", "list"))
    active = cli.ok("keys", "rotate")["active_key"]

    def seals() -> dict[int, int]:
        return {key["version"]: key["seals"] for key in cli.ok("keys", "list") if key["seals"]}

    deadline = time.monotonic() + 30
    while seals() != {active: sealed}:
        assert time.monotonic() < deadline, seals()
        time.sleep(0.1)
