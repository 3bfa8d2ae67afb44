"""What is in the image, what is not, and that it does its commands."""

from __future__ import annotations

import json
from typing import Any

from tests.container import daemon
from tests.container.conftest import Start
from tests.container.daemon import LABEL, ROOT, docker
from tests.container.running import REVISION
from tests.loopback.program import stable
from worker import __version__

BASE = "python:3.13-slim"
MAX_ADDED_BYTES = 20_000_000
WAITING = "- {name: clear, url: 'http://web-server-headless.:8080/', settle: 10m, deadline: 20m}\n"


def inspect(image: str) -> Any:
    (found,) = json.loads(docker("image", "inspect", image).stdout)
    return found


def shell(image: str, command: str) -> str:
    done = docker("run", "--rm", *LABEL, "--entrypoint", "sh", image, "-c", command)
    assert done.returncode == 0, done
    return done.stdout


def test_help_check_and_run_work(image: str) -> None:
    helped = docker("run", "--rm", *LABEL, image, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith("usage: python -m worker ")

    mounted = [
        "run",
        "--rm",
        *LABEL,
        "--read-only",
        "--volume",
        f"{ROOT}/config:/etc/pod-broadcast:ro",
    ]
    checked = docker(
        *mounted, image, "check", "--config", "/etc/pod-broadcast/clear-web-caches.yaml"
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "clear-web-caches: POST http://web-server-headless:8080/clear-caches" in checked.stdout

    ran = docker(*mounted, "--network", "none", image, "run", "--config", "/nowhere")
    assert (ran.returncode, ran.stderr) == (2, "")
    assert json.loads(ran.stdout.splitlines()[-1])["event"] == "run.finished"


def test_it_adds_less_than_20_mb_to_its_base(image: str) -> None:
    assert 0 < inspect(image)["Size"] - inspect(BASE)["Size"] < MAX_ADDED_BYTES


def test_it_runs_the_worker_itself_as_a_numeric_user_that_is_not_root(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["python", "-m", "worker"]
    assert config["User"] == "65532:65532"


def test_its_labels_say_what_it_is(image: str) -> None:
    assert inspect(image)["Config"]["Labels"] == daemon.LABELS | {
        "org.opencontainers.image.title": "pod-broadcast",
        "org.opencontainers.image.description": (
            "One HTTP request to every pod behind a headless Service, and proof that it arrived"
        ),
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.revision": REVISION,
    }


def test_it_has_the_worker_and_its_dependencies_and_nothing_to_install_more(image: str) -> None:
    library = shell(image, "ls -d /opt/pod-broadcast/lib/*/ | xargs -n 1 basename")
    packages = {name for name in library.split() if not name.endswith(".dist-info")}
    of_requests = {"certifi", "charset_normalizer", "idna", "requests", "urllib3"}
    own = {"dns", "httptools", "structlog", "worker", "yaml", "_yaml"}
    assert packages == own | of_requests
    for module in ("pip", "ensurepip", "pytest"):
        done = docker("run", "--rm", *LABEL, "--entrypoint", "python", image, "-m", module)
        assert done.stderr.endswith(f"No module named {module}\n"), done
    assert shell(image, "command -v pip pip3 gcc cc make || true") == ""
    assert shell(image, "find / -xdev -name test_ledger.py 2>/dev/null || true") == ""


def test_no_module_that_a_run_imports_has_to_be_compiled(image: str) -> None:
    program = (
        "import os, sys, worker.cli, worker.discovery.endpointslices\n"
        "cached = [getattr(m, '__cached__', None) for m in sys.modules.values()]\n"
        "print(len(cached), [path for path in cached if path and not os.path.exists(path)])"
    )
    done = docker("run", "--rm", *LABEL, "--entrypoint", "python", image, "-c", program)
    count, missing = done.stdout.strip().split(" ", 1)
    assert int(count) > 100
    assert missing == "[]"


def test_the_workers_layer_is_the_same_in_every_build(image: str) -> None:
    again = daemon.build("again", ROOT / "Dockerfile", ROOT, "--no-cache")
    assert inspect(again)["RootFS"]["Layers"][-1] == inspect(image)["RootFS"]["Layers"][-1]


def test_docker_stop_is_exit_143_after_the_summary(start: Start) -> None:
    worker = start(WAITING)
    worker.wait_for_event("resolution.waiting")
    worker.stop()
    finished = worker.finish()
    assert finished.exit_code == 143
    assert finished.only("shutdown.requested")["signal"] == "SIGTERM"
    assert stable(finished.entries[-1]) == {
        "level": "error",
        "event": "run.finished",
        "outcome": "failed",
        "exit_code": 143,
        "broadcasts_complete": 0,
        "broadcasts_partial": 0,
        "broadcasts_failed": 1,
        "seen": 0,
        "acknowledged": 0,
        "failed": 0,
        "gone": 0,
        "cancelled": 0,
        "worst_broadcast": "clear",
        "reason": "cancelled",
        "hint": finished.only("broadcast.finished")["hint"],
    }
