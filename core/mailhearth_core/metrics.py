"""Every Prometheus metric of the product, and the small server that a process shows them with.

Each process owns one registry on a port of its own, and no process forks after `Metrics` is made
(workers and scheduler do not fork; web runs as threads). prometheus_client's multi-process mode is
therefore not used: its files outlive their processes, a worker's data folder need not take them,
and summed gauges hide which process is stuck. Leave PROMETHEUS_MULTIPROC_DIR unset.
Labels are bounded: never a mailbox, an address or a message.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from mailhearth_core.errors import MailhearthError

#: Gives the reasons why a process is not healthy or not ready; empty when all is well.
Check = Callable[[], list[str]]

_NETWORK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WEB_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0)
_TICK_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_log = structlog.get_logger(__name__)


class Metrics:
    """The metric objects, registered with the given registry; make one per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"mailhearth_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"mailhearth_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"mailhearth_{name}", about, labels, buckets=buckets, registry=registry
            )

        # Mail
        self.sent = counter("sent_total", "Warmup messages accepted by a server", "provider")
        self.placement = counter(
            "placement_total", "First observations of messages", "placement", "provider"
        )
        self.rescued = counter("rescued_total", "Messages moved out of junk", "provider")
        self.replied = counter("replied_total", "Replies sent", "provider")
        self.failures = counter("failures_total", "Failures by code and stage", "class", "stage")
        self.send_seconds = histogram(
            "send_seconds", "One SMTP transaction", _NETWORK_BUCKETS, "provider"
        )
        self.sync_seconds = histogram(
            "sync_seconds", "One look into a mailbox", _NETWORK_BUCKETS, "provider"
        )
        self.mailboxes = gauge("mailboxes", "Mailboxes by state", "state")
        # Work
        self.queue_depth = gauge("queue_depth", "Wake-ups waiting in Redis", "group")
        self.demand = gauge("demand", "Actions due now", "group")
        self.oldest_due_seconds = gauge("oldest_due_seconds", "Age of the oldest due action")
        self.lease_reclaims = counter("lease_reclaims_total", "Leases taken from lost workers")
        self.lag_seconds = histogram(
            "lag_seconds", "Delay between due and started", _NETWORK_BUCKETS, "kind"
        )
        self.tick_seconds = histogram(
            "tick_seconds", "One pass of a scheduler's step", _TICK_BUCKETS, "step"
        )
        self.wakeup_seconds = histogram(
            "wakeup_seconds", "One wake-up in a worker", _NETWORK_BUCKETS, "verb"
        )
        self.forged_jobs = counter("forged_jobs_total", "Jobs from Redis that were refused")
        # Web
        self.web_requests = counter(
            "web_requests_total", "Answered requests", "route", "method", "status"
        )
        self.web_seconds = histogram("web_seconds", "One request, live streams apart", _WEB_BUCKETS)
        self.web_limited = counter(
            "web_limited_total",
            "Limited requests: refused, unavailable or let_through with Redis away",
            "route",
            "outcome",
        )
        self.web_streams = gauge("web_streams", "Open live streams")

    def failure(self, error: Exception, stage: str) -> None:
        """Count a failure under its stable code (`unexpected` for what is not of our family)."""
        code = error.code if isinstance(error, MailhearthError) else "unexpected"
        self.failures.labels(**{"class": code, "stage": stage}).inc()


class MetricsServer:
    """A running server of /metrics, /healthz and /readyz, in daemon threads."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.port: int = server.server_address[1]
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="metrics"
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    port: int,
    registry: CollectorRegistry,
    healthz: Check,
    readyz: Check,
    host: str = "127.0.0.1",
) -> MetricsServer:
    """Serve until closed; port 0 picks a free one.

    /healthz and /readyz answer 200, or 503 with the reasons as JSON. A check that raises counts as
    a reason. Raises OSError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds a client may stay silent
        server_version = "mailhearth"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(200, content_type, encode(registry))
                case "/healthz":
                    self._report(healthz)
                case "/readyz":
                    self._report(readyz)
                case _:
                    self._answer(404, "text/plain", b"try /metrics, /healthz or /readyz\n")

        def _report(self, check: Check) -> None:
            try:
                reasons = check()
            except Exception as error:  # noqa: BLE001 - reported to the prober, and logged
                _log.exception("health check failed", path=self.path)
                reasons = [f"the check itself failed: {type(error).__name__}"]
            body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
            self._answer(503 if reasons else 200, "application/json", body)

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: not logged."""

    return MetricsServer(_Server((host, port), Handler))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
