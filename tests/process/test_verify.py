"""An endpoint acknowledges when it shows what the request did, not when it took the request."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.kubernetes_api import KubernetesApi, endpointslice, listing, pod
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Pods, reply, reset, silent
from tests.loopback.program import Finished, Worker, stable
from tests.process.conftest import Run

WEB = "web.default.svc.cluster.local"
OLD, NEW = reply(200, b'{"hash": "old"}'), reply(200, b'{"hash": "new"}')
MISSING = 'expected /hash to be "new", got "old"'


@pytest.fixture
def pods(nameserver: Nameserver) -> Iterator[Pods]:
    with Pods(3) as pods:
        nameserver.set(WEB, *pods.addresses)
        yield pods


def config(port: int, verify: str = "every: 100ms, within: 30s", more: str = "") -> str:
    return (
        f"- name: reload\n  url: http://web:{port}/-/reload\n  settle: 2s\n"
        "  backoff: {initial: 100ms, max: 300ms}\n"
        f"  verify: {{path: /-/config, expect: {{json: {{/hash: new}}}}, {verify}}}\n{more}"
    )


def of(finished: Finished, endpoint: str) -> list[str]:
    """The events about one endpoint."""
    return [each["event"] for each in finished.entries if each.get("endpoint") == endpoint]


def asked(pods: Pods, which: int) -> list[tuple[str, str]]:
    return [(request.method, request.target) for request in pods[which].requests]


REQUEST, POLL = ("POST", "/-/reload"), ("GET", "/-/config")


def test_each_endpoint_is_polled_until_it_shows_the_effect(run: Run, pods: Pods) -> None:
    pods[0].script(reply(), NEW)
    pods[1].script(reply(), OLD, OLD, NEW)
    pods[2].script(reply(503), reply(), OLD, reset(), NEW)
    finished = run(config(pods.port))
    assert finished.exit_code == 0, finished.stdout
    first, second, third = pods.endpoints
    assert of(finished, first) == ["call.succeeded", "verify.succeeded"]
    assert of(finished, second) == ["call.succeeded", "verify.waiting", "verify.succeeded"]
    assert of(finished, third) == ["call.failed", *of(finished, second)]
    assert [asked(pods, number) for number in range(3)] == [
        [REQUEST, POLL],
        [REQUEST, POLL, POLL, POLL],
        [REQUEST, REQUEST, POLL, POLL],  # the third poll was reset before it was read
    ] or asked(pods, 2).count(POLL) == 3
    waiting = {e["endpoint"]: e["error_message"] for e in finished.events("verify.waiting")}
    assert waiting == {second: MISSING, third: MISSING}
    polls = {e["endpoint"]: e["polls"] for e in finished.events("verify.succeeded")}
    assert polls == {first: 1, second: 3, third: 3}
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["calls"], done["polls"]) == (3, 4, 7)
    slowest = max(e["verified_seconds"] for e in finished.events("verify.succeeded"))
    assert done["verified_seconds"] == slowest
    assert done["confirmed"]


def test_who_does_not_show_it_in_time_is_missed(run: Run, pods: Pods) -> None:
    pods[0].script(reply(), NEW)
    pods[1].script(reply(), OLD)
    pods[2].script(reply(), NEW)
    finished = run(config(pods.port, "every: 100ms, within: 500ms"))
    assert finished.exit_code == 3
    failed = stable(finished.only("verify.failed"))
    assert failed.pop("polls") >= 2
    assert failed == {
        "level": "error",
        "event": "verify.failed",
        "broadcast": "reload",
        "endpoint": pods.endpoints[1],
        "error_type": "not_verified",
        "error_message": MISSING,
    }
    missed = finished.only("endpoint.failed")
    assert (missed["endpoint"], missed["error_type"]) == (pods.endpoints[1], "not_verified")
    done = finished.only("broadcast.finished")
    assert done["failed_endpoints"] == f"{pods.endpoints[1]} not_verified after 1 call"
    assert done["reason"] == "some_calls_failed"
    others = finished.events("verify.succeeded")
    slowest = max(others, key=lambda entry: float(entry["verified_seconds"]))
    seconds = f"{slowest['verified_seconds']:.1f} s"
    assert done["hint"] == (
        "the pods took the request, but did not show its effect within 0.5 s "
        f"(of the others, {slowest['endpoint']} took longest: {seconds}): "
        "verify.failed says what each of them answered; raise verify.within if they need longer"
    )


FAULTS: dict[str, Behaviour] = {
    "slow": silent,
    "redirecting": reply(302, headers=["Location: /"]),
    "broken": reply(500, b'{"hash": "new"}'),
    "huge": reply(200, b'{"hash": "new"}' + b" " * 70_000),
    "not JSON": reply(200, b"new"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_poll_that_fails_in_any_way_did_not_hold(fault: str, run: Run, pods: Pods) -> None:
    for number in range(3):
        pods[number].script(reply(), FAULTS[fault], NEW)
    finished = run(config(pods.port, "every: 100ms, within: 30s, timeout: 1s"))
    assert finished.exit_code == 0
    assert len(finished.events("verify.waiting")) == 3
    assert len(finished.events("verify.succeeded")) == 3


def test_where_nobody_listens_the_message_says_so(run: Run, pods: Pods) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://web:{taken.getsockname()[1]}/"
        text = config(pods.port).splitlines()
        text[-1] = f"  verify: {{url: '{url}', every: 100ms, within: 300ms}}"
        finished = run("\n".join(text))
    assert finished.exit_code == 4
    failed = finished.events("verify.failed")
    assert {entry["endpoint"] for entry in failed} == set(pods.endpoints)
    assert {entry["error_message"] for entry in failed} == {"Connection refused"}


def test_once_is_enough(run: Run, pods: Pods) -> None:
    """It shows the new state, and falls back at once: its proof held after the request."""
    for number in range(3):
        pods[number].script(reply(), NEW, OLD)
    assert run(config(pods.port)).exit_code == 0
    assert [asked(pods, number) for number in range(3)] == [[REQUEST, POLL]] * 3


def test_the_state_of_another_pod_proves_nothing(run: Run, pods: Pods) -> None:
    """As an application shows it that asks its leader in place of itself."""
    pods[0].script(reply(), reply(200, b'{"hash": "new", "stale": true}'))
    pods[1].script(reply(), NEW)
    pods[2].script(reply(), NEW)
    verify = "{json: {/hash: new}, body_lacks: stale}"
    text = config(pods.port, "every: 100ms, within: 300ms")
    finished = run(text.replace("{json: {/hash: new}}", verify))
    assert finished.exit_code == 3
    assert finished.only("verify.failed")["endpoint"] == pods.endpoints[0]


def test_who_never_took_the_request_is_never_polled(run: Run, pods: Pods) -> None:
    pods[0].script(reply(503))
    pods[1].script(reply(503), reply(), NEW)
    pods[2].script(reply(), NEW)
    finished = run(config(pods.port, more="  attempts: 2\n"))
    assert finished.exit_code == 3
    assert asked(pods, 0) == [REQUEST, REQUEST]
    assert asked(pods, 1) == [REQUEST, REQUEST, POLL]
    assert finished.only("endpoint.failed")["error_type"] == "status"


def test_a_poll_that_is_late_is_cut_when_the_time_is_over(run: Run, pods: Pods) -> None:
    for number in range(3):
        pods[number].script(reply(), silent)
    finished = run(config(pods.port, "within: 500ms, timeout: 1m"))
    assert finished.exit_code == 4
    failed = finished.events("verify.failed")
    assert {entry["polls"] for entry in failed} == {1}


def test_a_pod_that_takes_anothers_place_owes_the_request_and_the_proof(run: Run) -> None:
    with KubernetesApi() as server, Pods(1) as pods:
        pods[0].script(reply(), OLD, reply(), NEW)
        first, second = (
            endpointslice(pod(pods.addresses[0], "web-0", uid=uid)) for uid in ("old", "new")
        )
        server.script(listing(first))
        server.slices = [second]
        text = config(pods.port, "every: 30s, within: 1m", "  discovery: endpointslices\n")
        finished = run(text.replace("//web:", "//web.shop:"), "--api-server", server.url)
        assert finished.exit_code == 0, finished.stdout
        assert asked(pods, 0) == [REQUEST, POLL, REQUEST, POLL]
    assert finished.only("endpoint.gone")["target_uid"] == "old"
    assert finished.only("verify.succeeded")["target_uid"] == "new"


def test_verify_may_ask_another_port_of_the_same_pods(run: Run, pods: Pods) -> None:
    with Pods(pods.addresses) as admin:
        for number in range(3):
            admin[number].script(OLD, NEW)
        verify = f"url: 'http://web:{admin.port}/hash', expect: {{json: {{/hash: new}}}}"
        text = config(pods.port).splitlines()
        text[-1] = f"  verify: {{{verify}, every: 100ms}}"
        finished = run("\n".join(text))
        assert finished.exit_code == 0
        assert asked(admin, 0) == [("GET", "/hash")] * 2
        assert asked(pods, 0) == [REQUEST]


def test_a_stop_signal_cancels_who_is_not_proved(
    nameserver: Nameserver, pods: Pods, tmp_path: Path
) -> None:
    pods[0].script(reply(), NEW)
    pods[1].script(reply(), OLD)
    pods[2].script(reply(), OLD)
    with Worker(tmp_path, config(pods.port), nameserver=nameserver) as worker:
        worker.wait_for_event("verify.waiting", 2)
        worker.wait_for_event("verify.succeeded")
        worker.signal(signal.SIGTERM)
        finished = worker.finish()
    assert finished.exit_code == 143
    cancelled = {entry["endpoint"] for entry in finished.events("endpoint.cancelled")}
    assert cancelled == set(pods.endpoints[1:])
    assert finished.only("broadcast.finished")["reason"] == "cancelled"


def test_the_deadline_fails_who_is_not_proved(run: Run, pods: Pods) -> None:
    for number in range(3):
        pods[number].script(reply(), OLD)
    finished = run(config(pods.port, more="  deadline: 2s\n"))
    assert finished.exit_code == 4
    lacked = 'not verified yet: expected /hash to be "new", got "old"'
    for entry in finished.events("endpoint.failed"):
        assert (entry["error_type"], entry["error_message"]) == ("deadline", lacked)
    done = finished.only("broadcast.finished")
    assert done["reason"] == "deadline"
    assert done["hint"] == (
        "the deadline of 2 s passed before 3 of 3 endpoints had acknowledged: endpoint.failed says "
        "what each of them lacked; raise deadline if verify needs longer"
    )


def test_a_canary_that_fails_spares_the_others(run: Run, pods: Pods) -> None:
    pods[0].script(reply(), OLD)
    finished = run(config(pods.port, "every: 100ms, within: 300ms", "  canary: 1\n"))
    assert finished.exit_code == 4
    assert asked(pods, 1) == asked(pods, 2) == []
    done = finished.only("broadcast.finished")
    assert (done["reason"], done["failed"], done["cancelled"]) == ("canary_failed", 1, 2)
    for entry in finished.events("endpoint.cancelled"):
        assert (entry["attempts"], entry["reason"]) == (0, "canary_failed")


def test_a_canary_is_proved_before_anybody_else_is_called(run: Run, pods: Pods) -> None:
    pods[0].script(reply(503), reply(), OLD, NEW)
    pods[1].script(reply(), NEW)
    pods[2].script(reply(), NEW)
    finished = run(config(pods.port, more="  canary: 1\n"))
    assert finished.exit_code == 0
    assert pods.order[:4] == [pods.addresses[0]] * 4
    assert finished.only("broadcast.started")["canary"] == 1


@pytest.mark.parametrize("canary", [3, 1000])
def test_the_whole_fleet_may_be_canaries(canary: int, run: Run, pods: Pods) -> None:
    for number in range(3):
        pods[number].script(reply(), NEW)
    assert run(config(pods.port, more=f"  canary: {canary}\n")).exit_code == 0


def test_after_too_many_failures_nobody_new_is_called(run: Run, pods: Pods) -> None:
    pods[0].script(reply(404))
    more = "  max_failed: 0\n  concurrency: 1\n"
    finished = run(config(pods.port, more=more))
    assert finished.exit_code == 4
    assert asked(pods, 1) == asked(pods, 2) == []
    done = finished.only("broadcast.finished")
    assert (done["reason"], done["failed"], done["cancelled"]) == ("max_failed", 1, 2)


def test_a_pod_that_recovers_is_no_failure(run: Run, pods: Pods) -> None:
    for number in range(3):
        pods[number].script(reply(503), reply(), NEW)
    assert run(config(pods.port, more="  max_failed: 0\n")).exit_code == 0
