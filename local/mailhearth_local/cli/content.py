"""`mailhearth content`."""

from __future__ import annotations

from pathlib import Path

import click

from mailhearth_core.content import InvalidContent
from mailhearth_core.errors import InvalidValue
from mailhearth_core.verbs import content as verbs
from mailhearth_local.cli.options import common, data_option, json_option, workspace_option
from mailhearth_local.cli.output import complain, emit_json, short_time, table
from mailhearth_local.cli.session import Session, workspace_of


@click.group()
@data_option
@json_option
def content() -> None:
    """A workspace's own conversations, used beside the built-in library and only inside it."""


@content.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; by default the file's name.")
@workspace_option
@common
def add(session: Session, file: Path, name: str | None, workspace: str | None) -> int:
    """Add a library of conversations from FILE (docs/content.md describes the format).

    It is checked whole: plain text only, no links, no addresses, enough variety. Every mistake is
    told with its line, and then nothing of it is taken.

    \b
    Example:
      mailhearth content add our-topics.txt --workspace acme

    JSON keys: id, name, version, openings; when refused, error with `mistakes`.
    """
    try:
        source = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue("file", str(file), f"a readable file of UTF-8 text ({error})") from None
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        try:
            library_id, library = verbs.add(
                attached.door, owner["workspace_id"], name or file.stem, source, session.actor
            )
        except InvalidContent as error:
            if session.json:
                raise
            lines = "\n".join(f"  {mistake}" for mistake in error.mistakes)
            complain(f"{file} is refused:\n{lines}", error.hint, error.code, as_json=False)
            return 1
    shown = {
        "id": library_id,
        "name": name or file.stem,
        "version": library.version,
        "openings": library.openings,
    }
    if session.json:
        emit_json(shown)
    else:
        click.echo(f"Added {shown['name']} with {library.openings} openings to {owner['name']}.")
    return 0


@content.command("list")
@workspace_option
@common
def list_(session: Session, workspace: str | None) -> None:
    """List a workspace's own libraries.

    \b
    Example:
      mailhearth content list --workspace acme

    JSON: a list of {id, name, digest, active, bytes, created_at}.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        rows = verbs.listing(attached.door, owner["workspace_id"])
    if session.json:
        emit_json(rows)
        return
    table(
        ("name", "active", "bytes", "added", "id"),
        [
            (r["name"], "yes" if r["active"] else "no", r["bytes"], short_time(r["created_at"]),
             r["id"])
            for r in rows
        ],
        empty="No library of its own; the built-in one is used.",
    )  # fmt: skip
