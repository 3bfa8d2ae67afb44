"""A gateway that loads its routes from a ConfigMap when /-/reload is called.

The kubelet may bring the new routes later than that. So they are loaded as soon as they are there.
/-/config shows what is in force.
"""

import http.server
import json
import threading
import time
from pathlib import Path

# The kubelet replaces the folder behind this link, so that both files are of one version.
ROUTES = Path("/etc/routes/..data")


def read() -> dict[str, object]:
    folder = ROUTES.resolve()
    return {
        "version": (folder / "version").read_text(),
        "routes": json.loads((folder / "routes.json").read_text()),
    }


in_force = read()
reload = threading.Event()


def load_routes() -> None:
    global in_force
    while reload.wait():
        there = read()
        if there != in_force:
            in_force = there
            reload.clear()
        time.sleep(0.2)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/-/config":
            self.answer(200, json.dumps(in_force))
        else:
            self.answer(404, "there are only /-/config and /-/reload\n")

    def do_POST(self) -> None:
        if self.path == "/-/reload":
            reload.set()
            self.answer(202, "routes are loaded when they are there\n")
        else:
            self.answer(404, "there are only /-/config and /-/reload\n")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Does not log requests: the probes would fill the log."""


threading.Thread(target=load_routes, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
