"""The options that every command takes, before the command's name or after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mailhearth_local.cli.session import DATA_VARIABLE, Session

pass_session = click.make_pass_decorator(Session)


def _keep_data(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        ctx.ensure_object(Session).given_data = value
    return value


def _keep_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value:
        ctx.ensure_object(Session).json = True
    return value


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=_keep_data,
    help=f"The data folder.  [env: {DATA_VARIABLE}; default: ~/.mailhearth]",
)
"""Kept in the session: `Session.data` answers, whichever place it was given in."""

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_keep_json,
    help="Print JSON, for programs.",
)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --data and --json, and hands the session over as the first argument."""
    return data_option(json_option(pass_session(command)))


workspace_option = click.option(
    "--workspace",
    "-w",
    metavar="NAME",
    help="The workspace; may be left out when there is only one.",
)


def key_values(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """KEY=VALUE words as a dictionary."""
    pairs: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(
                f"{text!r} is not KEY=VALUE, as in cap=15.", ctx=ctx, param=parameter
            )
        if key.strip() in pairs:
            raise click.BadParameter(f"{key.strip()!r} is given twice.", ctx=ctx, param=parameter)
        pairs[key.strip()] = value.strip()
    return pairs
