"""The part of the Kubernetes API that lists EndpointSlices, on loopback, as a test scripts it.

What it lists is in `KubernetesApi.slices`. `script` adds what happens to the next requests instead.
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class ApiRequest:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # their names in lower case


class Handler(BaseHTTPRequestHandler):
    """One connection, which is kept for more requests."""

    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_GET(self) -> None:
        self.server.api.handle(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    api: KubernetesApi

    def handle_error(self, *_: object) -> None:
        pass  # the worker hung up


Behaviour = Callable[[Handler], None]


def status(code: int, message: str = "", **headers: str) -> Behaviour:
    """A response of the kind Status, as the API gives with an error."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(code, json.dumps(body).encode(), named)


def body(content: bytes, code: int = 200, **headers: str) -> Behaviour:
    """A response with this body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(code, content, named)


def listing(*slices: Json) -> Behaviour:
    """A whole list."""
    return body(json.dumps(_list(slices)).encode())


def hang_up(handler: Handler) -> None:
    """No answer."""
    handler.close_connection = True
    handler.connection.close()


def break_off(handler: Handler) -> None:
    """Half an answer."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": "Endpoint')
    hang_up(handler)


def silent(handler: Handler) -> None:
    """No answer, until the worker hangs up."""
    handler.rfile.read(1)


def endless_head(handler: Handler) -> None:
    """A head that goes on as long as the worker reads it."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X: y\r\n")
        time.sleep(0.05)


def endless(handler: Handler) -> None:
    """A list that goes on as long as the worker reads it."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"1\r\n \r\n")
        time.sleep(0.05)


def _list(slices: Sequence[Json], more: str = "") -> Json:
    metadata = {"resourceVersion": "1"} | ({"continue": more} if more else {})
    kind = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1"}
    return {**kind, "metadata": metadata, "items": list(slices)}


def pod(
    address: str,
    name: str = "",
    *,
    uid: str | None = None,
    node: str = "node-1",
    zone: str = "zone-a",
    **conditions: bool,
) -> Json:
    """An endpoint of a slice. Its uid is made from its name, unless it is given."""
    found: Json = {"addresses": [address], "conditions": {"ready": True} | conditions}
    if name:
        reference = {"kind": "Pod", "namespace": "shop", "name": name, "uid": uid or f"uid-{name}"}
        found |= {"targetRef": reference, "nodeName": node, "zone": zone}
    return found


def endpointslice(
    *endpoints: Json,
    name: str = "web-1",
    family: str = "IPv4",
    ports: Mapping[str, int] | None = None,
) -> Json:
    """A slice of the Service `web`."""
    named = {"http": 8080} if ports is None else ports
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": n, "port": port, "protocol": "TCP"} for n, port in named.items()],
    }


class KubernetesApi:
    """Serves from `__enter__` to `__exit__`. `requests`: those that came in, in order."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._http = _HttpServer(("127.0.0.1", 0), Handler)
        self._http.api = self
        self._scheme = "https" if context else "http"
        if context:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self._scripted: deque[Behaviour] = deque()
        self.always: Behaviour | None = None  # what happens to each request that has no script
        self.changed = threading.Condition()
        self.slices: list[Json] = []
        self.requests: list[ApiRequest] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    def script(self, *behaviours: Behaviour) -> None:
        """What happens to the next requests, one after another."""
        self._scripted.extend(behaviours)

    def handle(self, handler: Handler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self.changed:
            self.requests.append(ApiRequest(handler.command, parts.path, query, headers))
            behaviour = self._scripted.popleft() if self._scripted else self.always
            self.changed.notify_all()
        if behaviour:
            behaviour(handler)
        else:
            self._answer(handler, query, headers)

    def _answer(
        self, handler: Handler, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> None:
        """A page of the list, as long as the worker wants it."""
        first = int(query.get("continue", "0"))
        last = first + int(query["limit"])
        more = str(last) if last < len(self.slices) else ""
        content = json.dumps(_list(self.slices[first:last], more)).encode()
        encoding = {}
        if "gzip" in headers.get("accept-encoding", ""):
            content, encoding = gzip.compress(content), {"Content-Encoding": "gzip"}
        handler.send(200, content, encoding)
