"""One HTTP/1.x response, read strictly as it arrives. The module that knows httptools.

What cannot be trusted is an error: a status line alone is no response, nor are header fields that
break off, nor a body that is shorter than it says (RFC 9112, 8). What it means is for `judge`.
"""

from __future__ import annotations

import httptools

KEPT_BODY_BYTES = 64 * 1024  # `expect` looks no further
KEPT_FIELDS = frozenset(
    (b"allow", b"content-length", b"location", b"retry-after", b"server", b"transfer-encoding")
)
# Of a field, or of the body for the log. The log shows 2,000 bytes at most, so what is cut off here
# would not be shown, and a secret that is cut in two is recognized by its beginning.
KEPT_FIELD_BYTES = 4096
MAX_HEADER_BYTES = 64 * 1024  # a longer head is no answer of a pod
# So much is read, to see whether the body breaks off. A longer response is a download, and nobody
# waits for its end: it counts as whole.
MAX_TRANSFER_BYTES = 1024 * 1024
MAX_INTERIM_RESPONSES = 16  # servers send one or two (100, 103); more only hold a call up
SWITCHING_PROTOCOLS = 101  # nobody asked for it, and no HTTP follows


class ProtocolError(Exception):
    """The pod spoke, but not HTTP/1.x as a client may trust it."""


class _Stop(Exception):
    """Makes the parser stop."""


class Response:
    """Reads up to the end of the first final response (RFC 9112, 6.3), and knows when it is there.

    Nothing depends on how the bytes are cut into packets: limits hold at a byte, and what follows
    the response is not read, be it in the same packet. It keeps what somebody asks for, and no
    more: a thousand of them are read at once.
    """

    def __init__(self, method: str, kept_bytes: int) -> None:
        """`method`: of its request. `kept_bytes`: of the body, from its start."""
        self._kept_bytes = kept_bytes
        self._parser = httptools.HttpResponseParser(self)
        self.status_code: int | None = None
        self.phrase = b""
        self.fields: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.body_bytes = 0  # of which `body` has the first ones
        self.whole = False
        self._bodiless = method == "HEAD"
        self._in_body = False
        self._received = 0
        self._head_end = b""  # the last bytes of the head, as far as it has been read
        self._interim = 0
        self._interim_over = False
        self._fault: str | None = None

    def feed(self, data: bytes) -> None:
        """Reads some bytes of it. Raises ProtocolError."""
        while data and not self.whole:
            limit = MAX_TRANSFER_BYTES if self._in_body else MAX_HEADER_BYTES
            room = limit - self._received
            if room:
                read = self._parse(data[:room])
                self._received += read
                data = data[read:]
            elif self._in_body:
                self.whole = True  # cut off; the status decides
            else:
                raise ProtocolError("more than 64 KiB of header fields")

    def _parse(self, data: bytes) -> int:
        """Returns the number of bytes read: all, unless an interim response ends among them."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._interim_over:
                return self._begin_again(data)
            if not self.whole:
                raise ProtocolError(self._fault or str(error)) from None
        if not self._in_body:
            self._head_end = self._head_with(data)[-3:]
        return len(data)

    def _head_with(self, data: bytes) -> bytes:
        """The end of the head so far, and `data`. The parser allows empty lines before it."""
        return self._head_end + data if self._head_end else data.lstrip(b"\r\n")

    def _begin_again(self, data: bytes) -> int:
        """Starts anew behind an interim response (RFC 9110, 15.2). Returns its bytes in `data`.

        Each gets a parser of its own: one that has seen `Connection: close` takes nothing more.
        """
        self._interim += 1
        if self._interim > MAX_INTERIM_RESPONSES:
            raise ProtocolError(f"more than {MAX_INTERIM_RESPONSES} interim (1xx) responses")
        head = self._head_with(data)
        behind = len(head) - head.index(b"\r\n\r\n") - 4
        self._parser = httptools.HttpResponseParser(self)
        self._interim_over = False
        self._head_end = b""
        self.phrase = b""
        self.fields.clear()
        return len(data) - behind

    def release(self) -> None:
        """Parser and response refer to each other: without this, memory waits for a collection."""
        del self._parser

    def end(self, reset: ConnectionResetError | None) -> None:
        """Books the end of the connection. Raises ProtocolError or OSError if it came too early."""
        if not self._received:
            raise reset or ConnectionResetError("closed before a response")
        if not self._in_body:
            raise ProtocolError("closed in the middle of the header fields")
        if b"content-length" in self.fields or b"transfer-encoding" in self.fields:
            raise ProtocolError("closed in the middle of the body")
        self.whole = True

    def field(self, name: str) -> str | None:
        """A header field of the final response: neither of an interim one nor of a trailer."""
        value = self.fields.get(name.encode()) if self._in_body else None
        return value.decode("latin-1") if value else None

    # Called by httptools. An exception stops the parser; `_parse` learns the reason from `self`.

    def on_message_begin(self) -> None:
        if self.whole:
            raise _Stop

    def on_status(self, phrase: bytes) -> None:
        self.phrase = (self.phrase + phrase)[:KEPT_FIELD_BYTES]

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body and name.lower() in KEPT_FIELDS:
            self.fields[name.lower()] = value[:KEPT_FIELD_BYTES]

    def on_headers_complete(self) -> None:
        self.status_code = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fault = f"HTTP/{version} where HTTP/1.1 was asked for"
            raise _Stop
        if self.status_code < 200 and self.status_code != SWITCHING_PROTOCOLS:
            self._interim_over = True
            raise _Stop
        self._in_body = True
        if self._bodiless or self.status_code == SWITCHING_PROTOCOLS:
            self.whole = True
            raise _Stop

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if len(self.body) < self._kept_bytes:
            self.body += data[: self._kept_bytes - len(self.body)]

    def on_message_complete(self) -> None:
        self.whole = True
