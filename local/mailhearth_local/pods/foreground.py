"""A service as a pod runs it: in the foreground, behind its TLS front, until a signal or its death.

The exit code is 0 after SIGTERM or SIGINT, and 1 when the service ended by itself: then the pod is
started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

import structlog

from mailhearth_local.pods.front import TlsFront

log = structlog.get_logger()
LOG_SECONDS = 0.5
"""Between two looks at what the service wrote."""
LINES_AT_ONCE = 500


class Service(Protocol):
    """A child process of ours, as the embedded services are."""

    @property
    def pid(self) -> int | None: ...

    def stop(self) -> None: ...


class LogFiles:
    """What a service writes into files of its own, said again as lines of the pod's log.

    Args:
        pattern: of the files' names; the newest by name is followed.
    """

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern = folder, pattern
        self._sizes = {path: path.stat().st_size for path in folder.glob(pattern)}

    def pass_on(self) -> None:
        """Says the lines that are new and whole."""
        for path in sorted(self._folder.glob(self._pattern))[-2:]:
            start = self._sizes.get(path, 0)
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < start:  # it was set aside and begun anew
                    start = 0
                file.seek(start)
                lines = file.readlines(LINES_AT_ONCE * 200)
            whole = [line for line in lines if line.endswith(b"\n")]
            self._sizes[path] = start + sum(map(len, whole))
            for line in whole:
                if text := line.decode(errors="replace").strip():
                    log.info("service_said", line=text)


class _Stopped(BaseException):
    """A signal to stop arrived while the service was still starting."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Within, a signal to stop raises `_Stopped`; the first process of a pod else ignores it."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _Stopped

    before = {sign: signal.signal(sign, stop) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def run(name: str, service: Service, start: Callable[[], TlsFront], logs: LogFiles) -> int:
    """Starts a service, opens the front before it and waits; returns the exit code.

    Args:
        name: of the service, in the log.
        start: starts it, and returns its front.
    Raises:
        MailhearthError: it does not start, or the front cannot listen; the service is stopped.
    """
    try:
        with _stoppable():
            front = start()
        try:
            return asyncio.run(_run(name, service, front, logs))
        finally:
            service.stop()
            logs.pass_on()
    except _Stopped:
        log.info("stopped", service=name)
        return 0
    finally:
        service.stop()


async def _run(name: str, service: Service, front: TlsFront, logs: LogFiles) -> int:
    loop = asyncio.get_running_loop()
    stop, ended = asyncio.Event(), asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    pid = service.pid
    if pid is None:
        log.error("service_ended", service=name)
        return 1
    watched = os.pidfd_open(pid)
    loop.add_reader(watched, ended.set)
    follower = asyncio.create_task(_follow(logs))
    try:
        await front.start()
        log.info("ready", service=name, port=front.port, pid=pid)
        waits = [asyncio.create_task(event.wait()) for event in (stop, ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if ended.is_set() and not stop.is_set():
            log.error("service_ended", service=name, pid=pid)
            return 1
        log.info("stopping", service=name)
        await front.stop_listening()
        # In a thread, so that clients are still told why they are cut off.
        await loop.run_in_executor(None, service.stop)
        log.info("stopped", service=name)
        return 0
    finally:
        follower.cancel()
        loop.remove_reader(watched)
        os.close(watched)
        await front.close()


async def _follow(logs: LogFiles) -> None:
    while True:
        try:
            logs.pass_on()
        except OSError as error:  # a file went away between two looks
            log.debug("log_unreadable", reason=error.strerror)
        await asyncio.sleep(LOG_SECONDS)
