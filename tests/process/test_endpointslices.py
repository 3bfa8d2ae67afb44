"""The whole program with the Kubernetes API as its witness: pods by name, at once, or an error."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from tests.loopback import kubernetes_api as api
from tests.loopback.kubernetes_api import Behaviour, Json, KubernetesApi, endpointslice, pod
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply, reset
from tests.loopback.program import ROOT, Entry, Finished, Worker, run_worker
from tests.process.conftest import Run
from tests.process.logbook import (
    check_log,
    gone,
    listed,
    missed,
    no_answer,
    succeeded,
)

HOST = "web.shop"
SHOP = "shop/web"


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with KubernetesApi() as server:
        yield server


@pytest.fixture
def pods(server: KubernetesApi) -> Iterator[Pods]:
    """Three pods, web-0 to web-2, which the API lists."""
    with Pods(3) as pods:
        server.slices = [endpointslice(*map(member, range(3), pods.addresses))]
        yield pods


def member(number: int, address: str, **more: Any) -> Json:
    return pod(address, f"web-{number}", **more)


def config(pods: Pods, more: str = "", port: bool = True) -> str:
    where = f"{HOST}:{pods.port}" if port else HOST
    return f"- name: clear\n  url: http://{where}/\n  discovery: endpointslices\n{more}"


def url(pods: Pods, port: bool = True) -> str:
    return f"http://{HOST}:{pods.port}/" if port else f"http://{HOST}/"


def of(number: int, entry: Entry) -> Entry:
    """The entry, about that pod."""
    name = f"web-{number}"
    return entry | {"target_pod": name, "target_node": "node-1", "target_uid": f"uid-{name}"}


def all_succeeded(
    pods: Pods, numbers: Iterable[int] = range(3), round_number: int = 1
) -> list[Entry]:
    return [of(n, succeeded(pods.endpoints[n], round_number)) for n in numbers]


def waits(finished: Finished) -> list[str]:
    return [entry["reason"] for entry in finished.events("resolution.waiting")]


# --- who is called ------------------------------------------------------------------------------


def test_every_pod_is_called_and_confirmed_at_once_by_name(
    run: Run, server: KubernetesApi, pods: Pods, nameserver: Nameserver
) -> None:
    finished = run(config(pods), "--api-server", server.url)
    happened = [listed(1, 3, newcomers=3), *all_succeeded(pods), listed(2, 3)]
    check_log(finished, url(pods), happened, not_ready=[])
    assert [len(each.requests) for each in (pods[0], pods[1], pods[2])] == [1, 1, 1]
    assert pods[0].requests[0].header("Host") == f"{HOST}:{pods.port}"
    assert waits(finished) == []
    assert nameserver.queries == []
    assert finished.events("call.succeeded")[0]["message"].startswith("web-")


def test_resolv_conf_is_not_read(run: Run, server: KubernetesApi, pods: Pods) -> None:
    arguments = ("--api-server", server.url, "--resolv-conf", "/nonexistent")
    assert run(config(pods), *arguments).exit_code == 0


def test_who_is_not_ready_is_not_called_but_named(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    a, b, c = pods.addresses
    server.slices = [endpointslice(member(0, a), member(1, b, ready=False), member(2, c))]
    finished = run(config(pods), "--api-server", server.url)
    happened = [
        listed(1, 2, newcomers=2, not_ready=1),
        *all_succeeded(pods, [0, 2]),
        listed(2, 2, not_ready=1),
    ]
    left_out = f"web-1 ({pods.endpoints[1]})"
    check_log(finished, url(pods), happened, not_ready=[left_out])
    assert finished.exit_code == 0
    done = finished.only("broadcast.finished")
    assert done["message"].endswith(f"; 1 not called, since they are not ready: {left_out}")
    everybody = run(config(pods, "  include_not_ready: true\n"), "--api-server", server.url)
    assert sorted(e["target_pod"] for e in everybody.events("call.succeeded")) == [
        "web-0",
        "web-1",
        "web-2",
    ]


def test_each_pod_is_called_on_the_port_of_the_name_that_it_has(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    """The third has no such port, and is not passed over."""
    a, b, c = pods.addresses
    server.slices = [
        endpointslice(member(0, a), member(1, b), ports={"web": pods.port, "metrics": 1}),
        endpointslice(member(2, c), name="web-2", ports={"metrics": pods.port}),
    ]
    text = config(pods, "  port_name: web\n", port=False)
    finished = run(text, "--api-server", server.url)
    check_log(
        finished,
        url(pods, port=False),
        [
            listed(1, 3, newcomers=3),
            *all_succeeded(pods, [0, 1]),
            listed(2, 3),
            of(2, missed(c, "no_port", 0)),
        ],
        reason="some_calls_failed",
        not_ready=[],
    )
    assert finished.only("broadcast.finished")["hint"].startswith(
        "the pods' EndpointSlices have no TCP port web: set port_name to the name of one"
    )
    assert pods[2].connections == 0
    plan = run(text, "--api-server", server.url, command="plan")
    assert plan.exit_code == 4
    assert "  ! error_message: 1 of 3 have no TCP port called web\n" in plan.stdout
    assert "  ! hint: the pods' EndpointSlices have no TCP port web: set port_name" in plan.stdout


def test_a_newcomer_is_called_while_another_pod_hangs_also_on_a_reused_address(
    server: KubernetesApi, pods: Pods, tmp_path: Path
) -> None:
    a, b, c = pods.addresses
    gate = pods.gate()
    pods[0].script(reply(after=gate))
    server.slices = [endpointslice(member(0, a), member(1, b))]
    with Worker(tmp_path, config(pods), "--api-server", server.url) as worker:
        worker.wait_for_event("call.succeeded")
        server.slices = [endpointslice(member(0, a), pod(b, "web-9"), member(2, c))]
        worker.wait_for_event("call.succeeded", 3)
        gate.open()
        finished = worker.finish()
    assert finished.exit_code == 0
    called = [entry["target_pod"] for entry in finished.events("call.succeeded")]
    assert sorted(called) == ["web-0", "web-1", "web-2", "web-9"]
    assert called[-1] == "web-0"
    assert len(pods[1].requests) == 2
    assert finished.only("broadcast.finished")["seen"] == 4


# --- who is gone --------------------------------------------------------------------------------


def test_a_pod_that_is_no_more_is_gone_at_once_whatever_it_accepted(
    server: KubernetesApi, pods: Pods, tmp_path: Path
) -> None:
    """web-1 reset its connection, and was never reached again. No `settle` is waited for."""
    a, b, c = pods.addresses
    pods[1].script(reset())
    text = config(pods, "  backoff: {initial: 100ms}\n")
    with Worker(tmp_path, text, "--api-server", server.url) as worker:
        worker.wait_for_event("call.failed")
        server.slices = [
            endpointslice(member(0, a), member(1, b, ready=False, terminating=True), member(2, c))
        ]
        finished = worker.finish()
    assert finished.exit_code == 0
    line = finished.only("endpoint.gone")
    assert line["target_pod"] == "web-1"
    assert line["error_type"] == "connection_reset"
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["gone"], done["confirmed"]) == (2, 1, True)
    assert done["level"] == "warning"
    assert waits(finished) == []


def test_a_pod_that_is_gone_before_its_turn_is_not_called(
    server: KubernetesApi, pods: Pods, tmp_path: Path
) -> None:
    """With one place, web-0 holds it. DNS's rule would call web-1 nevertheless."""
    a, _, c = pods.addresses
    gate = pods.gate()
    pods[0].script(reply(after=gate))
    text = config(pods, "  concurrency: 1\n")
    with Worker(tmp_path, text, "--api-server", server.url) as worker:
        pods.wait_for("the first call", lambda: bool(pods[0].requests))
        server.slices = [endpointslice(member(0, a), member(2, c))]
        worker.wait_for_event("endpoints.resolved", 2)
        gate.open()
        finished = worker.finish()
    check_log(
        finished,
        url(pods),
        [
            listed(1, 3, newcomers=3),
            listed(2, 2, left=1),
            *all_succeeded(pods, [0]),
            *all_succeeded(pods, [2], round_number=2),
            listed(3, 2),
            of(1, gone(pods.endpoints[1], None, attempts=0)),
        ],
        concurrency=1,
        not_ready=[],
    )
    assert pods[1].connections == 0


