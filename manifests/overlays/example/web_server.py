"""A web server that caches its page, and empties the cache when /clear-caches is called.

It keeps the run ids of the requests that cleared it (the trace id in `traceparent`). /runs shows
them. When the pod ends, they become its termination message.
"""

import http.server
import json
import os
import re
import signal
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

KEPT_RUNS = 100  # a termination message holds at most 4,096 bytes
# The status that /clear-caches answers with. To see a broadcast fail:
# kubectl set env deployment/web-server STATUS=500
STATUS = int(os.environ.get("STATUS", "200"))

cache: dict[str, str] = {}
runs: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/clear-caches":
            self.clear_caches()
        elif self.path == "/runs":
            self.answer(200, json.dumps(runs))
        else:
            made_at = cache.setdefault(self.path, datetime.now(UTC).isoformat())
            self.answer(200, f"{self.path} made at {made_at} by {socket.gethostname()}\n")

    def do_POST(self) -> None:
        if self.path == "/clear-caches":
            self.clear_caches()
        else:
            self.answer(404, "there is only /clear-caches\n")

    def clear_caches(self) -> None:
        version_and_ids = re.fullmatch("00-([0-9a-f]{32})-.*", self.headers["traceparent"] or "")
        if STATUS < 300:
            cache.clear()
        runs.append(version_and_ids[1] if version_and_ids else "unknown")
        del runs[:-KEPT_RUNS]
        print(json.dumps({"cleared": STATUS < 300, "run_id": runs[-1]}), flush=True)
        self.answer(STATUS, "cleared\n" if STATUS < 300 else "not cleared\n")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Does not log requests: the probes would fill the log."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for the requests in flight
    request_queue_size = 128


def main() -> None:
    server = Server(("", 8080), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    with suppress(OSError):
        Path("/dev/termination-log").write_text("\n".join(runs))


if __name__ == "__main__":
    main()
