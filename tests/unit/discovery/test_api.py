"""How the Kubernetes API is found, in a pod and outside of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.discovery.api import Api, find_api, read_token

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    for name, text in (("token", "t0ken\n"), ("ca.crt", "-"), ("namespace", "ops\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        (IN_A_POD, "https://10.96.0.1:6443"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "https://10.96.0.1:443"),
        (IN_A_POD | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, "https://[fd00::1]:6443"),
    ],
)
def test_in_a_pod_it_is_the_clusters(environment: dict[str, str], url: str, account: Path) -> None:
    found = find_api("", str(account), environment)
    assert found == Api(url, account / "token", account / "ca.crt", "ops")


def test_a_proxy_on_this_machine_needs_no_files(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8001"
    assert find_api(f"{url}/", "", {}) == Api(url, None, None, "")
    assert find_api(url, "", {"POD_NAMESPACE": "ops"}).namespace == "ops"
    with pytest.raises(ValueError, match=r"cannot read the token .*/token: No such file"):
        find_api(url, str(tmp_path), {})


def test_no_token_is_sent_that_anybody_on_the_way_could_read(account: Path) -> None:
    assert find_api("http://api:80", str(account), {}).token_file is None
    assert find_api("https://api", str(account), {}).token_file == account / "token"


def test_outside_a_pod_it_has_to_be_named() -> None:
    with pytest.raises(ValueError, match="this is no pod of a cluster: set --api-server"):
        find_api("", "", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"there is no token in .*/token"),
        (b"a\nb", r"there is no token in .*/token"),
        (b"caf\xe9", r"cannot read the token .*/token: it is no text in ASCII; add manifests/"),
    ],
)
def test_what_is_no_token(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_token(tmp_path / "token")
