"""What the masker finds that no whole line shows: tests/unit/log/test_setup.py has the lines."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Callable
from html.entities import codepoint2name
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.log.masking import HEAD_CHARACTERS, MAX_DECODED_CHARACTERS, Masker, _layers

SECRET = """pAsS wÖrD "5"'</+&%41;~\\"""


def utf_8_bytes(write: Callable[[int], str]) -> Callable[[str], str]:
    return lambda text: "".join(map(write, text.encode()))


# What a decoder turns back, for one character or for many.
ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent, in a path": quote,
    "percent, every reserved character": lambda text: quote(text, safe=""),
    "percent, as encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "percent, as a form": quote_plus,
    "percent, every byte": utf_8_bytes("%{:02x}".format),
    "percent, of latin-1": lambda text: quote(text.encode("latin-1", "ignore")),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, as it is": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "JSON of Go": lambda text: (
        json.dumps(text)[1:-1].replace("<", r"\u003c").replace("&", r"\u0026")
    ),
    "JSON of Gson": lambda text: json.dumps(text)[1:-1].replace("'", r"\u0027"),
    "JSON, every character": lambda text: "".join(
        rf"\u{unit:04X}" for unit in memoryview(text.encode("utf-16-le")).cast("H")
    ),
    "Python": lambda text: repr(text)[1:-1],
    "Python, as ASCII": lambda text: ascii(text)[1:-1],
    "Python, of bytes": lambda text: repr(text.encode())[2:-1],
    "JavaScript": lambda text: "".join(f"\\u{{{ord(c):x}}}" for c in text),
    "HTML": html.escape,
    "HTML, named": lambda text: "".join(
        f"&{codepoint2name[ord(c)]};" if ord(c) in codepoint2name else c for c in text
    ),
    "HTML, quotes in XML": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
    "HTML, decimal": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(c):05X};" for c in text),
    "UTF-8, read as latin-1": lambda text: text.encode().decode("latin-1"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 in lines": lambda text: base64.encodebytes(text.encode() * 2).decode(),
}


@pytest.mark.parametrize("outer", ENCODERS)
@pytest.mark.parametrize("inner", ENCODERS)
def test_a_secret_is_masked_in_every_encoding_and_each_in_another(inner: str, outer: str) -> None:
    beyond_latin_1 = "" if "latin-1" in inner + outer else "€\U0001f511"
    secret = f"{SECRET}{beyond_latin_1}"
    echo = ENCODERS[outer]("<" + ENCODERS[inner](secret) + ">")
    masked = Masker([secret]).mask(echo)
    if outer.startswith("base64") and inner != "as it is":
        return  # whoever encodes what was encoded already is not found
    assert "***" in masked
    assert masked.count("***") == (2 if "lines" in inner + outer else 1)
    if "base64" not in inner:  # whose last digits depend on what follows
        assert len(masked) < 60


def mixed(draw: Callable[[st.SearchStrategy[str]], str], secret: str) -> str:
    """Each character in an encoding of its own."""
    names = st.sampled_from([n for n in ENCODERS if not n.startswith(("base64", "percent, of"))])
    return "".join(ENCODERS[draw(names)](character) for character in secret)


CHARACTERS = st.characters(
    min_codepoint=0x20, exclude_categories=("Cs", "Cc"), exclude_characters="<>"
)


# A secret that looks like an encoding of something else is found in one encoding at a time.
AMBIGUOUS = re.compile("[%&\\\\]|[\xc2-\xf4][\x80-\xbf]")


@given(
    st.data(),
    st.text(CHARACTERS, min_size=1, max_size=20).filter(lambda text: not AMBIGUOUS.search(text)),
)
def test_each_character_may_be_encoded_otherwise(data: st.DataObject, secret: str) -> None:
    echo = mixed(data.draw, secret)
    assert Masker([secret]).mask(f"<<{echo}>>") == "<<***>>"


def test_utf_8_that_was_read_as_windows_1252_is_masked() -> None:
    secret = "pässwörd €5"
    assert Masker([secret]).mask(f"<{secret.encode().decode('cp1252')}>") == "<***>"


def test_it_learns_more_and_forgets_nothing() -> None:
    masker = Masker(["first-secret"])
    masker.learn(["second-secret"])
    masker.learn(["first-secret"])
    assert masker.mask("first-secret second-secret third-secret") == "*** *** third-secret"
    assert masker.may_find("a second-secret")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(1, 4))
