"""Kubernetes Events about a resource: what happened, once for each thing that is new."""

from __future__ import annotations

import time
from threading import Lock
from typing import Literal

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import EVENT, Object
from mailhearth_operator.manifests.model import MANAGER

log = structlog.get_logger()
AGAIN_S = 3600.0
"""The same event about the same object is not written again for so long."""
MAX_NOTE = 1024
"""Bytes that the API takes of a note."""


class Events:
    """Writes events; one that cannot be written is logged, since nothing hangs on it.

    Args:
        reporter: name of this pod.
    """

    def __init__(self, api: Api, reporter: str) -> None:
        self._api = api
        self._reporter = reporter
        self._written: dict[tuple[str, str, str], float] = {}
        self._lock = Lock()

    def tell(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, note: str, action: str
    ) -> None:
        """An event about `obj`.

        Args:
            reason, action: one CamelCase word each.
            note: a sentence.
        """
        meta = obj["metadata"]
        about = (meta["uid"], reason, note)
        now = time.monotonic()
        with self._lock:
            last = self._written.get(about)
            if last is not None and now - last < AGAIN_S:
                return
            self._written = {key: at for key, at in self._written.items() if now - at < AGAIN_S} | {
                about: now
            }
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name']}.{time.time_ns():x}",
                "namespace": meta["namespace"],
            },
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
            "reportingController": MANAGER,
            "reportingInstance": self._reporter,
            "action": action,
            "reason": reason,
            "type": kind,
            "note": note.encode()[:MAX_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
        }
        try:
            self._api.create(EVENT, body)
        except MailhearthError as error:
            log.warning("event_not_written", reason=reason, error=str(error))
