"""What one worker process shares among its drains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailhearth_core.keystore import KeyReader
from mailhearth_core.mail.dns import Resolver
from mailhearth_core.metrics import Metrics
from mailhearth_core.net import Dialer
from mailhearth_core.settings import WorkerSettings
from mailhearth_core.storage.doors import WorkerDoors
from mailhearth_worker.sessions import Sessions
from mailhearth_worker.tokens import Tokens


@dataclass(frozen=True)
class Runtime:
    settings: WorkerSettings
    doors: WorkerDoors
    keys: KeyReader
    dialer: Dialer
    resolver: Resolver
    sessions: Sessions
    tokens: Tokens
    metrics: Metrics
    stopping: Callable[[], bool]
    """True once this process was asked to stop: the mail in hand finishes, nothing new is begun."""
