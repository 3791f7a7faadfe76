"""Metrics and probes over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.metrics import Metrics, MetricsServer, serve

REASONS: list[str] = []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def server(metrics: Metrics) -> Iterator[MetricsServer]:
    def broken() -> list[str]:
        raise RuntimeError("c4nary")

    REASONS.clear()
    running = serve(0, metrics.registry, healthz=broken, readyz=lambda: list(REASONS))
    yield running
    running.close()


def get(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_can_be_scraped(metrics: Metrics, server: MetricsServer) -> None:
    metrics.sent.labels("gmail").inc(3)
    metrics.failure(ServiceUnavailable("down"), "send")
    metrics.failure(KeyError("x"), "send")
    metrics.tick_seconds.labels("reclaim").observe(0.01)
    status, text = get(server, "/metrics")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert status == 200
    assert samples["mailhearth_sent_total", (("provider", "gmail"),)] == 3
    assert samples["mailhearth_forged_jobs_total", ()] == 0
    for code in ("unavailable", "unexpected"):
        assert samples["mailhearth_failures_total", (("class", code), ("stage", "send"))] == 1


def test_readiness_tells_its_reasons(server: MetricsServer) -> None:
    assert get(server, "/readyz?verbose")[0] == 200
    REASONS.append("the database's generation differs")
    status, text = get(server, "/readyz")
    assert status == 503
    assert json.loads(text) == {"ok": False, "reasons": REASONS}
    assert get(server, "/other")[0] == 404


def test_a_check_that_fails_is_not_healthy(server: MetricsServer) -> None:
    status, text = get(server, "/healthz")
    assert status == 503
    assert "RuntimeError" in text
    assert "c4nary" not in text


def test_two_processes_of_metrics_do_not_meet(metrics: Metrics) -> None:
    other = Metrics(CollectorRegistry())
    other.replied.labels("outlook").inc()
    assert (
        metrics.registry.get_sample_value("mailhearth_replied_total", {"provider": "outlook"})
        is None
    )
