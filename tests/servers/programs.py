"""CoreDNS, dnsmasq and unbound: the real programs, each on a port of 127.0.0.1."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query

from tests.loopback.machine import ADDRESS, free_port, wait_for

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian has them


def lack() -> str | None:
    """What the machine lacks for this suite, or None. The suite itself builds nothing."""
    coredns = os.environ.get("COREDNS")
    if not coredns:
        return "COREDNS names no program"
    missing = [
        name for name in (coredns, "dnsmasq", "unbound") if not shutil.which(name, path=PATH)
    ]
    return f"there is no {', '.join(missing)}" if missing else None


class DnsServer:
    """Serves from `__enter__` to `__exit__`; as text, it is what --nameserver takes."""

    def __init__(self, directory: Path, files: Mapping[str, str]) -> None:
        """Writes the files into a directory of its own."""
        self.port = free_port()
        self.directory = directory / f"{type(self).__name__.lower()}-{self.port}"
        self.directory.mkdir()
        for name, text in files.items():
            (self.directory / name).write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        return f"{ADDRESS}:{self.port}"

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(f"{self} answers", lambda: self.ask("ready.invalid") is not None)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on nobody listens."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, name: str, rdtype: str = "A") -> dns.message.Message | None:
        """The answer, or None if none came within a second."""
        assert self._process
        assert self._process.poll() is None, (self.directory / "log").read_text()
        query = dns.message.make_query(name, rdtype)
        try:
            return dns.query.udp(query, ADDRESS, timeout=1, port=self.port, ignore_trailing=True)
        except (dns.exception.Timeout, OSError):
            return None


class CoreDNS(DnsServer):
    """`corefile` names no port. `zones`: the text of zone files, by the names it has for them."""

    def __init__(self, directory: Path, corefile: str, **zones: str) -> None:
        super().__init__(directory, {"Corefile": corefile, **zones})

    def command(self) -> Sequence[str]:
        return [os.environ["COREDNS"], "-conf", "Corefile", "-dns.port", str(self.port)]


class Dnsmasq(DnsServer):
    """Forwards to `upstream`, and caches."""

    def __init__(self, directory: Path, upstream: object, *options: str) -> None:
        super().__init__(directory, {"dnsmasq.conf": ""})
        self._upstream = str(upstream).replace(":", "#")
        self._options = options

    def command(self) -> Sequence[str]:
        return [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=dnsmasq.conf", "--pid-file="),
            *(f"--user={getpass.getuser()}", "--no-resolv", "--no-hosts", "--bind-interfaces"),
            *(f"--listen-address={ADDRESS}", f"--port={self.port}"),
            *(f"--server={self._upstream}", *self._options),
        ]


UNBOUND = """\
server:
  interface: {address}@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "."
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "127.in-addr.arpa." nodefault
{options}
forward-zone:
  name: "."
  forward-addr: {upstream}
"""


class Unbound(DnsServer):
    """Forwards to `upstream`, and caches. `options` are lines of its `server:` section."""

    def __init__(self, directory: Path, upstream: object, *options: str) -> None:
        super().__init__(directory, {})
        text = UNBOUND.format(
            address=ADDRESS,
            port=self.port,
            options="\n".join(f"  {option}" for option in options),
            upstream=str(upstream).replace(":", "@"),
        )
        (self.directory / "unbound.conf").write_text(text)

    def command(self) -> Sequence[str]:
        return ["unbound", "-d", "-c", "unbound.conf"]
