"""Every block, link and test that README and docs name: it is covered, and it is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs import recipe, rules
from tests.docs.blocks import FENCE, PAGES, ROOT, Block, Command, blocks, commands
from tests.events import judge
from worker.log.events import BY_NAME

# Each language, and what holds its blocks together with the program.
LANGUAGES = {
    "console": "tests/{docs,container,cluster,alerting}, by tests/docs/rules.py",
    "yaml": "tests/{unit,manifests,cluster,alerting}, by tests/docs/rules.py",
    "json": "test_a_json_block_is_a_log_line_or_the_termination_message",
    "text": "nothing: prose, pictures, messages",
}
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
PAGE_IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_something_covers_every_block(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: ```{block.language} is covered by nothing"


@pytest.mark.parametrize("command", commands(), ids=str)
def test_something_runs_every_command(command: Command) -> None:
    assert rules.how(command.text), f"{command}: no rule of tests/docs/rules.py covers it"


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_something_tries_every_yaml_block(block: Block) -> None:
    assert rules.yaml_kind(block.text), f"{block}: no rule of tests/docs/rules.py covers it"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_no_command_hides_outside_of_a_console_block(page: Path) -> None:
    text = page.read_text()
    for block in FENCE.finditer(text):
        if block[2] == "console":
            text = text.replace(block[0], "")
    assert not re.findall(r"^ *\$ .*", text, re.MULTILINE)


def test_the_recipe_of_the_page_is_the_one_that_is_run() -> None:
    page = (ROOT / "docs" / "from-dig-and-curl.md").read_text()
    assert f"```text\n{recipe.RECIPE.format(port=8080)}\n```" in page
    example = (ROOT / "config" / "clear-web-caches.yaml").read_text()
    assert recipe.RECIPE.format(port=8080) in example


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_a_json_block_is_a_log_line_or_the_termination_message(block: Block) -> None:
    for line in block.text.splitlines():
        entry = json.loads(line)
        if "event" in entry:
            judge.check(entry)
        else:
            finished = {field.name for field in BY_NAME["run.finished"].fields}
            assert entry.keys() == finished - {"error_message"} | {"run_id"}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), f"{path} is not there"
        if anchor:
            assert anchor in anchors(target), f"{path} has no #{anchor}"


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"\ndef {name}(" in sources, f"there is no {name}"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_make_target_that_a_page_names_is_there(page: Path) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    prose = re.sub(r"\s+", " ", page.read_text())
    assert set(re.findall(r"`make (\w+)", prose)) <= set(targets)


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in PAGE_IDS:
        if name.startswith("docs/") and "decisions" not in name:
            assert f"({name})" in readme, f"README.md does not link {name}"
