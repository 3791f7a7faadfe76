"""`mailhearth up`: everything on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailhearth_local.cli.options import common
from mailhearth_local.cli.session import Session

if TYPE_CHECKING:
    from mailhearth_local.run.supervisor import MakeWatcher


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@click.command(short_help="Run everything on this machine.")
@click.option("--demo", is_flag=True, help="With a mail sandbox: 3 domains, 12 mailboxes.")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    metavar="N",
    help="Run N days of the scaled clock, count every message, and stop.",
)
@click.option(
    "--day-seconds",
    type=click.FloatRange(1, 86_400),
    metavar="S",
    help="Seconds that one day takes (--demo: 60). Makes this folder a sandbox for good.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --days: write the report there, as JSON.",
)
@common
def up(
    session: Session,
    demo: bool,
    days: int | None,
    day_seconds: float | None,
    report: Path | None,
) -> None:
    """Run everything on this machine: database, queue, scheduler, worker, dashboard.

    Stop it with Ctrl-C.

    It prints the address of the dashboard and a link that signs you in once; both are in
    DIR/run.json too. The port is 8787, or another where that is taken, or MAILHEARTH_WEB_PORT.

    All state lies in the data folder; the next start resumes. Set DATABASE_URL and REDIS_URL to
    use a Postgres and a Redis of your own instead of the embedded ones. While it runs,
    DIR/run.json tells where everything is.

    \b
    A look at the whole product, a day in a minute:
      mailhearth up --demo
    Three days in a minute and a half, and a report:
      mailhearth up --demo --days 3 --day-seconds 30 --report report.json

    --day-seconds scales the clock. It is for mailboxes on this machine only, and turns the folder
    into a sandbox for good: no other mailbox can be added to it afterwards.

    With --days, sending stops at the end of the last day; the clock runs on until every message
    is observed or 24 hours old; then every folder is scanned and all is counted. The exit code
    is 0 only when nothing was doubled and nothing was lost.
    """
    from mailhearth_local.run.supervisor import Mode, Supervisor

    if report is not None and days is None:
        raise click.UsageError("--report: it needs --days, which ends the run that it reports.")
    if report is not None and not report.absolute().parent.is_dir():
        raise click.UsageError(f"--report: the folder {report.absolute().parent} does not exist.")
    supervisor = Supervisor(
        session.data, session.environ, Mode(demo=demo, day_seconds=day_seconds), say=_say
    )
    ctx = click.get_current_context()
    watcher = _watcher(days, report, demo=demo, as_json=session.json)
    # A run of days that is cut short has counted nothing, so it must not look clean.
    ctx.exit(supervisor.run(watcher, interrupted=0 if days is None else 1))


def _watcher(
    days: int | None, path: Path | None, *, demo: bool, as_json: bool
) -> MakeWatcher | None:
    """What looks on: a report's run, a live view at a terminal, or lines of progress."""
    from mailhearth_local.run.watchers import make_watcher

    return make_watcher(days, path, demo=demo, as_json=as_json, say=_say)
