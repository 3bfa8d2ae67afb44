"""Secret values -> `***`, in every encoding in which a pod or a library may repeat them."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter piece of base64 would occur by chance in text that holds no secret.
MIN_BASE64_DIGITS = 8


class Masker:
    """Masks the secrets that it was told of. Before that, it changes nothing."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on these are masked, and no others."""
        forms = {form for secret in secrets for form in _encodings(secret)}
        # The longest first: a secret may begin with another one.
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        """The text with every secret replaced. Give it whole: a cut secret is not recognized."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _encodings(secret: str) -> Iterator[str]:
    """The secret as it is, percent-encoded, quoted by JSON and by Python, and in base64."""
    data = secret.encode()
    percent = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    yield secret
    yield from percent
    yield from (re.sub("%..", lambda match: match[0].lower(), form) for form in percent)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        # Base64 takes three bytes at a time, so inside a longer text the secret has one of three
        # spellings. Its first and last digits depend on its neighbours as well and are left out.
        for shift in range(3):
            digits = encode(bytes(shift) + data).decode().rstrip("=")
            whole = digits[shift + (shift > 0) : (shift + len(data)) * 8 // 6]
            if len(whole) >= MIN_BASE64_DIGITS:
                yield whole
