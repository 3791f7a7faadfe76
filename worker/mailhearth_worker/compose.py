"""A message made again from its row: library version, seed and turn. No body is ever stored."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from mailhearth_core.content import Library, Thread, builtin, stored_library
from mailhearth_core.errors import NotFound
from mailhearth_core.mail.compose import Draft, Quote
from mailhearth_core.mail.compose import compose as compose_message
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Work

SQL = named("worker")
OWN = "own/"


def compose(work: Work, out: dict[str, Any]) -> bytes:
    """The message of an outbound row, as this mailbox's client would write it now.

    Raises:
        NotFound: the workspace's own library that it was planned with is gone.
    """
    thread = thread_of(work, out)
    me, peer = work.row["display_name"], out["peer_name"] or ""
    return compose_message(
        Draft(
            client_seed=work.row["seed"],
            from_name=me,
            from_address=work.row["address"],
            to_name=peer,
            to_address=out["peer_address"],
            subject=out["subject"],
            body=thread.body(out["turn"], me, peer),
            message_id=out["message_id"],
            date=work.about_now().astimezone(ZoneInfo(work.row["timezone"])),
            in_reply_to=out["in_reply_to"],
            references=tuple(out["refs"]),
            quote=_quote(work, out, thread, me) if out["reply_to_inbound"] else None,
        )
    )


def turns_left(work: Work, row: dict[str, Any]) -> int:
    """How many messages of the conversation follow this one."""
    turn: int = row["turn"]
    return max(0, thread_of(work, row).turns - turn - 1)


def thread_of(work: Work, row: dict[str, Any]) -> Thread:
    """The conversation that an outbound or inbound row belongs to."""
    version: str = row["library"]
    if not version.startswith(OWN):
        library = builtin()
        if library.version != version:
            raise NotFound(
                f"The conversations {version} are not in this version of Mailhearth.",
                code="library_missing",
            )
        return library.thread(row["seed"])
    own = work.libraries.get(version)
    if own is None:
        own = work.libraries[version] = _own(work, version)
    return own.thread(row["seed"])


def _own(work: Work, version: str) -> Library:
    row = work.once(SQL.content_library, id=UUID(version.removeprefix(OWN)))
    if row is None:
        raise NotFound(f"The content library {version} is gone.", code="library_missing")
    return _parsed(row["source"], version)


@lru_cache(maxsize=32)
def _parsed(source: str, version: str) -> Library:
    return stored_library(source, version)


def _quote(work: Work, out: dict[str, Any], thread: Thread, me: str) -> Quote | None:
    answered = work.once(SQL.inbound, id=out["reply_to_inbound"])
    if answered is None or not answered["sender_address"]:
        return None
    return Quote(
        author_name=answered["sender_name"],
        author_address=answered["sender_address"],
        date=answered["observed_date"],
        body=thread.body(answered["turn"], answered["sender_name"], me),
    )
