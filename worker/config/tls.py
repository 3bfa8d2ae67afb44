"""The certificates of a broadcast's `tls` -> an SSLContext."""

from __future__ import annotations

import ssl

from worker.model import Tls


class TlsMaterialError(ValueError):
    """A certificate, key or CA file that cannot be used. `key` is its name below `tls`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Loads the certificates. Raises TlsMaterialError."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        message = f"expected certificates in {tls.ca_file}, got: {_text(error)}"
        raise TlsMaterialError("ca_file", message) from None
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
            raise TlsMaterialError("cert_file", message + _text(error)) from None
    return context


def _text(error: OSError | ValueError) -> str:
    """OpenSSL's words without its file and line, which differ from build to build."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
