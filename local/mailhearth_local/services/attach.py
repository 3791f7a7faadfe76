"""How a one-shot command reaches a data folder: beside the `up` that serves it, or for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.storage.installation import Installation, read_installation
from mailhearth_core.storage.roles import without_login
from mailhearth_local.embedded.folder import FolderBusy, FolderLock
from mailhearth_local.services.environment import worker_environment
from mailhearth_local.services.runfile import RunFile, running
from mailhearth_local.services.stack import Stack

ELSEWHERE = "MAILHEARTH_CLI_DATABASE_URL"
LOCK_SECONDS = 30.0
"""How long a command waits for another one, or for an `up` that is starting or stopping."""


@dataclass(frozen=True)
class Dashboard:
    """The dashboard of a running `up`."""

    url: str
    allows_links: bool


@dataclass(frozen=True)
class Attached:
    """What a one-shot command works with.

    Args:
        cli: the command line's login.
        running: an `up` serves this folder beside this process.
        reconcile: fulfils wishes in this process; None when the running `up` does it.
        redis_url: of the login that administers Redis; empty when none was asked for.
        worker_environment: what a worker process of this folder needs.
        stack: started only when nothing else runs.
        dashboard: None when none runs.
        elsewhere: the installation is not of this machine: this is a pod of its operator.
    """

    cli: Database
    door: TenantDoor
    sandbox: bool
    environment: str
    running: bool
    reconcile: Callable[[], int] | None
    redis_url: Secret
    worker_environment: Callable[[], dict[str, str]]
    stack: Stack
    dashboard: Dashboard | None = None
    elsewhere: bool = False


@contextmanager
def attach(data: Path, environ: Mapping[str, str], *, redis: bool = False) -> Iterator[Attached]:
    """The services of a data folder for one command: those that run, else started for it.

    Where MAILHEARTH_CLI_DATABASE_URL names an installation elsewhere, as in a pod of its operator,
    the command works with that, and nothing is started.

    Args:
        redis: start Redis too where nothing runs.
    Raises:
        FolderBusy: another command holds the folder for longer than half a minute.
        MailhearthError: see `Stack.start_services`.
    """
    stack = Stack(data, environ)
    elsewhere = environ.get(ELSEWHERE)
    if elsewhere:
        with _elsewhere(stack, Secret(elsewhere)) as attached:
            yield attached
        return
    lock = FolderLock(stack.data)
    run = run_or_lock(stack, lock)
    if run is not None:
        with _beside(stack, run) as attached:
            yield attached
        return
    own: Database | None = None
    try:
        stack.start_services(redis=redis)
        own = Database(stack.urls.cli, name="mailhearth-cli")
        yield Attached(
            cli=own,
            door=TenantDoor(own),
            sandbox=stack.sandbox,
            environment=stack.environment,
            running=False,
            reconcile=stack.provisioner().reconcile,
            redis_url=stack.urls.redis_admin,
            worker_environment=lambda: stack.worker_environment(name="one-shot"),
            stack=stack,
        )
    finally:
        if own is not None:
            own.close()
        stack.close()
        stack.stop_services()
        lock.release()


def run_or_lock(stack: Stack, lock: FolderLock) -> RunFile | None:
    """The `up` that runs, or None with the folder's lock held. Another command is waited for."""
    stack.make_folder()
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        run = running(stack.data)
        if run is not None:
            return run
        try:
            lock.acquire()
        except FolderBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return None


@contextmanager
def _elsewhere(stack: Stack, url: Secret) -> Iterator[Attached]:
    def no_workers(found: Installation) -> dict[str, str]:
        raise MailhearthError(
            "The workers of this installation run elsewhere.",
            hint="Look at their pods.",
            code="workers_elsewhere",
        )

    with _to_running(stack, url, Secret(""), no_workers) as attached:
        yield replace(attached, elsewhere=True)


@contextmanager
def _beside(stack: Stack, run: RunFile) -> Iterator[Attached]:
    login = run.database_url.reveal()

    def environment(found: Installation) -> dict[str, str]:
        return worker_environment(
            stack.data,
            stack.environ,
            environment=found.environment,
            sandbox=found.sandbox,
            database_url=without_login(login),
            role_prefix=unquote(urlsplit(login).username or "").removesuffix("_cli"),
            redis_url=run.redis_url,
            name="one-shot",
            port=0,
        )

    dashboard = Dashboard(run.url, bool(run.sign_in_url)) if run.url else None
    with _to_running(stack, run.database_url, run.redis_url, environment, dashboard) as attached:
        yield attached


@contextmanager
def _to_running(
    stack: Stack,
    url: Secret,
    redis_url: Secret,
    environment: Callable[[Installation], dict[str, str]],
    dashboard: Dashboard | None = None,
) -> Iterator[Attached]:
    """Its own processes fulfil wishes; this one has the command line's login.

    Args:
        environment: of a worker process of that installation.
    """
    cli = Database(url, name="mailhearth-cli")
    try:
        with cli.tx() as conn:
            found = read_installation(conn)
        yield Attached(
            cli=cli,
            door=TenantDoor(cli),
            sandbox=found.sandbox,
            environment=found.environment,
            running=True,
            reconcile=None,
            redis_url=redis_url,
            worker_environment=partial(environment, found),
            stack=stack,
            dashboard=dashboard,
        )
    finally:
        cli.close()
