"""Secret values -> `***`, in every encoding from which a decoder would turn them back.

A text is searched as it is, and then as it reads when it is decoded: percent-encoding, HTML's
character references, the escapes of JSON and of programming languages, in any mix. What was
decoded is decoded again, since whoever echoes an echo encodes it twice. Base64 is not decoded:
the secret is looked for in each of the ways in which base64 can spell it.
"""

from __future__ import annotations

import contextlib
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from html.entities import name2codepoint
from itertools import takewhile
from typing import NamedTuple

MASK = "***"
# The beginning of a longer secret is looked for, and then as much of it as follows: the pod that
# echoes it, or a limit of this program, may have cut it off.
HEAD_CHARACTERS = 32
# A shorter piece of base64 would occur by chance in text that holds no secret.
MIN_BASE64_DIGITS = 8
# Of all that becomes of one text: a short one may be encoded many times over, and a long one takes
# no more time than that.
MAX_DECODED_CHARACTERS = 64 * 1024
# What one decoder takes for an escape. One at a time: a secret may have characters that mean
# something to another one.
ESCAPES = tuple(
    re.compile(pattern, re.VERBOSE)
    for pattern in (
        r"%u(?P<hex4>[0-9A-Fa-f]{4}) | %(?P<hex2>[0-9A-Fa-f]{2})",  # RFC 3986, 2.1
        r"""
          &\#[Xx]0*(?P<hex>[0-9A-Fa-f]{1,6});?
        | &\#0*(?P<decimal>[0-9]{1,7});?
        | &(?P<name>[A-Za-z][A-Za-z0-9]{1,7});
        """,
        r"""
          \\u(?P<pair>[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})  # RFC 8259, 7
        | \\u(?P<hex4>[0-9A-Fa-f]{4})
        | \\u\{0*(?P<hex>[0-9A-Fa-f]{1,6})\}
        | \\U00(?P<hex6>[0-9A-Fa-f]{6})
        | \\x(?P<hex2>[0-9A-Fa-f]{2})
        | \\(?P<quoted>["'/\\nr])
        """,
        # UTF-8 that was read as latin-1, as header fields and decoded bytes are.
        "(?P<utf_8>[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})",
        r"(?P<line_end>[\r\n]+)",  # of base64
    )
)
LINE_ENDS = ESCAPES[-1]
ESCAPED = re.compile("[%&\\\\\r\n]|[\xc2-\xf4][\x80-\xbf]")
# Those of HTML 4, which is what servers write, and of JSON.
CHARACTERS = {name: chr(number) for name, number in name2codepoint.items()}
CHARACTERS |= {"apos": "'", "n": "\n", "r": "\r"}


class Masker:
    """Masks the secrets that it was told of. Before that, it changes nothing.

    One thread masks, while others may tell it of more secrets.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._forms: list[tuple[str, str]] = []  # with their heads
        self._heads: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on these are masked as well."""
        new = set(secrets) - self._known
        if not new:
            return
        forms = {_spaced(form) for secret in new for form in _forms(secret)}
        forms |= {LINE_ENDS.sub("", form) for form in forms}
        self._forms += [(form[:HEAD_CHARACTERS], form) for form in forms]
        self._heads += {form[:HEAD_CHARACTERS] for form in forms}.difference(self._heads)
        self._known |= new

    def may_find(self, text: str) -> bool:
        """False if there is certainly no secret in the text, which most lines take no more for."""
        if not self._forms:
            return False
        spaced = _spaced(text)
        return bool(ESCAPED.search(text)) or any(head in spaced for head in self._heads)

    def mask(self, text: str, end: int | None = None) -> str:
        """The first `end` characters of the text, with every secret replaced.

        Give it more of the text than it is to return: of a secret that is cut off at the text's own
        end, fewer than 32 characters are not recognized.
        """
        end = len(text) if end is None else end
        pieces, at = [], 0
        for start, stop in self._find(text):
            if start < end and stop > at:
                pieces += [text[at:start], MASK] if start >= at else []
                at = stop
        return "".join([*pieces, text[at:end]])

    def _find(self, text: str) -> list[tuple[int, int]]:
        """The places of all secrets, in their order. They may overlap."""
        found: list[tuple[int, int]] = []
        for layer in _layers(text) if self._forms else ():
            spaced = _spaced(layer.text)
            for head, form in self._forms:
                at = spaced.find(head)
                while at >= 0:
                    pairs = zip(form, spaced[at : at + len(form)], strict=False)
                    end = at + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                    found.append((layer.starts[at], layer.stops[end - 1]))
                    at = spaced.find(head, end)
        return sorted(found)


