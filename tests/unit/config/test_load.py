"""Files to Config: both shapes, folders, defaults, secrets, certificates, selection."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from worker.config import load as config
from worker.config.keys import KEYS, REQUIRED, Key
from worker.config.url import Url
from worker.config.values import Scope, parse_duration
from worker.config.yaml import ConfigInvalid, Node, Place
from worker.model import Auth, Broadcast, Config, Expect, Tls

URL = "http://web:8080/clear"
A = Broadcast(name="a", url=URL, https=False, host="web", port=8080)
ENVIRONMENT = {"TOKEN": "t0ken", "PASSWORD": "p ss"}
EVERY_KEY = """\
- name: every-key
  url: https://Web.shop:8443/clear?a=b
  ip_family: ipv6
  method: BAN
  headers: {Host: shop.example, X-Token: {env: TOKEN}, X-File: {file: token}, X-Empty: ''}
  json: {a: [1, 2.5, yes, null, true, é]}
  auth: {basic: {username: me, password: {env: PASSWORD}}}
  tls: {ca_file: ca.pem, cert_file: crt.pem, key_file: key.pem, server_name: web.shop.svc}
  expect: {status: [204, 3xx], body_contains: "cleared ✓"}
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


def load(folder: Path, text: str, name: str = "broadcasts.yaml") -> Config:
    file = folder / name
    file.write_text(text)
    return config.load([str(file)], ENVIRONMENT)


def one(folder: Path, more: str) -> Broadcast:
    (broadcast,) = load(folder, f"- name: a\n  url: {URL}\n{more}").broadcasts
    return broadcast


def messages(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(folder, text)
    return [str(error).replace(f"{folder}/", "") for error in caught.value.errors]


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
            Broadcast(
                name="every-key",
                url="https://Web.shop:8443/clear?a=b",
                https=True,
                host="web.shop",
                port=8443,
                ip_family="ipv6",
                method="BAN",
                headers=(
                    ("Host", "shop.example"),
                    ("X-Token", "t0ken"),
                    ("X-File", "file t0ken"),
                    ("X-Empty", ""),
                ),
                body='{"a": [1, 2.5, "yes", null, true, "é"]}'.encode(),
                content_type="application/json",
                auth=Auth(username="me", password="p ss"),
                tls=Tls(
                    ca_file=str(tmp_path / "ca.pem"),
                    cert_file=str(tmp_path / "crt.pem"),
                    key_file=str(tmp_path / "key.pem"),
                    server_name="web.shop.svc",
                ),
                expect=Expect(
                    frozenset({204, *range(300, 400)}), body_contains="cleared ✓".encode()
                ),
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
                log_response=True,
                tags=("nightly", "v1.2/x"),
            ),
        ),
        secrets=frozenset({"t0ken", "file t0ken", "p ss"}),
    )
    shown = repr([loaded, *loaded.broadcasts, *(entry.auth for entry in loaded.broadcasts)])
    assert not any(secret in shown for secret in loaded.secrets)


@pytest.mark.parametrize("key", [key for key in KEYS if key.default], ids=lambda key: key.name)
def test_the_default_in_the_table_is_the_default(key: Key, tmp_path: Path) -> None:
    assert one(tmp_path, f"  {key.name}: {key.default}\n") == one(tmp_path, "") == A


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://web", "web", 80),
        ("HTTPS://web/", "web", 443),
        ("http://web.shop.svc.cluster.local.:8080/x", "web.shop.svc.cluster.local.", 8080),
        ("http://web:65535?a[]=%20", "web", 65535),
    ],
)
def test_host_and_port_of_a_url(url: str, host: str, port: int, tmp_path: Path) -> None:
    (broadcast,) = load(tmp_path, f"- name: a\n  url: {url}\n").broadcasts
    assert (broadcast.url, broadcast.host, broadcast.port) == (url, host, port)


WORDS = "http:// https: // web a_b . - 10 0x1 : 80 080 65536 / ?a=b %20 %2 [ ] ::1 # @ é"
PIECES = st.lists(st.sampled_from([*WORDS.split(), " ", "web.shop:8080/x"]), max_size=6)


@given(st.tuples(st.sampled_from(["http://web", "http://", "HttpS://x.y."]), PIECES))
def test_the_schema_accepts_just_the_urls_that_the_worker_does(
    parts: tuple[str, list[str]],
) -> None:
    url = parts[0] + "".join(parts[1])
    scope = Scope(Path(), {}, [], set())
    read = Url().read(Node(Place("f", 1, 1), url), "url", scope)
    accepted = Draft202012Validator(Url().schema()).is_valid(url)
    assert accepted == isinstance(read, dict), scope.errors


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
    common = A._replace(timeout_seconds=3.0, tls=Tls(insecure_skip_verify=True))
    assert first == common._replace(
        headers=(("X-A", "a"), ("X-B", "b")), body=b"{}", content_type="application/json"
    )
    assert second == common._replace(name="b", headers=(("X-C", "c"),), body=b"text")


