"""`tls` -> Tls, and the SSLContext that goes with it.

Certificates are read once, while the configuration is loaded: a file that cannot be used is an
error with its place, and a pipe such as /dev/fd/3 can be read no second time.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from worker.config.errors import Place
from worker.config.secret import FILE_PATH
from worker.config.url import LABEL
from worker.config.values import Boolean, Converted, Described, Fields, Scope, Text
from worker.config.yaml import Node
from worker.model import Tls

FILES = ("ca_file", "cert_file", "key_file")


def to_tls(value: dict[str, Any], node: Node, scope: Scope) -> Tls:
    """Loads the certificates, too. Raises ConfigInvalid about the key that names a bad file."""
    if "key_file" in value and "cert_file" not in value:
        raise node.error("key_file needs cert_file beside it")
    absolute = {n: str((scope.folder / value[n]).absolute()) for n in FILES if n in value}
    tls = Tls(**value | absolute)
    assert isinstance(node.value, dict)  # else Fields would have refused it
    places = {name: field.node.place for name, field in node.value.items()}
    shared_context(tls, scope.tls_contexts, places)
    return tls


def shared_context(
    tls: Tls, contexts: dict[Tls, ssl.SSLContext], places: dict[str, Place]
) -> ssl.SSLContext:
    """The context of `tls` in `contexts`, made if it is not there yet.

    The server's name is no part of a context, so all names share one.
    """
    key = tls._replace(server_name=None)
    if key not in contexts:
        contexts[key] = tls_context(tls, places)
    return contexts[key]


def tls_context(tls: Tls, places: Mapping[str, Place]) -> ssl.SSLContext:
    """Loads the certificates. Raises ConfigInvalid at the place of the key that names a bad file.

    https://docs.python.org/3/library/ssl.html#ssl.create_default_context
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        message = f"expected certificates in {tls.ca_file}, got: {_reason(error)}"
        raise places["ca_file"].error(message) from None
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        try:
            # An encrypted key would make OpenSSL ask for a password on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            files = " and ".join(filter(None, (tls.cert_file, tls.key_file)))
            message = f"expected a certificate and its unencrypted key in {files}, got: "
            raise places["cert_file"].error(message + _reason(error)) from None
    return context


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
                Text("a DNS name", rf"({LABEL}\.)*{LABEL}"),
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
