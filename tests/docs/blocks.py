"""What README.md, CONTRIBUTING.md and docs/ show in fenced blocks: YAML, JSON, and commands with
what they print.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is that of its first fence."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block, and what the page says that it prints (nothing: not shown).

    `…` stands for what differs from run to run; a line that is nothing else, for any lines.
    """

    block: Block
    text: str
    output: str

    def __str__(self) -> str:
        return f"{self.block}: {self.text.splitlines()[0]}"

    def check(self, output: str) -> None:
        """Holds what it printed against the page, if the page shows it."""
        pattern = re.sub(r"^…\\\n", r"(.*\\n)*", re.escape(self.output), flags=re.MULTILINE)
        pattern = pattern.replace("…", ".*")
        assert not self.output or re.fullmatch(pattern, output), (
            f"{self}: the page has\n{self.output}\nand it prints\n{output}"
        )


def blocks(*languages: str) -> list[Block]:
    """All of these languages, or of any; in the order of the pages' names."""
    found = [
        Block(
            page.relative_to(ROOT).as_posix(),
            page.read_text()[: match.start()].count("\n") + 1,
            match[2],
            re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE),  # within a list
        )
        for page in PAGES
        for match in FENCE.finditer(page.read_text())
    ]
    return [block for block in found if not languages or block.language in languages]


def commands() -> list[Command]:
    """Those of all console blocks."""
    found = []
    for block in blocks("console"):
        parts = re.split(rf"^{re.escape(PROMPT)}", block.text, flags=re.MULTILINE)
        assert parts[0] == "", f"{block} does not begin with a command"
        for part in parts[1:]:
            lines = part.splitlines(keepends=True)
            ends = next(n for n in range(1, len(lines) + 1) if _is_whole("".join(lines[:n])))
            found.append(Command(block, "".join(lines[:ends]), "".join(lines[ends:])))
    return found


def _is_whole(command: str) -> bool:
    """Whether it does not go on in the next line, by a backslash or within quotes."""
    outside = re.sub(r"'[^']*'", "", command)
    return not command.endswith("\\\n") and "'" not in outside and outside.count('"') % 2 == 0
