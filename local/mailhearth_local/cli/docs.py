"""`docs/cli.md`, made from the tree of commands.

Run `python -m mailhearth_local.cli.docs > docs/cli.md`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from mailhearth_local.cli.app import root

WIDTH = 96
HEAD = """\
# The command line

Made from the program's own help by `python -m mailhearth_local.cli.docs`; do not edit it here.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in walk("mailhearth", root):
        level = "#" * min(path.count(" ") + 2, 4)
        parts.append(f"{level} {path}\n\n```text\n{help_text(path, command)}\n```\n")
    return "\n".join(parts)


def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups before what is in them."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from walk(f"{path} {name}", child)


def help_text(path: str, command: click.Command) -> str:
    """The help as a terminal of fixed width shows it."""
    with click.Context(
        command,
        info_name=path,
        terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
        color=False,
    ) as context:
        text = click.unstyle(command.get_help(context))
    return textwrap.dedent("\n".join(line.rstrip() for line in text.splitlines()))


if __name__ == "__main__":
    click.echo(page(), nl=False)
