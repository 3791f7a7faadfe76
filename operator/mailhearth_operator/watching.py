"""Kopf, as far as it is used: it watches, and puts what it sees where the queue finds it."""

from __future__ import annotations

import logging
from typing import Any

import kopf
from kubernetes import client

from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import WATCHED, Kind
from mailhearth_operator.engine.reconciler import Reconciler


class NoDifferences(kopf.DiffBaseStorage):
    """Kopf compares no states: a difference is ours to find. It would copy each object for that."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """Kopf remembers no handlers' progress: the queue does."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def settings() -> kopf.OperatorSettings:
    """Kopf watches and does nothing else: no annotations, no finalizers, no events of its own."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.persistence.diffbase_storage = NoDifferences()
    made.persistence.progress_storage = NoProgress()
    made.watching.server_timeout = 240
    made.watching.connect_timeout = 10
    made.networking.request_timeout = 30
    # A worker stands for one object until it has idled; a limit would be one of objects, too.
    made.queueing.idle_timeout = 0.5
    return made


def quieten() -> None:
    """Kopf tells of each event that it was handled; that would be all that stands in the log."""
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


def registry(reconciler: Reconciler, api: Api) -> kopf.OperatorRegistry:
    """Handlers of watch events: they take note, and put keys on the queue."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    def login(**about: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**about) or _as(api.configuration)

    for kind in WATCHED:
        _watch(made, kind, reconciler)
    return made


def _as(configuration: client.Configuration) -> kopf.ConnectionInfo:
    """The account of our own client, for Kopf's."""
    scheme, _, token = (configuration.get_api_key_with_prefix("BearerToken") or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def _watch(made: kopf.OperatorRegistry, kind: Kind, reconciler: Reconciler) -> None:
    group, _, version = kind.api.rpartition("/")

    @kopf.on.event(group, version, kind.plural, registry=made, id=f"see-{kind.plural}")
    async def see(event: Any, **_: Any) -> None:
        reconciler.took_place(kind, event["type"], dict(event["object"]))
