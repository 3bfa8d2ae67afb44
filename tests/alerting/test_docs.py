"""The commands of docs/alerting.md, with rules in a real Loki and a real Alertmanager, and with
somebody who takes what Elasticsearch would.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.rules import ALERTS, PREFIX, RECORDINGS
from tests.alerting.servers import Alertmanager, Loki
from tests.alerting.test_chain import install
from tests.docs import blocks, rules
from tests.docs.blocks import ROOT, Command
from tests.loopback.machine import wait_for

ALERTING = ROOT / "manifests" / "alerting"
COMMANDS = {
    how: [command for command in blocks.commands() if rules.how(command.text) == how]
    for how in ("alerting", "files")
}


@dataclass(slots=True)
class Desk:
    """Where the commands are carried out. `taken`: what came by PUT, by path."""

    folder: Path
    loki: Loki
    alertmanager: Alertmanager
    environment: Mapping[str, str]
    taken: dict[str, Any] = field(default_factory=dict)

    def rules_ran(self) -> bool:
        rules = self.loki.loaded_rules()
        evaluated = [rule for rule in rules if not rule["lastEvaluation"].startswith("0001")]
        return len(evaluated) == len(ALERTS | RECORDINGS)

    def run(self, command: Command) -> str:
        text = command.text.replace(LOKI, self.loki.url)
        text = text.replace("amtool ", f"amtool --alertmanager.url={self.alertmanager.url} ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout


LOKI = "http://loki:3100"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A folder with all files of rules, a Loki that has them, Alertmanager and Elasticsearch."""
    folder = tmp_path_factory.mktemp("desk")
    for file in ALERTING.rglob("*.*"):
        shutil.copy(file, folder)
    taken: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            taken[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    elasticsearch = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=elasticsearch.serve_forever)
    thread.start()
    try:
        with (
            Alertmanager(folder / "alertmanager", "http://127.0.0.1:9") as alertmanager,
            Loki(folder / "loki", alertmanager.url) as loki,
        ):
            install(loki)
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "ELASTICSEARCH": f"http://127.0.0.1:{elasticsearch.server_port}",
            }
            yield Desk(folder, loki, alertmanager, environment, taken)
    finally:
        elasticsearch.shutdown()
        thread.join()
        elasticsearch.server_close()


@pytest.mark.parametrize("command", COMMANDS["alerting"], ids=str)
def test_a_command_does_what_its_page_says(command: Command, desk: Desk) -> None:
    wait_for("the rules", desk.rules_ran)
    output = desk.run(command)
    match command.text.split()[0]:
        case "amtool":
            (silence,) = desk.alertmanager.get("/api/v2/silences")
            assert (silence["id"], silence["comment"]) == (output.strip(), "removed")
        case "curl" if "rules" in command.text:
            names = {f"ok {PREFIX}{name}" for name in ALERTS}
            assert {line for line in output.splitlines() if PREFIX in line} == names
            assert all(line.startswith("ok ") for line in output.splitlines())
        case "curl":
            template = json.loads((ALERTING / "elastic" / "index-template.json").read_text())
            assert desk.taken == {"/_index_template/pod-broadcast": template}


@pytest.mark.parametrize("command", COMMANDS["files"], ids=str)
def test_the_files_that_a_command_names_are_there(command: Command) -> None:
    (name,) = re.findall(r"-file=(\S+)", command.text)
    assert list(ALERTING.rglob(name))
