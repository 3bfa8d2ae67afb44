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
# Of what the API says about an error. The log shows 2,000 bytes at most, and of a token that is cut
# off behind them the beginning is enough.
SHOWN_CHARACTERS = 4096
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


class Listed(NamedTuple):
    """What one whole list says, by address family: each endpoint once, with the pod behind it."""

    targets: dict[str, dict[Endpoint, Target]]
    not_ready: set[Endpoint]


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
        self._on_loopback = _is_on_loopback(api.url)  # as for a trial without a cluster

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
            listed = self._list(ends_at)
            return self._answer(listed, sent_at, time.monotonic())
        except Fault as fault:
            return self._failure(fault)
        except Exception as error:  # noqa: BLE001 - whatever a slice holds, it must not end the run
            message = f"lists an EndpointSlice that cannot be read: {error!r}"
            return self._failure(Fault("api_error", message))

    def _failure(self, fault: Fault) -> ResolutionFailure:
        message = f"{self._api.url} {fault}"
        return ResolutionFailure(self._qname, fault.error_type, message, fault.retry_after_seconds)

    # --- the list -----------------------------------------------------------------------------

    def _list(self, ends_at: float) -> Listed | None:
        """One whole list; None if it has no slice. Raises Fault."""
        for _ in range(MAX_RESTARTS):
            listed = Listed({"IPv4": {}, "IPv6": {}}, set())
            slices = 0
            try:
                for page in self._pages(ends_at):
                    slices += len(page)
                    for each in page:
                        self._read_slice(each, listed)
            except Expired:
                continue  # pages of two lists are never mixed
            return listed if slices else None
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
                token = read_token(self._api.token_file)
                self._api.hide(token)
                headers["Authorization"] = f"Bearer {token}"
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

    def _read_slice(self, each: Json, listed: Listed) -> None:
        """Adds the endpoints of one slice, but for those that are terminating. Raises Fault."""
        targets, not_ready = listed.targets.get(each["addressType"]), listed.not_ready
        if targets is None:
            name, family = each["metadata"]["name"], each["addressType"]
            message = f"lists {name}, an EndpointSlice of {family}: no pod has such an address"
            raise Fault("outside_cluster", message)
        port = self._port(each)
        for item in each.get("endpoints") or ():
            conditions = item.get("conditions") or {}
            if conditions.get("terminating"):
                continue
            pod = item.get("targetRef") or {}
            # The other addresses are the same endpoint's; kube-proxy takes the first, too.
            # Each text is kept once, though every list brings it anew.
            endpoint = Endpoint(intern(item["addresses"][0]), port, intern(pod.get("uid") or ""))
            # In two slices for a moment, it may be ready in one of them alone.
            if conditions.get("ready") is not False or self._broadcast.include_not_ready:
                not_ready.discard(endpoint)
            elif endpoint not in targets:
                not_ready.add(endpoint)
            targets[endpoint] = Target(
                intern(pod.get("name") or ""),
                intern(item.get("nodeName") or ""),
                intern(item.get("zone") or ""),
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

    def _answer(self, listed: Listed | None, sent_at: float, arrived_at: float) -> Answer:
        """The answer to a question. Raises Fault for an address that no pod has."""
        targets = self._choose(listed) if listed else {}
        not_ready = listed.not_ready & targets.keys() if listed else ()
        in_order = sorted((packed(endpoint.address), endpoint) for endpoint in targets)
        for address, endpoint in in_order:
            if kind := foreign_kind(address, self._on_loopback):
                message = f"lists {endpoint.address}: no pod has {kind} address"
                raise Fault("outside_cluster", message)
        return Answer(
            qname=self._qname,
            endpoints=tuple(each for _, each in in_order if each not in not_ready),
            ttl_seconds=0,
            expires_earliest_at=sent_at,
            expires_latest_at=arrived_at,
            absence="EndpointSlices list nobody" if listed else "no EndpointSlices",
            # Without any slice, the Service itself may be missing, for a moment: its pods may not.
            exact=listed is not None,
            not_ready=frozenset(not_ready),
            targets=targets,
        )

    def _choose(self, listed: Listed) -> dict[Endpoint, Target]:
        """The endpoints of each pod: of the first family that it has, and with a port if it can."""
        chosen: dict[Endpoint, Target] = {}
        for family in FAMILIES[self._broadcast.ip_family]:
            uids = {endpoint.uid for endpoint in chosen if endpoint.uid}
            chosen |= {e: each for e, each in listed.targets[family].items() if e.uid not in uids}
        if self._broadcast.port_name:  # a pod may be in several slices, with different ports
            has_port = {endpoint._replace(port=0) for endpoint in chosen if endpoint.port}
            return {e: target for e, target in chosen.items() if e not in has_port}
        return chosen


def _is_on_loopback(url: str) -> bool:
    host = urllib3.util.parse_url(url).host or ""
    try:
        return is_loopback(host.strip("[]"))
    except ValueError:
        return host == "localhost"


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
