"""Loki, Alertmanager, Prometheus and a webhook, each the real thing, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict

import requests

from tests.loopback.machine import free_port, wait_for
from tests.loopback.serving import HANG_SECONDS

HERE = Path(__file__).parent
STREAMS_A_PUSH = 100
ALERTMANAGER = "prometheus-alertmanager"
ALERTMANAGER_CONFIG = """\
route:
  receiver: hook
  group_by: ['...']
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers: [{{name: hook, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""
PROMETHEUS_CONFIG = "global: {scrape_interval: 1h}\n"


class Service:
    """A program that serves HTTP, from `__enter__` to `__exit__`."""

    ready = "/-/ready"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._process:  # what it has written is of no use to anybody
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=os.environ | self.environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        wait_for(f"{self.url}{self.ready}", self._answers)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(HANG_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            return requests.get(f"{self.url}{self.ready}", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def get(self, path: str, **parameters: str) -> Any:
        response = requests.get(f"{self.url}{path}", params=parameters, timeout=HANG_SECONDS)
        assert response.ok, f"{response.status_code} {response.text}"
        return response.json()


class Stream(TypedDict):
    """Labels, and lines with their times in nanoseconds, as Loki's API has them."""

    stream: dict[str, str]
    values: list[list[Any]]


class Loki(Service):
    """Rules are the files put into `rules`; its ruler looks there each second."""

    ready = "/ready"

    def __init__(self, directory: Path, alertmanager: str = "", prometheus: str = "") -> None:
        super().__init__(directory)
        self._alertmanager, self._prometheus = alertmanager, prometheus
        self._grpc_port = free_port()
        self._pushed = 0
        self.rules = directory / "rules" / "fake"
        self.rules.mkdir(parents=True)

    def command(self) -> Sequence[str]:
        return [os.environ["LOKI"], "-config.expand-env=true", f"-config.file={HERE / 'loki.yaml'}"]

    def environment(self) -> Mapping[str, str]:
        return {
            "LOKI_HTTP_PORT": self.port,
            "LOKI_GRPC_PORT": str(self._grpc_port),
            "LOKI_DIR": str(self.directory / "data"),
            "LOKI_RULES": str(self.rules.parent),
            "LOKI_REMOTE_WRITE": "true" if self._prometheus else "false",
            "ALERTMANAGER": self._alertmanager,
            "PROMETHEUS": self._prometheus or "http://127.0.0.1:9",
        }

    def push(self, streams: Sequence[Stream]) -> None:
        """No line may come twice at the same time of a stream: Loki keeps but one."""
        for start in range(0, len(streams), STREAMS_A_PUSH):
            body = {"streams": streams[start : start + STREAMS_A_PUSH]}
            url = f"{self.url}/loki/api/v1/push"
            response = requests.post(url, json=body, timeout=HANG_SECONDS)
            assert response.status_code == 204, response.text
        self._pushed += sum(len(stream["values"]) for stream in streams)

    def flush(self) -> None:
        """Old lines are seen by queries only once they are in the store, which takes a moment."""
        assert requests.post(f"{self.url}/flush", timeout=HANG_SECONDS).ok
        count = 'sum(count_over_time({service_name=~".+"} [9d]))'

        def all_there() -> bool:
            result = self.query(count, time.time())
            return bool(result) and int(result[0]["value"][1]) == self._pushed

        wait_for(f"{self._pushed} lines", all_there)

    def query(self, expression: str, at: float) -> list[dict[str, Any]]:
        answer = self.get("/loki/api/v1/query", query=expression, time=str(round(at * 1e9)))
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def loaded_rules(self) -> list[dict[str, Any]]:
        groups = self.get("/prometheus/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


class Alertmanager(Service):
    """Tells the webhook, at once and of each alert by itself."""

    def __init__(self, directory: Path, webhook: str) -> None:
        super().__init__(directory)
        directory.mkdir(parents=True)
        self._config = directory / "alertmanager.yaml"
        self._config.write_text(ALERTMANAGER_CONFIG.format(url=webhook))

    def command(self) -> Sequence[str]:
        return [
            ALERTMANAGER,
            f"--config.file={self._config}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


class Prometheus(Service):
    """Takes what others write to it."""

    def command(self) -> Sequence[str]:
        config = self.directory / "prometheus.yaml"
        config.write_text(PROMETHEUS_CONFIG)
        return [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
        ]


class Webhook:
    """What Alertmanager calls: keeps every alert it was told of, in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._alerts: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with hook._changed:
                    hook._alerts += json.loads(body)["alerts"]
                    hook._changed.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def alerts(self, status: str, namespace: str) -> list[dict[str, Any]]:
        return [
            alert
            for alert in self._alerts
            if alert["status"] == status and alert["labels"].get("namespace") == namespace
        ]

    def wait_for(self, status: str, alertname: str, namespace: str) -> dict[str, Any]:
        """The first alert of that name and namespace that came with this status."""

        def found() -> list[dict[str, Any]]:
            alerts = self.alerts(status, namespace)
            return [alert for alert in alerts if alert["labels"]["alertname"] == alertname]

        with self._changed:
            # Loki looks at all rules in turn, which takes it a while on a busy machine.
            there = self._changed.wait_for(found, 4 * HANG_SECONDS)
            assert there, f"{alertname} {status} in {namespace}: not among {self._alerts}"
            return found()[0]
