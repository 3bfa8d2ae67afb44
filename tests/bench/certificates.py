"""Certificates for the pods that speak TLS, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ECDSA, RSA = "ECDSA", "RSA"
KEYS = {ECDSA: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], RSA: ["rsa:2048"]}


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate and its key, and the CA that issued it: files in PEM."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def issue(folder: Path, kind: str, host: str) -> Certificate:
    """A new CA, and a certificate of it for the host; `kind` is ECDSA (P-256) or RSA (2048)."""
    ca_file, ca_key = folder / f"{kind}-ca.pem", folder / f"{kind}-ca.key"
    made = Certificate(ca_file, folder / f"{kind}.pem", folder / f"{kind}.key")
    _request(kind, "bench CA", made.ca_file, ca_key)
    issued_by = ["-CA", str(ca_file), "-CAkey", str(ca_key)]
    extensions = ["-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE"]
    _request(kind, "bench pods", made.cert_file, made.key_file, *issued_by, *extensions)
    return made


def _request(kind: str, subject: str, cert_file: Path, key_file: Path, *more: str) -> None:
    line = ["openssl", "req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-days", "2"]
    line += ["-subj", f"/CN={subject}", "-out", str(cert_file), "-keyout", str(key_file), *more]
    subprocess.run(line, check=True, capture_output=True)
