"""The tree of commands, and the one place where errors become lines and exit codes.

Exit codes: 0 done; 1 refused or failed; 2 the command line could not be understood; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from mailhearth_core.errors import MailhearthError
from mailhearth_local.cli.lazy import LazyGroup, table
from mailhearth_local.cli.options import data_option, json_option
from mailhearth_local.cli.output import complain
from mailhearth_local.cli.session import Session

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "up": ("up:up", "Run everything on this machine."),
    "status": ("status:status", "What is warming up, and what is not and why."),
    "doctor": ("doctor:doctor", "Check this installation and say what to do."),
    "workspace": ("workspace:workspace", "Make, list, show and delete workspaces."),
    "pool": ("pool:pool", "Make, list, show and change pools of mailboxes."),
    "mailbox": ("mailbox:mailbox", "Connect mailboxes, test, pause and explain them."),
    "content": ("content:content", "A workspace's own conversations."),
    "keys": ("keys:keys", "The keys that seal mailbox passwords."),
    "audit": ("audit:audit", "Who did what: list, verify, export, erase personal details."),
    "admin": ("people:admin", "Make, unmake and list administrators of this installation."),
    "sign-in": ("people:sign_in", "The local sign-in of one machine."),
    "simulate": ("simulate:simulate", "Try a warmup in virtual time, without any mail."),
    "migrate": ("migrate:migrate", "Bring the database to this version."),
    "restored": ("restored:restored", "Say that the database came from a backup."),
    "worker": ("worker:worker", "Run a worker process (settings from the environment)."),
    "scheduler": ("worker:scheduler", "Run a scheduler process (settings from the environment)."),
    "operator": ("worker:operator", "Run the Kubernetes operator (settings from the environment)."),
    "web": ("worker:web", "Run a web process: the dashboard (settings from the environment)."),
    "prepare": ("backups:prepare", "Make roles and schema in a database of one's own."),
    "backup": ("backups:backup", "Save the database."),
    "restore": ("backups:restore", "Bring the database back."),
    "serve-postgres": ("pods:serve_postgres", "Run a Postgres for a trial, with TLS only."),
    "serve-valkey": ("pods:serve_valkey", "Run a Valkey for a trial, with TLS only."),
    "redis-acl": ("pods:redis_acl", "Print the users that a Redis of your own needs."),
    "serve-sandbox": ("pods:serve_sandbox", "Run the mail sandbox for a cluster."),
    "sandbox-zone": ("pods:sandbox_zone", "Print the sandbox's DNS zone, for workers."),
}


@click.command(
    cls=LazyGroup,
    table=table("mailhearth_local.cli", COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@data_option
@json_option
@click.version_option(package_name="mailhearth", prog_name="mailhearth")
def root() -> None:
    """Warm up mailboxes: they write to each other, so that their mail keeps arriving in the inbox.

    \b
    A first look, with a mail server and mailboxes of its own:
      mailhearth up --demo
    Your own mailboxes:
      mailhearth workspace create acme
      mailhearth pool create sales --workspace acme
      mailhearth mailbox add --workspace acme --pool sales --address ann@example.com \\
          --imap imap.example.com:993 --smtp smtp.example.com:465 \\
          --username ann@example.com --consent
      mailhearth up
    And then:
      mailhearth status
      mailhearth mailbox why ann@example.com

    Commands work beside a running `mailhearth up` and without one; then they start the database
    for themselves. --data and --json may stand before or after a command's name. With --json an
    error is {"error": {"code", "message", "hint"}} on stderr.

    Exit codes: 0 done, 1 refused or failed, 2 the command line was not understood, 130 Ctrl-C.
    """


def run(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """Runs one call; returns its exit code. No traceback reaches the user."""
    session = Session(environ)
    as_json = "--json" in arguments
    try:
        result = root.main(
            args=list(arguments), prog_name="mailhearth", standalone_mode=False, obj=session
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except SystemExit as end:  # a command that ran others decides itself
        return end.code if isinstance(end.code, int) else OK
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "mailhearth"
        hint = f"`{where} --help` shows what is allowed."
        complain(error.format_message(), hint, "usage", as_json=as_json)
        return USAGE
    except click.ClickException as error:
        complain(error.format_message(), "", "failed", as_json=as_json)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        complain("Interrupted.", "", "interrupted", as_json=as_json)
        return INTERRUPTED
    except MailhearthError as error:
        complain(error.message, error.hint, error.code, as_json=as_json)
        return FAILED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - logged whole; the user gets one line
        complain(
            f"Something unexpected happened ({type(error).__name__}).",
            f"The full story is in {_log(session.data, arguments)}; please report it.",
            "unexpected",
            as_json=as_json,
        )
        return FAILED


def _log(data: Path, arguments: Sequence[str]) -> Path:
    """Appends the traceback in hand to DIR/log/cli.log (0600); stderr itself where that fails."""
    from mailhearth_core.logs import mask

    story = str(mask(traceback.format_exc()))
    path = data / "log" / "cli.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        path = Path.cwd() / "mailhearth-cli.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    verbs = " ".join(word for word in arguments[:2] if not word.startswith("-"))
    with os.fdopen(descriptor, "a") as file:
        file.write(f"{datetime.now(UTC).isoformat()} mailhearth {verbs}\n{story}\n")
    return path
