"""What the benchmark calls: nginx as fast pods, and a nameserver with its answers laid out ready.

For pods that are slow, or hang, there is tests/bench/pods.py.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.loopback.program import ROOT

FIRST_ADDRESS = ipaddress.IPv4Address("127.200.0.1")
NGINX_PORT = 18080
PODS_PORT = 18081

NGINX_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    log_format moments '$msec';
    access_log {folder}/access.log moments;
    keepalive_timeout 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
{listen}
        location / {{ return 200 "ok"; }}
    }}
}}
"""


def addresses(count: int) -> list[str]:
    return [str(FIRST_ADDRESS + number) for number in range(count)]


def name_of(count: int) -> str:
    """The headless Service of so many pods."""
    return f"pods-{count}.bench."


def allow_many_sockets() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Nginx:
    """Pods that answer 200 at once; nginx, one process, a listener for each address."""

    def __init__(self, count: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
        listen = "".join(f"        listen {a}:{NGINX_PORT};\n" for a in addresses(count))
        config = self._folder / "nginx.conf"
        config.write_text(
            NGINX_CONFIG.format(folder=self._folder, listen=listen, connections=2 * count + 1000)
        )
        allow_many_sockets()
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        line = [program, "-e", "error.log", "-c", str(config), "-p", str(self._folder)]
        self._process = subprocess.Popen(line, stderr=subprocess.DEVNULL)  # also in its log
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
        """Seconds from the first to the last of the requests since this was last asked.

        nginx writes a request's line after its answer, so the last may be a moment late.
        """
        for _ in range(100):
            moments = self._log.read_bytes()[self._seen :].split()
            if len(moments) >= expected:
                break
            time.sleep(0.01)
        assert len(moments) == expected, f"{len(moments)} requests came, expected {expected}"
        self._seen = self._log.stat().st_size
        return float(moments[-1]) - float(moments[0])


class Dns:
    """Answers every A question with all addresses of the Service, at once; large ones over TCP."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._records = {
            name_of(count).rstrip(".").encode(): b"".join(
                # the question's name, A, IN, TTL 5 s
                struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + ipaddress.IPv4Address(address).packed
                for address in addresses(count)
            )
            for count in counts
        }
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
        records = self._records.get(b".".join(labels).lower(), b"")
        flags = 0x8580  # a response, authoritative, recursion desired and available
        if len(question) + 12 + len(records) > most:
            flags, records = flags | 0x0200, b""  # truncated
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records) // 16, 0, 0)
        return header + question + records


def _one_port_of_each() -> tuple[socket.socket, socket.socket]:
    """A TCP listener and a UDP socket on the same free port."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:  # somebody else has it
            tcp.close()
            udp.close()
        else:
            return tcp, udp


class SlowPods:
    """The pods of tests/bench/pods.py, in a process of their own."""

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
