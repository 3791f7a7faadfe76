"""A password from stdin or a hidden prompt: never from the arguments, never shown."""

from __future__ import annotations

import sys

import click

from mailhearth_core.errors import InvalidValue
from mailhearth_core.secrets import Secret

stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from stdin, one line."
)


def read_password(from_stdin: bool) -> Secret:
    """The password.

    Raises:
        UsageError: it can be asked for nowhere; InvalidValue: what was given cannot be one.
    """
    if from_stdin:
        return _line(sys.stdin.buffer.readline())
    if not sys.stdin.isatty():
        raise click.UsageError(
            "password: none was given, and there is no terminal to ask at. Use --password-stdin."
        )
    return Secret(str(click.prompt("Password", hide_input=True, err=True)))


def read_refresh_token() -> Secret:
    """A refresh token: from stdin only, as nobody types one.

    Raises:
        InvalidValue: what was given cannot be one.
    """
    return _line(sys.stdin.buffer.readline(), "refresh token")


def _line(raw: bytes, field: str = "password") -> Secret:
    try:
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        raise InvalidValue(field, "***", "one line of UTF-8 text") from None
    if not text:
        raise InvalidValue(field, "", "one line of text on stdin that is not empty")
    return Secret(text)
