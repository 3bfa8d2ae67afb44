"""URLs: host and port, and that the schema accepts what the worker does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.records import parsed
from tests.unit.config.reading import load
from worker.config.errors import ConfigInvalid
from worker.config.url import ServiceUrl


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://web", "web", 80),
        ("HTTPS://web/", "web", 443),
        ("http://web.shop.svc.cluster.local.:8080/x", "web.shop.svc.cluster.local.", 8080),
        ("http://web:65535?a[]=%20", "web", 65535),
    ],
)
def test_host_and_port_of_a_url(url: str, host: str, port: int, tmp_path: Path) -> None:
    (broadcast,) = load(tmp_path, f"- name: a\n  url: {url}\n").broadcasts
    read = broadcast.exchange.url
    assert (read.text, read.host, read.port) == (url, host, port)


WORDS = "http:// https: // web a_b . - 10 0x1 : 80 080 65536 / ?a=b %20 %2 [ ] ::1 # @ é"
PIECES = st.lists(st.sampled_from([*WORDS.split(), " ", "web.shop:8080/x"]), max_size=6)


@given(st.tuples(st.sampled_from(["http://web", "http://", "HttpS://x.y."]), PIECES))
def test_the_schema_accepts_just_the_urls_that_the_worker_does(
    parts: tuple[str, list[str]],
) -> None:
    url = parts[0] + "".join(parts[1])
    accepted = Draft202012Validator(ServiceUrl().schema()).is_valid(url)
    refused = None
    try:
        assert parsed(url).text == url
    except ConfigInvalid as invalid:
        refused = str(invalid)
    assert accepted == (refused is None), refused


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@web/",
        "http:/me:hunter2@web/",
        "http:///me:hunter2@web/",
        "https//me:hunter2@web/",
        "me:hunter2@web",
        "http://me:${PASSWORD}hunter2@web/",
        "http://me:hunter2/@web/#x",
        "http://me:hunter2/web",
    ],
)
def test_a_password_is_not_shown_however_the_url_is_written(url: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parsed(url)
    assert "hunter" not in str(caught.value)
