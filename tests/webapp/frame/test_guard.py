"""Rate limits, and what they do when Redis is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import TooManyRequests

from database import TestInstallation
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.frame.access import public, signed_in
from mailhearth_web.frame.guard import Guard, limited, limits_of, network_of
from web import Web, running_web


def add_views(web: Web) -> None:
    @public
    @limited("3/minute", by="ip", outage="refuse")
    def door() -> str:
        return "open"

    @limited("2/minute", by="account", outage="pass")
    @signed_in
    def tap() -> str:
        return "water"

    web.app.add_url_rule("/t/door", endpoint="t.door", view_func=door)
    web.app.add_url_rule("/t/tap", endpoint="t.tap", view_func=tap)


def knock(web: Web, ip: str) -> int:
    return web.visitor().get("/t/door", environ_base={"REMOTE_ADDR": ip}).status_code


@pytest.fixture(autouse=True)
def nothing_counted(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.admin_url.reveal()) as client:
        client.flushall()


def test_hits_are_counted_by_address(web: Web) -> None:
    add_views(web)
    assert [knock(web, "192.0.2.1") for _ in range(4)] == [200, 200, 200, 429]
    assert knock(web, "192.0.2.2") == 200
    # One IPv6 customer has a whole /64.
    found = [knock(web, f"2001:db8::{n}") for n in range(1, 5)]
    assert found == [200, 200, 200, 429]
    assert knock(web, "2001:db8:0:1::1") == 200
    response = web.visitor().get("/t/door", environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["X-Request-ID"] in response.text


def test_a_forwarded_address_of_ones_own_making_is_no_way_round(web: Web) -> None:
    add_views(web)
    for n in range(4):
        last = web.visitor().get("/t/door", headers={"X-Forwarded-For": f"198.51.100.{n}"})
    assert last.status_code == 429


def test_hits_are_counted_by_account_wherever_it_comes_from(web: Web) -> None:
    add_views(web)
    person = web.person("ann")
    found = [
        web.browser(person).get("/t/tap", environ_base={"REMOTE_ADDR": f"192.0.2.{n}"}).status_code
        for n in range(3)
    ]
    assert found == [200, 200, 429]
    assert web.browser(web.person("bob")).get("/t/tap").status_code == 200


def test_the_webs_redis_login_reaches_its_counters_and_lengths_alone(web: Web) -> None:
    add_views(web)
    assert knock(web, "192.0.2.1") == 200
    own = web.services.redis
    assert own.llen("rq:queue:local") == 0
    for deed in (
        lambda: own.rpush("rq:queue:local", "x"),
        lambda: own.lrange("rq:queue:local", 0, -1),
        lambda: own.hgetall("rq:job:x"),
        lambda: own.set("other", "x"),
        lambda: own.keys(),
        lambda: own.flushall(),
        lambda: own.eval("return redis.call('rpush', 'rq:queue:local', 'x')", 0),
        lambda: own.config_get(),
    ):
        with pytest.raises((redis.exceptions.NoPermissionError, redis.ResponseError)):
            deed()


# -- Redis away ------------------------------------------------------------------------------------


@pytest.fixture
def deaf(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Web]:
    """A dashboard whose Redis takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        with running_web(installation, valkey, MAILHEARTH_REDIS_URL=url) as made:
            yield made


def let_through(web: Web, route: str, outcome: str) -> float:
    labels = {"route": route, "outcome": outcome}
    return web.registry.get_sample_value("mailhearth_web_limited_total", labels) or 0.0


def test_a_stopped_redis_closes_the_door_and_lets_the_rest_through(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
    with running_web(installation, valkey, MAILHEARTH_REDIS_URL=url) as web:
        add_views(web)
        response = web.visitor().get("/t/door")
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "127.0.0.1" not in response.text
        ann = web.browser(web.person("ann"))
        assert [ann.get("/t/tap").status_code for _ in range(5)] == [200] * 5
        assert let_through(web, "t.door", "unavailable") == 1.0
        assert let_through(web, "t.tap", "let_through") == 5.0
        ready = web.visitor().get("/readyz")
        assert ready.status_code == 503
        assert ready.get_json()["reasons"] == ["Redis does not answer"]
        assert web.visitor().get("/healthz").status_code == 200


def test_a_redis_that_hangs_costs_a_request_little(deaf: Web) -> None:
    add_views(deaf)
    ann = deaf.browser(deaf.person("ann"))
    ann.get("/t/tap")  # templates, the first connection to the database
    deaf.services.guard._not_before = 0.0
    began = time.perf_counter()
    assert ann.get("/t/tap").status_code == 200
    assert time.perf_counter() - began < 0.6  # 200 ms of waiting
    began = time.perf_counter()
    for _ in range(5):
        assert ann.get("/t/tap").status_code == 200
    assert time.perf_counter() - began < 0.5  # and none for the next second


def test_the_guard_counts_again_when_redis_is_back(valkey: EmbeddedValkey) -> None:
    (limit,) = limits_of(limited("1/minute", outage="refuse")(lambda: ""))
    guard = Guard(valkey.admin_url, Metrics(CollectorRegistry()))
    away = Guard(Secret("redis://127.0.0.1:1/0"), Metrics(CollectorRegistry()))
    with pytest.raises(ServiceUnavailable):
        away.check(limit, "r", "w")
    away._url, away._not_before = valkey.admin_url, 0.0
    del away.__dict__["_storage"], away.__dict__["_limiter"]
    away.check(limit, "r", "w")
    with pytest.raises(TooManyRequests):
        guard.check(limit, "r", "w")
    guard.close()
    away.close()


def test_what_counts_as_one_visitor() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert network_of(None) == network_of("") == "unknown"
