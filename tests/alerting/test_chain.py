"""From the log line to the person: Loki's ruler tells Alertmanager, which calls a webhook."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.layouts import LAYOUTS, Shipment
from tests.alerting.rules import ALERTS, FOLDER, PREFIX, RECORDINGS, fields_read
from tests.alerting.runs import Recorded, renamed
from tests.alerting.scenarios import CORE, Run, Scenario, scenario
from tests.alerting.servers import Alertmanager, Loki, Prometheus, Webhook
from tests.loopback.machine import wait_for

LAYOUT = LAYOUTS["namespace, pod and container"]
TIME = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC"
ENDPOINT = r"127\.\d+\.\d+\.\d+:\d+"
LAST_RUN = (
    rf"The last run ended at {TIME}: partial \(some_calls_failed\), 2 of 3 endpoints "
    rf"acknowledged, 1 failed, 0 gone, 0 cancelled\. Failed: {ENDPOINT} status 503 after 1 call\."
)
GOOD_RUN = rf"The last run ended at {TIME}: complete, 3 of 3 endpoints acknowledged, 0 failed, "
CLEAR = "clear-web-caches"
HINT = r"( Hint: \S.*)?"  # its wording is tests/unit/test_report.py's matter
# What a person reads: summary and description, as regular expressions.
WORDS = {
    "Failed": (
        rf"Broadcast {CLEAR} in namespace NAMESPACE failed: nobody acknowledged",
        rf"The last run ended at {TIME}: failed \(all_calls_failed\), 0 of 3 endpoints "
        rf"acknowledged, 3 failed, 0 gone, 0 cancelled\. "
        rf"Failed: ({ENDPOINT} connect_refused after 1 call(, )?){{3}}\. "
        r"Hint: nothing listens on port \d+ of the pods\b.*",
    ),
    "Partial": (rf"Broadcast {CLEAR} in namespace NAMESPACE missed some pods", LAST_RUN),
    "RunNotComplete": (
        r"The last run of CronJob clear in namespace NAMESPACE is not complete, exit code 2",
        rf"The last run ended at {TIME}: failed, exit code 2, configuration: "
        r"\S+/broadcasts\.yaml:3:3: broadcasts\[0\]\.setle: unknown key: did you mean settle\?\.",
    ),
    "NoGoodRun": (
        rf"Broadcast {CLEAR} in namespace NAMESPACE has had no good run in 20 minutes",
        GOOD_RUN + r"0 gone, 0 cancelled\.",
    ),
    "DNSBroken": (
        rf"DNS is broken for broadcast {CLEAR} in namespace NAMESPACE",
        rf"The last run ended at {TIME}: failed \(dns_servfail\), 0 of 0 endpoints acknowledged, "
        r"0 failed, 0 gone, 0 cancelled\.",
    ),
    "EndpointKeepsFailing": (
        rf"Endpoint {ENDPOINT} \(pod web-0\) of broadcast {CLEAR} in namespace NAMESPACE failed in "
        "3 runs",
        LAST_RUN.replace("Failed: ", r"Failed: web-0 \(").replace(" status", r"\) status"),
    ),
    "EndpointsOftenGone": (
        rf"More than half of the runs of broadcast {CLEAR} in namespace NAMESPACE had endpoints "
        r"that were gone",
        rf"The last run ended at {TIME}: complete, 2 of 3 endpoints acknowledged, 0 failed, "
        r"1 gone, 0 cancelled\.",
    ),
    "OftenUnconfirmed": (
        rf"No newer DNS answer confirmed more than half of the runs of broadcast {CLEAR} in "
        r"namespace NAMESPACE",
        GOOD_RUN + r"0 gone, 0 cancelled\.",
    ),
    "Crashed": (
        rf"A bug ended the last run of CronJob clear in namespace NAMESPACE, in broadcast {CLEAR}",
        r"RuntimeError: a b\. The log line run\.crashed of run [0-9a-f]{32} has the stack\.",
    ),
}
TWO = scenario(
    "two broadcasts, one of them partial", "0 two broadcasts", {1: "Partial RunNotComplete"}
)
# Alerts with descriptions unlike each other, and a run that has all that they speak of.
TELLING = {
    "Failed": CORE[0],
    "RunNotComplete": TWO,
    "Crashed": CORE[8],
}
WRONG = CORE[2]  # a run whose end has an error_message
DESCRIBED = [
    (alert, field, WRONG if (alert, field) == ("RunNotComplete", "error_message") else each)
    for alert, each in TELLING.items()
    for field in fields_read(" ".join(ALERTS[alert]["annotations"].values()))
    if field not in fields_read(ALERTS[alert]["expr"])
]


@dataclass(frozen=True, slots=True)
class Chain:
    """The servers, and what was sent through them."""

    webhook: Webhook
    loki: Loki
    prometheus: Prometheus


def the_alert(each: Scenario) -> tuple[str, int]:
    """What the scenario is about, and the minute in which it fires first."""
    minute, names = next((m, names) for m, names in sorted(each.firing.items()) if names)
    about = names - {"RunNotComplete", "Failed"} or names - {"RunNotComplete"} or names
    if about & {"Partial"} and "three runs" in each.name:
        minute, about = 11, {"EndpointKeepsFailing"}
    (alert,) = about
    return alert, minute


def ship(
    loki: Loki, runs: Mapping[str, Recorded], history: list[tuple[str, Run, float]], field: str = ""
) -> None:
    """Runs with the namespaces and the times at which they end."""
    shipment = Shipment()
    for number, (namespace, run, at) in enumerate(history):
        lines = runs[run.case].ended(at, namespace, run.job)
        lines = renamed(lines, field) if field else lines
        shipment.add(LAYOUT, namespace, f"{run.job}-{number}", lines)
    shipment.push(loki)


def bad_part(each: Scenario, namespace: str) -> list[tuple[str, Run, float]]:
    """The history up to the minute in which the alert fires, which is now."""
    _, now = the_alert(each)
    zero = time.time() - now * 60
    return [(namespace, run, zero + run.minute * 60) for run in each.history if run.minute <= now]


def mutant(alert: str, field: str) -> str:
    return f"{alert.lower()}-without-{field}"


@pytest.fixture(scope="module")
def chain(
    tmp_path_factory: pytest.TempPathFactory, runs: Mapping[str, Recorded]
) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    with (
        Webhook() as webhook,
        Alertmanager(folder / "alertmanager", webhook.url) as alertmanager,
        Prometheus(folder / "prometheus") as prometheus,
        Loki(folder / "loki", alertmanager.url, prometheus.url) as loki,
    ):
        for each in [*CORE, TWO]:
            ship(loki, runs, bad_part(each, each.namespace))
        for alert, field, each in DESCRIBED:
            ship(loki, runs, bad_part(each, mutant(alert, field)), field)
        loki.flush()
        install(loki)
        yield Chain(webhook, loki, prometheus)


def install(loki: Loki) -> None:
    """The rules as they are, but that recordings do not take a minute."""
    for name in ("alerts.yaml", "recordings.yaml"):
        text = (FOLDER / name).read_text()
        (loki.rules / name).write_text(text.replace("interval: 1m", "interval: 1s"))


def words(alert: Mapping[str, Any]) -> str:
    """What is the same in every run of one kind."""
    text = alert["annotations"]["summary"] + "\n" + alert["annotations"]["description"]
    text = text.replace(alert["labels"]["namespace"], "#")
    text = re.sub(rf"{TIME}|{ENDPOINT}|[0-9a-f]{{32}}", "#", text)
    return re.sub(r"/\S+/broadcasts.yaml", "#", text)


def test_the_ruler_takes_every_rule(chain: Chain) -> None:
    def evaluated() -> list[tuple[str, str, str]]:
        rules = chain.loki.loaded_rules()
        ran = all(not rule["lastEvaluation"].startswith("0001") for rule in rules)
        return [(r["name"], r["health"], r["lastError"]) for r in rules] if ran else []

    found = wait_for("the first evaluation", evaluated)
    expected = [PREFIX + name for name in ALERTS] + list(RECORDINGS)
    assert sorted(found) == sorted((name, "ok", "") for name in expected)


@pytest.mark.parametrize("each", CORE, ids=lambda each: the_alert(each)[0])
def test_somebody_is_told_what_is_wrong_and_when_it_is_over(
    each: Scenario, chain: Chain, runs: Mapping[str, Recorded]
) -> None:
    alert, now = the_alert(each)
    for name in each.firing[now]:
        told = chain.webhook.wait_for("firing", PREFIX + name, each.namespace)
        assert told["labels"]["severity"] in {"warning", "critical"}
        assert told["annotations"]["runbook_url"].endswith(
            f"docs/alerting.md#podbroadcast{name.lower()}"
        )
    told = chain.webhook.wait_for("firing", PREFIX + alert, each.namespace)
    summary, description = (
        pattern.replace("NAMESPACE", each.namespace) for pattern in WORDS[alert]
    )
    assert re.fullmatch(summary, told["annotations"]["summary"]), told["annotations"]
    assert re.fullmatch(description + HINT, told["annotations"]["description"]), told["annotations"]
    names = {a["labels"]["alertname"] for a in chain.webhook.alerts("firing", each.namespace)}
    assert names == {PREFIX + name for name in each.firing[now]}

    rest = [run for run in each.history if run.minute > now]
    ship(chain.loki, runs, [(each.namespace, run, time.time()) for run in rest])
    for name in each.firing[now]:
        chain.webhook.wait_for("resolved", PREFIX + name, each.namespace)


def test_of_a_run_with_two_broadcasts_those_not_complete_are_named(chain: Chain) -> None:
    told = chain.webhook.wait_for("firing", PREFIX + "RunNotComplete", TWO.namespace)
    assert told["annotations"]["summary"] == (
        f"The last run of CronJob clear in namespace {TWO.namespace} is not complete, "
        f"exit code 3, broadcast {CLEAR}"
    )
    assert re.fullmatch(
        rf"The last run ended at {TIME}: partial, exit code 3, 4 of 5 endpoints acknowledged, "
        rf"1 failed, 0 gone, 0 cancelled\. Failed in {CLEAR}: {ENDPOINT} status 503 after 1 call\.",
        told["annotations"]["description"],
    ), told["annotations"]


@pytest.mark.parametrize(("alert", "field", "each"), DESCRIBED, ids=str)
def test_an_alert_says_something_else_when_the_program_renames_a_field_that_it_reads(
    alert: str, field: str, each: Scenario, chain: Chain
) -> None:
    intact = chain.webhook.wait_for("firing", PREFIX + alert, each.namespace)
    told = chain.webhook.wait_for("firing", PREFIX + alert, mutant(alert, field))
    assert words(told) != words(intact)


def test_recordings_reach_prometheus(chain: Chain, runs: Mapping[str, Recorded]) -> None:
    namespace = "recorded"
    run = Run(0, "partial")
    ship(chain.loki, runs, [(namespace, run, time.time())])
    by = {"namespace": namespace, "broadcast": CLEAR}
    more = {
        "pod_broadcast:runs:count1m": {"outcome": "partial"},
        "pod_broadcast:endpoints_failed:count1m": {"error_type": "status"},
    }

    def value(name: str) -> list[tuple[dict[str, str], str]]:
        query = f'last_over_time({name}{{namespace="{namespace}"}}[5m])'
        found = chain.prometheus.get("/api/v1/query", query=query)["data"]["result"]
        return [(each["metric"], each["value"][1]) for each in found]

    for name in RECORDINGS:
        ((labels, number),) = wait_for(name, partial(value, name))
        labels.pop("__name__", None)
        assert labels == by | more.get(name, {})
        expected = {"pod_broadcast:last_exit_code": "3"}.get(name, "1")
        assert number == expected or name == "pod_broadcast:run_duration_seconds:max1m"


def test_a_ruler_that_starts_late_finds_what_is_wrong(
    tmp_path: Path, runs: Mapping[str, Recorded]
) -> None:
    with (
        Webhook() as webhook,
        Alertmanager(tmp_path / "alertmanager", webhook.url) as alertmanager,
        Loki(tmp_path / "loki", alertmanager.url) as loki,
    ):
        now = time.time()
        history = [("late", Run(0, "failed"), now - 600), ("well", Run(0, "failed"), now - 600)]
        ship(loki, runs, [*history, ("well", Run(0, "complete"), now - 300)])
        loki.flush()
        loki.stop()
        install(loki)
        loki.start()
        told = webhook.wait_for("firing", PREFIX + "Failed", "late")
        assert "0 of 3 endpoints acknowledged" in told["annotations"]["description"]
        webhook.wait_for("firing", PREFIX + "RunNotComplete", "late")
        assert webhook.alerts("firing", "well") == []
