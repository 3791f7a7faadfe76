"""Which onlookers a run of `mailhearth up` gets."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Database, one
from mailhearth_local.run.days import DaysRun, Progress, table, write_report

if TYPE_CHECKING:
    from mailhearth_local.run.supervisor import MakeWatcher, Watcher
    from mailhearth_local.services.stack import Stack

LINE_SECONDS = 5.0

Say = Callable[[str], None]


class Together:
    """Several watchers as one; the first exit code counts."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def begin(self) -> None:
        for watcher in self._watchers:
            watcher.begin()

    def step(self) -> int | None:
        for watcher in self._watchers:
            code = watcher.step()
            if code is not None:
                return code
        return None

    def close(self) -> None:
        for watcher in self._watchers:
            watcher.close()


class Lines:
    """A plain line of progress every few seconds, where no terminal is."""

    def __init__(self, database: Callable[[], Database], say: Say) -> None:
        self._database = database
        self._say = say
        self._said = 0.0

    def begin(self) -> None:
        self._said = time.monotonic()

    def step(self) -> int | None:
        if time.monotonic() - self._said < LINE_SECONDS:
            return None
        self._said = time.monotonic()
        with self._database().tx() as conn:
            now = business_now(conn)
            row = one(
                conn.execute(
                    "SELECT count(*) FILTER (WHERE state = 'sent') AS sent, "
                    "count(*) FILTER (WHERE placement IN ('inbox', 'tab')) AS inbox, "
                    "count(*) FILTER (WHERE placement IS NOT NULL) AS seen, "
                    "count(*) FILTER (WHERE rescued_at IS NOT NULL) AS rescued, "
                    "count(*) FILTER (WHERE state = 'sent' AND kind = 'reply') AS replied "
                    "FROM admin.messages"
                ).fetchone()
            )
        self._say(
            f"{now:%a %d %b %H:%M}: {row['sent']} sent, "
            f"{row['inbox']} of {row['seen']} in the inbox, "
            f"{row['rescued']} rescued, {row['replied']} replies"
        )
        return None

    def close(self) -> None:
        pass


class RunLines:
    """Lines of progress of a run of days; called with every progress, says one now and then."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said = time.monotonic()
        self._phase: object = None

    def __call__(self, progress: Progress) -> None:
        new_phase = self._phase is not None and progress.phase is not self._phase
        self._phase = progress.phase
        if new_phase or time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self._say(progress.line())


def make_watcher(
    days: int | None, path: Path | None, *, demo: bool, as_json: bool, say: Say
) -> MakeWatcher | None:
    """None when there is nothing to look on."""
    if days is None and not demo:
        return None
    at_terminal = demo and sys.stdout.isatty() and not as_json

    def make(stack: Stack, database: Callable[[], Database]) -> Watcher:
        view: Any = None
        watchers: list[Watcher] = []
        if at_terminal:
            from mailhearth_local.run.live import LiveView  # rich, only where it is seen

            view = LiveView(database)
            watchers.append(view)
        elif days is None:
            watchers.append(Lines(database, say))
        if days is not None:

            def done(found: dict[str, Any]) -> None:
                if view is not None:
                    view.close()
                if path is not None:
                    write_report(path, found)
                    say(f"The report is in {path}")
                elif as_json:
                    sys.stdout.write(json.dumps(found, indent=2) + "\n")
                else:
                    sys.stdout.write(table(found) + "\n")
                sys.stdout.flush()

            watch = view.progress if view is not None else RunLines(say)
            watchers.append(DaysRun(database, days, done=done, watch=watch))
        return watchers[0] if len(watchers) == 1 else Together(watchers)

    return make
