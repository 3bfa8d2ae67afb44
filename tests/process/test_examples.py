"""Each example of config/, run against pods: what arrives at every one of them, to the byte."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.loopback.examples import ENVIRONMENT, EXAMPLES, TOKEN, copy
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Pods, reply
from tests.process.conftest import Run
from worker import __version__

PASSWORD = b64encode(f"operator:{ENVIRONMENT['ACTUATOR_PASSWORD']}".encode()).decode()


class Expected(NamedTuple):
    """One broadcast: what each pod gets, and what it answers.

    `poll`: what it gets then, where there is a `verify`, and `states`, what it answers to that.
    """

    service: str
    port: int
    line: str
    host: str
    answer: Behaviour
    headers: Mapping[str, str] = {}
    body: bytes = b""
    https: bool = False
    poll: str | None = None
    states: tuple[Behaviour, ...] = ()


def purged(word: str) -> Behaviour:
    """As Varnish answers by synth(200, word)."""
    return reply(
        200, f"<!DOCTYPE html><html><body><h1>Error 200 {word}</h1></body></html>".encode()
    )


BASIC = {"Authorization": f"Basic {PASSWORD}"}
BY = {"X-Requested-By": "pod-broadcast"}
ACTUATOR = ("orders-headless.shop", 8081)
VARNISH = ("varnish-headless.edge", 6081)
BROADCASTS: dict[str, dict[str, Expected]] = {
    "clear-web-caches": {
        "clear-web-caches": Expected(
            "web-server-headless.default",
            8080,
            "POST /clear-caches",
            "web-server-headless:8080",
            reply(),
        )
    },
    "varnish": {
        "purge-front-page": Expected(*VARNISH, "PURGE /", "www.example.com", purged("Purged")),
        "ban-products": Expected(
            *VARNISH, "BAN /", "www.example.com", purged("Banned"), {"X-Ban-Url": "^/products/"}
        ),
    },
    "nginx-cache": {
        "purge-nginx-assets": Expected(
            "nginx-cache-headless.edge", 8080, "PURGE /assets/*", "www.example.com", reply(412)
        )
    },
    "spring-actuator": {
        "refresh-orders": Expected(
            *ACTUATOR,
            "POST /actuator/refresh",
            "orders-headless.shop:8081",
            reply(200, b'["feature.prices"]', ["Content-Type: application/json"]),
            BASIC,
            poll="GET /actuator/info",
            states=(
                reply(200, b"{}"),
                reply(200, b'{"config": {"version": "2026.11"}}'),
                reply(200, b'{"config": {"version": "2026.12"}, "build": {}}'),
            ),
        ),
        "clear-orders-caches": Expected(
            *ACTUATOR, "DELETE /actuator/caches", "orders-headless.shop:8081", reply(204), BASIC
        ),
    },
    "verified": {
        "reload-routes": Expected(
            "gateway-headless.edge",
            8080,
            "POST /-/reload",
            "gateway-headless.edge:8080",
            reply(202),
            poll="GET /-/config",
            states=(reply(200, b'{"hash": "41d0"}'), reply(200, b'{"hash": "9f2c41d0"}')),
        ),
        "evict-prices": Expected(
            "prices-headless.shop",
            8080,
            "POST /caches/prices/evict",
            "prices-headless.shop:8080",
            reply(),
            {"Content-Type": "application/json"},
            b'{"generation": 42}',
            poll="GET /caches/prices",
            states=(reply(200, b'{"generation": 41}'), reply(200, b'{"generation": 42}')),
        ),
        "reload-prometheus": Expected(
            "prometheus-headless.monitoring",
            9090,
            "POST /-/reload",
            "prometheus-headless.monitoring:9090",
            reply(),
            poll="GET /api/v1/status/runtimeinfo",
            states=(
                reply(200, b'{"status": "success", "data": {"reloadConfigSuccess": false}}'),
                reply(200, b'{"status": "success", "data": {"reloadConfigSuccess": true}}'),
            ),
        ),
    },
    "reload-https": {
        "reload-rules": Expected(
            "rules-headless.monitoring",
            8443,
            "POST /-/reload",
            "rules-headless.monitoring.svc:8443",
            reply(),
            {"Authorization": f"Bearer {TOKEN}"},
            https=True,
        )
    },
    "warm-up": {
        "warm-up-catalogue": Expected(
            "catalogue-headless.shop",
            8080,
            "GET /internal/warm-up?top=500",
            "catalogue-headless.shop:8080",
            reply(),
        )
    },
    "by-tag": {
        "clear-price-caches": Expected(
            "prices-headless.shop",
            8080,
            "DELETE /caches/prices",
            "prices-headless.shop:8080",
            reply(404),
            BY,
        ),
        "reload-search": Expected(
            "search-headless.shop",
            9000,
            "POST /admin/reload",
            "search-headless.shop:9000",
            reply(),
            {**BY, "Content-Type": "application/json"},
            b'{"synonyms": true, "stopwords": false}',
        ),
        "clear-session-caches": Expected(
            "sessions-headless.shop",
            8080,
            "POST /clear",
            "sessions-headless.shop:8080",
            reply(),
            {**BY, "Content-Type": "text/plain"},
            b"*",
        ),
    },
}
CASES = [(file, name) for file, broadcasts in BROADCASTS.items() for name in broadcasts]


def test_every_example_is_here() -> None:
    assert sorted(BROADCASTS) == [example.stem for example in EXAMPLES]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(("file", "name"), CASES)
def test_every_pod_gets_what_the_example_says(
    file: str, name: str, run: Run, nameserver: Nameserver, ca: trustme.CA, tmp_path: Path
) -> None:
    expected = BROADCASTS[file][name]
    (example,) = (path for path in EXAMPLES if path.stem == file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if expected.https else None
    if context:
        ca.issue_cert(f"{expected.service}.svc").configure_cert(context)
    with Pods(2, port=expected.port, tls=context) as pods:
        for number in range(2):
            pods[number].script(expected.answer, *expected.states)
        nameserver.set(f"{expected.service}.svc.cluster.local", *pods.addresses)
        path = copy(example, tmp_path, ca)
        finished = run(path, "--broadcast", name, environment=ENVIRONMENT)
    assert finished.exit_code == 0, finished.stdout
    assert finished.only("broadcast.finished")["acknowledged"] == 2
    for number in range(2):
        request, *polls = pods[number].requests
        assert [f"{poll.method} {poll.target}" for poll in polls] == (
            [expected.poll] * len(expected.states)
        )
        assert f"{request.method} {request.target}" == expected.line
        headers = {key: value for key, value in request.headers if key != "traceparent"}
        length = (
            {} if expected.line.startswith("GET ") else {"Content-Length": str(len(expected.body))}
        )
        assert headers == {
            "Host": expected.host,
            "User-Agent": f"pod-broadcast/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **length,
            **expected.headers,
        }
        assert request.body == expected.body
    names = [f"{expected.service}.svc"] * 2 if expected.https else []
    assert pods.server_names == names


WRONG_ANSWERS = {
    ("varnish", "purge-front-page"): reply(200, b"the backend's page"),
    ("nginx-cache", "purge-nginx-assets"): reply(404),
    ("spring-actuator", "refresh-orders"): reply(403),
    ("warm-up", "warm-up-catalogue"): reply(404),
}


@pytest.mark.parametrize(("file", "name"), WRONG_ANSWERS)
def test_an_answer_that_proves_nothing_is_no_acknowledgement(
    file: str, name: str, run: Run, nameserver: Nameserver, ca: trustme.CA, tmp_path: Path
) -> None:
    expected = BROADCASTS[file][name]
    (example,) = (path for path in EXAMPLES if path.stem == file)
    with Pods(1, port=expected.port) as pods:
        pods[0].script(WRONG_ANSWERS[file, name])
        nameserver.set(f"{expected.service}.svc.cluster.local", *pods.addresses)
        path = copy(example, tmp_path, ca)
        finished = run(path, "--broadcast", name, environment=ENVIRONMENT)
    assert finished.exit_code == 4, finished.stdout


@pytest.mark.parametrize(
    ("file", "name"), [case for case in CASES if BROADCASTS[case[0]][case[1]].poll]
)
def test_a_pod_that_never_shows_the_effect_is_named(
    file: str, name: str, run: Run, nameserver: Nameserver, ca: trustme.CA, tmp_path: Path
) -> None:
    expected = BROADCASTS[file][name]
    (example,) = (path for path in EXAMPLES if path.stem == file)
    with Pods(2, port=expected.port) as pods:
        pods[0].script(expected.answer, expected.states[-1])
        pods[1].script(expected.answer, expected.states[0])
        nameserver.set(f"{expected.service}.svc.cluster.local", *pods.addresses)
        path = copy(example, tmp_path, ca)
        arguments = ("--broadcast", name, "--deadline", "4s")
        finished = run(path, *arguments, environment=ENVIRONMENT)
    assert finished.exit_code == 3, finished.stdout
    assert finished.only("verify.waiting")["endpoint"] == pods.endpoints[1]
    assert finished.only("endpoint.failed")["endpoint"] == pods.endpoints[1]


@pytest.mark.parametrize(
    ("tag", "names"),
    [
        ("prices", ["clear-price-caches"]),
        ("nightly", ["clear-price-caches", "reload-search"]),
        ("incident", ["clear-session-caches"]),
    ],
)
def test_a_tag_chooses_broadcasts_of_a_file(
    tag: str, names: list[str], run: Run, nameserver: Nameserver
) -> None:
    (example,) = (path for path in EXAMPLES if path.stem == "by-tag")
    finished = run(example, "--tag", tag, command="check")
    assert finished.exit_code == 0
    said = [line.partition(":")[0] for line in finished.stdout.splitlines() if "http" in line]
    assert said == names
    assert nameserver.queries == []
