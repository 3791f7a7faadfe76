"""`mailhearth worker`, `scheduler`, `web`, `operator`: this process becomes the one asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click

from mailhearth_core.settings import SchedulerSettings, WorkerSettings
from mailhearth_local.cli.options import data_option, pass_session
from mailhearth_local.cli.session import Session


def _become(module: str, environ: Mapping[str, str], *words: str) -> None:
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *words], dict(environ))  # noqa: S606


def environment(session: Session) -> dict[str, str]:
    """What the process gets; --data names the folder it may write to."""
    environ = dict(session.environ)
    if session.given_data is not None:
        environ["MAILHEARTH_DATA_FOLDER"] = str(session.given_data)
    return environ


@click.command()
@click.option(
    "--group", "groups", multiple=True, metavar="G", help="A worker group to serve; repeatable."
)
@data_option
@pass_session
def worker(session: Session, groups: tuple[str, ...]) -> None:
    """Run a worker process: it alone opens credentials and speaks to mail servers.

    Settings come from MAILHEARTH_* variables; secrets also from the file that MAILHEARTH_*_FILE
    names. Wrong ones are told all at once, with what each is. `mailhearth up` runs one by itself.

    \b
    Example:
      mailhearth worker --group sales
    """
    environ = environment(session)
    if groups:
        environ["MAILHEARTH_GROUPS"] = ",".join(groups)
    WorkerSettings.load(environ)
    _become("mailhearth_worker", environ)


@click.command()
@data_option
@pass_session
def scheduler(session: Session) -> None:
    """Run a scheduler process: it sizes and matches days and wakes workers.

    Several may run at once. Settings come from MAILHEARTH_* variables, as for `worker`.

    \b
    Example:
      mailhearth scheduler
    """
    environ = environment(session)
    SchedulerSettings.load(environ)
    _become("mailhearth_worker.scheduler", environ)


@click.command()
@click.option(
    "--let-go",
    metavar="DEPLOYMENT",
    help="Stop the operator of this Deployment, take its finalizers off all resources, and end: "
    "before the release is removed.",
)
@data_option
@pass_session
def operator(session: Session, let_go: str | None) -> None:
    """Run the Kubernetes operator: custom resources become workers, keys and logins.

    Settings come from MAILHEARTH_* variables, as for `worker`; the cluster is that of the pod's
    service account, or of KUBECONFIG. The Helm chart runs one.

    \b
    Example:
      mailhearth operator
    """
    from mailhearth_operator.settings import OperatorSettings, read_platform

    read_platform(OperatorSettings.load(session.environ).platform_file)
    _become("mailhearth_operator", session.environ, *(["--let-go", let_go] if let_go else []))


@click.command()
@data_option
@pass_session
def web(session: Session) -> None:
    """Run a web process: the dashboard. It seals mailbox passwords and can open none.

    Several may run at once behind a proxy. Settings come from MAILHEARTH_* variables, as for
    `worker`. `mailhearth up` runs one by itself.

    \b
    Example:
      MAILHEARTH_PUBLIC_URL=https://mail.example.org mailhearth web
    """
    from mailhearth_web.settings import WebSettings

    WebSettings.load(session.environ)
    _become("mailhearth_web", session.environ)
