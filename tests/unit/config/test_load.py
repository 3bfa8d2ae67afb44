"""Files to Config: both shapes, folders, defaults, selection."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trustme

from tests.records import broadcast, changed, parsed
from tests.unit.config.reading import URL, load, messages, one
from worker.config import load as config
from worker.config.errors import ConfigInvalid
from worker.config.keys import KEYS, Key
from worker.config.parts import KEPT_BODY_BYTES
from worker.model import (
    Auth,
    BodyFile,
    Config,
    Exchange,
    Expect,
    JsonExpectation,
    Tls,
    Verify,
)

A = broadcast(URL, "a")
EVERY_KEY = """\
- name: every-key
  url: https://Web.shop:8443/clear?a=b
  ip_family: ipv6
  method: BAN
  headers: {Host: shop.example, X-Token: {env: TOKEN}, X-File: {file: token}, X-Empty: ''}
  json:
    a: [1, 2.5, yes, null, true, é]
    b: {env: HEADER}
    c: {literal: {file: x}}
    d: {env: 1, e: 2}
  auth: {basic: {username: me, password: {env: PASSWORD}}}
  tls: {ca_file: ca.pem, cert_file: crt.pem, key_file: key.pem, server_name: web.shop.svc}
  expect:
    status: [204, 3xx]
    body_contains: "cleared ✓"
    body_lacks: 'error'
    json: {/status: ok, /build/tags: [1.0, {env: VERSION}], "": {"a/b~c": {file: token}, d: {}}}
  verify:
    url: http://web.shop:9090/-/config
    method: HEAD
    headers: {X-Verify: 'yes'}
    auth: {bearer: {env: TOKEN}}
    expect: {status: [200]}
    connect_timeout: 100ms
    timeout: 2s
    every: 500ms
    within: 2m
  canary: 1
  max_failed: 0
  concurrency: 3
  stagger: 250ms
  connect_timeout: 1.5s
  timeout: 1m30s
  attempts: 7
  backoff: {initial: 125ms, max: 1h}
  settle: 0
  deadline: 24h
  min_pods: 0
  log_response: true
  tags: [nightly, v1.2/x]
"""


def test_a_file_that_sets_every_key(tmp_path: Path) -> None:
    ca = trustme.CA()
    leaf = ca.issue_cert("web")
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    (tmp_path / "crt.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    (tmp_path / "token").write_bytes(b"file t0ken\r\n")
    loaded = load(tmp_path, EVERY_KEY)
    assert loaded == Config(
        files=(str(tmp_path / "broadcasts.yaml"),),
        broadcasts=(
            broadcast(
                "https://Web.shop:8443/clear?a=b",
                "every-key",
                ip_family="ipv6",
                method="BAN",
                headers=(
                    ("Host", "shop.example"),
                    ("X-Token", "t0ken"),
                    ("X-File", "file t0ken"),
                    ("X-Empty", ""),
                ),
                body=(
                    '{"a": [1, 2.5, "yes", null, true, "é"], "b": "he4der", "c": {"file": "x"}, '
                    '"d": {"env": 1, "e": 2}}'
                ).encode(),
                content_type="application/json",
                auth=Auth(username="me", password="p ss"),
                tls=Tls(
                    ca_file=str(tmp_path / "ca.pem"),
                    cert_file=str(tmp_path / "crt.pem"),
                    key_file=str(tmp_path / "key.pem"),
                    server_name="web.shop.svc",
                ),
                expect=Expect(
                    frozenset({204, *range(300, 400)}),
                    body_contains="cleared ✓".encode(),
                    body_lacks=b"error",
                    json=(
                        JsonExpectation("/status", '"ok"'),
                        JsonExpectation("/build/tags", '[1.0, "1.2"]', frozenset({"/1"})),
                        JsonExpectation(
                            "",
                            '{"a/b~c": "file t0ken", "d": {}}',
                            frozenset({"/a~1b~0c"}),
                        ),
                    ),
                ),
                verify=Verify(
                    Exchange(
                        parsed("http://web.shop:9090/-/config"),
                        method="HEAD",
                        headers=(("X-Verify", "yes"),),
                        auth=Auth(bearer="t0ken"),
                        tls=Tls(
                            ca_file=str(tmp_path / "ca.pem"),
                            cert_file=str(tmp_path / "crt.pem"),
                            key_file=str(tmp_path / "key.pem"),
                            server_name="web.shop.svc",
                        ),
                        expect=Expect(frozenset({200})),
                        connect_timeout_seconds=0.1,
                        timeout_seconds=2.0,
                        port=9090,
                    ),
                    every_seconds=0.5,
                    within_seconds=120.0,
                ),
                canary=1,
                max_failed=0,
                concurrency=3,
                stagger_seconds=0.25,
                connect_timeout_seconds=1.5,
                timeout_seconds=90.0,
                attempts=7,
                backoff_initial_seconds=0.125,
                backoff_max_seconds=3600.0,
                settle_seconds=0.0,
                deadline_seconds=86400.0,
                min_pods=0,
                log_response="failures",
                tags=("nightly", "v1.2/x"),
            ),
        ),
        secrets=frozenset({"t0ken", "file t0ken", "p ss", "me:p ss", "he4der"}),
    )
    exchanges = [entry.exchange for entry in loaded.broadcasts]
    shown = repr([loaded, *loaded.broadcasts, *exchanges, *(each.auth for each in exchanges)])
    assert not any(secret in shown for secret in loaded.secrets)


@pytest.mark.parametrize("key", [k for k in KEYS if k.default is not None], ids=lambda k: k.name)
def test_the_default_in_the_table_is_the_default(key: Key, tmp_path: Path) -> None:
    assert one(tmp_path, f"  {key.name}: {json.dumps(key.default)}\n") == one(tmp_path, "") == A


def test_defaults_are_replaced_wholly_by_a_broadcasts_own_keys(tmp_path: Path) -> None:
    text = f"""\
