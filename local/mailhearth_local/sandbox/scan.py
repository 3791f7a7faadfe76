"""A look into every mailbox of a sandbox, running or not: what was delivered, doubled, lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mailhearth_core.errors import NotFound
from mailhearth_local.sandbox.store import STORE_FILE


def scan(data: Path) -> Iterator[tuple[str, str, str]]:
    """(address, folder, Message-ID) of every message there is now, one consistent view.

    Reads the file of the sandbox in `data`; its server may run meanwhile and is not held up.

    Raises:
        NotFound: no sandbox ever ran in `data`.
    """
    path = data / STORE_FILE
    if not path.exists():
        raise NotFound(f"There is no mail sandbox in {data}.", hint="Start it once first.")
    with closing(sqlite3.connect(path, timeout=10)) as db:
        db.execute("PRAGMA query_only = ON")
        yield from db.execute(
            "SELECT folder.address, folder.name, content.message_id FROM message"
            " JOIN folder ON folder.id = message.folder_id"
            " JOIN content ON content.id = message.content_id"
            " ORDER BY folder.address, folder.name, message.uid"
        )


def placements(data: Path) -> Iterator[tuple[str, str, str, bool]]:
    """(recipient, sender, Message-ID, went to Junk) of every delivery ever, in order.

    Unlike `scan` it counts messages that were moved or deleted since, and nobody can change it by
    IMAP: the sandbox's own truth, to compare the product's reports with.

    Raises:
        NotFound: no sandbox ever ran in `data`.
    """
    path = data / STORE_FILE
    if not path.exists():
        raise NotFound(f"There is no mail sandbox in {data}.", hint="Start it once first.")
    with closing(sqlite3.connect(path, timeout=10)) as db:
        db.execute("PRAGMA query_only = ON")
        for recipient, sender, message_id, junked in db.execute(
            "SELECT recipient, sender, message_id, junked FROM arrival ORDER BY id"
        ):
            yield recipient, sender, message_id, bool(junked)
