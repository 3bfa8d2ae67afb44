"""Cluster DNS that answers from a cache, as NodeLocal DNSCache and older kubeadm clusters do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests import overlays
from tests.cluster.conftest import Examples
from tests.cluster.kubernetes import kubectl

ALONE = True  # all pods of the cluster ask this DNS
IN_KUBE_SYSTEM = ("--namespace", "kube-system")
BY_API = """\
- name: clear
  url: http://web-server-headless:8080/clear-caches
  discovery: endpointslices
  settle: 1s
"""
# With four pods, so that the run does not end before the fourth is there.
CLEAR = """\
- name: clear
  url: http://web-server-headless:8080/clear-caches
  min_pods: 4
  settle: 2m
"""


def configure(corefile: str) -> None:
    patch = json.dumps({"data": {"Corefile": corefile}})
    kubectl(*IN_KUBE_SYSTEM, "patch", "configmap", "coredns", "--patch", patch)
    # Its `reload` plugin would see the change too, after a minute or two.
    kubectl(*IN_KUBE_SYSTEM, "rollout", "restart", "deployment/coredns")
    kubectl(*IN_KUBE_SYSTEM, "rollout", "status", "deployment/coredns", "--timeout=120s")


@pytest.fixture(scope="module")
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


@pytest.mark.usefixtures("cached_answers")
def test_a_cache_makes_no_difference_to_who_asks_the_api(examples: Examples) -> None:
    """It could not be waited out here: `settle` is shorter than the cache's time."""
    example = examples("caching-api")
    example.apply(*overlays.render(example.overlay("endpointslices")))
    example.scale(4)
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=60s")
    example.start("clear", BY_API, ("endpointslices",))
    finished = example.run("clear").finish()
    assert finished.exit_code == 0, finished.stdout
    ended = finished.only("broadcast.finished")
    assert (ended["acknowledged"], ended["confirmed"], ended["rounds"]) == (4, True, 2)
    assert finished.events("resolution.waiting") == []
    assert list(example.recorded(ended["run_id"]).values()) == [1] * 4
