"""Which resolv.conf is read, and whose nameservers are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.commands import loading
from worker.config.errors import ConfigInvalid
from worker.discovery.dns.resolvconf import Nameserver, ResolvConf
from worker.options import parse
from worker.stop import Stop


def read(*arguments: str, **environment: str) -> ResolvConf:
    return loading.resolv_conf(parse(arguments, environment), Stop())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"nameserver 10.0.0.1\n# caf\xe9\n")
    return path


def test_the_file_names_the_servers_unless_the_user_does(file: Path) -> None:
    path = str(file)
    assert read("--resolv-conf", path) == ResolvConf((Nameserver("10.0.0.1"),))
    chosen = ResolvConf((Nameserver("10.0.0.2"),), chosen=True)
    assert read("--resolv-conf", path, "--nameserver", "10.0.0.2") == chosen


def test_the_file_at_the_usual_place_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(ConfigInvalid, match=r"cannot read .*missing: No such file or directory"):
        read(BROADCAST_RESOLV_CONF=missing)
    monkeypatch.setattr(loading, "DEFAULT_RESOLV_CONF", missing)
    assert read(BROADCAST_RESOLV_CONF=missing) == ResolvConf()


def test_a_path_that_is_none_is_said_to_be_so() -> None:
    with pytest.raises(ConfigInvalid, match=r"--resolv-conf: cannot read .*: embedded null"):
        read("--resolv-conf", "a\0b")
