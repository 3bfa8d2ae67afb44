"""What somebody who wrote something else probably meant. Pure guesses, for the end of a message.

Nothing here decides whether a value is right: that is the business of `kinds` and `parts`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote

LONGEST_HOURS = 24

# Words of other tools, and the keys that they stand for: the first that is known there.
ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("retries", "retry", "tries", "max_attempts", "max_retries"), ("attempts",)),
    **dict.fromkeys(
        ("parallelism", "parallel", "workers", "threads", "max_concurrency", "max_parallel"),
        ("concurrency",),
    ),
    **dict.fromkeys(("verb", "http_method", "type"), ("method",)),
    **dict.fromkeys(("interval", "delay", "sleep", "pause", "spacing"), ("stagger",)),
    **dict.fromkeys(("retry_delay", "retry_interval", "wait"), ("backoff",)),
    **dict.fromkeys(("data", "payload", "content"), ("body",)),
    **dict.fromkeys(("uri", "address", "target", "link", "request_url"), ("url",)),
    **dict.fromkeys(("timeout_seconds", "request_timeout", "read_timeout"), ("timeout",)),
    **dict.fromkeys(("dial_timeout", "connection_timeout"), ("connect_timeout",)),
    **dict.fromkeys(("replicas", "min_replicas", "minimum", "min_endpoints"), ("min_pods",)),
    **dict.fromkeys(("labels", "groups", "label"), ("tags",)),
    **dict.fromkeys(("id", "title", "job"), ("name",)),
    **dict.fromkeys(("log_body", "debug", "verbose"), ("log_response",)),
    **dict.fromkeys(("file", "body_from_file"), ("body_file",)),
    **dict.fromkeys(("max_duration", "total_timeout"), ("deadline",)),
    **dict.fromkeys(("var", "variable", "environment"), ("env",)),
    **dict.fromkeys(("path", "file_path", "from_file"), ("file",)),
    **dict.fromkeys(("token", "bearer_token"), ("bearer",)),
    **dict.fromkeys(("user", "login"), ("username", "basic")),
    **dict.fromkeys(("pass", "passwd", "pwd"), ("password", "basic")),
    **dict.fromkeys(("username", "password", "basic_auth"), ("basic",)),
    **dict.fromkeys(("ca", "cacert", "ca_cert", "ca_bundle"), ("ca_file",)),
    **dict.fromkeys(("cert", "certificate", "client_cert"), ("cert_file",)),
    **dict.fromkeys(("key", "client_key", "private_key"), ("key_file",)),
    **dict.fromkeys(("insecure", "skip_verify", "verify"), ("insecure_skip_verify",)),
    **dict.fromkeys(("sni", "servername", "host"), ("server_name",)),
    **dict.fromkeys(("code", "codes", "status_code", "status_codes"), ("status",)),
    **dict.fromkeys(("body", "contains", "text"), ("body_contains",)),
    **dict.fromkeys(("start", "min"), ("initial",)),
    **dict.fromkeys(("jobs", "items", "entries", "requests", "targets"), ("broadcasts",)),
    **dict.fromkeys(("common", "global", "globals"), ("defaults",)),
}
# Of a broadcast: words that belong one level deeper.
DEEPER: dict[str, str] = {
    **dict.fromkeys(
        ("username", "password", "user", "basic", "basic_auth", "credentials"),
        "auth: {basic: {username: …, password: …}}",
    ),
    **dict.fromkeys(("bearer", "token", "bearer_token"), "auth: {bearer: …}"),
    **dict.fromkeys(("authorization",), "auth"),
    **dict.fromkeys(("ca", "cacert", "ca_file", "ca_cert", "ca_bundle"), "tls: {ca_file: …}"),
    **dict.fromkeys(("cert", "cert_file", "client_cert"), "tls: {cert_file: …}"),
    **dict.fromkeys(("key_file", "client_key"), "tls: {cert_file: …, key_file: …}"),
    **dict.fromkeys(
        ("insecure", "verify", "skip_verify", "insecure_skip_verify"),
        "tls: {insecure_skip_verify: …}",
    ),
    **dict.fromkeys(("server_name", "sni"), "tls: {server_name: …}"),
    **dict.fromkeys(
        ("status", "status_code", "status_codes", "expected_status", "expect_status", "success"),
        "expect: {status: […]}",
    ),
    **dict.fromkeys(("body_contains", "contains"), "expect: {body_contains: …}"),
    **dict.fromkeys(("content_type", "user_agent", "host_header"), "headers"),
}
NOTES = {
    **dict.fromkeys(("schedule", "cron"), "the CronJob has the schedule"),
    **dict.fromkeys(
        ("follow_redirects", "redirects", "allow_redirects"),
        "redirects are never followed; list a 3xx in expect.status to accept it",
    ),
    **dict.fromkeys(
        ("enabled", "disabled"), "leave the broadcast out, or choose with --broadcast or --tag"
    ),
    **dict.fromkeys(
        ("secret", "secret_key_ref", "value_from", "secret_name", "vault", "value"),
        "a Secret comes as a variable or a mounted file: {env: NAME} or {file: PATH}",
    ),
}

# What libyaml says, and what to do about it.
SYNTAX = {
    "found a tab character that violates indentation": "indent with spaces",
    "found character that cannot start any token": "put the text into quotes",
    "mapping values are not allowed in this context": "put text that holds `: ` into quotes, and "
    "indent a key as the keys above it",
    "did not find expected '-' indicator": "indent a key as the keys above it",
    "did not find expected key": "indent a key as the keys above it",
    "could not find expected ':'": "write `key: value`, with a space after the colon",
    "found unexpected end of stream": "a quote is not closed",
    "did not find expected ',' or ']'": "a [ is not closed",
    "did not find expected ',' or '}'": "a { is not closed",
    "did not find expected alphabetic or numeric character": "put text that starts with * or & "
    "into quotes",
    "unexpected character: '%'": "put the text into quotes",
}


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that is spelled most alike."""
    from difflib import get_close_matches  # 5 ms, and most configurations are right

    return next(iter(get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)), None)


