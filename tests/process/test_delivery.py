"""The whole program: who is called, with what, how often, and what the log says of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.loopback.nameserver import Nameserver, Query
from tests.loopback.pods import Pods, reply, reset
from tests.loopback.program import ROOT, Entry, Worker, stable
from tests.process.conftest import Run
from tests.process.logbook import check_log, failed, gone, resolved, succeeded
from worker import __version__

WEB = "web.default.svc.cluster.local"
QUICK = "  settle: 3s\n  backoff: {initial: 100ms, max: 200ms}\n"


def config(port: int, more: str = QUICK, path: str = "/clear-caches") -> str:
    return f"- name: clear\n  url: http://web:{port}{path}\n{more}"


def test_three_pods_are_each_called_exactly_once_with_the_request_asked_for(
    run: Run, three_pods: Pods
) -> None:
    more = (
        "  method: PURGE\n"
        "  headers: {X-Reason: deploy, X-Token: {env: TOKEN}}\n"
        "  json: {caches: [pages, images]}\n"
        "  auth: {basic: {username: me, password: {env: PASSWORD}}}\n"
    )
    environment = {"TOKEN": "t0ken", "PASSWORD": "s3cret"}
    finished = run(config(three_pods.port, QUICK + more, "/a%20b?c=d"), environment=environment)
    assert finished.exit_code == 0, finished.stdout
    assert finished.stderr == ""
    assert list(three_pods.requests.values()) == [1, 1, 1]
    span_ids = {entry["endpoint"]: entry["span_id"] for entry in finished.events("call.succeeded")}
    run_id = finished.only("run.started")["run_id"]
    for address, endpoint in zip(three_pods.addresses, three_pods.endpoints, strict=True):
        (request,) = three_pods[address].requests
        assert (request.method, request.target) == ("PURGE", "/a%20b?c=d")
        assert request.body == b'{"caches": ["pages", "images"]}'
        assert dict(request.headers) == {
            "Host": f"web:{three_pods.port}",
            "User-Agent": f"pod-broadcast/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Content-Length": "31",
            "X-Reason": "deploy",
            "X-Token": "t0ken",
            "Authorization": "Basic bWU6czNjcmV0",
            "Connection": "close",
            "traceparent": f"00-{run_id}-{span_ids[endpoint]}-01",
        }
    assert "s3cret" not in finished.stdout
    assert "t0ken" not in finished.stdout


def test_the_whole_log_of_a_run_that_reaches_everybody(run: Run, three_pods: Pods) -> None:
    finished = run(config(three_pods.port, QUICK + "  concurrency: 1\n"))
    resolved: Entry = {"level": "info", "event": "endpoints.resolved", "broadcast": "clear"}
    resolved |= {"qname": WEB, "endpoints": 3, "left": 0, "ttl_seconds": 5}
    calls = [
        {
            "level": "info",
            "event": "call.succeeded",
            "broadcast": "clear",
            "endpoint": endpoint,
            "round": 1,
            "attempt": 1,
            "status_code": 200,
        }
        for endpoint in three_pods.endpoints
    ]
    entries = [stable(entry) for entry in finished.entries]
    waiting = entries.pop(6)
    assert 0 < waiting.pop("wait_seconds") < 1.1
    assert waiting == {
        "level": "info",
        "event": "resolution.waiting",
        "broadcast": "clear",
        "reason": "cached_answer",
    }
    counts = {"seen": 3, "acknowledged": 3, "failed": 0, "gone": 0, "cancelled": 0}
    complete = {"level": "info", "outcome": "complete", "exit_code": 0}
    assert entries == [
        {
            "level": "info",
            "event": "run.started",
            "version": __version__,
            "config_files": finished.only("run.started")["config_files"],
            "broadcasts": 1,
        },
        {
            "level": "info",
            "event": "broadcast.started",
            "broadcast": "clear",
            "request_url": f"http://web:{three_pods.port}/clear-caches",
            "method": "POST",
            "concurrency": 1,
            "discovery": "dns",
            "min_pods": 1,
            "deadline_seconds": 300.0,
        },
        {**resolved, "round": 1, "newcomers": 3},
        *calls,
        {**resolved, "round": 2, "newcomers": 0, "newer": True},
        {
            **complete,
            **counts,
            "event": "broadcast.finished",
            "broadcast": "clear",
            "rounds": 2,
            "calls": 3,
            "confirmed": True,
        },
        {
            **complete,
            **counts,
            "event": "run.finished",
            "broadcasts_complete": 1,
            "broadcasts_partial": 0,
            "broadcasts_failed": 0,
        },
    ]
    assert len({entry["run_id"] for entry in finished.entries}) == 1


def test_the_recipe_of_dig_and_curl_reaches_three_pods_through_a_search_list(
    run: Run, nameserver: Nameserver
) -> None:
    service = "web-server-headless.shop.svc.cluster.local"
    with Pods(3, port=8080) as pods:
        nameserver.set(service, *pods.addresses)
        search = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
        finished = run(ROOT / "config" / "clear-web-caches.yaml", search=search)
        assert finished.exit_code == 0, finished.stdout
        assert {e["qname"] for e in finished.events("endpoints.resolved")} == {service}
        for address in pods.addresses:
            (request,) = pods[address].requests
            assert (request.method, request.target) == ("POST", "/clear-caches")
            assert request.header("Host") == "web-server-headless:8080"
    assert {query.qname for query in nameserver.queries} == {service}


def test_concurrency_1_never_overlaps_and_keeps_the_order_of_addresses(
    run: Run, nameserver: Nameserver
) -> None:
    with Pods(12) as pods:
        nameserver.set(WEB, *reversed(pods.addresses))
        for address in pods.addresses:
            pods[address].script(reply(seconds=0.03))  # so that calls would overlap if they could
        finished = run(config(pods.port, QUICK + "  concurrency: 1\n"))
        assert finished.exit_code == 0, finished.stdout
        assert pods.max_in_flight == 1
        assert pods.order == pods.addresses


def test_concurrency_8_overlaps_and_never_exceeds_eight(
    tmp_path: Path, nameserver: Nameserver
) -> None:
    with Pods(24) as pods:
        nameserver.set(WEB, *pods.addresses)
        gate = pods.gate()
        for address in pods.addresses:
            pods[address].script(reply(after=gate, seconds=0.03))
        eight = config(pods.port, QUICK + "  concurrency: 8\n")
        with Worker(tmp_path, eight, nameserver=nameserver) as worker:
            pods.wait_for("eight requests in flight", lambda: pods.in_flight == 8)
            gate.open()
            finished = worker.finish()
        assert finished.exit_code == 0, finished.stdout
        assert pods.max_in_flight == 8
        assert set(pods.requests.values()) == {1}


def test_a_pod_that_fails_at_first_is_called_again_and_the_others_are_not(
    run: Run, three_pods: Pods
) -> None:
    three_pods[1].script(reply(503), reset(), reply())
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    assert list(three_pods.requests.values()) == [1, 3, 1]
    first, second, third = three_pods.endpoints
    gave_503 = failed(second, "status", "answered 503 Service Unavailable", 1, 1, 0.1, 503)
    check_log(
        finished,
        f"http://web:{three_pods.port}/clear-caches",
        [
            resolved(1, 3, newcomers=3),
            *(succeeded(first), gave_503, succeeded(third)),
            resolved(2, 3),
            failed(second, "connection_reset", "Connection reset by peer", 2, 2, 0.2),
            resolved(3, 3),
            succeeded(second, 3, attempt=3),
            resolved(4, 3),
        ],
    )


def test_a_pod_that_dns_lists_only_later_is_called_too(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    first, *others = three_pods.addresses

    def list_more(query: Query) -> None:
        if query.qname == WEB:
            nameserver.set(WEB, *([first] if nameserver.asked(WEB) == 0 else [first, *others]))

    nameserver.on_query = list_more
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    assert list(three_pods.requests.values()) == [1, 1, 1]
    one, two, three = three_pods.endpoints
    check_log(
        finished,
        f"http://web:{three_pods.port}/clear-caches",
        [
            resolved(1, 1, newcomers=1),
            succeeded(one),
            resolved(2, 3, newcomers=2),
            *(succeeded(two, 2), succeeded(three, 2)),
            resolved(3, 3),
        ],
    )


def test_a_pod_that_dns_lists_before_it_listens_is_called_until_it_does(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    """As `publishNotReadyAddresses` lists it."""
    starting = three_pods.addresses[2]
    three_pods.die(starting)

    def begin(_: Query) -> None:
        if nameserver.asked(WEB) == 1:
            three_pods.revive(starting)

    nameserver.on_query = begin
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    assert list(three_pods.requests.values()) == [1, 1, 1]
    assert finished.only("call.failed")["error_type"] == "connect_refused"
    assert finished.only("broadcast.finished")["calls"] == 4


def test_a_pod_that_never_accepted_and_is_not_listed_any_more_is_gone_and_the_run_complete(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    *living, dead = three_pods.addresses
    three_pods.die(dead)

    def drop(query: Query) -> None:
        if query.qname == WEB and nameserver.asked(WEB):
            nameserver.set(WEB, *living)

    nameserver.on_query = drop
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    *endpoints, dead_endpoint = three_pods.endpoints
    refused = failed(dead_endpoint, "connect_refused", "Connection refused", retry_in_seconds=0.1)
    # One more answer, since the first after the backoff may be as old as the one it was listed in.
    answers = range(2, len(finished.events("endpoints.resolved")) + 1)
    check_log(
        finished,
        f"http://web:{three_pods.port}/clear-caches",
        [
            resolved(1, 3, newcomers=3),
            *(succeeded(endpoint) for endpoint in endpoints),
            refused,
            *(resolved(number, 2, left=int(number == 2)) for number in answers),
            gone(dead_endpoint, "connect_refused"),
        ],
    )
    assert list(three_pods.requests.values()) == [1, 1, 0]


def test_one_failed_broadcast_does_not_keep_the_next_from_running(
    run: Run, three_pods: Pods
) -> None:
    finished = run(
        f"- name: nobody\n  url: http://nobody:{three_pods.port}/\n  settle: 0s\n"
        + config(three_pods.port)
    )
    assert finished.exit_code == 4
    assert list(three_pods.requests.values()) == [1, 1, 1]
    assert [e["outcome"] for e in finished.events("broadcast.finished")] == ["failed", "complete"]
    last = finished.entries[-1]
    assert (last["broadcasts_complete"], last["broadcasts_failed"]) == (1, 1)


def test_a_traceparent_of_the_configuration_is_sent_as_it_is(run: Run, three_pods: Pods) -> None:
    value = f"00-{'a' * 32}-{'b' * 16}-00"
    finished = run(config(three_pods.port, f"{QUICK}  headers: {{traceparent: {value}}}\n"))
    assert finished.exit_code == 0, finished.stdout
    assert three_pods[0].requests[0].header("traceparent") == value


def test_expect_decides_before_anything_else(run: Run, three_pods: Pods) -> None:
    three_pods[0].script(reply(404, b"no such cache"))
    three_pods[1].script(reply(302, headers=["Location: /elsewhere"]))
    three_pods[2].script(reply(200, b"flushed"))
    finished = run(config(three_pods.port, QUICK + "  expect: {status: [2xx, 302, 404]}\n"))
    assert finished.exit_code == 0, finished.stdout


def test_the_termination_message_is_the_summary(run: Run, three_pods: Pods, tmp_path: Path) -> None:
    message = tmp_path / "termination-log"
    message.touch()
    finished = run(config(three_pods.port), "--termination-log", str(message))
    last = finished.entries[-1]
    expected = {
        k: v for k, v in last.items() if k not in {"timestamp", "level", "event", "message"}
    }
    assert json.loads(message.read_text()) == expected
