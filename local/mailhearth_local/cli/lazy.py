"""A group whose commands are imported when they are used, not when help lists them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

Table = Mapping[str, tuple[str, str]]


def table(package: str, commands: Table) -> Table:
    """The table of a group whose commands are in modules of one package."""
    return {name: (f"{package}.{where}", line) for name, (where, line) in commands.items()}


class LazyGroup(click.Group):
    """A group over a table of `name -> (module:attribute, line of help)`.

    The line of help stands in the table so that listing imports nothing; a test compares it with
    the command's own.
    """

    def __init__(self, *args: Any, table: Table, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        if cmd_name not in self.commands:
            module, _, attribute = self.table[cmd_name][0].partition(":")
            self.commands[cmd_name] = getattr(importlib.import_module(module), attribute)
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            raise click.exceptions.NoSuchCommand(name, possibilities=list(self.table), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])
