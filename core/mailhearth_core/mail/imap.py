"""One IMAP session (RFC 3501/9051): look without leaving a trace, then act on our own mail only.

Looking is EXAMINE and BODY.PEEK; nothing is marked read or recent by it. Messages are named by UID
throughout. Every step has a total deadline and a byte budget, so a hostile server costs an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.folders import Folders, ListedFolder, assign_roles, full_name
from mailhearth_core.mail.headers import FIELDS, HeaderRecord, header_record
from mailhearth_core.mail.imap_link import ImapLink
from mailhearth_core.mail.model import MailError, Stage

__all__ = [
    "FolderStatus",
    "Folders",
    "HeaderRecord",
    "ImapSession",
    "Overview",
]

DELETED = "\\Deleted"
INBOX = "INBOX"
MAX_NUMBER = 2**32 - 1
"""The largest UID, and the largest UIDVALIDITY (RFC 3501 section 9)."""
HEADER_SLICE = 500
"""Messages whose headers one call reads at most."""

_HEADER_BYTES = 16384
_HEADER_BATCH = 100
_UID_BATCH = 500


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """A folder's counters."""

    uidvalidity: int
    uidnext: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All folders by role, and the counters of those that were looked into."""

    folders: Folders
    status: Mapping[str, FolderStatus]


class ImapSession(ImapLink):
    """A signed-in connection. Use `open`; methods without a folder act on the selected one.

    After a `MailError` whose code is timeout, connection_lost, too_much_data, bad_server_reply or
    server_closing only `close` makes sense (`is_alive` tells).
    """

    _selected: tuple[str, bool] | None = None
    _namespace: tuple[str, str | None] | None = None
    _partial_headers = True

    # -- looking ------------------------------------------------------------------------------

    def folders(self) -> Folders:
        """All folders by role (see `folders.assign_roles`)."""
        return assign_roles(self._list())

    def overview(self, likely: Sequence[str] = ()) -> Overview:
        """The folders, and the counters of `likely` and the inbox: one round trip, all examined.

        The inbox stays open. What the server will not open has no counters: `examine` says why.

        Args:
            likely: folders whose counters will be wanted; none has to be there.
        """
        names = [*(name for name in likely if name.upper() != INBOX), INBOX]
        self._selected = None
        with self._step(Stage.LIST):
            lines, opened = self._client.list_and_examine(names)
            status = {
                name: _folder_status(found)
                for name, found in zip(names, opened, strict=True)
                if found is not None
            }
            listed = self._with_special_uses(lines)
        if INBOX in status:
            self._selected = (INBOX, False)
        return Overview(assign_roles(listed), status)

    def is_open(self, folder: str) -> bool:
        """Whether methods without a folder act on this one."""
        return self._selected is not None and self._selected[0] == folder

    def status(self, folder: str) -> FolderStatus:
        """The folder's counters without opening it."""
        with self._step(Stage.STATUS):
            return _folder_status(self._client.folder_status(folder, ["UIDVALIDITY", "UIDNEXT"]))

    def examine(self, folder: str) -> FolderStatus:
        """Opens the folder for looking only."""
        return self._open_folder(folder, writable=False)

    def select(self, folder: str) -> FolderStatus:
        """Opens the folder for changes."""
        return self._open_folder(folder, writable=True)

    def headers(
        self,
        uids: Iterable[int] | None = None,
        *,
        first_uid: int | None = None,
        limit: int = HEADER_SLICE,
    ) -> list[HeaderRecord]:
        """Headers of `uids`, or of all from `first_uid` on; ascending, at most `limit`.

        Uids that no longer exist are left out.
        """
        if (uids is None) == (first_uid is None):
            raise InvalidValue("headers", "uids and first_uid", "exactly one of the two")
        if first_uid is not None:
            with self._step(Stage.SEARCH):
                # "n:*" always names the last message too, however low its uid (RFC 3501 6.4.8).
                found = self._client.search(["UID", f"{first_uid}:*"])
            wanted = sorted(uid for uid in found if first_uid <= uid <= MAX_NUMBER)[:limit]
        else:
            wanted = sorted(set(uids or ()))[:limit]
        records: list[HeaderRecord] = []
        for batch in _batches(wanted, _HEADER_BATCH):
            records += self._header_batch(batch)
        return records

    def find_message_id(self, folder: str, message_id: str) -> list[int]:
        """Uids in `folder` whose Message-ID is this (with brackets), not marked deleted."""
        if not re.fullmatch(r"[\x21-\x7e]{1,998}", message_id):
            raise InvalidValue("message_id", message_id, "printable ASCII without blanks")
        self._use(folder)
        with self._step(Stage.SEARCH):
            found = self._client.search(["UNDELETED", "HEADER", "Message-ID", message_id])
            return sorted(found)

    def uids_since(self, folder: str, day: date) -> list[int]:
        """Uids in `folder` that arrived on `day` (the server's calendar) or later."""
        self._use(folder)
        with self._step(Stage.SEARCH):
            return sorted(self._client.search(["SINCE", day]))

    def offers(self, capability: str) -> bool:
        """Whether the server lists a capability, such as "X-GM-EXT-1"."""
        return self._has(capability)

    def uids_among(self, folder: str, uids: Sequence[int], criteria: Sequence[str]) -> set[int]:
        """Those of `uids` in `folder` that meet SEARCH `criteria` of the server's own."""
        self._use(folder)
        found: set[int] = set()
        for batch in _batches(uids, _UID_BATCH):
            with self._step(Stage.SEARCH):
                found |= set(self._client.search(["UID", ",".join(map(str, batch)), *criteria]))
        return found & set(uids)

    def fetch_raw(self, uid: int, max_bytes: int) -> bytes | None:
        """The message's first `max_bytes` bytes, or None when it is gone; it stays unread."""
        with self._step(Stage.FETCH, max_bytes + 65536):
            found = self._client.fetch([uid], [f"BODY.PEEK[]<0.{max_bytes}>"])
            raw = _section(found.get(uid, {}), b"BODY[]")
            return raw[:max_bytes] if raw is not None else None

    # -- acting -------------------------------------------------------------------------------

    def add_flags(self, uids: Sequence[int], flags: Sequence[str]) -> None:
        """Adds flags; the folder must be selected."""
        self._need_writable()
        for batch in _batches(uids, _UID_BATCH):
            with self._step(Stage.STORE):
                self._client.add_flags(batch, list(flags), silent=True)

    def move(self, uids: Sequence[int], target: str) -> dict[int, int] | None:
        """Moves messages from the selected folder; returns old uid -> new uid where known.

        MOVE (RFC 6851); else COPY, mark deleted, UID EXPUNGE (RFC 4315). A server with neither has
        only a plain EXPUNGE, which would take away every message that anybody marked deleted: there
        the originals stay behind, marked deleted, and `find_message_id` passes over them.
        """
        self._need_writable()
        moved: dict[int, int] = {}
        known = True
        for batch in _batches(uids, _UID_BATCH):
            with self._step(Stage.MOVE):
                self._client.take_copy_uids()
                if self._has("MOVE"):
                    self._client.move(batch, target)
                else:
                    self._client.copy(batch, target)
                pairs = _copy_uids(self._client.take_copy_uids())
            if not self._has("MOVE"):
                self._mark_and_expunge(batch)
            known = known and pairs is not None
            moved |= pairs or {}
        return moved if known else None

    def expunge(self, folder: str, uids: Sequence[int]) -> bool:
        """Deletes messages for good; False when without UIDPLUS they stay, marked deleted."""
        self._use(folder, writable=True)
        gone = [self._mark_and_expunge(batch) for batch in _batches(uids, _UID_BATCH)]
        return all(gone)

    def ensure_folder(self, name: str) -> str:
        """Makes and subscribes the folder when missing; returns the server's name for it.

        Levels of `name` are parted by "/"; the personal namespace is respected (RFC 2342).
        """
        prefix, delimiter = self._personal()
        full = full_name(name, prefix, delimiter)
        if any(f.name == full for f in self._list()):
            return full
        try:
            with self._step(Stage.CREATE):
                self._client.create_folder(full)
        except MailError:
            if all(f.name != full for f in self._list()):  # else another client was faster
                raise
        with self._step(Stage.CREATE):
            self._client.subscribe_folder(full)
        return full

    # -- the protocol -------------------------------------------------------------------------

    def _list(self) -> list[ListedFolder]:
        with self._step(Stage.LIST):
            return self._with_special_uses(list(self._client.list_folders()))

    def _with_special_uses(
        self, lines: list[tuple[tuple[bytes, ...], bytes, str]]
    ) -> list[ListedFolder]:
        """What LIST said; a server that tells special uses only when asked is asked."""
        if self._client.has_capability("SPECIAL-USE") and not any(
            flag.lower() in (b"\\junk", b"\\sent", b"\\trash")
            for flags, _, _ in lines
            for flag in flags
        ):
            lines = _merged(lines, self._client.list_special())
        return [
            ListedFolder(
                tuple(flag.decode("ascii", "replace") for flag in flags),
                delimiter.decode("ascii", "replace") if delimiter else None,
                name,
            )
            for flags, delimiter, name in lines
        ]

    def _personal(self) -> tuple[str, str | None]:
        if self._namespace is None:
            found: tuple[str, str | None] | None = None
            if self._has("NAMESPACE"):
                with self._step(Stage.LIST):
                    personal = self._client.namespace().personal
                    found = (personal[0][0], personal[0][1]) if personal else None
            if found is None:
                listed = self._list()
                found = ("", listed[0].delimiter if listed else None)
            self._namespace = found
        return self._namespace

    def _open_folder(self, folder: str, *, writable: bool) -> FolderStatus:
        self._selected = None  # a refused SELECT leaves nothing selected (RFC 3501 6.3.1)
        with self._step(Stage.SELECT):
            found = self._client.select_folder(folder, readonly=not writable)
            status = _folder_status(found)
            if writable and found.get(b"READ-ONLY"):
                raise self._refusal(Stage.SELECT, f"The folder {folder} can only be read.")
        self._selected = (folder, writable)
        return status

    def _use(self, folder: str, *, writable: bool = False) -> None:
        """Opens the folder unless it is open, and makes sure that new mail is seen."""
        if self._selected in ((folder, True), (folder, writable)):
            with self._step(Stage.SELECT):
                self._client.noop()
        else:
            self._open_folder(folder, writable=writable)

    def _need_writable(self) -> None:
        if self._selected is None or not self._selected[1]:
            raise InvalidValue("folder", self._selected, "a folder opened with select()")

    def _mark_and_expunge(self, uids: Sequence[int]) -> bool:
        with self._step(Stage.EXPUNGE):
            self._client.add_flags(uids, [DELETED], silent=True)
        if not self._has("UIDPLUS"):
            return False
        with self._step(Stage.EXPUNGE):
            self._client.uid_expunge(uids)
        return True

    def _header_batch(self, uids: Sequence[int]) -> list[HeaderRecord]:
        section = f"BODY.PEEK[HEADER.FIELDS ({' '.join(FIELDS)})]"
        if self._partial_headers:
            # Cut short, so that nobody can block a mailbox by mailing it endless headers.
            section += f"<0.{_HEADER_BYTES}>"
        try:
            with self._step(Stage.FETCH):
                found = self._client.fetch(uids, ["INTERNALDATE", "FLAGS", "RFC822.SIZE", section])
                return [
                    header_record(
                        _section(found[uid], b"BODY[HEADER.FIELDS") or b"",
                        uid=uid,
                        # A server that sends no readable date gets the moment it was asked.
                        internaldate=found[uid].get(b"INTERNALDATE") or datetime.now(UTC),
                        flags=_flags(found[uid]),
                        size=int(found[uid].get(b"RFC822.SIZE", 0)),
                    )
                    for uid in sorted(found.keys() & set(uids))
                ]
        except MailError as error:
            if self._partial_headers and error.code == "command_refused":
                self._partial_headers = False
                return self._header_batch(uids)
            raise


