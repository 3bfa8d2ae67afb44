"""The whole program against pods and DNS that fail: exit codes, and who was missed and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.loopback.nameserver import FaultKind, Nameserver
from tests.loopback.pods import Behaviour, Pods, endless, raw, reply, reset, silent
from tests.loopback.program import Entry, Finished, stable
from tests.process.conftest import Run

WEB = "web.default.svc.cluster.local"
QUICK = (
    "  settle: 2s\n  backoff: {initial: 100ms, max: 200ms}\n"
    "  attempts: 2\n  timeout: 500ms\n  connect_timeout: 300ms\n"
)


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/clear-caches\n{QUICK}{more}"


def check_the_end(finished: Finished) -> None:
    """What holds whatever happens."""
    assert finished.stderr == ""
    assert "Traceback" not in finished.stdout
    last = finished.entries[-1]
    assert last["event"] == "run.finished"
    assert last["exit_code"] == finished.exit_code
    if "seen" in last:
        counted = last["acknowledged"] + last["failed"] + last["gone"] + last["cancelled"]
        assert last["seen"] == counted
        assert last["failed"] == len(finished.events("endpoint.failed"))


def test_one_dead_pod_of_three_is_exit_3_and_the_other_two_were_called(
    run: Run, three_pods: Pods
) -> None:
    three_pods.die(three_pods.addresses[1])
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 3
    assert list(three_pods.requests.values()) == [1, 0, 1]
    dead = three_pods.endpoints[1]
    assert stable(finished.only("endpoint.failed")) == {
        "level": "error",
        "event": "endpoint.failed",
        "broadcast": "clear",
        "endpoint": dead,
        "attempts": 2,
        "error_type": "connect_refused",
        "left_dns": False,
    }
    assert stable(finished.only("broadcast.finished")) == {
        "level": "error",
        "event": "broadcast.finished",
        "broadcast": "clear",
        "outcome": "partial",
        "exit_code": 3,
        "reason": "some_calls_failed",
        "seen": 3,
        "acknowledged": 2,
        "failed": 1,
        "gone": 0,
        "cancelled": 0,
        "rounds": 3,
        "calls": 4,
        "confirmed": True,
        "failed_endpoints": f"{dead} connect_refused",
    }


def test_nobody_answers_is_exit_4_with_a_hint(run: Run, three_pods: Pods) -> None:
    three_pods.die(*three_pods.addresses)
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 4
    done = finished.only("broadcast.finished")
    assert (done["outcome"], done["reason"]) == ("failed", "all_calls_failed")
    assert f"is {three_pods.port} the container's port?" in done["hint"]


def test_no_such_service_is_exit_4_and_told_from_broken_dns(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    missing = run(config(three_pods.port))
    nameserver.fault("servfail")
    broken = run(config(three_pods.port))
    for finished in (missing, broken):
        check_the_end(finished)
        assert finished.exit_code == 4
        assert list(three_pods.requests.values()) == [0, 0, 0]
    first, second = missing.events("resolution.failed")[-1], broken.events("resolution.failed")[-1]
    common = {"level": "error", "event": "resolution.failed", "broadcast": "clear", "qname": WEB}
    assert stable(first) == common | {
        "round": first["round"],
        "error_type": "no_pods",
        "error_message": "NXDOMAIN: no ready pods, or no such Service",
    }
    assert stable(second) == common | {
        "round": second["round"],
        "error_type": "dns_servfail",
        "error_message": f"{nameserver} answered SERVFAIL",
    }
    assert missing.only("broadcast.finished")["reason"] == "no_pods"
    assert "selector" in missing.only("broadcast.finished")["hint"]
    assert broken.only("broadcast.finished")["reason"] == "dns_servfail"


def test_a_broken_file_is_exit_2_and_no_dns_query_is_made(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    finished = run("- name: clear\n  url: http://web:8080/\n  timout: 5s\n  attempts: 0\n")
    check_the_end(finished)
    assert finished.exit_code == 2
    assert nameserver.queries == []
    assert list(three_pods.requests.values()) == [0, 0, 0]
    file = finished.entries[0]["config_file"]
    common = {"level": "error", "event": "config.invalid", "config_file": file}
    message = "expected a whole number from 1 to 1000, got 0"
    assert [stable(entry) for entry in finished.entries] == [
        common
        | {
            "line": 3,
            "column": 3,
            "key": "broadcasts[0].timout",
            "error_message": "unknown key: did you mean timeout?",
        },
        common
        | {"line": 4, "column": 13, "key": "broadcasts[0].attempts", "error_message": message},
        {
            "level": "error",
            "event": "run.finished",
            "outcome": "failed",
            "exit_code": 2,
            "error_message": f"configuration: {file}:3:3: broadcasts[0].timout: "
            "unknown key: did you mean timeout?",
        },
    ]


BIG = b"x" * 65536


def says(error_type: str, error_message: str, **fields: Any) -> Entry:
    return {"error_type": error_type, "error_message": error_message, **fields}


LATE = says("timeout", "no whole response in time")
PODS: dict[str, tuple[Behaviour, Entry]] = {
    "says nothing": (silent, LATE),
    "resets before the request": (
        reset(after_request=False),
        says("connection_reset", "Connection reset by peer"),
    ),
    "resets after the request": (reset(), says("connection_reset", "Connection reset by peer")),
    "closes without an answer": (raw(b""), says("connection_reset", "closed before a response")),
    "sends garbage": (
        raw(b"\x00\xffgarbage\r\n\r\n"),
        says("protocol", "Expected HTTP/, RTSP/ or ICE/"),
    ),
    "speaks HTTP/0.9": (
        raw(b"<html>ok</html>"),
        says("protocol", "Expected HTTP/, RTSP/ or ICE/"),
    ),
    "cuts its body short": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"),
        says("protocol", "closed in the middle of the body", status_code=200, response_body="ok"),
    ),
    "trickles its status line": (endless(b"HTTP/1.1 200 O", b"K", 0.05), LATE),
    "trickles headers": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05), LATE),
    "trickles its body": (
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"\r", 0.05),
        {**LATE, "status_code": 200},
    ),
    "never ends its headers": (
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 4000 + b"\r\n"),
        says("protocol", "more than 64 KiB of header fields"),
    ),
    "never ends its 1xx": (
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        says("protocol", "more than 16 interim (1xx) responses", status_code=103),
    ),
    "redirects": (
        reply(301, headers=["Location: http://elsewhere.example/"]),
        says(
            "redirect",
            "answered 301 Moved Permanently to http://elsewhere.example/",
            status_code=301,
            response_body="ok",
        ),
    ),
    "knows no such method": (
        reply(405, headers=["Allow: GET"]),
        says("status", "answered 405 Method Not Allowed", status_code=405, response_body="ok"),
    ),
    "is broken": (
        reply(500, b"\xff\x00\x1b[31m"),
        says(
            "status",
            "answered 500 Internal Server Error",
            status_code=500,
            response_body="\N{REPLACEMENT CHARACTER}\x00\x1b[31m",
        ),
    ),
    "echoes a terminal escape": (
        raw(b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n"),
        says("status", "answered 500 \x1b[31mred", status_code=500),
    ),
}
NEVER_RETRIED = ("redirects", "knows no such method")


@pytest.mark.parametrize("what", PODS)
def test_a_pod_that(what: str, run: Run, three_pods: Pods) -> None:
    behaviour, expected = PODS[what]
    three_pods[0].script(behaviour)
    finished = run(config(three_pods.port, "  log_response: true\n"))
    check_the_end(finished)
    assert finished.exit_code == 3
    assert [len(three_pods[n].requests) for n in (1, 2)] == [1, 1]
    attempts = 1 if what in NEVER_RETRIED else 2
    *before, last = (stable(entry) for entry in finished.events("call.failed"))
    if what == "trickles its body":
        assert set(last.pop("response_body")) == {"\r"}
    assert [entry["level"] for entry in before] == ["warning"] * (attempts - 1)
    assert last == {
        **expected,
        "level": "error",
        "event": "call.failed",
        "broadcast": "clear",
        "endpoint": three_pods.endpoints[0],
        "round": attempts,
        "attempt": attempts,
    }
    assert three_pods[0].connections == attempts
    assert stable(finished.only("endpoint.failed")) == {
        "level": "error",
        "event": "endpoint.failed",
        "broadcast": "clear",
        "endpoint": three_pods.endpoints[0],
        "attempts": attempts,
        "error_type": expected["error_type"],
        "left_dns": False,
    }


GOOD_PODS: dict[str, Behaviour] = {
    "answers 204": reply(204),
    "answers in chunks": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"
    ),
    "answers without a length": raw(b"HTTP/1.1 200 OK\r\n\r\nok"),
    "answers after 1xx": raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    "never ends its body": endless(b"HTTP/1.1 200 OK\r\n\r\n", BIG),
}


@pytest.mark.parametrize("what", GOOD_PODS)
def test_it_is_an_acknowledgement_when_a_pod(what: str, run: Run, three_pods: Pods) -> None:
    three_pods[0].script(GOOD_PODS[what])
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout


def test_a_pod_that_swallows_connections_is_a_connect_timeout(run: Run, three_pods: Pods) -> None:
    three_pods.blackhole(three_pods.addresses[2])
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 3
    assert finished.only("endpoint.failed")["error_type"] == "connect_timeout"


def test_a_pod_that_turned_unready_after_a_failed_call_is_failed_and_not_gone(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    three_pods[0].script(reply(503))

    def leave(_: object) -> None:
        if three_pods[0].requests:
            nameserver.set(WEB, *three_pods.addresses[1:])

    nameserver.on_query = leave
    finished = run(config(three_pods.port).replace("attempts: 2", "attempts: 5"))
    check_the_end(finished)
    assert finished.exit_code == 3
    failed = finished.only("endpoint.failed")
    assert (failed["left_dns"], failed["error_type"]) == (True, "status")


FAULTS: dict[str, tuple[FaultKind, str]] = {
    "SERVFAIL": ("servfail", "dns_servfail"),
    "REFUSED": ("refused", "dns_refused"),
    "FORMERR": ("formerr", "dns_servfail"),
    "NOTIMP": ("notimp", "dns_servfail"),
    "silence": ("silence", "dns_timeout"),
    "truncation over TCP": ("truncate", "dns_truncated"),
    "garbage": ("garbage", "dns_servfail"),
    "a wrong id": ("wrong_id", "dns_timeout"),
    "another question": ("wrong_question", "dns_servfail"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_dns_that_only_ever_answers_with(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    kind, reason = FAULTS[what]
    nameserver.fault(kind)
    finished = run(config(three_pods.port), options="ndots:5 timeout:1 attempts:1")
    check_the_end(finished)
    assert finished.exit_code == 4
    assert finished.only("broadcast.finished")["reason"] == reason
    assert list(three_pods.requests.values()) == [0, 0, 0]


def test_an_answer_truncated_over_udp_is_asked_for_over_tcp(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("truncate", transport="udp")
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    assert {query.transport for query in nameserver.queries} >= {"udp", "tcp"}


def test_dns_that_recovers_in_time_harms_nobody(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("servfail", times=3)
    finished = run(config(three_pods.port).replace("settle: 2s", "settle: 8s"))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout
    assert finished.events("resolution.failed")[0]["level"] == "warning"


def test_a_service_that_is_not_headless_is_found_out_before_the_first_call(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, three_pods.addresses[0])
    nameserver.set_ptr(three_pods.addresses[0], WEB)
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 4
    assert finished.only("broadcast.finished")["reason"] == "not_headless"
    assert "clusterIP: None" in finished.only("resolution.failed")["error_message"]
    assert [pod.connections for pod in (three_pods[0], three_pods[1])] == [0, 0]


def test_the_search_list_never_leaves_the_cluster(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    nameserver.set("web.corp.example", *three_pods.addresses)
    search = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
    finished = run(config(three_pods.port), search=search)
    check_the_end(finished)
    assert finished.exit_code == 4
    assert sum(three_pods[n].connections for n in range(3)) == 0
    assert all(query.qname.endswith("cluster.local") for query in nameserver.queries)


@pytest.mark.parametrize("listed", [3, 0])
def test_fewer_than_min_pods_are_called_and_waited_for(
    listed: int, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses[:listed])
    finished = run(config(three_pods.port, "  min_pods: 4\n"))
    check_the_end(finished)
    assert finished.exit_code == (3 if listed else 4)
    assert finished.only("broadcast.finished")["reason"] == ("min_pods" if listed else "no_pods")
    assert sum(three_pods.requests.values()) == listed


def test_an_empty_service_is_complete_with_min_pods_0(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB)
    finished = run(config(three_pods.port, "  min_pods: 0\n"))
    check_the_end(finished)
    assert finished.exit_code == 0


def test_at_the_deadline_whoever_is_owed_a_call_is_failed(run: Run, three_pods: Pods) -> None:
    for number in range(3):
        three_pods[number].script(reply(503))
    finished = run(
        config(three_pods.port, "  deadline: 1s\n").replace("attempts: 2", "attempts: 99")
    )
    check_the_end(finished)
    assert finished.exit_code == 4
    assert {e["error_type"] for e in finished.events("endpoint.failed")} == {"deadline"}
    assert finished.only("broadcast.finished")["reason"] == "deadline"