defaults:
  timeout: 3s
  headers: {{X-A: a, X-B: b}}
  json: {{}}
  tls: {{insecure_skip_verify: true}}
broadcasts:
  - {{name: a, url: "{URL}"}}
  - {{name: b, url: "{URL}", headers: {{X-C: c}}, body: text}}
"""
    first, second = load(tmp_path, text).broadcasts
    common = changed(A, timeout_seconds=3.0, tls=Tls(insecure_skip_verify=True))
    assert first == changed(
        common, headers=(("X-A", "a"), ("X-B", "b")), body=b"{}", content_type="application/json"
    )
    assert second == changed(common, name="b", headers=(("X-C", "c"),), body=b"text")


def test_a_body_file_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\xff\r\n")
    assert one(tmp_path, "  body_file: body\n").exchange.body == b"\x00\xff\r\n"
    assert one(tmp_path, "  body: ''\n").exchange.body == b""


def test_a_long_body_file_is_open_once_for_all_broadcasts(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * KEPT_BODY_BYTES)
    assert one(tmp_path, "  body_file: body\n").exchange.body == b"x" * KEPT_BODY_BYTES
    (tmp_path / "body").write_bytes(b"x" * (KEPT_BODY_BYTES + 1))
    text = "\n".join(f"- {{name: {name}, url: '{URL}', body_file: body}}" for name in "ab")
    first, second = (broadcast.exchange.body for broadcast in load(tmp_path, text).broadcasts)
    assert isinstance(first, BodyFile)
    assert first == second
    assert (first.path, first.size) == (str(tmp_path / "body"), KEPT_BODY_BYTES + 1)
    assert os.pread(first.descriptor, 2, 0) == b"xx"


# --- files --------------------------------------------------------------------------------------


def entry(name: str) -> str:
    return f"- name: {name}\n  url: {URL}\n"


def test_a_folder_as_kubernetes_mounts_a_config_map(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_24"
    data.mkdir()
    for name in ("20-b.yml", "10-a.yaml", "notes.txt", "schema.json"):
        (data / name).write_text(entry(name[3]))
        (tmp_path / name).symlink_to(Path("..data") / name)
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "folder.yaml").mkdir()
    loaded = config.load([str(tmp_path)], {})
    assert [Path(file).name for file in loaded.files] == ["10-a.yaml", "20-b.yml"]
    assert [broadcast.name for broadcast in loaded.broadcasts] == ["a", "b"]


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text(entry("a"))
    with pytest.raises(ConfigInvalid) as caught:
        config.load([str(tmp_path)], {})
    assert str(caught.value) == (
        f"{tmp_path}/2.yaml:1:9: broadcasts[0].name: duplicate name `a`, "
        f"already used at {tmp_path}/1.yaml:1"
    )


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "big.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    paths = [str(tmp_path / name) for name in ("missing", "empty", "big.yaml")]
    with pytest.raises(ConfigInvalid) as caught:
        config.load(paths, {})
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/missing: expected a readable file or folder, got: No such file or directory: "
        "name another with --config",
        f"{tmp_path}/empty: expected *.yaml or *.yml files in this folder, got none",
        f"{tmp_path}/big.yaml: expected at most 1 MiB of YAML, got more",
    ]


def test_a_folder_that_must_not_be_read(tmp_path: Path) -> None:
    root = os.geteuid() == 0
    tmp_path.chmod(0)
    if root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(ConfigInvalid) as caught:
            config.load([str(tmp_path)], {})
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    message = (
        "expected a readable file or folder, got: Permission denied: name another with --config"
    )
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.load(["/proc/self/mem"], {})  # opens, and fails to be read, for root too
    message = "/proc/self/mem: expected a readable file, got: Input/output error"
    assert str(caught.value) == message


# --- selection ----------------------------------------------------------------------------------

SOURCES = {"--broadcast": "--broadcast", "--tag": "--tag"}
LOADED = Config(
    files=(),
    broadcasts=(
        A._replace(name="a", tags=("x",)),
        A._replace(name="bb", tags=("x", "y")),
        A._replace(name="c"),
    ),
)


@pytest.mark.parametrize(
    ("names", "tags", "selected"),
    [
        ([], [], "a bb c"),
        (["bb"], [], "bb"),
        (["c", "a"], [], "a c"),
        ([], ["x"], "a bb"),
        ([], ["y", "z"], "bb"),
        (["a", "bb"], ["y"], "bb"),
    ],
)
def test_select(names: list[str], tags: list[str], selected: str) -> None:
    chosen = config.select(LOADED, names, tags, SOURCES)
    assert " ".join(broadcast.name for broadcast in chosen.broadcasts) == selected


@pytest.mark.parametrize(
    ("names", "tags", "message"),
    [
        (["q"], [], "--broadcast: no broadcast is called q: the names are a, bb, c"),
        (["a", "bbb"], [], "--broadcast: no broadcast is called bbb: did you mean bb?"),
        ([], ["z"], "--tag: no broadcast is selected; the tags are x, y"),
        (["c"], ["x"], "--tag: no broadcast is selected; the tags are x, y"),
    ],
)
def test_a_selection_that_matches_nothing(names: list[str], tags: list[str], message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.select(LOADED, names, tags, SOURCES)
    assert str(caught.value) == message


def test_one_reading_finds_what_is_wrong_with_a_broadcast_and_with_its_name(tmp_path: Path) -> None:
    text = f"- name: a\n  url: {URL}\n- name: a\n  url: {URL}\n  timout: 1s\n"
    assert messages(tmp_path, text) == [
        "broadcasts.yaml:3:9: broadcasts[1].name: duplicate name `a`, already used at "
        "broadcasts.yaml:1",
        "broadcasts.yaml:5:3: broadcasts[1].timout: unknown key: did you mean timeout?",
    ]


def test_headers_with_an_error_are_not_replaced_by_the_default(tmp_path: Path) -> None:
    text = """\
