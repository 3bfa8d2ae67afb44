"""Whoever follows a suggestion is not told next that the same value is wrong, and stays secure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.unit.config.reading import ENVIRONMENT
from worker.config import load as config
from worker.config.errors import ConfigError, ConfigInvalid, Errors
from worker.config.keys import KEYS
from worker.config.yaml import parse, plain

Entry = dict[str, Any]
NUMBERS = count()
BASE: Entry = {"name": "a", "url": "http://web:8080/clear"}
HTTPS: Entry = {"name": "a", "url": "https://web:8443/clear"}
BY_API: Entry = {"name": "a", "url": "http://web/clear", "discovery": "endpointslices"}
BASES = {"tls": HTTPS, "include_not_ready": BY_API, "port_name": BY_API}  # of keys that need more
EXAMPLES: Entry = {
    key.name: plain(parse(key.example.encode(), "", Errors()))
    for key in KEYS
    if key.name not in BASE
}
EXAMPLES["auth"] = {"bearer": {"env": "TOKEN"}}
EXAMPLES["tls"] = {"server_name": "web"}
ODD_VALUES = [
    *(
        0,
        1,
        5,
        10,
        2.5,
        -1,
        100_000,
        True,
        None,
        [],
        {},
        "",
        "0",
        "5",
        "yes",
        "off",
        "POST",
        "post",
    ),
    *("10", "10 s", "10 minutes", "1 hour and 30 min", "2 days", "36 hours", "5M", "10 apples"),
    *("1d", "PT5M", "1:30", "0 s", "200", "2XX", "200-299", "ok", "nightly, caches", "IPv6"),
    *("${TOKEN}", "$TOKEN", "$(TOKEN)", "{{ .token }}", "${lower}", "Bearer ${TOKEN}"),
    *("https//x", "web:8080/x", "//web/x", "http:/web/x", "http://web/a b", "ftp://web/", "web"),
    *("Clear Caches", "a_b", [1], ["a b"], [True], {"a": "b"}, {"env": "TOKEN"}, {"env": "$TOKEN"}),
]
# Words of other tools, each with a value that it would have there.
OTHER_WORDS: Entry = {
    "retries": 0,
    "max_retries": 3,
    "retry": True,
    "tries": 3,
    "workers": 4,
    "interval": "10m",
    "status": 200,
    "codes": [200],
    "verify": False,
    "insecure": True,
    "type": "POST",
    "id": "x",
    "insecureSkipVerify": True,
    "insecure_skip_verify": True,
    "skip_verify": True,
    "user": "me",
    "schedule": "0 3 * * *",
    "target": "web",
    "data": "x",
    "token": "x",
    "password": "x",
    "labels": ["x"],
    "replicas": 3,
    "delay": "1s",
    "wait": 5,
    "path": "/x",
    "endpoint": "/x",
    "read_timeout": 5,
    "ca_file": "ca.pem",
    "cacert": "ca.pem",
    "<<": {},
    "uri": "http://web/",
}


def misspelled(word: str) -> Iterator[str]:
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]
        yield word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :]
    yield from (word.upper(), word.replace("_", "-"), word.title().replace("_", ""), f"{word}s")


def nested(key: str, value: Entry) -> Entry:
    return BASES.get(key, BASE) | {key: value}


def entries() -> Iterator[Entry]:
    """Broadcasts of which most have something wrong."""
    for name, example in EXAMPLES.items():
        base = BASES.get(name, BASE)
        yield from (base | {word: example} for word in misspelled(name))
        yield from (base | {name: value} for value in ODD_VALUES)
    yield from ({**BASE, name: value} for name in BASE for value in ODD_VALUES)
    yield from ({name: BASE["name"], "url": BASE["url"]} for name in misspelled("name"))
    yield from ({"name": "a", name: BASE["url"]} for name in misspelled("url"))
    yield from (BASE | {word: value} for word, value in OTHER_WORDS.items())
    yield from (BASE | {"retries": value} for value in ODD_VALUES)
    tls = {"ca_file": "ca.pem", "server_name": "web", "insecure_skip_verify": True}
    for name, value in tls.items():
        yield from (nested("tls", {word: value}) for word in misspelled(name))
        yield from (nested("tls", {name: odd}) for odd in ODD_VALUES)
    yield from (nested("tls", {word: value}) for word, value in OTHER_WORDS.items())
    sections: dict[str, Entry] = {
        "expect": {
            "status": [200],
            "body_contains": "x",
            "body_lacks": "y",
            "json": {"/status": "ok"},
        },
        "verify": {
            "path": "/-/config",
            "url": "http://web:9090/",
            "method": "GET",
            "every": "2s",
            "within": "1m",
            "timeout": "5s",
        },
        "backoff": {"initial": "1s", "max": "1m"},
        "auth": {"bearer": {"env": "TOKEN"}},
        "headers": {"X-Name": "x", "Authorization": {"env": "TOKEN"}},
    }
    for key, parts in sections.items():
        for part, value in parts.items():
            yield from (nested(key, {word: value}) for word in misspelled(part))
            yield from (nested(key, {part: odd}) for odd in ODD_VALUES)
        yield from (nested(key, {word: value}) for word, value in OTHER_WORDS.items())
    for host in ("web", "web.shop", "10.0.0.1", "http://web/", "a b", 5, None, "me:pw@web"):
        for port in (8080, "http", 0, None, [80]):
            for path in ("/x", "x", "a b", "/x#y", None):
                values = {"service": host, "namespace": "shop", "port": port, "path": path}
                yield {"name": "a"} | {k: v for k, v in values.items() if v is not None}
    yield {"name": "a", "host": "web"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    numbers = [str(value) for value in ODD_VALUES if isinstance(value, (int, float))]
    for name in ("purge.xml", "ca.pem", *numbers):  # a number that is quoted may be a path
        (tmp_path / name).write_bytes(trustme.CA().cert_pem.bytes())
    return tmp_path


def errors_of(entry: Entry, folder: Path) -> list[ConfigError]:
    file = folder / f"{next(NUMBERS)}.yaml"  # writing to the same one again takes 2 ms
    file.write_text(json.dumps([entry]))
    try:
        (broadcast,) = config.load(
            [str(file)], ENVIRONMENT | {"PURGE_TOKEN": "x", "CONFIG_HASH": "x"}
        ).broadcasts
    except ConfigInvalid as invalid:
        return invalid.errors
    given = entry.get("tls", {}).get("insecure_skip_verify", False)
    assert broadcast.exchange.tls.insecure_skip_verify == given
    return []


def follow(entry: Entry, error: ConfigError) -> tuple[Entry, str] | None:
    """The broadcast with what the error suggests, and the key that has it; or no suggestion."""
    copy: Entry = json.loads(json.dumps(entry))
    path = error.key.removeprefix("broadcasts[0].").split(".")
    holder: Any = copy
    for name in path[:-1]:
        holder = holder[name]
    last, index = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", path[-1]).groups()  # type: ignore[union-attr]
    if found := re.search(r"write (url|attempts): (\S+),|did you mean (\w+)", error.message):
        key, value, near = found.groups()
        old = holder.pop(last.strip("'"))
        if key == "url":
            copy = {"name": "a"}
            holder = copy
        holder[near or key] = old if near else plain(parse(value.encode(), "", Errors()))
        return copy, error.key.removesuffix(path[-1]) + (near or key)
    if found := re.search(
        r"write (\{.*\}|[\w.]+)( if seconds are meant|, not .*)?$", error.message
    ):
        value = plain(parse(found[1].encode(), "", Errors()))
    elif error.message.endswith("quote it if it is text"):
        value = str(holder[last] if index is None else holder[last][int(index)])
    else:
        assert "did you mean" not in error.message
        return None
    if index is None:
        holder[last] = value
    else:
        holder[last][int(index)] = value
    return copy, error.key


def test_every_suggestion_can_be_followed(folder: Path) -> None:
    followed = set()
    for entry in entries():
        for error in errors_of(entry, folder):
            assert "insecure_skip_verify" not in error.message, (entry, error)
            if not (suggestion := follow(entry, error)):
                continue
            better, key = suggestion
            again = [str(e) for e in errors_of(better, folder) if f"{e.key}.".startswith(f"{key}.")]
            assert again == [], (entry, str(error), better)
            followed.add(re.sub(r"broadcasts\[0\]\.|\[\d\]", "", error.key))
    assert len(followed) > 400  # most keys, most of them misspelled


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"timout": "5s"}, "unknown key: did you mean timeout?"),
        ({"retries": 0}, "unknown key: write attempts: 1, which counts the first call as well"),
        ({"tls": {"verify": True}}, "unknown key: the keys here are ca_file, cert_file, key_file"),
        (
            {"interval": "10m"},
            "unknown key: the keys here are name, url, discovery, ",
        ),
        ({"expect": {"status": "200-299"}}, "expected a list of status codes and classes, such as"),
        (
            {"timeout": 10},
            "expected a duration such as 10s, got 10: write 10s if seconds are meant",
        ),
        ({"timeout": 0}, "expected a duration greater than zero, got 0"),
        ({"timeout": "36 hours"}, "expected a duration such as 10s, got 36 hours"),
    ],
)
def test_what_is_said_of(entry: Entry, message: str, folder: Path) -> None:
    (error,) = errors_of((HTTPS if "tls" in entry else BASE) | entry, folder)
    assert error.message.startswith(message)
    assert "10m" not in error.message