def _batches(uids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(uids), size):
        yield uids[start : start + size]


def _folder_status(found: dict[bytes, object]) -> FolderStatus:
    counts = {key: value for key, value in found.items() if isinstance(value, int)}
    validity, following = counts[b"UIDVALIDITY"], counts[b"UIDNEXT"]
    if max(validity, following) > MAX_NUMBER:
        raise ValueError("a number beyond those of IMAP")
    return FolderStatus(validity, following)


def _flags(found: dict[bytes, tuple[bytes, ...]]) -> frozenset[str]:
    return frozenset(
        flag.decode("utf-8", "replace") if isinstance(flag, bytes) else str(flag)
        for flag in found.get(b"FLAGS", ())
    )


def _section(found: dict[bytes, bytes], start: bytes) -> bytes | None:
    """The value whose key begins so: servers spell the rest of it (case, quotes) as they like."""
    for key, value in found.items():
        if key.upper().startswith(start):
            return value if isinstance(value, bytes) else b""
    return None


def _merged(
    lines: list[tuple[tuple[bytes, ...], bytes, str]],
    special: list[tuple[tuple[bytes, ...], bytes, str]],
) -> list[tuple[tuple[bytes, ...], bytes, str]]:
    uses = {name: flags for flags, _, name in special}
    return [(flags + uses.get(name, ()), delimiter, name) for flags, delimiter, name in lines]


def _copy_uids(data: bytes | None) -> dict[int, int] | None:
    """COPYUID's "validity 1:3,9 21:23,24" as old -> new; None where the server told nothing usable.

    The messages have moved by then, so a garbled answer must not look like a failure.
    """
    found = re.fullmatch(rb"\d{1,10} ([\d,:]{1,20000}) ([\d,:]{1,20000})", data or b"")
    if found is None:
        return None
    old, new = _uid_set(found[1]), _uid_set(found[2])
    return dict(zip(old, new, strict=True)) if len(old) == len(new) else None


def _uid_set(text: bytes) -> list[int]:
    uids: list[int] = []
    for first, last in re.findall(rb"(\d{1,10})(?::(\d{1,10}))?", text):
        low, high = sorted((int(first), int(last or first)))
        uids += range(low, min(high, low + _UID_BATCH) + 1)
    return uids