def key(name: str, known: Collection[str]) -> str:
    """A hint for a key that means nothing, where these are known."""
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]+", "_", name).lower()
    if word in known:
        return f"did you mean {word}?"
    if word in NOTES and ("env" in known or "url" in known or "timeout" in known):
        return NOTES[word]
    if word in DEEPER and "timeout" in known:
        return f"write {DEEPER[word]}"
    meant = next((alias for alias in ALIASES.get(word, ()) if alias in known), None)
    meant = meant or nearest(word, known)
    return f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"


def name(text: str) -> str:
    """A DNS label made of a text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:63].strip("-")


def variable(text: str) -> str:
    """The name in `$NAME`, `${NAME}` or `$(NAME)`."""
    found = re.fullmatch(r"\$(?:([A-Z_][A-Z0-9_]*)|\{(\w+)\}|\((\w+)\))", text, re.ASCII)
    return next(filter(None, found.groups())) if found else ""


def url(text: str) -> str:
    """A URL of which the scheme was left out, or which holds what must be percent-encoded."""
    whole = text.strip()
    if not re.match("[a-z][a-z0-9+.-]*:/", whole, re.IGNORECASE):
        whole = f"http://{whole.lstrip('/')}"
    scheme, _, rest = whole.partition(":")
    authority, slash, path = rest.lstrip("/").partition("/")
    path = quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", path), safe="%~:/?#[]@!$&'()*+,;=-._")
    return f"{scheme}://{authority}{slash}{path}"


def is_template(text: str) -> bool:
    """Whether it waits for somebody to fill it in."""
    return bool(re.search(r"\$[{(]|\{\{|<[^>]*>|%\(", text))


UNITS = (
    ("ms|milli", 1e-3, "ms"),
    ("d", 86400, "h"),
    ("h", 3600, "h"),
    ("m", 60, "m"),
    ("s", 1, "s"),
)
SPELLED = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|milli|[smhd])[a-z]*", re.ASCII)


def duration(text: str) -> str:
    """A duration as Go writes it, for one that is written otherwise; or nothing."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f"{text}s if seconds are meant"
    plain = text.strip().lower()
    if iso := re.fullmatch(r"pt((?:[0-9]+[hms])+)", plain):
        return iso[1]
    if clock := re.fullmatch(r"(?:([0-9]+):)?([0-9]{1,2}):([0-9]{2})", plain):
        parts = zip(clock.groups(), "hms", strict=True)
        return "".join(f"{int(n)}{unit}" for n, unit in parts if n and int(n))
    if not SPELLED.match(plain) or SPELLED.sub("", plain).strip(" ,and"):
        return ""
    seconds, written = 0.0, ""
    for number, word in SPELLED.findall(plain):
        factor, unit = next((f, u) for words, f, u in UNITS if word in words.split("|"))
        seconds += float(number) * factor
        days = word == "d"
        written += f"{float(number) * 24:g}h" if days else f"{number}{unit}"
    return written if seconds <= LONGEST_HOURS * 3600 else f"{LONGEST_HOURS}h, which is the most"


def status(text: str) -> str:
    """A status code or class."""
    plain = text.strip().lower()
    if re.fullmatch("[2-5][0-9][0-9]", plain):
        return f"{plain} without quotes"
    if found := re.fullmatch(r"([2-5])(?:[x*.]{1,2}|[0-9]{2}\s*-\s*\1?[0-9]{2})?", plain):
        return f"{found[1]}xx"
    return "2xx" if plain in {"ok", "success", "any"} else ""


TRUE = {"yes", "on", "y", "true", "1", "enabled"}
FALSE = {"no", "off", "n", "false", "0", "disabled"}


def truth(value: object) -> str:
    word = str(value).lower()
    return "true" if word in TRUE else "false" if word in FALSE else ""