def test_a_secret_within_longer_base64_is_masked(
    before: int, after: int, encode: Callable[[bytes], bytes]
) -> None:
    """But for the digits that it shares with its neighbours."""
    secret = b"correct horse battery staple ~~~???"
    echo = encode(b"u" * before + secret + b"v" * after).decode()
    first, last = math.ceil(before * 8 / 6), (before + len(secret)) * 8 // 6
    assert Masker([secret.decode()]).mask(f"<{echo}>") == f"<{echo[:first]}***{echo[last:]}>"


@pytest.mark.parametrize(("secret", "masked"), [("sixsix", "***eA=="), ("five5", "Zml2ZTV4")])
def test_a_shorter_piece_of_base64_than_eight_digits_is_left(secret: str, masked: str) -> None:
    """It would occur by chance in text that holds no secret."""
    assert Masker([secret]).mask(base64.b64encode(f"{secret}x".encode()).decode()) == masked


@pytest.mark.parametrize("codec", ["utf-8", "latin-1", "cp1252"])
def test_base64_of_another_encoding_is_masked(codec: str) -> None:
    """Whoever reads the user's part of Basic credentials decides in which (RFC 7617, 2.1)."""
    secret = "grün€" if codec == "cp1252" else "grün und blau"
    echo = base64.b64encode(secret.encode(codec)).decode()
    assert Masker([secret]).mask(f"<{echo}>") == "<***>"


@pytest.mark.parametrize("secrets", [["abc", "abcdef"], ["abcdef", "abc"]])
def test_a_secret_that_begins_with_another_is_masked_whole(secrets: list[str]) -> None:
    assert Masker(secrets).mask("<abcdef> <abc>") == "<***> <***>"


def test_secrets_that_overlap_are_both_masked() -> None:
    assert Masker(["abcd", "cdef"]).mask("<abcdef>") == "<***>"


LONG = "".join(chr(0x21 + index * 7 % 90) for index in range(200))


@pytest.mark.parametrize("length", [HEAD_CHARACTERS, 100, 199, 200])
def test_the_beginning_of_a_long_secret_is_masked_as_far_as_it_goes(length: int) -> None:
    assert Masker([LONG]).mask(f"<{LONG[:length]}>") == "<***>"


@pytest.mark.parametrize("length", [32, 33, 40, 63])
def test_a_long_secret_that_ends_with_the_text_is_masked(length: int) -> None:
    assert Masker([LONG]).mask(f"got {LONG[:length]}") == "got ***"


@pytest.mark.parametrize("end", [0, 3, 4, 5, 100, 203, 204, 205, 207])
def test_a_cut_is_made_after_the_masking(end: int) -> None:
    text = f"1234{LONG}567"
    masked = {4: "1234", 204: "1234***", 205: "1234***5", 207: "1234***567"}.get(
        end, "1234"[:end] if end < 4 else "1234***"
    )
    assert Masker([LONG]).mask(text, end) == masked


def test_a_secret_may_be_one_character_at_the_end() -> None:
    assert Masker(["x"]).mask("axbx") == "a***b***"


def test_nothing_but_the_secret_is_masked() -> None:
    text = r"50% of 3 &lt; 4 &amp; C:\users\u0041 \ %zz &#; &#xFFFFFF; \ud800"
    assert Masker(["hunter2"]).mask(text) == text


@pytest.mark.parametrize("between", ["", "\n", "\r\n", "\\n", "%0A"])
def test_a_secret_of_several_lines_is_masked_however_they_are_joined(between: str) -> None:
    """A body from a mounted Secret, or a key."""
    masker = Masker(["first line\nsecond line"])
    assert masker.mask(f"got first line{between}second line!") == "got ***!"


def test_what_is_decoded_of_one_text_is_bounded() -> None:
    """Each of its 30,000 layers is decoded to the next, which would take minutes."""
    nested = "%" + "25" * (MAX_DECODED_CHARACTERS // 2 - 10) + "41"
    assert [len(nested) - len(layer.text) for layer in _layers(nested)] == [0, 2, 4]


def test_most_text_is_not_searched() -> None:
    masker = Masker(["hunter2", "s3cret"])
    assert not masker.may_find("nothing of the kind")
    assert masker.may_find("nothing but s3cret")


def test_without_secrets_nothing_changes() -> None:
    assert Masker(()).mask("text %41") == "text %41"
    assert not Masker(()).may_find("text %41")
