"""The examples of config/ with secrets and certificates that a test has made up.

An example names files where a pod has them mounted; in a copy of it they are in the test's folder.
Nothing else of it is changed.
"""

from __future__ import annotations

from pathlib import Path

import trustme

from tests.loopback.program import ROOT

EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))
ENVIRONMENT = {
    "ACTUATOR_PASSWORD": "pass:wörd",
    "CONFIG_HASH": "9f2c41d0",
    "CONFIG_VERSION": "2026.12",
}
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJydWxlcyJ9.c2lnbmF0dXJl"
TOKEN_FILE = "/var/run/secrets/tokens/reload"
CA_FILE = "/etc/internal-ca/ca.crt"


def copy(example: Path, folder: Path, ca: trustme.CA) -> Path:
    """A copy of the example in the folder, that can be loaded there."""
    (folder / "token").write_text(f"{TOKEN}\n")
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    text = example.read_text()
    for mounted, name in ((TOKEN_FILE, "token"), (CA_FILE, "ca.crt")):
        text = text.replace(f" {mounted}", f" {folder / name}")
    target = folder / example.name
    target.write_text(text)
    return target
