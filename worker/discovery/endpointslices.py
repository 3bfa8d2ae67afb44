"""A Service's EndpointSlices, asked of the Kubernetes API -> Answer: who is listed, pod by pod.

The one module that knows `requests`, whose import takes a while: `source` imports it where a
broadcast asks for it. It is plain blocking code, for a thread of its own.
https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from sys import intern
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import urllib3

from worker.discovery.addresses import foreign_kind, is_loopback, packed
from worker.discovery.api import Api, NoToken, read_token
from worker.model import Answer, Broadcast, Endpoint, IpFamily, ResolutionFailure, Target
from worker.stop import start_thread
from worker.words import ResolutionError

PAGE_SLICES = 100  # of 100 endpoints each by default: about 5 MB of JSON
QUESTION_SECONDS = 10.0  # for all pages together
MAX_PAGE_BYTES = 64 * 1024 * 1024  # 100 slices of at most 1,000 endpoints, and some room
SLACK_SECONDS = 1.0  # after which a question that nobody waits for any more ends by itself
MAX_RESTARTS = 5  # of a list that expires between its pages
CHUNK_BYTES = 64 * 1024
GZIP = b"\x1f\x8b"  # the first bytes of it (RFC 1952, 2.3.1), and no JSON's
SHOWN_CHARACTERS = 500  # of what the API says about an error
# The families to take an endpoint from, the first that it has (an endpoint has one in each slice).
FAMILIES: dict[IpFamily, tuple[str, ...]] = {
    "auto": ("IPv4", "IPv6"),
    "ipv4": ("IPv4",),
    "ipv6": ("IPv6",),
}

Json = dict[str, Any]


class Fault(Exception):
    """The API gave no usable list. The message says why."""

    def __init__(self, error_type: ResolutionError, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.retry_after_seconds = retry_after


class Expired(Exception):
    """The list of which another page was wanted is too old: 410."""


class Row(NamedTuple):
    """One endpoint of one slice."""

    family: str
    endpoint: Endpoint
    target: Target
    ready: bool


class EndpointSlices:
    """Lists one broadcast's endpoints, at most one question at a time."""

    def __init__(self, broadcast: Broadcast, api: Api) -> None:
        service, namespace = broadcast.exchange.url.service
        namespace = namespace or api.namespace
        self._qname = f"{namespace}/{service}"
        self._broadcast = broadcast
        self._api = api
        path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"
        self._url = api.url + path
        self._selector = f"kubernetes.io/service-name={service}"
        self._session = self._new_session()
        self._token = ""  # that was sent last
        self._on_loopback = _is_on_loopback(api.url)  # as for a trial without a cluster
        self._pods: frozenset[str] = frozenset()  # addresses of the last list, which were checked

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        """Returns an answer, or the reason why there is none by `ends_at` (monotonic clock).

        Blocks until then at most, and for ten seconds at most. The limits of `requests` are for
        each read, and a server may send one byte after another. So the question is in a thread
        of its own, which is left behind when the time is up.
        """
        ends_at = min(ends_at, time.monotonic() + QUESTION_SECONDS)
        found: SimpleQueue[Answer | ResolutionFailure] = SimpleQueue()
        start_thread(lambda: found.put(self._try(ends_at + SLACK_SECONDS)))
        try:
            return found.get(timeout=max(ends_at - time.monotonic(), 0.0))
        except Empty:
            self._session = self._new_session()  # the other may still be in use
            return self._failure(Fault("api_unreachable", "gave no whole answer in time"))

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no proxy, no .netrc, no certificates of the environment
        session.verify = str(self._api.ca_file) if self._api.ca_file else True
        return session

    def _try(self, ends_at: float) -> Answer | ResolutionFailure:
        sent_at = time.monotonic()
        try:
            rows = self._list(ends_at)
            return self._answer(rows, sent_at, time.monotonic())
        except Fault as fault:
            return self._failure(fault)
        except Exception as error:  # noqa: BLE001 - whatever a slice holds, it must not end the run
            message = f"lists an EndpointSlice that cannot be read: {error!r}"
            return self._failure(Fault("api_error", message))

    def _failure(self, fault: Fault) -> ResolutionFailure:
        message = f"{self._api.url} {fault}"
        if self._token:  # a proxy may repeat what it was sent
            message = message.replace(self._token, "***")
        return ResolutionFailure(self._qname, fault.error_type, message, fault.retry_after_seconds)

    # --- the list -----------------------------------------------------------------------------

    def _list(self, ends_at: float) -> list[Row] | None:
        """The endpoints of one whole list; None if it has no slice. Raises Fault."""
        for _ in range(MAX_RESTARTS):
            rows: list[Row] = []
            slices = 0
            try:
                for page in self._pages(ends_at):
                    slices += len(page)
                    for each in page:
                        rows += self._rows(each)
            except Expired:
                continue  # pages of two lists are never mixed
            return rows if slices else None
        raise Fault("api_unreachable", "lets each list expire before its last page (410)")

    def _pages(self, ends_at: float) -> Iterator[list[Json]]:
        # Without a resourceVersion the list is as the cluster is, and not from a cache:
        # https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
        parameters = {"labelSelector": self._selector, "limit": str(PAGE_SLICES)}
        while True:
            page = self._page(parameters, ends_at)
            yield page["items"]
            if not (following := page["metadata"].get("continue")):
                return
            parameters["continue"] = following

    def _page(self, parameters: Mapping[str, str], ends_at: float) -> Json:
        status, retry_after, body = self._get(parameters, ends_at)
        try:
            content = json.loads(_unzipped(body) if body.startswith(GZIP) else body)
        except (ValueError, zlib.error):
            content = None
        found: Json = content if isinstance(content, dict) else {}
        if status == 200 and found.get("kind") == "EndpointSliceList":
            return found
        message = str(found.get("message") or "no list of EndpointSlices")[:SHOWN_CHARACTERS]
        said = f"answered {status}: {message}"
        if status in {401, 403}:
            raise Fault("api_forbidden", said)
        if status == 410 and "continue" in parameters:
            raise Expired
        if status == 429 or status >= 500:
            raise Fault("api_unreachable", said, retry_after)
        raise Fault("api_error", said)

    def _get(self, parameters: Mapping[str, str], ends_at: float) -> tuple[int, float, bytes]:
        """Status code, Retry-After in seconds, and body. Raises Fault."""
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if self._api.token_file:
            try:
                self._token = read_token(self._api.token_file)
                headers["Authorization"] = f"Bearer {self._token}"
            except NoToken as error:
                raise Fault("api_forbidden", f"was not asked: {error}") from None
        try:
            with self._session.get(
                self._url,
                params=parameters,
                headers=headers,
                timeout=max(ends_at - time.monotonic(), 0.001),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _read(response.raw, ends_at)
                delay = response.headers.get("Retry-After", "")
                return response.status_code, float(delay) if delay.isdecimal() else 0.0, body
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Fault("api_unreachable", f"gave no answer: {_reason(error)}") from None

    # --- its endpoints ------------------------------------------------------------------------

    def _rows(self, each: Json) -> Iterator[Row]:
        """The endpoints of one slice, but for those that are terminating."""
        family = each["addressType"]
        if family not in {"IPv4", "IPv6"}:
            name = each["metadata"]["name"]
            message = f"lists {name}, an EndpointSlice of {family}: no pod has such an address"
            raise Fault("outside_cluster", message)
        port = self._port(each)
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if conditions.get("terminating"):
                continue
            pod = endpoint.get("targetRef") or {}
            # The other addresses are the same endpoint's; kube-proxy takes the first, too.
            node, zone = endpoint.get("nodeName") or "", endpoint.get("zone") or ""
            yield Row(
                family,
                Endpoint(_text(endpoint["addresses"][0]), port, _text(pod.get("uid") or "")),
                # Few nodes and zones, and many pods: each name is kept once.
                Target(_text(pod.get("name") or ""), intern(node), intern(zone)),
                conditions.get("ready") is not False,
            )

    def _port(self, each: Json) -> int:
        """The port of the slice's endpoints: the URL's, or that of the name; 0 if it has none."""
        name = self._broadcast.port_name
        if name is None:
            return self._broadcast.exchange.url.port
        for port in each.get("ports") or ():
            if port.get("name") == name and port.get("protocol") in {None, "TCP"}:
                number = port.get("port") or 0
                if type(number) is int and 0 <= number < 65536:
                    return number
                raise ValueError(f"{number!r} is no port")
        return 0

    def _answer(self, rows: list[Row] | None, sent_at: float, arrived_at: float) -> Answer:
        """The answer, with each endpoint once. Raises Fault for an address that no pod has."""
        targets: dict[Endpoint, Target] = {}
        ready: set[Endpoint] = set()
        families: dict[str, str] = {}  # by uid: that of the pod's endpoints
        # A pod may be in several slices, with different ports.
        has_port: set[Endpoint] = set()
        if self._broadcast.port_name:
            has_port = {row.endpoint._replace(port=0) for row in rows or () if row.endpoint.port}
        for family in FAMILIES[self._broadcast.ip_family]:
            for row in rows or ():
                uid = row.endpoint.uid
                if row.family != family or (uid and families.setdefault(uid, family) != family):
                    continue
                if not row.endpoint.port and row.endpoint in has_port:
                    continue
                self._check(row.endpoint.address)
                targets[row.endpoint] = row.target
                # In two slices for a moment, it may be ready in one of them alone.
                if row.ready or self._broadcast.include_not_ready:
                    ready.add(row.endpoint)
        self._pods = frozenset(endpoint.address for endpoint in targets)
        return Answer(
            qname=self._qname,
            endpoints=tuple(sorted(ready, key=lambda each: (packed(each.address), each))),
            ttl_seconds=0,
            expires_earliest_at=sent_at,
            expires_latest_at=arrived_at,
            absence="no EndpointSlices" if rows is None else "EndpointSlices list nobody",
            # Without any slice, the Service itself may be missing, for a moment: its pods may not.
            exact=rows is not None,
            not_ready=frozenset(targets.keys() - ready),
            targets=targets,
        )

    def _check(self, address: str) -> None:
        if address not in self._pods and (kind := foreign_kind(address, self._on_loopback)):
            raise Fault("outside_cluster", f"lists {address}: no pod has {kind} address")


def _is_on_loopback(url: str) -> bool:
    host = urllib3.util.parse_url(url).host or ""
    try:
        return is_loopback(host.strip("[]"))
    except ValueError:
        return host == "localhost"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _unzipped(body: bytes) -> bytes:
    """The content of a gzip stream, as far as that is allowed to go."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    content = stream.decompress(body, MAX_PAGE_BYTES)
    if stream.unconsumed_tail:
        raise _too_long()
    return content


def _too_long() -> Fault:
    return Fault("api_error", f"sends a page of more than {MAX_PAGE_BYTES} bytes")


def _read(raw: Any, ends_at: float) -> bytes:
    """The body. Raises TimeoutError after `ends_at`."""
    chunks = []
    size = 0
    while chunk := raw.read1(CHUNK_BYTES, decode_content=False):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_PAGE_BYTES:
            raise _too_long()
        if time.monotonic() > ends_at:
            raise TimeoutError("the list was not over in time")
    return b"".join(chunks)


def _reason(error: BaseException) -> str:
    """The words of what lies beneath an exception of requests, which names its own objects."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
