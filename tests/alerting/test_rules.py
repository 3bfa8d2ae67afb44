"""Each alert at chosen times: histories of real runs in a real Loki, which evaluates the rules."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from tests.alerting.layouts import LAYOUTS, Shipment, noise
from tests.alerting.rules import ALERTS, RECORDINGS, fields_read
from tests.alerting.runs import Recorded, renamed
from tests.alerting.scenarios import CORE, MORE, Scenario
from tests.alerting.servers import Loki
from tests.loopback.program import ROOT

PLAIN = "namespace, pod, container, app and job"
SCENARIOS = [*CORE, *MORE]
RULES: dict[str, str] = {name: rule["expr"] for name, rule in (ALERTS | RECORDINGS).items()}
RENAMED = [(name, field) for name, expr in RULES.items() for field in fields_read(expr)]
HOURS = 3 * 3600

Result = list[dict[str, Any]]
Ask = Callable[[str, int], Result]


@pytest.fixture(scope="module")
def zero() -> float:
    """The minute from which scenarios count."""
    return (time.time() - HOURS) // 60 * 60


@pytest.fixture(scope="module")
def ask(loki: Loki, runs: Mapping[str, Recorded], zero: float) -> Ask:
    """What an expression gives at a minute, for all scenarios at once: they differ by namespace."""
    shipment = Shipment()
    for each in SCENARIOS:
        _ship(shipment, PLAIN, each, each.namespace, runs, zero)
    for number, layout in enumerate(LAYOUTS):
        for each in CORE:
            _ship(shipment, layout, each, f"{each.namespace}-{number}", runs, zero, noisy=True)
    for each, field in {(each, field) for name, field in RENAMED for each in _about(name)}:
        _ship(shipment, "none but the stream's", each, _mutant(each, field), runs, zero, field)
    shipment.push(loki)
    loki.flush()
    return functools.cache(lambda expression, minute: loki.query(expression, zero + minute * 60))


def _ship(
    shipment: Shipment,
    layout: str,
    scenario: Scenario,
    namespace: str,
    runs: Mapping[str, Recorded],
    zero: float,
    without: str = "",
    noisy: bool = False,
) -> None:
    for number, run in enumerate(scenario.history):
        lines = runs[run.case].ended(zero + run.minute * 60, namespace, run.job)
        lines = renamed(lines, without) if without else lines
        pod = f"{run.job}-{number}"
        shipment.add(LAYOUTS[layout], namespace, pod, lines + (noise(lines) if noisy else []))


def _mutant(scenario: Scenario, field: str) -> str:
    return f"{scenario.namespace}-without-{field}"


def _about(rule: str) -> Iterable[Scenario]:
    """The scenarios in which the alert fires; for a recording any will do."""
    about = [each for each in CORE if any(rule in names for names in each.firing.values())]
    return about or CORE[:2]


def labels_of(result: Result, namespace: str) -> list[dict[str, str]]:
    return [each["metric"] for each in result if each["metric"].get("namespace") == namespace]


def firing(ask: Ask, namespace: str, minute: int) -> dict[str, list[dict[str, str]]]:
    """The alerts of the namespace, each with the labels of what it fires for."""
    found = {name: labels_of(ask(RULES[name], minute), namespace) for name in ALERTS}
    return {name: labels for name, labels in found.items() if labels}


def check_labels(
    alerts: dict[str, list[dict[str, str]]], more: dict[str, str], cronjob: str = "clear"
) -> None:
    """Those that tell one broadcast, or one CronJob, from another, and no others."""
    for name, found in alerts.items():
        for labels in found:
            rest = {k: v for k, v in labels.items() if v and k not in more}  # an empty one is none
            assert more.items() <= labels.items()
            endpoint = rest.pop("endpoint", None)
            assert (endpoint is not None) == (name == "EndpointKeepsFailing"), labels
            assert rest.pop("target_pod", None) in ((None, "web-0") if endpoint else (None,))
            if name == "RunNotComplete":
                assert rest in ({"cronjob": cronjob}, {}), labels
            elif name == "Crashed":
                assert rest == {"cronjob": cronjob, "broadcast": "clear-web-caches"}
            else:
                assert rest == {"broadcast": "clear-web-caches"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_alerts_fire_and_resolve_when(scenario: Scenario, ask: Ask) -> None:
    for minute, names in scenario.firing.items():
        alerts = firing(ask, scenario.namespace, minute)
        assert alerts.keys() == names, f"in minute {minute}"
        cronjob = "reload" if scenario.name.startswith("one CronJob has got over") else "clear"
        check_labels(alerts, {"namespace": scenario.namespace}, cronjob)


@pytest.mark.parametrize("scenario", CORE, ids=lambda each: each.name)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_among_noise_and_with_these_labels_alerts_are_the_same(
    layout: str, scenario: Scenario, ask: Ask
) -> None:
    namespace = f"{scenario.namespace}-{list(LAYOUTS).index(layout)}"
    cluster = {"cluster": "east"} if layout == "several clusters" else {}
    for minute, names in scenario.firing.items():
        alerts = firing(ask, namespace, minute)
        assert alerts.keys() == names, f"in minute {minute}"
        check_labels(alerts, {"namespace": namespace} | cluster)


def test_silence_of_an_hourly_broadcast_is_noticed_after_two_hours(ask: Ask) -> None:
    hourly = RULES["NoGoodRun"].replace("20m", "2h")
    silent = next(each for each in CORE if each.name.startswith("silence"))  # good at 0 and 30
    for minute, fires in ((21, False), (149, False), (151, True)):
        assert bool(labels_of(ask(hourly, minute), silent.namespace)) is fires


def test_the_pages_query_shows_whether_lines_arrive_as_the_rules_read_them(ask: Ask) -> None:
    page = (ROOT / "docs" / "alerting.md").read_text()
    (query,) = re.findall(r"```text\n(sum by .*?)```", page, re.DOTALL)
    for number, layout in enumerate(LAYOUTS):
        namespace = f"{CORE[0].namespace}-{number}"
        (found,) = (e for e in ask(query, 25) if e["metric"].get("namespace") == namespace)
        assert (found["metric"]["broadcast"], found["value"][1]) == ("clear-web-caches", "3"), (
            layout
        )


def test_each_alert_has_a_scenario_in_which_it_fires_and_resolves() -> None:
    for name in ALERTS:
        for each in _about(name):
            first = min(minute for minute, names in each.firing.items() if name in names)
            assert any(minute > first and name not in each.firing[minute] for minute in each.firing)


@pytest.mark.parametrize(("rule", "field"), RENAMED)
def test_a_rule_is_not_what_it_was_when_the_program_renames_a_field_that_it_reads(
    rule: str, field: str, ask: Ask
) -> None:
    def told(of: Callable[[Scenario], str]) -> list[tuple[str, int, list[tuple[Any, ...]]]]:
        return [
            (each.name, minute, sorted(_shape(ask(RULES[rule], minute), of(each))))
            for each in _about(rule)
            for minute in sorted({*each.firing, *(run.minute for run in each.history)})
        ]

    intact = told(lambda each: each.namespace)
    assert any(result for _, _, result in intact)
    assert told(lambda each: _mutant(each, field)) != intact


def _shape(result: Result, namespace: str) -> Iterable[tuple[Any, ...]]:
    for each in result:
        if each["metric"].get("namespace") == namespace:
            labels = {k: v for k, v in each["metric"].items() if k != "namespace"}
            yield tuple(sorted(labels.items()))