def test_a_body_file_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\xff\r\n")
    assert one(tmp_path, "  body_file: body\n").body == b"\x00\xff\r\n"
    assert one(tmp_path, "  body: ''\n").body == b""


@pytest.mark.parametrize(
    ("content", "value"), [(b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), ("pä".encode(), "pä")]
)
def test_a_secret_file_loses_one_line_end(content: bytes, value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    auth = one(tmp_path, "  auth: {basic: {username: me, password: {file: secret}}}\n").auth
    assert auth == Auth(username="me", password=value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x\n\n", "one with a control character"),
        (b"x\r", "one with a control character"),
        (b"\n", "an empty one"),
        (b"\xff", "one that is not UTF-8"),
    ],
)
def test_a_secret_file_that_cannot_be_used(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    more = "  auth: {basic: {username: me, password: {file: secret}}}\n"
    assert messages(tmp_path, f"- name: a\n  url: {URL}\n{more}") == [
        f"broadcasts.yaml:3:42: broadcasts[0].auth.basic.password: expected a password, "
        f"got {problem}"
    ]


def test_a_certificate_without_its_key_names_the_certificate(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("web")
    (tmp_path / "crt.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    text = "- name: a\n  url: https://web/\n  tls: {cert_file: crt.pem}\n"
    (message,) = messages(tmp_path, text)
    assert message.startswith("broadcasts.yaml:3:20: broadcasts[0].tls.cert_file: expected a cert")


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
        f"{tmp_path}/2.yaml:1:9: broadcasts[0].name: expected a name of its own, got a: "
        f"{tmp_path}/1.yaml:1 has it"
    )


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "big.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    paths = [str(tmp_path / name) for name in ("missing", "empty", "big.yaml")]
    with pytest.raises(ConfigInvalid) as caught:
        config.load(paths, {})
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/missing: expected a readable file or folder, got: No such file or directory; "
        "--config names another",
        f"{tmp_path}/empty: expected *.yaml or *.yml files in it, got none",
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
    message = "expected a readable file or folder, got: Permission denied; --config names another"
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_a_secret_file_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * (64 * 1024 + 1))
    more = "  auth: {bearer: {file: secret}}\n"
    assert messages(tmp_path, f"- name: a\n  url: {URL}\n{more}") == [
        "broadcasts.yaml:3:18: broadcasts[0].auth.bearer: expected at most 65536 bytes in "
        "secret, got more"
    ]


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.load(["/proc/self/mem"], {})  # opens, and fails to be read, for root too
    message = "/proc/self/mem: expected a readable file, got: Input/output error"
    assert str(caught.value) == message


# --- selection ----------------------------------------------------------------------------------


LOADED = Config(
    files=(),
    broadcasts=(
        A._replace(name="a", tags=("x",)),
        A._replace(name="b", tags=("x", "y")),
        A._replace(name="c"),
    ),
)


@pytest.mark.parametrize(
    ("names", "tags", "selected"),
    [
        ([], [], "abc"),
        (["b"], [], "b"),
        (["c", "a"], [], "ac"),
        ([], ["x"], "ab"),
        ([], ["y", "z"], "b"),
        (["a", "b"], ["y"], "b"),
    ],
)
def test_select(names: list[str], tags: list[str], selected: str) -> None:
    chosen = config.select(LOADED, names, tags)
    assert "".join(broadcast.name for broadcast in chosen.broadcasts) == selected


@pytest.mark.parametrize(
    ("names", "tags", "message"),
    [
        (["q"], [], "--broadcast: no broadcast is called q: there are a, b, c"),
        (["a", "bb"], [], "--broadcast: no broadcast is called bb: did you mean b?"),
        ([], ["z"], "--tag: no broadcast is selected; the tags are x, y"),
        (["c"], ["x"], "--tag: no broadcast is selected; the tags are x, y"),
    ],
)
def test_a_selection_that_matches_nothing(names: list[str], tags: list[str], message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.select(LOADED, names, tags)
    assert str(caught.value) == message


# --- durations ----------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(0, 999)] * 4))
def test_durations_add_up(parts: tuple[int, int, int, int]) -> None:
    hours, minutes, seconds, milliseconds = parts
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration(text) == pytest.approx(expected)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        seconds, message = parse_duration(text), ""
    except ValueError as error:
        seconds, message = 0.0, str(error)
    assert seconds >= 0
    assert message.startswith("expected a duration such as 10s, got ") or not message


def test_required_keys_have_no_default() -> None:
    assert {key.name for key in KEYS if key.name in REQUIRED and key.default} == set()