class Layer(NamedTuple):
    """A text that was decoded, and where each of its characters starts and stops in the first."""

    text: str
    starts: Sequence[int]
    stops: Sequence[int]


def _spaced(text: str) -> str:
    """A form (HTML) writes a space as a plus, so the two are taken for one."""
    return text.replace("+", " ")


def _layers(text: str) -> Iterator[Layer]:
    """The text, and what becomes of it when it is decoded, once or several times."""
    places = range(len(text) + 1)
    layers = [Layer(text, places[:-1], places[1:])]
    known = {text}
    room = MAX_DECODED_CHARACTERS
    for layer in layers:
        yield layer
        for escapes in ESCAPES:
            if room > 0 and escapes.search(layer.text):
                decoded = _decode(layer, escapes)
                room -= len(layer.text)
                if decoded.text not in known:
                    known.add(decoded.text)
                    layers.append(decoded)


def _decode(layer: Layer, escapes: re.Pattern[str]) -> Layer:
    pieces: list[str] = []
    starts: list[int] = []
    stops: list[int] = []
    at = 0
    for escape in escapes.finditer(layer.text):
        first, end = escape.span()
        character = _character(escape)
        pieces += layer.text[at:first], character
        starts += layer.starts[at:first]
        stops += layer.stops[at:first]
        if character:
            starts.append(layer.starts[first])
            stops.append(layer.stops[end - 1])
        at = end
    text = "".join([*pieces, layer.text[at:]])
    return Layer(text, [*starts, *layer.starts[at:]], [*stops, *layer.stops[at:]])


def _character(escape: re.Match[str]) -> str:
    """The character that is meant; none for the end of a line."""
    kind = escape.lastgroup or ""
    text = escape[kind]
    if kind == "line_end":
        return ""
    if kind == "name":
        return CHARACTERS.get(text, "&")
    if kind == "quoted":
        return CHARACTERS.get(text, text)
    if kind == "utf_8":
        return text.encode("latin-1").decode(errors="ignore") or text[0]
    if kind == "pair":
        return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be")
    number = int(text, 10 if kind == "decimal" else 16)
    return chr(number) if number <= 0x10FFFF else escape[0][:1]


def _forms(secret: str) -> Iterator[str]:
    """The secret as it is, as another encoding's characters, and in base64."""
    yield secret
    spellings = {secret.encode()}
    for codec in ("latin-1", "cp1252"):
        with contextlib.suppress(UnicodeEncodeError):
            spellings.add(secret.encode(codec))
    for data in spellings:
        # A pod writes it in one encoding, and it is read in another.
        yield data.decode("latin-1")
        yield data.decode("cp1252", errors="replace")
        yield data.decode(errors="replace")
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(data).decode()
            yield encode(data).decode().rstrip("=")
            # Base64 takes three bytes at a time, so inside a longer text the secret has one of
            # three spellings. Its first and last digits depend on its neighbours as well.
            for shift in range(3):
                digits = encode(bytes(shift) + data).decode().rstrip("=")
                whole = digits[shift + (shift > 0) : (shift + len(data)) * 8 // 6]
                if len(whole) >= MIN_BASE64_DIGITS:
                    yield whole
