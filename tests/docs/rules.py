"""How each kind of command and of YAML in the documentation is tried: two tables.

What no rule covers is a failure (tests/unit/test_pages.py): whoever writes it adds who tries it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

How = Literal["run", "dry", "container", "cluster", "alerting", "files"]
YamlKind = Literal["broadcasts", "object", "overlay", "component", "routes"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Commands that the pattern matches from their beginning, and how they are carried out.

    `run`: by bash, against pods and DNS on loopback (tests/docs/test_commands.py). `dry`: only
    `make --dry-run`, for what takes minutes or writes files. `container`: by bash where there is a
    Docker daemon (tests/container/test_docs.py). `cluster`: by bash against a cluster that has the
    example overlay (tests/cluster/test_docs.py). `alerting`: by bash, with Loki,
    Alertmanager and files of rules (tests/alerting/test_docs.py). `files`: not at all, as it takes
    an account with somebody; the files that it names are there (the same).
    """

    pattern: str
    how: How


RULES = (
    Rule(r"make (demo|recipe)\b", "run"),
    Rule(
        r"(\w+=\S+ )*make (test|check|format|simulate|mutations|bench|coverage|image|kind)\b", "dry"
    ),
    Rule(r"make (generated|requirements)\b", "dry"),
    Rule(r"python -m worker\b", "run"),
    Rule(r"python -(c|m timeit)\b", "run"),
    Rule(r"jq ", "run"),
    Rule(r"dig ", "run"),
    Rule(r"docker run ", "container"),
    Rule(r"kubectl ", "cluster"),
    Rule(r"(curl|amtool|sed) ", "alerting"),
    Rule(r"gcloud ", "files"),
)


def how(command: str) -> How | None:
    """By the first rule that matches; None: no rule covers it."""
    found = [rule.how for rule in RULES if re.match(rule.pattern, command)]
    return found[0] if found else None


# `broadcasts`: loaded as a configuration, and held against the schema (tests/unit/test_docs.py).
# `object`: created on a cluster, without effect (tests/cluster/test_docs.py). `overlay`: rendered,
# and held against the schemas of Kubernetes (tests/manifests/test_rendered.py). `component`:
# rendered; `routes`: held against Alertmanager (tests/alerting/test_manifests.py).
YAML_RULES: dict[str, YamlKind] = {
    r"(.+\n)+components:\n  - \.\./\.\./components/(loki|prometheus)\n": "component",
    r"route:\n": "routes",
    r"(#.*\n)*- name: |(#.*\n)*(defaults|broadcasts):": "broadcasts",
    r"apiVersion: kustomize\.config\.k8s\.io/v1beta1\n": "overlay",
    r"apiVersion: (v1|apps/v1|batch/v1|(networking|rbac\.authorization)\.k8s\.io/v1)\n": "object",
}


def yaml_kind(text: str) -> YamlKind | None:
    """By the first rule that matches; None: no rule covers it."""
    found = [kind for pattern, kind in YAML_RULES.items() if re.match(pattern, text)]
    return found[0] if found else None
