"""Child processes: started tied to this process, awaited on a condition, stopped by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mailhearth_core.errors import ServiceUnavailable

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.02
TAIL_BYTES = 4096
LOG_BYTES = 5_000_000
"""A log of ours that is larger than this is set aside (one generation) at the next start."""


class ServiceFailed(ServiceUnavailable):
    """An embedded service did not start or stop; the message ends with its last words."""

    code = "service_failed"


def start_child(
    command: Sequence[str],
    *,
    log: Path,
    death_signal: signal.Signals,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command` (its program an absolute path), its output appended to `log` (mode 0600).

    It gets `death_signal` when the *thread* that calls this ends: call it from the main thread or
    from one that lives as long as the child should. It has a session of its own, so Ctrl-C in a
    terminal reaches the caller only, which stops its children in order.
    """
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
    rotate(log)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - the caller's own words, no shell
            [*launcher, str(int(death_signal)), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)


def wait_until_ready(
    ready: Callable[[], bool],
    process: subprocess.Popen[bytes],
    *,
    name: str,
    logs: Callable[[], Sequence[Path]],
    seconds: float,
) -> None:
    """Returns once `ready()`; raises ServiceFailed when the process ends first or time is up.

    `logs()` is asked at that moment for where its last words may be, best place first.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        code = process.poll()
        if code is not None:
            raise ServiceFailed(
                f"{name} ended with code {code} while starting: {tail(logs())}",
                hint=f"Its log is {logs()[0]}.",
            )
        if time.monotonic() > deadline:
            raise ServiceFailed(
                f"{name} was not ready after {seconds:g} s: {tail(logs())}",
                hint=f"See {logs()[0]}; a slow disk may need longer, so try again.",
            )
        time.sleep(POLL_SECONDS)


def answers_again(process: subprocess.Popen[bytes] | None, await_ready: Callable[[], None]) -> bool:
    """Whether an earlier start still serves: False when it ended, even while we asked it.

    Raises:
        ServiceFailed: it runs but does not become ready.
    """
    if process is None or process.poll() is not None:
        return False
    try:
        await_ready()
    except ServiceFailed:
        if process.poll() is None:
            raise
        return False
    return True


def stop_child(
    process: subprocess.Popen[bytes], steps: Iterable[tuple[signal.Signals, float]]
) -> None:
    """Sends each signal in turn, waiting its seconds for the end; then SIGKILL. Reaps the child."""
    for sign, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def stop_orphan(
    pid: int, is_ours: Callable[[int], bool], steps: Iterable[tuple[signal.Signals, float]]
) -> bool:
    """Like `stop_child` for a process that is not our child; True if there was one.

    `is_ours(pid)` is asked again before every signal, as the number may meanwhile name another
    process.
    """
    if not is_ours(pid):
        return False
    for sign, seconds in (*steps, (signal.SIGKILL, 10.0)):
        if not is_ours(pid):
            return True
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + seconds
        while is_ours(pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if is_ours(pid):
        raise ServiceFailed(
            f"Process {pid}, left over from an earlier run, does not end.",
            hint="Find out what it waits for (a dead disk?) or restart the machine.",
        )
    return True


def command_line(pid: int) -> list[str]:
    """The arguments a process was started with; empty if it is gone (or a zombie)."""
    if Path("/proc/self/cmdline").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return []
        return [part.decode(errors="surrogateescape") for part in raw.split(b"\0")[:-1]]
    done = subprocess.run(  # noqa: S603 - fixed words and a number
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def tail(logs: Sequence[Path]) -> str:
    """The last lines of the first log that has any, in one line."""
    for log in logs:
        if not log.is_file():
            continue
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return " | ".join(lines[-4:])
    return "it wrote nothing."


def rotate(log: Path) -> None:
    """Sets a large log aside as `<name>.1`, in place of the one set aside before."""
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
