"""Real caches behind one network alias, the shape of a headless Service: Docker's DNS answers with
an A record for each container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from testcontainers.core.network import Network

from tests.container.conftest import Run, Start
from tests.container.running import SERVICE, WebServer
from tests.loopback.program import stable

NGINX_PORT, VARNISH_PORT = 8080, 8082
PURGE = f"""\
- name: purge
  url: http://{SERVICE}:{NGINX_PORT}/
  method: PURGE
  settle: 5s
  timeout: 2s
  attempts: 2
  backoff: {{initial: 100ms}}
"""
BAN = f"- {{name: ban, url: 'http://{SERVICE}:{VARNISH_PORT}/', method: BAN, settle: 5s}}\n"

Servers = Callable[[str, int], list[WebServer]]


@pytest.fixture
def servers(network: Network) -> Iterator[Servers]:
    started: list[WebServer] = []

    def servers(image: str, port: int) -> list[WebServer]:
        for _ in range(3):
            started.append(WebServer(image, network, port))
            started[-1].docker.start()
        return sorted(started, key=lambda server: server.endpoint)

    yield servers
    for server in started:
        server.docker.stop()


@pytest.fixture
def nginx(servers: Servers, nginx_image: str) -> list[WebServer]:
    """Three of them, in the order of their addresses, which is that of sequential calls."""
    return servers(nginx_image, NGINX_PORT)


def pages(servers: list[WebServer]) -> list[str]:
    return [server.page() for server in servers]


def test_the_cache_of_each_nginx_is_cleared_by_one_request(
    run: Run, nginx: list[WebServer]
) -> None:
    cached = pages(nginx)
    assert pages(nginx) == cached
    finished = run(PURGE)
    assert finished.exit_code == 0, finished.stdout
    last = finished.entries[-1]
    assert stable(last) == {
        "level": "info",
        "event": "run.finished",
        "outcome": "complete",
        "exit_code": 0,
        "broadcasts_complete": 1,
        "broadcasts_partial": 0,
        "broadcasts_failed": 0,
        "seen": 3,
        "acknowledged": 3,
        "failed": 0,
        "gone": 0,
        "cancelled": 0,
    }
    assert finished.stderr == ""
    calls = {call["endpoint"]: call["span_id"] for call in finished.events("call.succeeded")}
    for server in nginx:
        span_id = calls[server.endpoint]
        line = f"PURGE / {SERVICE}:{NGINX_PORT} 00-{last['run_id']}-{span_id}-01"
        assert server.requests("PURGE") == [line]
    fresh = pages(nginx)
    assert not set(fresh) & set(cached)
    assert pages(nginx) == fresh


def test_the_cache_of_each_varnish_is_cleared(
    run: Run, servers: Servers, varnish_image: str
) -> None:
    varnish = servers(varnish_image, VARNISH_PORT)
    cached = pages(varnish)
    assert pages(varnish) == cached
    finished = run(BAN)
    assert finished.exit_code == 0, finished.stdout
    assert finished.entries[-1]["acknowledged"] == 3
    fresh = pages(varnish)
    assert not set(fresh) & set(cached)
    assert pages(varnish) == fresh


def test_a_paused_container_is_exit_3_and_keeps_its_cache(run: Run, nginx: list[WebServer]) -> None:
    cached = pages(nginx)
    paused = nginx[1]
    paused.pause()
    finished = run(PURGE)
    assert finished.exit_code == 3, finished.stdout
    assert stable(finished.only("endpoint.failed")) == {
        "level": "error",
        "event": "endpoint.failed",
        "broadcast": "purge",
        "endpoint": paused.endpoint,
        "attempts": 2,
        "error_type": "timeout",
        "error_message": "no whole response in time",
        "listed": True,
    }
    ended = finished.only("broadcast.finished")
    assert ended["failed_endpoints"] == f"{paused.endpoint} timeout after 2 calls"
    assert (ended["outcome"], ended["reason"]) == ("partial", "some_calls_failed")
    assert (ended["seen"], ended["acknowledged"], ended["failed"]) == (3, 2, 1)
    others = [nginx[0], nginx[2]]
    assert not set(pages(others)) & set(cached)


def test_a_container_that_stopped_before_the_run_is_no_longer_listed(
    run: Run, nginx: list[WebServer]
) -> None:
    nginx[1].kill()
    finished = run(PURGE)
    assert finished.exit_code == 0, finished.stdout
    last = finished.entries[-1]
    assert (last["seen"], last["acknowledged"]) == (2, 2)


# Sequential calls, with time for Docker between the first and the last, and before a second one.
SLOWLY = PURGE.replace("100ms", "10s, max: 10s") + "  concurrency: 1\n  stagger: 5s\n"


def test_a_container_that_stops_before_its_call_is_gone(
    start: Start, nginx: list[WebServer]
) -> None:
    worker = start(SLOWLY)
    assert worker.wait_for_event("call.succeeded")["endpoint"] == nginx[0].endpoint
    endpoint = nginx[2].endpoint
    nginx[2].kill()
    finished = worker.finish()
    assert finished.exit_code == 0, finished.stdout
    assert finished.only("endpoint.gone")["endpoint"] == endpoint
    ended = finished.only("broadcast.finished")
    assert (ended["level"], ended["outcome"], ended["confirmed"]) == ("warning", "complete", True)
    assert (ended["seen"], ended["acknowledged"], ended["gone"]) == (3, 2, 1)


def test_a_container_that_took_its_call_and_then_stopped_is_failed_for_it_may_come_back(
    start: Start, nginx: list[WebServer]
) -> None:
    first = nginx[0]
    endpoint = first.endpoint
    first.pause()
    worker = start(SLOWLY)
    assert worker.wait_for_event("call.failed")["endpoint"] == endpoint
    first.kill()
    finished = worker.finish()
    assert finished.exit_code == 3, finished.stdout
    assert stable(finished.only("endpoint.failed")) == {
        "level": "error",
        "event": "endpoint.failed",
        "broadcast": "purge",
        "endpoint": endpoint,
        "attempts": 1,
        "error_type": "timeout",
        "error_message": "no whole response in time",
        "listed": False,
    }


def test_nobody_behind_the_alias_is_exit_4(run: Run) -> None:
    finished = run(PURGE)
    assert finished.exit_code == 4
    ended = finished.only("broadcast.finished")
    assert (ended["outcome"], ended["reason"]) == ("failed", "no_cluster_suffix")
