"""`mailhearth mailbox`: the group; its commands are in the modules beside."""

from __future__ import annotations

import click

from mailhearth_local.cli.lazy import LazyGroup, table
from mailhearth_local.cli.options import data_option, json_option

COMMANDS = {
    "add": ("mailbox_add:add", "Connect a mailbox on any IMAP and SMTP server."),
    "import": ("mailbox_add:import_", "Connect many mailboxes from a CSV file, row by row."),
    "list": ("mailbox_look:list_", "List mailboxes with their state."),
    "show": ("mailbox_look:show", "Show one mailbox; its password is never shown."),
    "why": ("mailbox_look:why", "Explain today's number, and why it is not sending."),
    "test": ("mailbox_test:test", "Let a worker try the mailbox's servers, step by step."),
    "consent": ("mailbox_change:consent", "Give or withdraw consent to warmup."),
    "pause": ("mailbox_change:pause", "Send nothing new; mail on its way is still followed."),
    "resume": ("mailbox_change:resume", "Take up a paused or refused mailbox again."),
    "remove": ("mailbox_change:remove", "Take a mailbox out and delete its password."),
}


@click.command(cls=LazyGroup, table=table("mailhearth_local.cli", COMMANDS))
@data_option
@json_option
def mailbox() -> None:
    """Connect mailboxes, test, pause and explain them.

    ADDRESS names a mailbox; where the same address is in several workspaces, add --workspace.
    """
