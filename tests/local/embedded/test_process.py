"""Children: awaited on a condition, tied to their parent, stopped even when they resist."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhearth_local.embedded.folder import FolderBusy, FolderLock, remembered_port
from mailhearth_local.embedded.process import (
    ServiceFailed,
    command_line,
    start_child,
    stop_child,
    stop_orphan,
    wait_until_ready,
)


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def python(code: str, log: Path) -> subprocess.Popen[bytes]:
    return start_child([sys.executable, "-c", code], log=log, death_signal=signal.SIGTERM)


def test_a_child_that_dies_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = python("import sys; print('disk on fire'); sys.exit(3)", log)
    with pytest.raises(ServiceFailed) as caught:
        wait_until_ready(lambda: False, child, name="It", logs=lambda: [log], seconds=10)
    assert "code 3" in caught.value.message
    assert "disk on fire" in caught.value.message
    assert str(log) in caught.value.hint


def test_a_child_that_never_gets_ready_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = python("import signal; signal.pause()", log)
    try:
        with pytest.raises(ServiceFailed, match="not ready after"):
            wait_until_ready(lambda: False, child, name="It", logs=lambda: [log], seconds=0.1)
        assert child.poll() is None
    finally:
        stop_child(child, [(signal.SIGTERM, 10)])


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    flag = tmp_path / "deaf"
    child = python(
        "import signal, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(flag)!r}).touch(); signal.pause()",
        tmp_path / "log",
    )
    until(flag.exists, "the child is deaf")
    stop_child(child, [(signal.SIGTERM, 0.1)])
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_ends_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path;"
        "from mailhearth_local.embedded.process import start_child;"
        "c = start_child([sys.executable, '-c', 'import signal; signal.pause()'],"
        f" log=Path({str(tmp_path / 'log')!r}), death_signal=signal.SIGTERM);"
        "print(c.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: "import signal; signal.pause()" in command_line(pid), "the child runs")
        parent.kill()
    until(lambda: not command_line(pid), "the child is gone")


def test_an_orphan_is_stopped_only_while_its_number_still_means_it(tmp_path: Path) -> None:
    code = "import signal; signal.pause()"
    child = python(code, tmp_path / "log")
    try:
        until(lambda: command_line(child.pid)[-1:] == [code], "the child runs")
        assert not stop_orphan(child.pid, lambda pid: False, [(signal.SIGTERM, 10)])
        assert child.poll() is None
        assert stop_orphan(
            child.pid, lambda pid: command_line(pid)[-1:] == [code], [(signal.SIGTERM, 10)]
        )
        assert child.wait(10) == -signal.SIGTERM
    finally:
        stop_child(child, [])


def test_a_folder_serves_one_at_a_time_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    code = (
        "import signal; from pathlib import Path;"
        "from mailhearth_local.embedded.folder import FolderLock;"
        f"FolderLock(Path({str(tmp_path)!r})).acquire(); print('held', flush=True); signal.pause()"
    )
    # The lock object is kept alive by nothing: it is the process that holds it.
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock = FolderLock(tmp_path)
        with pytest.raises(FolderBusy, match=str(tmp_path)):
            lock.acquire()
        os.kill(holder.pid, signal.SIGKILL)
    lock.acquire()
    lock.release()


def test_a_port_is_remembered_until_another_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "port"
    port = remembered_port(path)
    assert remembered_port(path) == port
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", port))
        thief.listen()
        other = remembered_port(path)
    assert other != port
    assert remembered_port(path) == other


def test_a_preferred_port_is_taken_once_and_never_instead_of_ones_own(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        preferred = probe.getsockname()[1]
    assert remembered_port(tmp_path / "first", preferred=preferred) == preferred
    assert (tmp_path / "first").read_text() == f"{preferred}\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", preferred))
        taken.listen()
        other = remembered_port(tmp_path / "second", preferred=preferred)
        assert other != preferred
    assert remembered_port(tmp_path / "second", preferred=preferred) == other
