"""One HTTP/1.x response, read strictly as it arrives. The module that knows httptools.

What cannot be trusted is an error: a status line alone is no response, nor are header fields that
break off, nor a body that is shorter than it says (RFC 9112, 8). What it means is for `judge`.
"""

from __future__ import annotations

import httptools

KEPT_BODY_BYTES = 64 * 1024
# More than the log keeps: a secret that a pod echoes is masked there before anything is cut.
KEPT_FIELD_BYTES = 4096
MAX_HEADER_BYTES = 64 * 1024
MAX_TRANSFER_BYTES = 1024 * 1024
MAX_INTERIM_RESPONSES = 16


class ProtocolError(Exception):
    """The pod spoke, but not HTTP/1.x as a client may trust it."""


class Response:
    """Collects what httptools reads, and knows when the response is whole (RFC 9112, 6.3)."""

    def __init__(self, method: str) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status_code: int | None = None
        self.phrase = b""
        self.fields: dict[bytes, bytes] = {}
        self.body = bytearray()  # its first 64 KiB
        self.whole = False
        self._bodiless = method == "HEAD"
        self._in_body = False
        self._received = 0
        self._header_bytes = 0
        self._interim = 0
        self._fault: str | None = None

    def feed(self, data: bytes) -> None:
        """Reads some bytes of it. Raises ProtocolError."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.whole = True  # 101, which nobody asked for
        except httptools.HttpParserError as error:
            if not self.whole:  # bytes after the response are no matter: the connection ends here
                raise ProtocolError(str(error)) from None
        if self._fault:
            raise ProtocolError(self._fault)
        if self._interim > MAX_INTERIM_RESPONSES:
            raise ProtocolError(f"more than {MAX_INTERIM_RESPONSES} interim (1xx) responses")
        header_bytes = self._header_bytes if self._in_body else self._received
        if header_bytes > MAX_HEADER_BYTES:
            raise ProtocolError("more than 64 KiB of header fields")
        if self._received > MAX_TRANSFER_BYTES:
            self.whole = True  # cut off; the status decides

    def release(self) -> None:
        """Parser and response refer to each other: without this, memory waits for a collection."""
        del self._parser

    def end(self, reset: ConnectionResetError | None) -> None:
        """The pod closed the connection, by a reset or not. Raises if the response is not whole."""
        if not self._received:
            raise reset or ConnectionResetError("closed before a response")
        if not self._in_body:
            raise ProtocolError("closed in the middle of the header fields")
        if b"content-length" in self.fields or b"transfer-encoding" in self.fields:
            raise ProtocolError("closed in the middle of the body")
        self.whole = True

    def field(self, name: str) -> str | None:
        value = self.fields.get(name.encode())
        return value[:KEPT_FIELD_BYTES].decode("latin-1") if value else None

    # Called by httptools.

    def on_status(self, phrase: bytes) -> None:
        self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        self.fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status_code = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fault = f"HTTP/{version} where HTTP/1.1 was asked for"
        if self.status_code >= 200:
            self._in_body = True
            self.whole = self._bodiless

    def on_body(self, data: bytes) -> None:
        if len(self.body) < KEPT_BODY_BYTES:
            self.body += data[: KEPT_BODY_BYTES - len(self.body)]

    def on_message_complete(self) -> None:
        if self._in_body:
            self.whole = True
        else:
            self._interim += 1
            self.phrase = b""
            self.fields.clear()
