"""`mailhearth up`: every process of the product on one machine, under one supervisor.

It must run in the main thread: children are tied to the thread that starts them, and signals
arrive there. Whatever dies is started again; Ctrl-C or SIGTERM ends all in order.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import structlog

from mailhearth_core import logs
from mailhearth_core.errors import MailhearthError, ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import Environment
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_local.embedded.folder import FolderLock
from mailhearth_local.embedded.process import ServiceFailed, rotate, tail
from mailhearth_local.run.children import Child
from mailhearth_local.run.dashboard import Dashboard
from mailhearth_local.run.demo import ensure_demo
from mailhearth_local.run.reconciler import Reconciler
from mailhearth_local.sandbox.accounts import USERS_FILE
from mailhearth_local.sandbox.demo import ensure_demo_users
from mailhearth_local.sandbox.service import MailSandbox
from mailhearth_local.services.attach import run_or_lock
from mailhearth_local.services.runfile import SUPERVISOR, RunFile, remove_run, write_run
from mailhearth_local.services.stack import Stack, refuse_in_production

log = structlog.get_logger()

WORKER_NAME = "local-1"
COMMANDS: Mapping[str, Sequence[str]] = {
    "worker": (sys.executable, "-m", "mailhearth_worker"),
    "scheduler": (sys.executable, "-m", "mailhearth_worker.scheduler"),
    "web": (sys.executable, "-m", "mailhearth_web"),
}
LOOK_SECONDS = 0.2
"""Between two looks at what runs."""
READY_SECONDS = 45.0
SLOWEST_HEAL_PAUSE = 10.0
DEMO_DAY_SECONDS = 60.0
DRAIN_SLACK_SECONDS = 5.0
SCHEDULER_STOP_SECONDS = 15.0
WEB_STOP_SECONDS = 20.0


class Watcher(Protocol):
    """Something that looks on while everything runs: a view, or a report."""

    def begin(self) -> None:
        """Called once, when the services run and before anything is planned or sent."""
        ...

    def step(self) -> int | None:
        """Called several times a second; an exit code ends the run."""
        ...

    def close(self) -> None: ...


MakeWatcher = Callable[[Stack, Callable[[], Database]], Watcher]
"""Given the stack and the command line's login, to be asked for anew at each use."""


@dataclass(frozen=True)
class Mode:
    """What kind of run it is.

    Args:
        demo: with the mail sandbox and its people.
        day_seconds: machine seconds of one business day; None leaves the folder's clock alone.
    """

    demo: bool = False
    day_seconds: float | None = None

    @property
    def scale(self) -> float | None:
        if self.day_seconds is None and self.demo:
            return DEMO_DAY_SECONDS
        return self.day_seconds


