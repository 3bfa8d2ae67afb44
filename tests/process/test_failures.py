"""The whole program against pods that fail: exit codes, and who was missed and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Pods, endless, raw, reply, reset, silent
from tests.loopback.program import Entry, Finished, stable
from tests.process.conftest import Run
from tests.process.logbook import WEB, check_log, failed, missed, no_answer, resolved, succeeded
from worker.report.outcome import EXIT_SIGNAL_BASE

QUICK = "  settle: 2s\n  backoff: {initial: 100ms, max: 200ms}\n  attempts: 2\n"
# For pods that hang; the others need a small part of it, on a busy machine too.
IMPATIENT = "  timeout: 2s\n  connect_timeout: 2s\n"


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/clear-caches\n{QUICK}{more}"


def url(pods: Pods) -> str:
    return f"http://web:{pods.port}/clear-caches"


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
    assert (finished.exit_code > EXIT_SIGNAL_BASE) == bool(finished.events("shutdown.requested"))


def one_failing(
    pods: Pods, number: int, error_type: str, error_message: str, attempts: int = 2, **fields: Any
) -> list[Entry]:
    """What happens when one of three pods fails in the same way each time, and is missed."""
    faulty = pods.endpoints[number]

    def failure(attempt: int) -> Entry:
        again = 0.1 if attempt < attempts else None
        return failed(faulty, error_type, error_message, attempt, attempt, again, **fields)

    return [
        resolved(1, 3, newcomers=3),
        *(failure(1) if e == faulty else succeeded(e) for e in pods.endpoints),
        *([resolved(2, 3), failure(2)] if attempts == 2 else []),
        resolved(attempts + 1, 3),
        missed(faulty, error_type, attempts),
    ]


def test_one_dead_pod_of_three_is_exit_3_and_the_other_two_were_called(
    run: Run, three_pods: Pods
) -> None:
    three_pods.die(three_pods.addresses[1])
    finished = run(config(three_pods.port))
    happened = one_failing(three_pods, 1, "connect_refused", "Connection refused")
    check_log(finished, url(three_pods), happened, reason="some_calls_failed")
    assert finished.exit_code == 3
    assert list(three_pods.requests.values()) == [1, 0, 1]


def test_nobody_answers_is_exit_4(run: Run, three_pods: Pods) -> None:
    three_pods.die(*three_pods.addresses)
    finished = run(config(three_pods.port))

    def refused(attempt: int, again: float | None) -> list[Entry]:
        text = "Connection refused"
        return [
            failed(endpoint, "connect_refused", text, attempt, attempt, again)
            for endpoint in three_pods.endpoints
        ]

    check_log(
        finished,
        url(three_pods),
        [
            resolved(1, 3, newcomers=3),
            *refused(1, 0.1),
            resolved(2, 3),
            *refused(2, None),
            resolved(3, 3),
            *(missed(endpoint, "connect_refused", 2) for endpoint in three_pods.endpoints),
        ],
        reason="all_calls_failed",
    )
    assert finished.exit_code == 4


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
            "unknown key: did you mean timeout? (and 1 more)",
        },
    ]


def says(error_type: str, error_message: str, **fields: Any) -> Entry:
    return {"error_type": error_type, "error_message": error_message, **fields}


LATE = says("timeout", "no whole response in time")
RESET = says("connection_reset", "Connection reset by peer")
NO_HTTP = says("protocol", "Expected HTTP/, RTSP/ or ICE/")
LONG_HEADERS = says("protocol", "more than 64 KiB of header fields")
BIG = b"x" * 1_000_000
OK = b"HTTP/1.1 200 OK\r\n"
PODS: dict[str, tuple[Behaviour, Entry]] = {
    "says nothing": (silent, LATE),
    "resets before the request": (reset(after_request=False), RESET),
    "resets after the request": (reset(), RESET),
    "resets in the middle of its headers": (reset(head=OK), RESET),
    "resets in the middle of its body": (
        reset(head=OK + b"Content-Length: 9\r\n\r\n"),
        {**RESET, "status_code": 200},
    ),
    "closes without an answer": (raw(b""), says("connection_reset", "closed before a response")),
    "sends garbage": (raw(b"\x00\xffgarbage\r\n\r\n"), NO_HTTP),
    "speaks HTTP/0.9": (raw(b"<html>ok</html>"), NO_HTTP),
    "speaks another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), NO_HTTP),
    "speaks HTTP/2.0": (
        raw(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        says("protocol", "HTTP/2.0 where HTTP/1.1 was asked for", status_code=200),
    ),
    "answers with a status of four digits": (
        raw(b"HTTP/1.1 2000 OK\r\n\r\n"),
        says("protocol", "Invalid response status"),
    ),
    "switches protocols": (
        raw(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        says("status", "answered 101 Switching", status_code=101),
    ),
    "breaks off in its headers": (
        raw(OK + b"X: y"),
        says("protocol", "closed in the middle of the header fields"),
    ),
    "cuts its body short": (
        raw(OK + b"Content-Length: 10\r\n\r\nok"),
        says("protocol", "closed in the middle of the body", status_code=200, response_body="ok"),
    ),
    "cuts its chunks short": (
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        says("protocol", "closed in the middle of the body", status_code=200, response_body="ok"),
    ),
    "gives two lengths": (
        raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        says("protocol", "Duplicate Content-Length"),
    ),
    "gives a length beside chunks": (
        raw(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        says("protocol", "Transfer-Encoding can't be present with Content-Length"),
    ),
    "gives a negative length": (
        raw(OK + b"Content-Length: -1\r\n\r\n"),
        says("protocol", "Invalid character in Content-Length"),
    ),
    "sends a chunk that is none": (
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"),
        says("protocol", "Invalid character in chunk size", status_code=200),
    ),
    "folds a header": (
        raw(OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        says("protocol", "Unexpected whitespace after header value"),
    ),
    "trickles its status line": (endless(b"HTTP/1.1 200 O", b"K", 0.05), LATE),
    "trickles headers": (endless(OK + b"X: ", b"x", 0.05), LATE),
    "trickles its body": (
        endless(OK + b"Content-Length: 999\r\n\r\n", b"", 0.05),
        {**LATE, "status_code": 200},
    ),
    "never ends its headers": (
        endless(OK, b"X-Header: " + b"x" * 4000 + b"\r\n"),
        LONG_HEADERS,
    ),
    "sends 200 MiB of one header": (raw(OK + b"X: ", *[BIG] * 200), LONG_HEADERS),
    "never ends its 1xx": (
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        says("protocol", "more than 16 interim (1xx) responses", status_code=103),
    ),
    "is broken": (
        reply(500, b"\xff\x00\x1b[31m"),
        says(
            "status",
            "answered 500 Internal Server Error",
            status_code=500,
            response_body="\xff\x00\x1b[31m",
        ),
    ),
    "echoes a terminal escape": (
        raw(b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n"),
        says("status", "answered 500 \x1b[31mred", status_code=500),
    ),
}


@pytest.mark.parametrize("what", PODS)
def test_a_pod_that(what: str, run: Run, three_pods: Pods) -> None:
    behaviour, expected = PODS[what]
    three_pods[0].script(behaviour)
    more = IMPATIENT if expected["error_type"] == "timeout" else ""
    finished = run(config(three_pods.port, f"  log_response: true\n{more}"))
    happened = one_failing(three_pods, 0, **expected)
    check_log(finished, url(three_pods), happened, reason="some_calls_failed")
    assert three_pods[0].connections == 2
    assert [len(three_pods[n].requests) for n in (1, 2)] == [1, 1]


GOOD_PODS: dict[str, tuple[Behaviour, int]] = {
    "answers 204": (reply(204), 204),
    "answers in chunks": (
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"),
        200,
    ),
    "answers one byte at a time": (
        raw(*[bytes([b]) for b in OK + b"Content-Length: 2\r\n\r\nok"]),
        200,
    ),
    "answers without a length": (raw(OK + b"\r\nok"), 200),
    "answers in HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\nok"), 200),
    "answers after 1xx": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 200),
    "says more than its length": (raw(OK + b"Content-Length: 2\r\n\r\nok and more"), 200),
    "sends 10 MiB": (raw(OK + b"Content-Length: 10000000\r\n\r\n", *[BIG] * 10), 200),
    "never ends its body": (endless(OK + b"\r\n", BIG), 200),
}


@pytest.mark.parametrize("what", GOOD_PODS)
def test_it_is_an_acknowledgement_when_a_pod(what: str, run: Run, three_pods: Pods) -> None:
    behaviour, status_code = GOOD_PODS[what]
    three_pods[0].script(behaviour)
    finished = run(config(three_pods.port))
    first, *others = three_pods.endpoints
    check_log(
        finished,
        url(three_pods),
        [
            resolved(1, 3, newcomers=3),
            succeeded(first, status_code=status_code),
            *map(succeeded, others),
            resolved(2, 3),
        ],
    )
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_a_pod_that_swallows_connections_is_a_connect_timeout(run: Run, three_pods: Pods) -> None:
    three_pods.blackhole(three_pods.addresses[2])
    finished = run(config(three_pods.port, IMPATIENT))
    happened = one_failing(three_pods, 2, "connect_timeout", "no connection in time")
    check_log(finished, url(three_pods), happened, reason="some_calls_failed")
    assert list(three_pods.requests.values()) == [1, 1, 0]


def test_an_address_that_cannot_be_reached_is_unreachable(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    broadcast = "127.255.255.255"  # the kernel itself refuses TCP to it
    first, second, _ = three_pods.addresses
    nameserver.set(WEB, first, second, broadcast)
    finished = run(config(three_pods.port))
    endpoint = f"{broadcast}:{three_pods.port}"
    happened = [
        entry | {"endpoint": endpoint}
        if entry.get("endpoint") == three_pods.endpoints[2]
        else entry
        for entry in one_failing(three_pods, 2, "unreachable", "Network is unreachable")
    ]
    check_log(finished, url(three_pods), happened, reason="some_calls_failed")
    assert list(three_pods.requests.values()) == [1, 1, 0]


def test_a_pod_that_turned_unready_after_a_failed_call_is_failed_and_not_gone(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    three_pods[0].script(reply(503))

    def leave(_: object) -> None:
        if three_pods[0].requests:
            nameserver.set(WEB, *three_pods.addresses[1:])

    nameserver.on_query = leave
    finished = run(config(three_pods.port).replace("attempts: 2", "attempts: 5"))
    first, *others = three_pods.endpoints
    answers = range(2, len(finished.events("endpoints.resolved")) + 1)
    check_log(
        finished,
        url(three_pods),
        [
            resolved(1, 3, newcomers=3),
            failed(first, "status", "answered 503 Service Unavailable", 1, 1, 0.1, 503),
            *map(succeeded, others),
            *(resolved(number, 2, left=int(number == 2)) for number in answers),
            missed(first, "status", 1, listed=False),
        ],
        reason="some_calls_failed",
    )
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize("listed", [3, 0])
def test_fewer_than_min_pods_are_called_and_waited_for(
    listed: int, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses[:listed])
    finished = run(config(three_pods.port, "  min_pods: 4\n"))
    if listed:
        answers = range(2, len(finished.events("endpoints.resolved")) + 1)
        happened = [
            resolved(1, 3, newcomers=3),
            *map(succeeded, three_pods.endpoints),
            *(resolved(number, 3) for number in answers),
        ]
    else:
        questions = len(finished.events("resolution.failed"))
        text = "NODATA: no ready pods, or no such Service"
        happened = [
            no_answer(number, "no_pods", text, last=number == questions)
            for number in range(1, questions + 1)
        ]
    check_log(
        finished, url(three_pods), happened, reason="min_pods" if listed else "no_pods", min_pods=4
    )
    assert sum(three_pods.requests.values()) == listed


def test_an_empty_service_is_complete_with_min_pods_0(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB)
    finished = run(config(three_pods.port, "  min_pods: 0\n"))
    check_log(finished, url(three_pods), [resolved(1, 0), resolved(2, 0)], min_pods=0)
    assert finished.exit_code == 0


def test_at_the_deadline_whoever_is_owed_a_call_is_failed(run: Run, three_pods: Pods) -> None:
    for number in range(3):
        three_pods[number].script(reply(503))
    finished = run(
        config(three_pods.port, "  deadline: 1s\n").replace("attempts: 2", "attempts: 99")
    )
    check_the_end(finished)
    assert finished.exit_code == 4
    missed_ones = [stable(entry) for entry in finished.events("endpoint.failed")]
    assert missed_ones == [
        missed(endpoint, "deadline", count)
        | {"status_code": 503, "error_message": "answered 503 Service Unavailable"}
        for endpoint, count in zip(three_pods.endpoints, three_pods.requests.values(), strict=True)
    ]
    assert finished.only("broadcast.finished")["reason"] == "deadline"
