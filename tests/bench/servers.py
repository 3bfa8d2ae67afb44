"""What the benchmark calls: nginx as fast pods, and a nameserver that answers at once.

tests/bench/pods.py has pods that are slow or hang.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import resource
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.bench.certificates import Certificate
from tests.loopback.program import ROOT

FIRST_ADDRESS = ipaddress.IPv4Address("127.200.0.1")
NGINX_PORT = 18080
PODS_PORT = 18081
TLS_PORT = 18443

NGINX_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    log_format moments '$msec $connection_time $ssl_session_reused';
    access_log {folder}/access.log moments;
    keepalive_timeout 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{tls}
    server {{
{listen}
        location / {{ return 200 "ok"; }}
    }}
}}
"""


def addresses(count: int) -> list[str]:
    """Of so many pods, from 127.200.0.1 on."""
    return [str(FIRST_ADDRESS + number) for number in range(count)]


def name_of(count: int) -> str:
    """The headless Service of so many pods."""
    return f"pods-{count}.bench."


def services(*counts: int) -> dict[str, list[str]]:
    """The addresses of Services with so many pods, by name."""
    return {name_of(count): addresses(count) for count in counts}


def allow_many_sockets() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Nginx:
    """Pods that answer 200 at once; nginx, one process, a listener for each address.

    With a certificate they speak TLS 1.2 or 1.3 on TLS_PORT; other settings are nginx's defaults.
    `everywhere`: one listener for all addresses, of which loopback has 16 million.
    """

    def __init__(
        self, count: int, certificate: Certificate | None = None, everywhere: bool = False
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
        where, tls = f"{NGINX_PORT}", ""
        if certificate:
            where = f"{TLS_PORT} ssl"
            tls = (
                f"    ssl_certificate {certificate.cert_file};\n"
                f"    ssl_certificate_key {certificate.key_file};\n"
                "    ssl_protocols TLSv1.2 TLSv1.3;"
            )
        hosts = [f"{a}:" for a in addresses(count)] if not everywhere else [""]
        listen = "".join(f"        listen {host}{where};\n" for host in hosts)
        config = self._folder / "nginx.conf"
        config.write_text(
            NGINX_CONFIG.format(
                folder=self._folder, tls=tls, listen=listen, connections=2 * len(hosts) + 1000
            )
        )
        allow_many_sockets()
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        line = [program, "-e", "error.log", "-c", str(config), "-p", str(self._folder)]
        self._process = subprocess.Popen(line, stderr=subprocess.DEVNULL)  # its log has it, too
        self._log = self._folder / "access.log"
        self._seen = 0

    def __enter__(self) -> Self:
        for _ in range(100):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(FileNotFoundError):
                if (self._folder / "pid").read_text():  # written when it listens
                    return self
            time.sleep(0.1)
        log = (self._folder / "error.log").read_text()[:1000]
        raise SystemExit(f"nginx does not start:\n{log}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        shutil.rmtree(self._folder)

    def window(self, expected: int) -> float:
        """Seconds from the first connection to the last answer, since this was last asked.

        nginx writes a request's line after its answer, so the last may be a moment late.
        """
        for _ in range(6000):
            lines = self._log.read_bytes()[self._seen :].splitlines()
            if len(lines) >= expected:
                break
            time.sleep(0.01)
        assert len(lines) == expected, f"{len(lines)} requests came, expected {expected}"
        self._seen = self._log.stat().st_size
        ends, lasted, resumed = zip(*(line.split() for line in lines), strict=True)
        assert b"r" not in resumed, "a TLS session of another pod was resumed"
        # The answers' moments, less how long their connections had been open by then.
        begins = (float(end) - float(length) for end, length in zip(ends, lasted, strict=True))
        return max(map(float, ends)) - min(begins)


class Dns:
    """A nameserver that answers A questions at once, large answers over TCP.

    `services` has the addresses for each name. With `cached`, a name's answer is a copy that was
    fetched when it was first asked for. Its TTL counts down in whole seconds; at 0 the next copy is
    fetched, as by the cache plugin of CoreDNS (https://coredns.io/plugins/cache/).
    """

    def __init__(
        self, services: Mapping[str, Sequence[str]], ttl_seconds: int = 5, cached: bool = False
    ) -> None:
        self._services = {name.rstrip(".").encode(): pods for name, pods in services.items()}
        self._laid_out = {n: _records(pods, ttl_seconds) for n, pods in self._services.items()}
        self._ttl_seconds = ttl_seconds
        self._cached = cached
        self._fetched_at: dict[bytes, float] = {}
        self._tcp, self._udp = _one_port_of_each()
        self.port: int = self._tcp.getsockname()[1]
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._end, b"\0")
        self._thread.join()
        for end in (self._udp, self._tcp):
            end.close()
        os.close(self._end)
        os.close(self._ended)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self._udp, self._tcp, self._ended):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._udp:
                        query, peer = self._udp.recvfrom(4096)
                        self._udp.sendto(self._answer(query, most=1232), peer)
                    elif key.fileobj is self._tcp:
                        self._over_tcp()
                    else:
                        return

    def _over_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, connection.makefile("rb") as file:
            (length,) = struct.unpack("!H", file.read(2))
            answer = self._answer(file.read(length), most=65535)
            connection.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, query: bytes, most: int) -> bytes:
        labels, end = [], 12
        while length := query[end]:
            labels.append(query[end + 1 : end + 1 + length])
            end += 1 + length
        question = query[12 : end + 5]
        records = self._records_of(b".".join(labels).lower())
        flags = 0x8580  # a response, authoritative, recursion desired and available
        if len(question) + 12 + len(records) > most:
            flags, records = flags | 0x0200, b""  # truncated
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records) // 16, 0, 0)
        return header + question + records

    def _records_of(self, name: bytes) -> bytes:
        if not self._cached:
            return self._laid_out.get(name, b"")
        now = time.monotonic()
        age = int(now - self._fetched_at.setdefault(name, now))
        if age >= self._ttl_seconds:
            self._fetched_at[name], age = now, 0
        return _records(self._services.get(name, ()), self._ttl_seconds - age)


def _records(pods: Sequence[str], ttl_seconds: int) -> bytes:
    """A records, each for the name in the question."""
    head = struct.pack("!HHHIH", 0xC00C, 1, 1, ttl_seconds, 4)
    return b"".join(head + ipaddress.IPv4Address(address).packed for address in pods)


def _one_port_of_each() -> tuple[socket.socket, socket.socket]:
    """A TCP listener and a UDP socket on the same free port."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:  # the port is taken for UDP
            tcp.close()
            udp.close()
        else:
            return tcp, udp


class SlowPods:
    """The pods of tests/bench/pods.py, which are one process."""

    def __init__(
        self, count: int, delay_seconds: float, hang_every: int, port: int = PODS_PORT
    ) -> None:
        arguments = [str(FIRST_ADDRESS), count, port, delay_seconds, hang_every]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.pods", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def window(self, expected: int) -> float:
        """Seconds from the first connection to the last answer, since this was last asked."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        requests, seconds = self._process.stdout.readline().split()
        assert int(requests) == expected, f"{requests} requests came, expected {expected}"
        return float(seconds)
