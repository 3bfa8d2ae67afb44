"""kubectl, and watches that keep what an object was last, also after it is gone."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from tests import owner
from tests.overlays import Object

HANG_SECONDS = 180

T = TypeVar("T")


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["kubectl", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def label_namespace(name: str) -> None:
    """So that the next run removes it, should this one be killed."""
    kubectl("label", "namespace", name, f"{owner.LABEL}={owner.RUN}")


def remove_left_over() -> None:
    """Removes the namespaces of runs that were killed."""
    found = json.loads(kubectl("get", "namespaces", f"--selector={owner.LABEL}", "--output=json"))
    for namespace in found["items"]:
        if owner.is_left_over(namespace["metadata"]["labels"][owner.LABEL]):
            kubectl("delete", "namespace", namespace["metadata"]["name"], "--wait=false")


def condition(found: Object, kind: str) -> Any:
    """The condition of that type, if the object has it and it is true."""
    for each in found.get("status", {}).get("conditions", []):
        if each["type"] == kind and each["status"] == "True":
            return each
    return None


def container_state(pod: Object, state: str) -> Any:
    """`running` or `terminated` of the pod's one container, or None."""
    statuses = pod["status"].get("containerStatuses", [{}])
    return statuses[0].get("state", {}).get(state)


class Watch:
    """All objects of one kind in a namespace, as they were last.

    kubectl ends when its connection does, as on a machine that is so busy that the API server gives
    a watch up. It is started again then, and begins with all objects that there are.
    """

    def __init__(self, kind: str, namespace: str) -> None:
        self._kind = kind
        self._command = ["kubectl", "--namespace", namespace, "get", kind, "--watch"]
        self._objects: dict[str, Object] = {}
        self._changed = threading.Condition()
        self._over = False
        self.process = self._start()
        self._reader = threading.Thread(target=self._read_all)

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, "--output=json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self.process.kill()
        self._reader.join()

    def _read_all(self) -> None:
        while True:
            self._read()
            self.process.wait()
            with self._changed:
                if self._over:
                    return
                self.process = self._start()

    def _read(self) -> None:
        assert self.process.stdout
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line != "}\n":  # where an object ends
                continue
            found = json.loads("".join(lines))
            lines.clear()
            with self._changed:
                self._objects[found["metadata"]["name"]] = found
                self._changed.notify_all()
        self.process.stdout.close()

    @property
    def objects(self) -> list[Object]:
        with self._changed:
            return list(self._objects.values())

    def wait_for(self, what: str, look: Callable[[list[Object]], T | None]) -> T:
        """What `look` finds, as soon as it finds something."""
        found: list[T] = []

        def there() -> bool:
            seen = look(list(self._objects.values()))
            found.extend([seen] if seen else [])
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(there, HANG_SECONDS):
                raise AssertionError(
                    f"{what}: not within {HANG_SECONDS} s; "
                    f"{self._kind}: {json.dumps(list(self._objects.values()))}"
                )
        return found[0]
