"""The example overlay in a namespace of its own, and runs of its CronJob's Job with configurations
of the test's choice.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import yaml

from tests import overlays
from tests.cluster.kubernetes import (
    HANG_SECONDS,
    Watch,
    condition,
    container_state,
    kubectl,
    label_namespace,
)
from tests.loopback.program import Entry, Finished
from tests.overlays import Object, find

PORT = 8080
WEB_SERVER = "app.kubernetes.io/name=web-server"
REPLICAS = 3
UNTIL_DNS_LISTS_ALL = """
import socket, time
def listed():
    try:
        return len(socket.getaddrinfo("{app}-headless", None, type=socket.SOCK_STREAM))
    except socket.gaierror:
        return 0
while listed() < {replicas}:
    time.sleep(0.1)
"""


class Run:
    """One pod of a Job: its log while it is written, and how it ended."""

    def __init__(self, example: Example, pod: str) -> None:
        self._example = example
        self.pod = pod
        self._lines: list[str] = []
        self._changed = threading.Condition()
        example.pods.wait_for(
            f"{pod} starts",
            lambda pods: any(
                container_state(found, "running") or container_state(found, "terminated")
                for found in pods
                if found["metadata"]["name"] == pod
            ),
        )
        self._process = subprocess.Popen(
            ["kubectl", "--namespace", example.namespace, "logs", "--follow", pod],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        self._process.stdout.close()

    def wait_for_event(self, name: str, count: int = 1, **fields: Any) -> Entry:
        """The count-th entry of that event with these fields, once it is written."""

        def found() -> list[Entry]:
            entries = [json.loads(line) for line in self._lines]
            wanted = {"event": name} | fields
            return [entry for entry in entries if wanted.items() <= entry.items()]

        with self._changed:
            there = self._changed.wait_for(lambda: len(found()) >= count, HANG_SECONDS)
            assert there, f"{count} of {name}: not within {HANG_SECONDS} s of {self._lines}"
            return found()[count - 1]

    def terminated(self) -> Any:
        """How the container ended, as the pod's status has it."""
        return self._example.pods.wait_for(
            f"{self.pod} ends",
            lambda pods: next(
                (
                    container_state(found, "terminated")
                    for found in pods
                    if found["metadata"]["name"] == self.pod
                ),
                None,
            ),
        )

    def finish(self) -> Finished:
        """Waits until it has ended, and its log with it."""
        exit_code = self.terminated()["exitCode"]
        self._reader.join(HANG_SECONDS)
        return Finished(exit_code, "".join(self._lines), "")