defaults: {headers: {Authorization: {env: TOKEN}}}
broadcasts:
- {name: a, url: http://web/, headers: {a b: c}, auth: {bearer: {env: TOKEN}}}
"""
    (message,) = messages(tmp_path, text)
    assert "expected a header name" in message


BEARER = Auth(bearer="t0ken")
HEADER = (("Authorization", "t0ken"),)


@pytest.mark.parametrize(
    ("first", "second", "auth", "headers"),
    [
        ("auth: {bearer: {env: TOKEN}}", "headers: {X-A: a}", BEARER, (("X-A", "a"),)),
        ("auth: {bearer: {env: TOKEN}}", "headers: {Authorization: {env: TOKEN}}", None, HEADER),
        (
            "headers: {X-A: a, Authorization: {env: PASSWORD}}",
            "auth: {bearer: {env: TOKEN}}",
            BEARER,
            (("X-A", "a"),),
        ),
        ("headers: {Authorization: {env: TOKEN}}", "every: 1s", None, HEADER),
    ],
)
def test_a_verification_sends_one_authorization(
    first: str, second: str, auth: Auth | None, headers: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    verify = one(tmp_path, f"  {first}\n  verify: {{path: /x, {second}}}\n").verify
    assert verify
    assert (verify.exchange.auth, verify.exchange.headers) == (auth, headers)


def test_a_verification_has_what_the_broadcast_has_unless_it_says_otherwise(tmp_path: Path) -> None:
    more = "  headers: {X-A: a}\n  auth: {bearer: {env: TOKEN}}\n  timeout: 3s\n  method: PUT\n"
    entry = one(tmp_path, f"{more}  verify: {{path: '/-/config?x'}}\n")
    assert entry.verify == Verify(
        Exchange(
            parsed("http://web:8080/-/config?x"),
            method="GET",
            headers=(("X-A", "a"),),
            auth=Auth(bearer="t0ken"),
            timeout_seconds=3.0,
        )
    )
