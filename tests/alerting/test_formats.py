"""The formats gcp and ecs, and what is shipped for them, beside what their makers publish."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
import yaml

from tests.alerting.published import definition, ecs_fields, problems
from tests.alerting.runs import EVERY_EVENT, Recorded, record
from tests.loopback.program import ROOT, Entry
from worker.log.events import BY_NAME

ALERTING = ROOT / "manifests" / "alerting"
GCP_FILES = {
    "metric-broadcasts.yaml": ("logging-api", "google.logging.v2.LogMetric"),
    "policy-not-complete.yaml": ("monitoring", "google.monitoring.v3.AlertPolicy"),
    "policy-no-good-run.yaml": ("monitoring", "google.monitoring.v3.AlertPolicy"),
}
# Where the agent puts what it takes out of a line; from the table of
# https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
SPECIAL = {
    "severity": "severity",
    "time": "timestamp",
    "logging.googleapis.com/trace": "trace",
    "logging.googleapis.com/spanId": "spanId",
}
# Others of that table and of LogEntry, which no line may have by accident.
OTHERS = {"httpRequest", "timestamp", "timestampSeconds", "timestampNanos", "labels", "level"}
TYPES: dict[str, Callable[[Any], object]] = {
    "date": lambda value: datetime.fromisoformat(value),
    "keyword": lambda value: isinstance(value, str),
    "wildcard": lambda value: isinstance(value, str),
    "match_only_text": lambda value: isinstance(value, str),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "ip": lambda value: ipaddress.ip_address(value),
}


def entries(runs: Mapping[str, Recorded]) -> list[Entry]:
    return [json.loads(line) for run in runs.values() for _, line in run.lines]


@pytest.fixture(scope="module")
def gcp() -> list[Entry]:
    return entries(record(EVERY_EVENT, "gcp"))


@pytest.fixture(scope="module")
def ecs() -> list[Entry]:
    return entries(record(EVERY_EVENT, "ecs"))


def test_google_cloud_can_make_a_log_entry_of_every_line(gcp: list[Entry]) -> None:
    _, severities = definition("logging-api", "google.logging.type.LogSeverity")
    _, log_entry = definition("logging-api", "google.logging.v2.LogEntry")
    assert set(SPECIAL.values()) <= log_entry["fields"].keys()
    for entry in gcp:
        assert entry["severity"] in severities["values"]
        assert datetime.fromisoformat(entry["time"])
        assert re.fullmatch("[0-9a-f]{32}", entry["logging.googleapis.com/trace"])
        assert re.fullmatch("[0-9a-f]{16}", entry.get("logging.googleapis.com/spanId", "0" * 16))
        assert entry["message"]
        rest = entry.keys() - SPECIAL.keys()
        assert not rest & OTHERS
        assert not [key for key in rest if "/" in key]
        assert all(isinstance(value, (str, int, float)) for value in entry.values())


@pytest.mark.parametrize("file", GCP_FILES)
def test_google_cloud_takes(file: str) -> None:
    package, name = GCP_FILES[file]
    content = yaml.safe_load((ALERTING / "gcp" / file).read_text())
    assert problems(package, name, content) == []
    assert problems(package, name, content | {"displayname": "x"}) != []
    assert problems(package, name, content | {"name": 1}) != []


def test_every_file_for_google_cloud_is_checked() -> None:
    assert {path.name for path in (ALERTING / "gcp").iterdir()} == GCP_FILES.keys()


@pytest.mark.parametrize("file", GCP_FILES)
def test_filters_and_extractors_read_fields_of_the_events_that_they_select(
    file: str, gcp: list[Entry]
) -> None:
    text = (ALERTING / "gcp" / file).read_text()
    events = set(re.findall(r'"((?:run|broadcast)\.[a-z]+)"', text))
    seen = {key for entry in gcp if entry["event"] in events for key in entry}
    read = set(re.findall(r"jsonPayload\.(\w+)", text))
    assert read <= seen
    used = set(re.findall(r"\$\{log\.extracted_label\.(\w+)\}", text))
    extractors = set(re.findall(r"(\w+): EXTRACT\(jsonPayload\.(\w+)\)", text))
    if file.startswith("policy"):
        assert used <= {key for key, _ in extractors}


def test_the_policy_for_silence_reads_the_metric_that_is_shipped() -> None:
    metric = yaml.safe_load((ALERTING / "gcp" / "metric-broadcasts.yaml").read_text())
    policy = yaml.safe_load((ALERTING / "gcp" / "policy-no-good-run.yaml").read_text())
    (condition,) = policy["conditions"]
    absent = condition["conditionAbsent"]
    assert f'"logging.googleapis.com/user/{metric["name"]}"' in absent["filter"]
    labels = {label["key"] for label in metric["metricDescriptor"]["labels"]}
    assert labels == metric["labelExtractors"].keys()
    (aggregation,) = absent["aggregations"]
    used = {name.removeprefix("metric.label.") for name in aggregation["groupByFields"]}
    assert used | {"outcome"} == labels


def mapping() -> dict[str, str]:
    """Dotted name -> type, of the index template."""
    template = json.loads((ALERTING / "elastic" / "index-template.json").read_text())

    def flat(properties: dict[str, Any], prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for name, spec in properties.items():
            if "properties" in spec:
                assert "type" not in spec
                found |= flat(spec["properties"], f"{prefix}{name}.")
            else:
                found[prefix + name] = spec["type"]
        return found

    return flat(template["template"]["mappings"]["properties"])


def test_every_field_of_a_line_is_in_the_mapping_with_a_type_that_takes_it(
    ecs: list[Entry],
) -> None:
    types = mapping()
    for entry in ecs:
        for field, value in entry.items():
            assert TYPES[types[field]](value), f"{field}: {value!r} is no {types[field]}"
            assert not [other for other in entry if other.startswith(f"{field}.")]


def test_every_field_outside_pod_broadcast_is_one_of_ecs_with_its_type(ecs: list[Entry]) -> None:
    known = ecs_fields()
    assert {entry["ecs.version"] for entry in ecs} == {known[""]["version"]}
    for field, kind in mapping().items():
        if not field.startswith("pod_broadcast."):
            assert kind == known[field]["type"], field
    for entry in ecs:
        for field, value in entry.items():
            allowed = [each["name"] for each in known.get(field, {}).get("allowed_values", [])]
            assert not allowed or value in allowed, f"{field}: {value}"
        assert not [name for name in entry if "." not in name and name not in known]


def test_the_mapping_has_no_field_that_no_line_has(ecs: list[Entry]) -> None:
    assert mapping().keys() - {field for entry in ecs for field in entry} == set()


def test_these_runs_have_every_event(gcp: list[Entry]) -> None:
    assert {entry["event"] for entry in gcp} == BY_NAME.keys()
