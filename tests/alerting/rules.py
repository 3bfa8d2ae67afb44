"""The alerts and recordings as they are shipped: what they are called, ask for and read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.loopback.program import ROOT

FOLDER = ROOT / "manifests" / "alerting" / "loki"
PREFIX = "PodBroadcast"


def _rules(file: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(file.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


# Short names, as the scenarios have them: Failed for PodBroadcastFailed.
ALERTS = {rule["alert"].removeprefix(PREFIX): rule for rule in _rules(FOLDER / "alerts.yaml")}
RECORDINGS = {rule["record"]: rule for rule in _rules(FOLDER / "recordings.yaml")}


def fields_read(logql: str) -> list[str]:
    """The fields of a log line that the text reads."""
    return sorted(set(re.findall(r'\b(\w+)="\1"', logql)))
