"""What Prometheus is told of pools: what is due in them, and who is there to do it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mailhearth_operator.cluster.kinds import POOL
from mailhearth_operator.cluster.seen import Seen
from mailhearth_operator.engine.demand import Demands
from mailhearth_operator.engine.related import deployment_of

LABELS = ("namespace", "pool")


class PoolCollector(Collector):
    """Reads what the operator knows already; nothing is asked for a scrape."""

    def __init__(self, seen: Seen, demands: Demands) -> None:
        self._seen = seen
        self._demands = demands

    def collect(self) -> Iterator[GaugeMetricFamily]:
        due = GaugeMetricFamily(
            "mailhearth_pool_due_actions", "Actions due in a pool's worker group.", labels=LABELS
        )
        available = GaugeMetricFamily(
            "mailhearth_pool_available_workers", "Workers of a pool that are ready.", labels=LABELS
        )
        for pool in self._seen.all(POOL):
            meta = pool["metadata"]
            place = (meta["namespace"], meta["name"])
            group = self._demands.group_of(*place)
            if group is None:
                continue  # it is not resolved yet, or its spec makes no sense
            due.add_metric(place, self._demands.of(group).due_now)
            live = deployment_of(self._seen, pool) or {}
            available.add_metric(place, live.get("status", {}).get("availableReplicas", 0))
        yield due
        yield available
