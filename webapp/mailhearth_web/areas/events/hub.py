"""One listener for all open pages: what changed goes to those who may know of it.

A thread waits on one database connection for notifications (`announce_change` in the migrations)
and puts each into the queues of the streams whose person is in that workspace. A change of a
membership and the end of a session end their streams; each minute one query asks for all of them
who may still listen, for sessions also run out.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg
import structlog

from mailhearth_core.clock import Clock
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named

log = structlog.get_logger()
SQL = named("dashboard")

CHANNEL = "mailhearth_changes"
QUEUE = 64
"""Events kept for one stream; a page that is further behind is told to ask for everything."""
CHECK_S, WAIT_S, RETRY_S = 60.0, 1.0, 2.0
GONE = None
"""In a stream's queue: it ends, because its person may no longer look."""


@dataclass(eq=False)
class Stream:
    """One browser's; `workspaces` are those whose changes it hears of."""

    session_id: UUID
    user_id: UUID
    workspaces: frozenset[UUID]
    events: queue.Queue[str | None] = field(default_factory=lambda: queue.Queue(QUEUE))

    def put(self, event: str | None) -> None:
        try:
            self.events.put_nowait(event)
        except queue.Full:
            if event is GONE:
                self.events.get_nowait()
                self.events.put_nowait(event)


class Hub:
    """The streams of this process.

    Args:
        url: of the login that listens.
        most: streams at once.
        idle: how long a session may be unused.
    """

    def __init__(
        self,
        database: Database,
        url: Secret,
        clock: Clock,
        stopping: threading.Event,
        *,
        most: int,
        idle: timedelta,
    ) -> None:
        self._database = database
        self._url = url
        self._clock = clock
        self._stopping = stopping
        self._most = most
        self._idle = idle
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._thread: threading.Thread | None = None
        self.listening = threading.Event()
        """Set while notifications are heard: for tests that cause some."""

    def open(self, session_id: UUID, user_id: UUID, workspaces: Iterable[UUID]) -> Stream | None:
        """A new stream; None when there are as many as there may be."""
        stream = Stream(session_id, user_id, frozenset(workspaces))
        with self._lock:
            if len(self._streams) >= self._most or self._stopping.is_set():
                return None
            self._streams.add(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
        return stream

    def close(self, stream: Stream) -> None:
        with self._lock:
            self._streams.discard(stream)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def __len__(self) -> int:
        return len(self._streams)

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                if not self._streams:
                    self._thread = None
                    return
            try:
                self._listen()
            except (psycopg.Error, ServiceUnavailable) as error:
                log.warning("live_interrupted", reason=type(error).__name__)
                self._stopping.wait(RETRY_S)
            finally:
                self.listening.clear()
        self._tell(self._open(), "{}")  # wakes them, so that they see it is over

    def _listen(self) -> None:
        checked = self._clock.now()
        with psycopg.connect(
            self._url.reveal(), autocommit=True, application_name="mailhearth-web-live",
            connect_timeout=5,
        ) as conn:  # fmt: skip
            conn.execute(f"LISTEN {CHANNEL}")
            self._check()  # what happened while nobody listened
            self._tell(self._open(), json.dumps({"kind": "all", "id": "", "workspace": ""}))
            self.listening.set()
            while self._streams and not self._stopping.is_set():
                for note in conn.notifies(timeout=WAIT_S, stop_after=1):
                    self._hear(note.payload)
                if self._clock.now() - checked > timedelta(seconds=CHECK_S):
                    self._check()
                    checked = self._clock.now()

    def _hear(self, payload: str) -> None:
        """Hands a notification on."""
        workspace, kind, subject = (*payload.split(" ", 2), "", "")[:3]
        if kind in ("session", "member"):
            # The pages are loaded anew: with what they may show now, or not at all.
            concerned = [s for s in self._open() if subject in (str(s.session_id), str(s.user_id))]
            self._tell(concerned, GONE)
        try:
            place = UUID(workspace)
        except ValueError:
            return  # anybody who can connect may notify; nothing but ids is believed
        event = json.dumps({"workspace": workspace, "kind": kind, "id": subject})
        self._tell([s for s in self._open() if place in s.workspaces], event)

    def _check(self) -> None:
        """Ends the streams of those who may no longer look, and learns of new workspaces."""
        streams = self._open()
        with self._database.tx() as conn:
            rows = SQL.streams(
                conn,
                sessions=[stream.session_id for stream in streams],
                now=self._clock.now(),
                idle=self._idle,
            )
            places = {row["session_id"]: frozenset(row["workspaces"]) for row in rows}
        for stream in streams:
            now = places.get(stream.session_id)
            if now is None or not stream.workspaces <= now:
                stream.put(GONE)
            else:
                stream.workspaces = now

    def _open(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)

    @staticmethod
    def _tell(streams: Iterable[Stream], event: str | None) -> None:
        for stream in streams:
            stream.put(event)
