"""How shippers label a pod's lines, and what else comes along in the same streams."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from tests.alerting.servers import Loki, Stream

Labels = dict[str, str]
Line = tuple[float, str]

# Of a namespace, a pod and a line: its stream's labels, and its structured metadata.
Layout = Callable[[str, str, str], tuple[Labels, Labels]]


def _level(line: str) -> str:
    return _field("level", line) or "unknown"


def _field(name: str, line: str) -> str | None:
    """As a shipper's regular expression finds it."""
    found = re.search(rf'"{name}":"([a-z.]+)"', line)
    return found[1] if found else None


LAYOUTS: dict[str, Layout] = {
    "namespace, pod, container, app and job": lambda namespace, pod, _: (
        {
            "namespace": namespace,
            "pod": pod,
            "container": "worker",
            "app": "pod-broadcast",
            "job": f"{namespace}/pod-broadcast",
        },
        {},
    ),
    "namespace, pod and container": lambda namespace, pod, _: (
        {"namespace": namespace, "pod": pod, "container": "worker"},
        {},
    ),
    "the Job's name as job, and the line's level": lambda _, pod, line: (
        {"job": "pod-broadcast-29380000", "pod": pod, "level": _level(line)},
        {},
    ),
    "namespace and container as job": lambda namespace, pod, _: (
        {"job": f"{namespace}/worker", "instance": pod},
        {},
    ),
    "a file's name": lambda namespace, pod, _: (
        {"filename": f"/var/log/pods/{namespace}_{pod}_0a1b/worker/0.log"},
        {},
    ),
    "none but the stream's": lambda _namespace, _pod, _line: ({"stream": "stdout"}, {}),
    "the shipper's own namespace": lambda _, pod, _line: (
        {
            "namespace": "logging",
            "app": "pod-broadcast",
            "pod": pod,
            "job": "fluent-bit",
            "container": "fluent-bit",
            "instance": "node-1",
        },
        {},
    ),
    "OpenTelemetry's structured metadata": lambda namespace, pod, line: (
        {"service_name": "pod-broadcast"},
        {
            "k8s_namespace_name": namespace,
            "k8s_pod_name": pod,
            "severity_text": _level(line),
            "detected_level": _level(line),
        },
    ),
    "structured metadata of the line's own fields": lambda namespace, pod, line: (
        {"service_name": "pod-broadcast", "namespace": namespace},
        {"pod": pod, "level": _level(line), "event": _field("event", line) or "none"},
    ),
    "several clusters": lambda namespace, pod, _: (
        {"cluster": "east", "namespace": namespace, "pod": pod, "app": "pod-broadcast"},
        {},
    ),
}


def noise(lines: Iterable[Line]) -> list[Line]:
    """What comes between the lines: other programs' output, and pieces of lines."""
    end = max(at for at, _ in lines)
    longest = max(
        (line for _, line in lines if '"broadcast.finished"' in line), default="", key=len
    )
    pieces = [longest[:length] for length in (1, 40, 70, 90, 110, 130)]
    others = [
        "Traceback (most recent call last):",
        '"broadcast.finished" is no JSON',
        'level=info msg="broadcast.finished" query="{app=\\"x\\"} |= `\\"run.finished\\"`"',
        '"run.finished"',
        '{"event":"run.finished"}',
        '["broadcast.finished"]',
        '{"event":"other","broadcast":"broadcast.finished","exit_code":4}',
        '{"event":{"name":"broadcast.finished"},"exit_code":4,"outcome":"failed"}',
        '{"event":"broadcast.finished.not","broadcast":"x","exit_code":4}',
        "null",
        "{",
        '"run.crashed" "endpoint.failed"',
        '\x1b[31m{"event":"run.crashed"}\x1b[0m',
    ]
    return [(end + 1 + n / 100, text) for n, text in enumerate(pieces + others) if text]


class Shipment:
    """Lines on their way to Loki, in the order of their times within each stream."""

    def __init__(self) -> None:
        self._streams: dict[tuple[tuple[str, str], ...], list[tuple[float, str, Labels]]] = (
            defaultdict(list)
        )

    def add(self, layout: Layout, namespace: str, pod: str, lines: Iterable[Line]) -> None:
        for at, line in lines:
            labels, metadata = layout(namespace, pod, line)
            self._streams[tuple(sorted(labels.items()))].append((at, line, metadata))

    def push(self, loki: Loki) -> None:
        streams: list[Stream] = []
        for labels, lines in self._streams.items():
            # Of what comes twice at the same time Loki keeps one.
            once = {(round(at * 1e9), line): metadata for at, line, metadata in lines}
            values = [
                [str(at), line, *([once[at, line]] if once[at, line] else [])]
                for at, line in sorted(once)
            ]
            streams.append({"stream": dict(labels), "values": values})
        loki.push(streams)
        self._streams.clear()