class Example:
    """The overlay, applied; what happens to its pods and Jobs is watched from the beginning.

    `cronjob`: fields of its spec that are to be others. Without any it is suspended.
    """

    OVERLAY = "overlays/example"
    APP = "web-server"

    def __init__(self, name: str, directory: Path, **cronjob: Any) -> None:
        self.namespace = f"pod-broadcast-{name}-{os.getpid()}"
        self._directory = directory
        self._cronjob = cronjob or {"suspend": True}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(kubectl, "delete", "namespace", self.namespace, "--wait=false")
            self.apply(*overlays.render(self.overlay()))
            label_namespace(self.namespace)
            self.pods = stack.enter_context(Watch("pods", self.namespace))
            self.jobs = stack.enter_context(Watch("jobs", self.namespace))
            self.kubectl("rollout", "status", f"deployment/{self.APP}", "--timeout=120s")
            self.wait_for_dns(REPLICAS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def overlay(self, *components: str) -> Path:
        """The example in this namespace, with the image that the cluster has."""
        name, _, tag = os.environ["IMAGE"].rpartition(":")
        patch = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "pod-broadcast"},
            "spec": self._cronjob,
        }
        return overlays.write(
            self._directory,
            [self.OVERLAY],
            components,
            namespace=self.namespace,
            images=[{"name": "pod-broadcast", "newName": name, "newTag": tag}],
            patches=[{"target": {"kind": "CronJob"}, "patch": yaml.safe_dump(patch)}],
        )

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))

    def scale(self, replicas: int) -> None:
        self.kubectl("scale", "deployment/web-server", f"--replicas={replicas}")

    def wait_for_dns(self, replicas: int) -> None:
        """DNS lists a pod a moment after it is ready. A run may be quicker than that."""
        wait = ("python3", "-c", UNTIL_DNS_LISTS_ALL.format(app=self.APP, replicas=replicas))
        self.kubectl("exec", f"deployment/{self.APP}", "--", *wait)

    def start(
        self,
        name: str,
        broadcasts: str,
        components: Sequence[str] = (),
        *,
        run_deadline: str = "",
        job_deadline_seconds: int = 0,
        service_account: str = "",
    ) -> None:
        """Starts the CronJob's Job with these broadcasts in place of its own, and with these values
        in place of BROADCAST_DEADLINE, activeDeadlineSeconds and --service-account, where they are
        given.
        """
        cronjob = find(overlays.render(self.overlay(*components)), "CronJob")
        job = cronjob["spec"]["jobTemplate"]
        job |= {"apiVersion": "batch/v1", "kind": "Job"}
        job["metadata"]["name"] = name
        pod = job["spec"]["template"]["spec"]
        pod["volumes"][0]["configMap"]["name"] = name
        for variable in pod["containers"][0]["env"]:
            if run_deadline and variable["name"] == "BROADCAST_DEADLINE":
                variable["value"] = run_deadline
        if service_account:
            pod["containers"][0]["args"] = ["run", "--service-account", service_account]
        if job_deadline_seconds:
            job["spec"]["activeDeadlineSeconds"] = job_deadline_seconds
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self.apply(config | {"data": {"broadcasts.yaml": broadcasts}}, job)

    def run(self, job: str, number: int = 1) -> Run:
        """The number-th pod that the Job has made."""

        def look(pods: list[Object]) -> str | None:
            label = "batch.kubernetes.io/job-name"
            mine = [pod["metadata"] for pod in pods if pod["metadata"]["labels"].get(label) == job]
            mine.sort(key=lambda metadata: str(metadata["creationTimestamp"]))
            return str(mine[number - 1]["name"]) if len(mine) >= number else None

        pod = self.pods.wait_for(f"pod {number} of job {job}", look)
        run = Run(self, pod)
        self._stack.callback(run.close)
        return run

    def ended(self, job: str) -> Object:
        """The Job, once it is complete or failed."""
        return self.jobs.wait_for(
            f"job {job} ends",
            lambda jobs: next(
                (
                    found
                    for found in jobs
                    if found["metadata"]["name"] == job
                    and (condition(found, "Complete") or condition(found, "Failed"))
                ),
                None,
            ),
        )

    def recorded(self, run_id: str) -> dict[str, int]:
        """How many of the run's requests each web server recorded, by endpoint: those that are
        there say so in their logs, those that have ended in their termination messages.
        """
        found: dict[str, int] = {}
        for pod in self.web_servers():
            address = pod["status"].get("podIP")  # without one it never ran
            terminated = container_state(pod, "terminated")
            if terminated:
                run_ids = terminated.get("message", "").split()
            elif address:
                lines = self.kubectl("logs", pod["metadata"]["name"]).splitlines()
                run_ids = [json.loads(line)["run_id"] for line in lines]
            else:
                run_ids = []
            if run_id in run_ids:
                found[f"{address}:{PORT}"] = run_ids.count(run_id)
        return found

    def web_servers(self) -> list[Object]:
        """All that have been there."""
        key = "app.kubernetes.io/name"
        return [pod for pod in self.pods.objects if pod["metadata"]["labels"].get(key) == self.APP]

    def page(self, pod: str) -> str:
        """What a visitor of that web server sees, through the API server's proxy."""
        return self.get(pod, "/page")

    def get(self, pod: str, path: str) -> str:
        """What that pod answers, through the API server's proxy."""
        proxy = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{PORT}/proxy"
        return kubectl("get", "--raw", f"{proxy}{path}")
