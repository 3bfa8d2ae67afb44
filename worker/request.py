"""Broadcast -> the request as bytes. The only module that knows requests.

requests prepares what it is good at (URL, headers, body, auth), once per broadcast. Its transport
is not used: that has no wall-clock timeout, and cannot verify a certificate by name when it
connects by address. `transport` sends the bytes.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from worker import __version__
from worker.model import Broadcast


class Request(NamedTuple):
    """An HTTP/1.1 request, rendered but for the span id in its traceparent."""

    before_span_id: bytes
    after_span_id: bytes | None  # None: the configuration sets traceparent, nothing is filled in

    def to_bytes(self, span_id: str) -> bytes:
        """The bytes on the wire. `span_id`: 16 hex digits, the call's."""
        if self.after_span_id is None:
            return self.before_span_id
        return self.before_span_id + span_id.encode() + self.after_span_id


def prepare(broadcast: Broadcast, trace_id: str) -> Request:
    """Renders the broadcast's request. `trace_id`: 32 hex digits, the run's (W3C Trace Context)."""
    parts = urlsplit(broadcast.url)
    host = broadcast.host.removesuffix(".")
    authority = host if parts.port is None else f"{host}:{parts.port}"
    headers = requests.structures.CaseInsensitiveDict(
        {
            "Host": authority,
            "User-Agent": f"pod-broadcast/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
    )
    if broadcast.content_type:
        headers["Content-Type"] = broadcast.content_type
    headers.update(broadcast.headers)
    auth = broadcast.auth
    if auth and auth.bearer:
        headers["Authorization"] = f"Bearer {auth.bearer}"
    prepared = requests.Request(
        broadcast.method,
        parts._replace(netloc=authority).geturl(),
        headers=headers,
        data=broadcast.body,
        auth=HTTPBasicAuth(auth.username.encode(), (auth.password or "").encode())
        if auth and auth.username is not None
        else None,
    ).prepare()
    lines = [f"{broadcast.method} {prepared.path_url} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in prepared.headers.items()]
    lines.append("Connection: close")
    head = "\r\n".join(lines).encode() + b"\r\n"
    end = b"\r\n" + (broadcast.body or b"")
    if "traceparent" in headers:
        return Request(head + end, None)
    return Request(head + f"traceparent: 00-{trace_id}-".encode(), b"-01\r\n" + end)
