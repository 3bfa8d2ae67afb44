"""The Grafana dashboard: Grafana's published types, and every query against a real Loki."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.layouts import LAYOUTS, Shipment, noise
from tests.alerting.published import NODE, modules, run
from tests.alerting.runs import JOB, Recorded
from tests.alerting.servers import Loki
from tests.loopback.program import ROOT

FILE = ROOT / "manifests" / "alerting" / "grafana" / "pod-broadcast.json"
DASHBOARD = json.loads(FILE.read_text())
TARGETS = [
    pytest.param(panel["title"], target, id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
NAMESPACE = "on-the-dashboard"
MINUTE = 60.0


@pytest.fixture(scope="module")
def now(loki: Loki, runs: Mapping[str, Recorded]) -> float:
    """Every run within the last hour, good ones first, and one of a namespace not asked for."""
    now = time.time()
    shipment = Shipment()
    for number, case in enumerate(sorted(runs, key=lambda case: runs[case].exit_code == 0)):
        end = now - (2 * number + 1) * MINUTE
        lines = runs[case].ended(end, NAMESPACE)
        lines = lines + noise(lines) if len(lines) > 1 else lines
        shipment.add(LAYOUTS["namespace, pod and container"], NAMESPACE, f"{JOB}-{number}", lines)
    elsewhere = runs["failed"].ended(now - MINUTE, "elsewhere")
    shipment.add(LAYOUTS["namespace, pod and container"], "elsewhere", JOB, elsewhere)
    shipment.push(loki)
    loki.flush()
    return now


def compiled(tmp_path: Path, dashboard: Any) -> int:
    """How tsc ends."""
    folder = modules()
    text = json.dumps(dashboard, indent=2)
    (tmp_path / "check.ts").write_text(
        f"import type {{ File }} from './dashboard';\nexport const dashboard: File = {text};\n"
    )
    (tmp_path / "dashboard.ts").write_text((NODE / "dashboard.ts").read_text())
    (tmp_path / "node_modules").unlink(missing_ok=True)
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    options = ("--noEmit", "--strict", "--moduleResolution", "bundler", "--module", "esnext")
    return run("node_modules/.bin/tsc", *options, "check.ts", folder=tmp_path).returncode


def test_it_is_of_grafanas_types(tmp_path: Path) -> None:
    assert compiled(tmp_path, DASHBOARD) == 0


def _misspell_a_key(dashboard: Any) -> None:
    dashboard["panels"][0]["gridpos"] = dashboard["panels"][0].pop("gridPos")


def _misspell_an_option(dashboard: Any) -> None:
    dashboard["panels"][1]["options"]["showValues"] = "auto"


def _take_an_unknown_word(dashboard: Any) -> None:
    dashboard["panels"][2]["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "bar"


def _misspell_a_query(dashboard: Any) -> None:
    dashboard["panels"][3]["targets"][0]["expression"] = "x"


@pytest.mark.parametrize(
    "spoil", [_misspell_a_key, _misspell_an_option, _take_an_unknown_word, _misspell_a_query]
)
def test_a_mistake_is_not_of_grafanas_types(spoil: Callable[[Any], None], tmp_path: Path) -> None:
    spoilt = json.loads(FILE.read_text())
    spoil(spoilt)
    assert compiled(tmp_path, spoilt) != 0


def test_panels_have_their_own_numbers_and_places() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x, y in itertools.product(
            range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]),
            range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]),
        )
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))
    for panel in panels:
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": "loki", "uid": "${datasource}"}


def ask(
    loki: Loki, target: Mapping[str, Any], now: float, **variables: str
) -> list[dict[str, Any]]:
    """What Grafana asks for the last hour, and what Loki answers."""
    values = {"namespace": NAMESPACE, "broadcast": ".*", "__interval": "1m", "__range": "1h"}
    query = target["expr"]
    for name, value in (values | variables).items():
        query = query.replace(f"${name}", value)
    assert "$" not in query.replace('$"', "")
    if target["queryType"] == "instant":
        return loki.query(query, now)
    answer = loki.get(
        "/loki/api/v1/query_range",
        query=query,
        start=str(round((now - 3600) * 1e9)),
        end=str(round(now * 1e9)),
        step="60",
        limit=str(target.get("maxLines", 1000)),
    )
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_loki_has_something_to_show_in(
    title: str, target: Mapping[str, Any], loki: Loki, now: float
) -> None:
    result = ask(loki, target, now)
    assert result, title
    numbers = [
        float(value)
        for each in result
        if "metric" in each
        for _, value in each.get("values") or [each["value"]]
    ]
    assert any(numbers) if numbers else all(each["values"] for each in result)
    for each in result:
        assert (each.get("metric") or each.get("stream") or {}).get("namespace") in {
            None,
            NAMESPACE,
        }
    if target["queryType"] == "range":
        assert ask(loki, target, now, namespace="nowhere") == []


def test_endpoints_add_up_to_what_the_runs_counted(
    loki: Loki, now: float, runs: Mapping[str, Recorded]
) -> None:
    (panel,) = (panel for panel in DASHBOARD["panels"] if panel["title"] == "Endpoints")
    entries = [json.loads(line) for run in runs.values() for _, line in run.lines]
    finished = [
        e for e in entries if e["event"] == "broadcast.finished" and "worker_namespace" in e
    ]
    # The run outside a pod has the shipper's namespace, which is the same one here.
    finished += [e for e in entries if e["event"] == "broadcast.finished" and "worker_job" not in e]
    for target in panel["targets"]:
        ((shown),) = ask(loki, target, now)
        total = sum(float(value) for _, value in shown["values"])
        field = target["legendFormat"]
        assert total == sum(entry[field] for entry in finished), field


def test_the_latest_failures_are_a_row_each_with_what_happened(loki: Loki, now: float) -> None:
    (panel,) = (p for p in DASHBOARD["panels"] if p["title"] == "Latest failures")
    (target,) = panel["targets"]
    streams = [each for each in ask(loki, target, now) if "endpoint" in each["stream"]]
    assert {each["stream"]["error_type"] for each in streams if each["stream"]["endpoint"]} == {
        "status",
        "connect_refused",
        "not_verified",
    }
    (_, organize) = panel["transformations"]
    shown = organize["options"]["indexByName"].keys() - {"Time", "Line"}
    for each in streams:
        assert shown <= each["stream"].keys()
    texts = [text for each in streams for _, text in each["values"]]
    assert any("was missed after 1 call: connect_refused" in text for text in texts)
    assert not [text for text in texts if text.startswith("{")]