class Supervisor:
    """Runs a data folder until it is told to stop.

    Args:
        commands: what to run as `worker`, `scheduler` and, if it is there, `web`.
        say: shows the user a line.
    """

    def __init__(
        self,
        data: Path,
        environ: Mapping[str, str],
        mode: Mode,
        *,
        commands: Mapping[str, Sequence[str]] = COMMANDS,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._stack = Stack(data, environ)
        self._data = self._stack.data
        self._mode = mode
        self._say = say
        self._lock = FolderLock(self._data)
        self._sandbox: MailSandbox | None = None
        self._cli: Database | None = None
        self._watcher: Watcher | None = None
        self._starting = True
        self._asked_to_stop = threading.Event()
        self._heal_not_before = 0.0
        self._heal_pause = 0.0
        self._pids: dict[str, int] = {}
        self._dashboard = Dashboard(self._data, self._stack.environ) if "web" in commands else None
        self._children = self._make_children(commands)
        self._reconciler = Reconciler(lambda: self._stack.urls.operator, self._stack.provisioner)

    def run(self, watch: MakeWatcher | None = None, *, interrupted: int = 0) -> int:
        """Returns the exit code: `interrupted` after a signal, else the watcher's.

        Raises:
            FolderBusy: another process serves this folder.
            MailhearthError: something could not be started, or the run was refused.
        """
        self._refuse_early()
        if run_or_lock(self._stack, self._lock) is not None:
            self._lock.acquire()  # raises, as the other one holds it
        try:
            with self._logging(), self._signals():
                try:
                    self._start(watch)
                    code = self._loop()
                except KeyboardInterrupt:  # a signal while starting
                    code = None
                finally:
                    self._asked_to_stop.set()
                    self._stop()
            return interrupted if code is None else code
        finally:
            self._lock.release()

    # -- beginning --------------------------------------------------------------------------

    def _make_children(self, commands: Mapping[str, Sequence[str]]) -> dict[str, Child]:
        def worker(port: int) -> Mapping[str, str]:
            return self._stack.worker_environment(name=WORKER_NAME, port=port)

        def scheduler(port: int) -> Mapping[str, str]:
            return self._stack.scheduler_environment(port=port, scaled=self._stack.sandbox)

        def web(port: int) -> Mapping[str, str]:
            assert self._dashboard is not None
            return self._stack.web_environment(
                port=port,
                web_port=self._dashboard.choose_port(),
                local_sign_in=self._dashboard.allows_links,
            )

        deadline = float(self._stack.environ.get("MAILHEARTH_DRAIN_DEADLINE_SECONDS") or 30)
        stops = {
            "worker": deadline + DRAIN_SLACK_SECONDS,
            "scheduler": SCHEDULER_STOP_SECONDS,
            "web": WEB_STOP_SECONDS,
        }
        environments = {"worker": worker, "scheduler": scheduler, "web": web}
        return {
            name: Child(name, command, self._data, environments[name], stop_seconds=stops[name])
            for name, command in commands.items()
        }

    def _refuse_early(self) -> None:
        """What production does not allow, before anything is started or written."""
        self._refuse(str(self._stack.settings.environment))

    def _refuse(self, environment: str) -> None:
        if self._mode.demo:
            refuse_in_production(environment, "--demo")
        if self._mode.day_seconds is not None:
            refuse_in_production(environment, "--day-seconds")

    def _start(self, watch: MakeWatcher | None) -> None:
        remove_run(self._data)
        self._say(f"Starting Mailhearth in {self._data}")
        self._stack.start_services()
        self._refuse(self._stack.environment)
        if self._stack.sandbox and self._stack.environment == Environment.PRODUCTION:
            refuse_in_production(self._stack.environment, "sandbox")
        if self._mode.scale is not None:
            self._stack.enter_sandbox(self._mode.scale)
        if self._mode.demo or self._has_sandbox():
            ensure_demo_users(self._stack.sandbox_folder)
            self._sandbox = MailSandbox(self._stack.sandbox_folder)
            self._sandbox.ensure_started()
        self._cli = Database(self._stack.urls.cli, name="mailhearth-up")
        self._children["worker"].start()
        self._populate()
        if watch is not None:
            self._watcher = watch(self._stack, self._database)
        if self._stack.sandbox:
            with self._database().tx() as conn:  # an earlier run may have set an end
                conn.execute("SELECT steward.end_sending(NULL)")
        if self._watcher is not None:
            self._watcher.begin()
        self._children["scheduler"].start()
        if "web" in self._children:
            self._children["web"].start()
        self._reconciler.start()
        self._await_ready()
        self._starting = False
        if self._asked_to_stop.is_set():
            return
        if self._dashboard is not None:
            self._dashboard.make_link(self._database())
        self._publish()
        if self._dashboard is not None:
            for line in self._dashboard.lines():
                self._say(line)
        self._say(f"Ready. Stop with Ctrl-C. Logs are in {self._data / 'log'}")

    def _has_sandbox(self) -> bool:
        """Whether this folder's mailboxes live in the mail sandbox of an earlier demo."""
        return self._stack.sandbox and (self._stack.sandbox_folder / USERS_FILE).is_file()

    def _populate(self) -> None:
        if self._sandbox is None or self._cli is None:
            return
        ensure_demo(
            TenantDoor(self._cli),
            self._stack.provisioner().reconcile,
            self._sandbox.info,
            ensure_demo_users(self._stack.sandbox_folder),
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self._children.values())
        while waiting:
            waiting = [child for child in waiting if not child.is_ready()]
            for child in waiting:
                if child.pid is None or time.monotonic() > deadline:
                    what = "ended while starting" if child.pid is None else "is not ready"
                    raise ServiceFailed(
                        f"The {child.name} {what}: {tail([child.log])}",
                        hint=f"Its log is {child.log}.",
                    )
            if waiting:
                time.sleep(0.02)

    def _database(self) -> Database:
        assert self._cli is not None
        return self._cli

    # -- the long middle --------------------------------------------------------------------

    def _loop(self) -> int | None:
        """The watcher's exit code; None after a signal."""
        while not self._asked_to_stop.wait(LOOK_SECONDS):
            self._heal()
            if self._watcher is None:
                continue
            try:
                code = self._watcher.step()
            except ServiceUnavailable as error:
                log.warning("watcher_waits", reason=error.message)
                continue
            if code is not None:
                return code
        return None

    def _heal(self) -> None:
        if time.monotonic() < self._heal_not_before:
            return
        try:
            self._heal_services()
        except ServiceUnavailable as error:
            self._heal_pause = min(max(self._heal_pause * 2, 0.5), SLOWEST_HEAL_PAUSE)
            self._heal_not_before = time.monotonic() + self._heal_pause
            log.error("service_not_healed", reason=str(error), pause=self._heal_pause)
            return
        self._heal_pause = 0.0
        for child in self._children.values():
            child.heal()
        self._publish()

    def _heal_services(self) -> None:
        dead = self._stack.dead_services()
        if dead:
            log.warning("service_died", names=dead)
            before = self._stack.urls
            self._stack.start_services()
            if self._stack.urls != before:
                log.warning("service_moved", names=dead)
                self._stack.close()
                if self._cli is not None:
                    self._cli.close()
                self._cli = Database(self._stack.urls.cli, name="mailhearth-up")
                self._restart_children()
        if self._sandbox is not None and not self._sandbox.is_alive():
            log.warning("service_died", names=["sandbox"])
            self._sandbox.ensure_started()
            self._populate()

    def _restart_children(self) -> None:
        for child in self._children.values():
            child.stop()
            child.start()

    def _publish(self) -> None:
        """Writes run.json when a process id has changed."""
        found = {SUPERVISOR: os.getpid(), **self._stack.pids()}
        others = {name: child.pid for name, child in self._children.items()}
        others["sandbox"] = self._sandbox.pid if self._sandbox else None
        found.update({name: pid for name, pid in others.items() if pid is not None})
        if found == self._pids:
            return
        self._pids = found
        write_run(
            self._data,
            RunFile(
                database_url=self._stack.urls.cli,
                redis_url=self._stack.urls.redis_admin,
                metrics=[child.metrics_url for child in self._children.values()],
                pids=found,
                url=self._dashboard.url if self._dashboard else "",
                sign_in_url=self._dashboard.link if self._dashboard else Secret(""),
            ),
        )

    # -- the end ----------------------------------------------------------------------------

    def _stop(self) -> None:
        """In order: what people see, what works, what plans, what provides, what stores."""
        if self._watcher is not None:
            self._watcher.close()
        remove_run(self._data)
        if not self._starting:
            self._say("Stopping; the mail in hand finishes.")
        for name in ("web", "worker", "scheduler"):
            if name in self._children:
                self._children[name].stop()
        self._reconciler.stop()
        if self._cli is not None:
            self._cli.close()
        self._stack.close()
        if self._sandbox is not None:
            self._sandbox.stop()
        self._stack.stop_services()
        log.info("stopped")

    # -- around it --------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(signum: int, frame: FrameType | None) -> None:
            if self._asked_to_stop.is_set():
                return
            self._asked_to_stop.set()
            if self._starting:
                raise KeyboardInterrupt

        before = {sign: signal.signal(sign, handle) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    @contextmanager
    def _logging(self) -> Iterator[None]:
        path = self._data / "log" / "supervisor.log"
        rotate(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", buffering=1) as stream:
            logs.configure("supervisor", self._stack.settings.log_level, stream)
            logging.getLogger("yoyo").setLevel(logging.WARNING)  # each statement of a migration
            try:
                yield
            except MailhearthError as error:
                log.error("failed", reason=str(error))
                raise
            except Exception:
                log.exception("failed")
                raise
            finally:
                logs.configure("supervisor", "ERROR")
