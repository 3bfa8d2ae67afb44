"""resolv.conf as the whole program reads it: what is skipped, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods
from tests.loopback.program import SEARCH, stable
from tests.process.conftest import Run
from tests.process.logbook import reached
from tests.process.test_dns import config

WARNINGS = {
    1: ("nameserver kube-dns.kube-system", "kube-dns.kube-system, which is not an IP address"),
    2: ("nameserver 10.96.0.10:53", "10.96.0.10:53, which is not an IP address"),
    3: ("nameserver ${X}", "${X}, which is not an IP address"),
    4: ("nameserver fe80::1%eth9", "fe80::1%eth9, whose network interface is not there"),
    6: (
        f"search corp..example.com {'a' * 70} corp\\999 {' '.join(SEARCH)}",
        f"corp..example.com, {'a' * 70}, corp\\999, which is not a domain name",
    ),
}


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    lines = {number: line for number, (line, _) in WARNINGS.items()}
    lines |= {5: "nameserver 127.0.0.1", 7: "options ndots:5"}
    path = tmp_path / "odd.conf"
    path.write_text("\n".join(lines[number] for number in sorted(lines)))
    return path


def test_a_run_warns_of_lines_that_it_skips_and_carries_on(
    run: Run, three_pods: Pods, resolv_conf: Path
) -> None:
    finished = run(config(three_pods.port), "--resolv-conf", str(resolv_conf))
    assert (finished.exit_code, finished.stderr) == (0, "")
    events = [entry["event"] for entry in finished.entries]
    assert events[:7] == ["run.started", *["config.warning"] * 5, "broadcast.started"]
    assert [stable(entry) for entry in finished.events("config.warning")] == [
        {
            "level": "warning",
            "event": "config.warning",
            "config_file": str(resolv_conf),
            "line": number,
            "warning_message": f"{line}: skipped {skipped}",
        }
        for number, (line, skipped) in WARNINGS.items()
    ]
    assert len(finished.events("call.succeeded")) == len(reached(three_pods.endpoints)) - 2
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_plan_warns_on_standard_error(run: Run, three_pods: Pods, resolv_conf: Path) -> None:
    text = config(three_pods.port)
    finished = run(text, "--resolv-conf", str(resolv_conf), command="plan")
    assert finished.exit_code == 0
    assert finished.stdout.startswith("clear: web.default.svc.cluster.local\n")
    assert finished.stderr.splitlines() == [
        f"{resolv_conf}:{number}: {line}: skipped {skipped}"
        for number, (line, skipped) in WARNINGS.items()
    ]


def test_plan_as_json_has_the_warnings(run: Run, three_pods: Pods, resolv_conf: Path) -> None:
    options = ("--resolv-conf", str(resolv_conf), "--output", "json")
    finished = run(config(three_pods.port), *options, command="plan")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["warnings"] == [
        {"file": str(resolv_conf), "line": number, "message": f"{line}: skipped {skipped}"}
        for number, (line, skipped) in WARNINGS.items()
    ]


@pytest.mark.parametrize("what", ["nothing", "a folder", "no path at all"])
def test_a_resolv_conf_that_was_named_and_cannot_be_read_is_exit_2(
    what: str, run: Run, nameserver: Nameserver, tmp_path: Path
) -> None:
    path = tmp_path / "named"
    if what == "a folder":
        path.mkdir()
    text = "x" * 300 if what == "no path at all" else str(path)
    reason = {
        "nothing": "No such file or directory",
        "a folder": "Is a directory",
        "no path at all": "File name too long",
    }[what]
    message = f"cannot read {text}: {reason}"
    named = ("--resolv-conf", text)
    finished = run(config(80), *named)
    assert (finished.exit_code, finished.stderr) == (2, "")
    invalid, last = map(stable, finished.entries)
    assert invalid == {
        "level": "error",
        "event": "config.invalid",
        "key": "--resolv-conf",
        "error_message": message,
    }
    assert last == {
        "level": "error",
        "event": "run.finished",
        "outcome": "failed",
        "exit_code": 2,
        "error_message": f"configuration: --resolv-conf: {message}",
    }
    planned = run(config(80), *named, command="plan")
    assert (planned.exit_code, planned.stdout) == (2, "")
    assert planned.stderr == f"--resolv-conf: {message}\n"
    assert nameserver.queries == []
