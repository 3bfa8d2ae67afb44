"""`tls` -> Tls, and Tls -> the SSLContext that goes with it.

The files are tried while the configuration is read: one that cannot be used is an error with its
place. The context itself is made when a call needs it, since most of them hold the system's trust
store: a megabyte for each.
"""

from __future__ import annotations

import ssl
from typing import Any

from worker.config.secret import FILE_PATH, regular_file
from worker.config.url import LABEL, MAX_NAME_CHARACTERS
from worker.config.values import Boolean, Converted, Described, Fields, Scope, Text
from worker.config.yaml import Node
from worker.model import Tls

FILES = ("ca_file", "cert_file", "key_file")
NO_TLS = "tls needs an https URL: write https:// in url, or leave tls out"
MAX_PEM_BYTES = 1024 * 1024  # all the CAs of the world take 220 kB


class UnusableFile(OSError):
    """A file of a `tls` cannot be used, for the reason in its text. `key` names it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def to_tls(value: dict[str, Any], node: Node, scope: Scope) -> Tls:
    """Tries the certificates. Raises ConfigInvalid about the key that names a bad file."""
    if "key_file" in value and "cert_file" not in value:
        raise node.error("key_file needs cert_file beside it")
    assert isinstance(node.value, dict)  # else Fields would have refused it
    for name in FILES:
        if name in value:
            with regular_file(value[name], MAX_PEM_BYTES, node.value[name].node, scope):
                pass
    absolute = {n: str((scope.folder / value[n]).absolute()) for n in FILES if n in value}
    tls = Tls(**value | absolute)
    try:
        _load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)
    except UnusableFile as error:
        raise node.value[error.key].node.error(str(error)) from None
    return tls


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The context for a `tls`, whose server name is no part of it. Raises UnusableFile.

    Every Python from 3.11 on and curl verify alike: ssl.create_default_context of 3.13 and newer
    refuses certificates without key identifiers, which curl accepts.
    https://docs.python.org/3/library/ssl.html#ssl.create_default_context
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # `ca_file` may be an intermediate CA
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not tls.ca_file:
        context.load_default_certs()
    _load_files(context, tls)
    return context


def _load_files(context: ssl.SSLContext, tls: Tls) -> None:
    if tls.ca_file:
        try:
            context.load_verify_locations(tls.ca_file)
        except OSError as error:
            message = f"expected certificates in {tls.ca_file}, got: {_reason(error)}"
            raise UnusableFile("ca_file", message) from None
    if tls.cert_file:
        try:
            # An encrypted key would make OpenSSL ask for a password on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            files = " and ".join(filter(None, (tls.cert_file, tls.key_file)))
            message = f"expected a certificate and its unencrypted key in {files}, got: "
            raise UnusableFile("cert_file", message + _reason(error)) from None


def _reason(error: OSError | ValueError) -> str:
    """OpenSSL's words without its file and line, which differ from build to build."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


TLS = Converted(
    Fields(
        "a mapping such as {ca_file: /etc/ca/ca.crt}",
        {
            "ca_file": Described(
                FILE_PATH,
                "PEM file of the CAs that may have signed the pods' certificates, in place of the "
                "system trust store.",
                "/etc/ca/ca.crt",
            ),
            "cert_file": Described(
                FILE_PATH,
                "PEM file of the worker's own certificate with its chain; with its key as well, "
                "unless `key_file` is set.",
                "/etc/client/tls.crt",
            ),
            "key_file": Described(
                FILE_PATH, "PEM file of the key of `cert_file`, unencrypted.", "/etc/client/tls.key"
            ),
            "server_name": Described(
                Text("a DNS name", rf"({LABEL}\.)*{LABEL}", most=MAX_NAME_CHARACTERS),
                "The name to send as SNI and to verify, in place of the URL's host.",
                "web.shop.svc",
            ),
            "insecure_skip_verify": Described(
                Boolean(),
                "`true` turns verification off: whoever answers gets the request.",
                True,
                Tls().insecure_skip_verify,
            ),
        },
        secret=True,
    ),
    to_tls,
    {"dependentRequired": {"key_file": ["cert_file"]}},
)