def test_a_pod_that_became_unready_is_still_owed_and_is_never_gone(
    server: KubernetesApi, pods: Pods, tmp_path: Path
) -> None:
    a, b, c = pods.addresses
    pods[1].script(reply(503))
    text = config(pods, "  settle: 2s\n  backoff: {initial: 100ms}\n")
    with Worker(tmp_path, text, "--api-server", server.url) as worker:
        worker.wait_for_event("call.failed")
        server.slices = [endpointslice(member(0, a), member(1, b, ready=False), member(2, c))]
        finished = worker.finish()
    assert finished.exit_code == 3
    line = finished.only("endpoint.failed")
    assert (line["target_pod"], line["error_type"], line["listed"]) == ("web-1", "status", False)
    done = finished.only("broadcast.finished")
    assert done["failed_endpoints"] == f"web-1 ({pods.endpoints[1]}) status 503 after 1 call"
    assert (done["not_ready"], "not_ready_endpoints" in done) == (0, False)


# --- an API that does not answer ----------------------------------------------------------------


def test_an_account_without_the_right_is_told_how_to_see_it(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    words = 'endpointslices is forbidden: User "system:serviceaccount:ops:w" cannot list resource'
    server.always = api.status(403, words)
    finished = run(config(pods), "--api-server", server.url)
    message = f"{server.url} answered 403: {words}"
    happened = [no_answer(1, "api_forbidden", message, last=True, qname=SHOP)]
    check_log(finished, url(pods), happened, reason="api_forbidden", confirmed=False, not_ready=[])
    assert finished.exit_code == 4
    assert finished.only("broadcast.finished")["hint"] == (
        "add manifests/components/endpointslices, whose Role lets the worker list EndpointSlices; "
        "this has to say yes: kubectl auth can-i list endpointslices.discovery.k8s.io -n shop "
        "--as system:serviceaccount:ops:w"
    )
    assert len(server.requests) == 1


def test_an_api_that_comes_back_in_time_harms_nobody(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    server.script(api.status(503, "etcd"), api.hang_up, api.status(429, "busy", Retry_After="1"))
    finished = run(config(pods), "--api-server", server.url)
    assert finished.exit_code == 0
    assert [e["error_type"] for e in finished.events("resolution.failed")] == [
        "api_unreachable"
    ] * 3
    assert [len(each.requests) for each in (pods[0], pods[1], pods[2])] == [1, 1, 1]


def test_an_api_that_never_answers_is_given_up_after_settle(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    server.always = api.status(500, "etcd")
    finished = run(config(pods, "  settle: 1s\n"), "--api-server", server.url)
    assert finished.exit_code == 4
    done = finished.only("broadcast.finished")
    assert (done["reason"], done["seen"]) == ("api_unreachable", 0)
    assert done["hint"] == (
        "the API server is there, but overloaded or failing: kubectl get --raw /readyz"
    )


def test_hints_say_what_to_do_about_the_api(run: Run, server: KubernetesApi, pods: Pods) -> None:
    """What the API does, and the beginning of the hint."""
    text = config(pods, "  settle: 0s\n")
    cases: dict[str, Behaviour] = {
        "the API server does not accept the token: ": api.status(401, "Unauthorized"),
        "look at what the Service's slices hold: ": api.listing({"endpoints": []}),
    }
    for beginning, behaviour in cases.items():
        server.always = behaviour
        finished = run(text, "--api-server", server.url)
        assert finished.only("broadcast.finished")["hint"].startswith(beginning)
    nobody = run(text, "--api-server", "http://127.0.0.1:1")
    assert nobody.only("broadcast.finished")["hint"].startswith("does a NetworkPolicy allow")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with KubernetesApi(context) as stranger:
        unverified = run(text, "--api-server", stranger.url)
    assert unverified.only("broadcast.finished")["hint"].startswith(
        "the certificate of the API server could not be verified: "
    )
    server.always = None
    unconfirmed = run(text, "--api-server", server.url)
    assert unconfirmed.only("broadcast.finished")["hint"].startswith("settle is 0s, so nothing")


@pytest.mark.parametrize("how", [str, quote, lambda token: b64encode(token.encode()).decode()])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_token_that_a_proxy_repeats_is_not_shown(
    command: str, how: Callable[[str], str], pods: Pods, tmp_path: Path
) -> None:
    """However it spells it, and wherever a limit cuts it off."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    token = "eyJ/" + "".join(f"{number:05}" for number in range(400))
    (tmp_path / "token").write_text(token)
    with KubernetesApi(context) as server:
        server.always = api.status(401, f"what is {how(token)}? And {how(token)}?")
        where = ("--api-server", server.url, "--service-account", str(tmp_path))
        text = config(pods, "  settle: 0s\n")
        finished = run_worker(tmp_path, text, *where, command=command)
    assert finished.exit_code == 4
    written = finished.stdout + finished.stderr
    assert "what is ***" in written
    for start in (0, 500, 1000, 1900):
        assert how(token)[start : start + 40] not in written
        assert token[start : start + 40] not in written


@pytest.mark.parametrize("code", [403, 500])
def test_an_api_that_fails_when_everybody_has_acknowledged_confirms_nothing(
    code: int, run: Run, server: KubernetesApi, pods: Pods
) -> None:
    server.script(api.listing(*server.slices))
    server.always = api.status(code, "no more")
    finished = run(config(pods, "  settle: 1s\n"), "--api-server", server.url)
    assert finished.exit_code == 0
    done = finished.only("broadcast.finished")
    assert (done["outcome"], done["confirmed"], done["level"]) == ("complete", False, "warning")
    error_type = "api_forbidden" if code == 403 else "api_unreachable"
    assert done["hint"] == (
        f"the last question failed ({error_type}): its line resolution.failed has the words of the "
        "Kubernetes API"
    )


def test_a_right_that_is_lost_while_a_pod_is_owed_a_call_is_a_failure(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    pods[1].script(reply(503))
    server.script(api.listing(*server.slices))
    server.always = api.status(403, "no more")
    text = config(pods, "  settle: 1s\n  backoff: {initial: 100ms}\n")
    finished = run(text, "--api-server", server.url)
    assert finished.exit_code == 3
    done = finished.only("broadcast.finished")
    assert (done["reason"], done["acknowledged"], done["failed"]) == ("api_forbidden", 2, 1)


def test_a_right_that_comes_back_in_time_harms_nobody(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    """An API server that has just started does not know the Roles yet."""
    pods[1].script(reply(503), reply())
    server.script(api.listing(*server.slices), api.status(403, "RBAC is not ready"))
    finished = run(config(pods, "  backoff: {initial: 100ms}\n"), "--api-server", server.url)
    assert finished.exit_code == 0
    assert len(pods[1].requests) == 2


def test_what_is_no_api_is_said_to_be_none(run: Run, server: KubernetesApi, pods: Pods) -> None:
    server.always = api.body(b"<html>", 404)
    finished = run(config(pods, "  settle: 0s\n"), "--api-server", server.url)
    assert finished.exit_code == 4
    assert finished.only("broadcast.finished")["hint"] == (
        "is --api-server the address of a Kubernetes API (1.21 or newer), or of a proxy for one "
        "such as kubectl proxy?"
    )


def test_a_service_without_slices_and_one_without_pods(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    server.slices = []
    text = config(pods, "  settle: 0s\n")
    finished = run(text, "--api-server", server.url)
    assert finished.exit_code == 4
    message = finished.only("resolution.failed")["error_message"]
    assert message == "no EndpointSlices: no ready pods, or no such Service"
    server.slices = [endpointslice()]
    message = run(text, "--api-server", server.url).only("resolution.failed")["error_message"]
    assert message == "EndpointSlices list nobody: no ready pods, or no such Service"
    allowed = run(config(pods, "  min_pods: 0\n"), "--api-server", server.url)
    assert (allowed.exit_code, allowed.only("broadcast.finished")["confirmed"]) == (0, True)


# --- how the API is found -----------------------------------------------------------------------


def invalid(finished: Finished) -> str:
    assert finished.exit_code == 2
    entry = finished.only("config.invalid")
    return f"{entry['key']}: {entry['error_message']}"


def test_outside_a_cluster_the_api_has_to_be_named(run: Run, pods: Pods) -> None:
    message = "--api-server: discovery: endpointslices: this is no pod of a cluster: set "
    assert invalid(run(config(pods))) == message + "--api-server"


def test_in_a_pod_the_token_has_to_be_there(run: Run, pods: Pods, tmp_path: Path) -> None:
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    finished = run(config(pods), "--service-account", str(tmp_path), environment=in_a_pod)
    assert invalid(finished) == (
        "--service-account: discovery: endpointslices: cannot read the token "
        f"{tmp_path / 'token'}: No such file or directory; add manifests/components/endpointslices"
    )


def test_a_service_without_a_namespace_is_in_the_workers_own(
    run: Run, server: KubernetesApi, pods: Pods
) -> None:
    text = config(pods).replace(HOST, "web")
    assert invalid(run(text, "--api-server", server.url)) == (
        "broadcast clear: in which namespace is web? write web.NAMESPACE in its url"
    )
    finished = run(text, "--api-server", server.url, environment={"POD_NAMESPACE": "own"})
    assert finished.exit_code == 0
    assert "/namespaces/own/" in server.requests[0].path


# --- plan ---------------------------------------------------------------------------------------


def test_plan_shows_the_pods_ready_and_not(run: Run, server: KubernetesApi, pods: Pods) -> None:
    a, b, _ = pods.addresses
    server.slices = [endpointslice(member(0, a), member(1, b, ready=False))]
    arguments = ("--api-server", server.url)
    finished = run(config(pods), *arguments, command="plan")
    assert finished.exit_code == 0
    first, second, _ = pods.endpoints
    assert finished.stdout.startswith(
        "clear: shop/web\n"
        "  endpoints: 1\n"
        f"    {first} web-0 on node-1, zone-a\n"
        "  not_ready: 1\n"
        f"    {second} web-1 on node-1, zone-a\n"
    )
    document = json.loads(run(config(pods), *arguments, "--output", "json", command="plan").stdout)
    (broadcast,) = document["broadcasts"]
    where = {"node": "node-1", "zone": "zone-a"}
    assert broadcast["endpoints"] == [
        {"endpoint": first, "uid": "uid-web-0", "pod": "web-0", **where}
    ]
    assert broadcast["not_ready"] == [
        {"endpoint": second, "uid": "uid-web-1", "pod": "web-1", **where}
    ]
    server.slices = []
    nobody = run(config(pods), *arguments, command="plan")
    assert nobody.stdout.startswith("clear: shop/web\n  endpoints: 0\n  not_ready: 0\n")
    server.always = api.status(403, 'User "me" cannot')
    refused = run(config(pods), *arguments, command="plan")
    assert refused.exit_code == 4
    assert "  ! error_type: api_forbidden\n" in refused.stdout
    assert "-n shop --as me\n" in refused.stdout


# --- what a run by DNS does not pay for ---------------------------------------------------------


@pytest.mark.parametrize(("discovery", "imported"), [("dns", False), ("endpointslices", True)])
def test_requests_is_imported_only_where_the_api_is_asked(
    discovery: str, imported: bool, tmp_path: Path, nameserver: Nameserver
) -> None:
    file = tmp_path / "broadcasts.yaml"
    file.write_text(
        f"- name: clear\n  url: http://web.shop/\n  discovery: {discovery}\n  settle: 0s\n"
    )
    command = [sys.executable, "-X", "importtime", "-m", "worker", "--config", str(file)]
    command += ["--nameserver", str(nameserver), "--api-server", "http://127.0.0.1:1"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 4
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "worker.discovery.source" in modules
    assert ("requests" in modules) == imported
