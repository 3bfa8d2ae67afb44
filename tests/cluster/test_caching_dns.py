"""Cluster DNS that answers from a cache, as NodeLocal DNSCache and older kubeadm clusters do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import Examples
from tests.cluster.kubernetes import kubectl

ALONE = True  # all pods of the cluster ask this DNS
IN_KUBE_SYSTEM = ("--namespace", "kube-system")
CLEAR = "- {name: clear, url: 'http://web-server-headless:8080/clear-caches'}\n"


def configure(corefile: str) -> None:
    patch = json.dumps({"data": {"Corefile": corefile}})
    kubectl(*IN_KUBE_SYSTEM, "patch", "configmap", "coredns", "--patch", patch)
    # Its `reload` plugin would see the change too, after a minute or two.
    kubectl(*IN_KUBE_SYSTEM, "rollout", "restart", "deployment/coredns")
    kubectl(*IN_KUBE_SYSTEM, "rollout", "status", "deployment/coredns", "--timeout=120s")


@pytest.fixture
def cached_answers() -> Iterator[None]:
    """CoreDNS caches the cluster's own names, for 30 s."""
    get = (*IN_KUBE_SYSTEM, "get", "configmap", "coredns", "--output=jsonpath={.data.Corefile}")
    before = kubectl(*get)
    caching = re.sub(r"\n *disable (success|denial) cluster\.local", "", before)
    assert re.search(r"\n *cache 30", caching), before
    assert re.search(r"\n *ttl 30", caching), before
    configure(caching)
    try:
        yield
    finally:
        configure(before)


@pytest.mark.usefixtures("cached_answers")
def test_a_pod_that_became_ready_after_the_first_answer_is_found_through_a_newer_one(
    examples: Examples,
) -> None:
    example = examples("caching-dns")
    example.start("clear", CLEAR)
    run = example.run("clear")
    run.wait_for_event("call.succeeded", 3)
    example.scale(4)
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=60s")
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    answers = finished.events("endpoints.resolved")
    assert [answer["newcomers"] for answer in answers if answer["newcomers"]] == [3, 1]
    # The answer that was asked for after the calls was the cached one: it had to be waited out.
    assert answers[1]["newer"] is False
    assert answers[1]["ttl_seconds"] < answers[0]["ttl_seconds"]
    waits = finished.events("resolution.waiting")
    assert max(wait["wait_seconds"] for wait in waits) > 5
    ended = finished.only("broadcast.finished")
    assert (ended["outcome"], ended["confirmed"], ended["acknowledged"]) == ("complete", True, 4)
    assert list(example.recorded(ended["run_id"]).values()) == [1] * 4
