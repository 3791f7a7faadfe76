"""The operator beside a bare script that applies the same objects: time, memory, API calls.

On the cluster that KUBECONFIG names: a real API server with its controllers and simulated nodes,
whose pods are ready at once and run nothing. Everything is made in namespaces that are deleted at
the end. `make bench-operator` runs it; it is no part of `make bench`, which needs no cluster.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bench import results
from bench.results import goal
from bench.world import World, free_port, wait_for, world
from mailhearth_core.sealing import PrivateKey
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.keys import key_secret
from mailhearth_operator.cluster.kinds import (
    BY_NAME,
    CHILDREN,
    DEPLOYMENT,
    POOL,
    SECRET,
    WORKSPACE,
    Kind,
    Object,
)
from mailhearth_operator.manifests import workers
from mailhearth_operator.manifests.model import Owner, Platform, Pool
from mailhearth_operator.settings import read_platform

WORKSPACES, POOLS, THREADS = 100, 1_000, 8
GOAL_TIMES, GOAL_MEGABYTES, GOAL_CALLS = 2.0, 250.0, 12.0
REST_S, DEADLINE_S = 60.0, 900.0
NAMESPACE = Kind("v1", "Namespace", "namespaces")


def run(workspaces: int = WORKSPACES, pools: int = POOLS) -> dict[str, Any]:
    if "KUBECONFIG" not in os.environ:
        raise results.Missing("KUBECONFIG names no cluster: see docs/performance.md")
    api = Api.connect()
    with ExitStack() as stack:
        place = stack.enter_context(world())
        ours = stack.enter_context(namespace(api))
        platform = place.folder / "platform.yaml"
        platform.write_text(PLATFORM)
        shared = read_platform(platform).platform()
        bare: dict[int, float] = {}
        for threads in (1, THREADS):
            script = stack.enter_context(namespace(api))
            bare[threads] = bare_script(api, script, workspaces, pools, shared, threads)
            print(f"  a bare script, {threads} threads: {bare[threads]:.1f} s", flush=True)
            # The controllers go on with what was applied; the next begins in quiet too.
            wait_for(lambda where=script: rolled_out(api, where, pools), DEADLINE_S, "its pods")  # type: ignore[misc]
        started = time.perf_counter()
        with operator(place, ours, platform, "first") as first:
            made = applied(api, ours, workspaces, pools)
            wait_for(lambda: all_there(api, ours, pools), DEADLINE_S, "all objects")
            took = time.perf_counter() - started - first.ready_after
            wait_for(lambda: rolled_out(api, ours, pools), DEADLINE_S, "the operator's pods")
            first.settle()
            settled = time.perf_counter() - started - first.ready_after
            print(f"  the operator: {took:.1f} s, settled after {settled:.1f} s", flush=True)
            calls, memory = first.calls(), first.peak_megabytes()
            before = first.writes()
            time.sleep(REST_S)
            at_rest = first.writes() - before
        versions = resource_versions(api, ours)
        started = time.perf_counter()
        with operator(place, ours, platform, "second") as second:
            second.settle()
            again = time.perf_counter() - started
            rewritten = sum(
                version != versions.get(key)
                for key, version in resource_versions(api, ours).items()
            )
            memory_again, writes_again = second.peak_megabytes(), second.writes()
    return {
        "workspaces": workspaces,
        "pools": pools,
        "bare_script_seconds": bare[1],
        "bare_script_in_threads_seconds": bare[THREADS],
        "resources_created_seconds": made,
        "all_objects_applied_seconds": took,
        "settled_seconds": settled,
        "goal_times_the_bare_script": goal(GOAL_TIMES, took / bare[1], at_most=True),
        "times_the_bare_script_in_threads": took / bare[THREADS],
        "goal_peak_megabytes": goal(GOAL_MEGABYTES, memory, at_most=True),
        "goal_api_calls_for_each_pool": goal(GOAL_CALLS, sum(calls.values()) / pools, at_most=True),
        "api_calls": dict(calls),
        "goal_writes_in_a_minute_at_rest": goal(0, at_rest, at_most=True),
        "restart": {
            "settled_seconds": again,
            "objects_rewritten": rewritten,
            "writes": writes_again,
            "peak_megabytes": memory_again,
        },
    }


PLATFORM = """\
installation: bench/bench
image: mailhearth:bench
databaseUrl: postgresql://db:5432/mailhearth?sslmode=verify-full
redisSecret: redis
"""


# -- the two sides -----------------------------------------------------------------------------


def names(workspaces: int, pools: int) -> Iterator[tuple[str, str]]:
    """Workspace and pool."""
    for number in range(pools):
        yield f"workspace-{number % workspaces:03}", f"pool-{number:04}"


def resources(where: str, workspaces: int, pools: int) -> list[tuple[Kind, Object]]:
    """The custom resources."""
    made: list[tuple[Kind, Object]] = [
        (WORKSPACE, resource(WORKSPACE, where, f"workspace-{number:03}", {}))
        for number in range(workspaces)
    ]
    for workspace, pool in names(workspaces, pools):
        spec = {"workspaceRef": {"name": workspace}}
        made.append((POOL, resource(POOL, where, pool, spec)))
    return made


def applied(api: Api, where: str, workspaces: int, pools: int) -> float:
    """Seconds to create the custom resources, in as many threads as the operator has."""
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda one: api.create(*one), resources(where, workspaces, pools)))
    return time.perf_counter() - started


def bare_script(
    api: Api, where: str, workspaces: int, pools: int, platform: Platform, count: int
) -> float:
    """Seconds to apply the custom resources and everything that the operator makes of them.

    Args:
        count: threads; one applies one object after the other, as scripts do.
    """
    started = time.perf_counter()
    ids = {f"workspace-{number:03}": uuid4() for number in range(workspaces)}
    with ThreadPoolExecutor(count) as threads:
        made = list(threads.map(lambda one: api.create(*one), resources(where, workspaces, pools)))
        uids = {obj["metadata"]["name"]: obj["metadata"]["uid"] for obj in made}
        keys = []
        for workspace in ids.values():
            keys.append(key_secret(where, workspace, 1, PrivateKey.generate().raw()))
            login = key_secret(where, workspace, 2, secrets.token_bytes(32))
            keys.append(login)
        list(threads.map(lambda body: api.create(SECRET, body), keys))
        bodies = [
            body
            for workspace, pool in names(workspaces, pools)
            for body in workers.objects(
                platform,
                Pool(
                    namespace=where,
                    owner=Owner(pool, uids[pool]),
                    group=pool,
                    workspaces=(ids[workspace],),
                    key_secrets={(ids[workspace], 1): "key"},
                    login_secrets={ids[workspace]: "login"},
                    replicas=1,
                    most=3,
                ),
            )
        ]
        list(threads.map(lambda body: api.apply(BY_NAME[body["kind"]], body), bodies))
    return time.perf_counter() - started


def all_there(api: Api, where: str, pools: int) -> bool:
    """Everything that the operator makes of pools is there; asked so that it costs little."""
    time.sleep(0.25)
    return all(counted(api, kind, where) >= pools for kind in reversed(CHILDREN))


def counted(api: Api, kind: Kind, where: str) -> int:
    """How many objects there are: the API server counts what a page of one leaves out."""
    page = api._request("list", "GET", kind, kind.path(where), query={"limit": "1"})
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)


def rolled_out(api: Api, where: str, pools: int) -> bool:
    """The pods of all Deployments are there."""
    deployments = api.list_all(DEPLOYMENT, where)
    there = sum(one.get("status", {}).get("availableReplicas", 0) for one in deployments)
    return bool(there >= pools)


def resource_versions(api: Api, where: str) -> dict[tuple[str, str], str]:
    """Of all that the operator may write.

    Controllers write the status of what it makes of a pool; there the generation tells of the spec.
    """
    return {
        (kind.name, meta["name"]): str(
            meta["generation" if kind in CHILDREN else "resourceVersion"]
        )
        for kind in (WORKSPACE, POOL, SECRET, *CHILDREN)
        for meta in api.list_metadata(kind, where)
    }


# -- the operator --------------------------------------------------------------------------------


class Running:
    """One operator process."""

    def __init__(self, port: int, pid: int, ready_after: float) -> None:
        self._port, self._pid = port, pid
        self.ready_after = ready_after

    def _samples(self) -> Iterator[Sample]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                yield from family.samples

    def calls(self) -> Counter[str]:
        """Requests so far, by verb."""
        counted: Counter[str] = Counter()
        for sample in self._samples():
            if sample.name == "mailhearth_operator_api_requests_total":
                counted[sample.labels["verb"]] += int(sample.value)
        return counted

    def writes(self) -> int:
        return sum(n for verb, n in self.calls().items() if verb not in ("get", "list"))

    def depth(self) -> float:
        (depth,) = (s.value for s in self._samples() if s.name == "mailhearth_operator_queue_depth")
        return float(depth)

    def settle(self) -> None:
        """Returns when nothing is due for three looks, a second apart."""
        quiet = 0

        def is_quiet() -> bool:
            nonlocal quiet
            quiet = quiet + 1 if self.depth() == 0 else 0
            time.sleep(1)
            return quiet >= 3

        wait_for(is_quiet, DEADLINE_S, "the queue is empty")

    def peak_megabytes(self) -> float:
        """The most memory that it had resident."""
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the operator is gone")


@contextmanager
def operator(place: World, where: str, platform: Path, name: str) -> Iterator[Running]:
    """A process of `mailhearth operator`, ready."""
    port = free_port()
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "KUBECONFIG": os.environ["KUBECONFIG"],
        "MAILHEARTH_DATABASE_URL": place.stack.urls.operator.reveal(),
        "MAILHEARTH_CLI_DATABASE_URL": place.stack.urls.cli.reveal(),
        "MAILHEARTH_PLATFORM_FILE": str(platform),
        "MAILHEARTH_NAMESPACE": where,
        "MAILHEARTH_METRICS_PORT": str(port),
        "MAILHEARTH_HEALTH_PORT": str(port),
        "MAILHEARTH_THREADS": str(THREADS),
        "MAILHEARTH_LOG_LEVEL": "WARNING",
        "MALLOC_ARENA_MAX": "2",  # as in the image
    }
    started = time.perf_counter()
    with place._process(["mailhearth_operator"], environ, f"operator-{name}") as process:

        def is_ready() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return True
            except OSError:
                return False

        wait_for(is_ready, 120, "the operator is not ready")
        yield Running(port, process.pid, time.perf_counter() - started)


@contextmanager
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the measurement's own."""
    name = f"mailhearth-bench-{secrets.token_hex(3)}"
    api._request(
        "create",
        "POST",
        NAMESPACE,
        NAMESPACE.path(None),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
    )
    try:
        yield name
    finally:
        api._request("delete", "DELETE", NAMESPACE, f"{NAMESPACE.path(None)}/{name}")


def resource(kind: Kind, where: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": kind.api,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": where},
        "spec": spec,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--workspaces", type=int, default=WORKSPACES)
    parser.add_argument("--pools", type=int, default=POOLS)
    asked = parser.parse_args()
    try:
        found = run(asked.workspaces, asked.pools)
    except results.Missing as missing:
        sys.exit(str(missing))
    if (asked.workspaces, asked.pools) == (WORKSPACES, POOLS):
        results.keep("operator", found)
    print("\n".join(results.lines_of(found)))


if __name__ == "__main__":
    main()
