"""The changes that `make mutations` makes, and that a test which minds is found."""

from __future__ import annotations

import ast
import tomllib

import pytest

from tests.mutation.__main__ import ROOT, SURVIVORS
from tests.mutation.mutants import mutants

CHANGES = {
    "a < b": ["a < b -> a <= b"],
    "a == b is c": ["a == b is c -> a != b is c", "a == b is c -> a == b is not c"],
    "a and b and c": ["a and b and c -> a or b or c"],
    "not a": ["not a -> a"],
    "-a": ["-a -> a"],
    "a + b": ["a + b -> a - b"],
    "a + 'text'": [],
    "f'{a + 1}'": [],
    "12": ["12 -> 13"],
    "1.5": ["1.5 -> 2.5"],
    "True": ["True -> False"],
    "'text'": [],
    "min(a, b)": ["min(a, b) -> pass", "min(a, b) -> max(a, b)"],
    "f(a)": ["f(a) -> pass"],
    "a += b": ["a += b -> pass"],
    "a = b": [],
    "a.b = c": ["a.b = c -> pass"],
    "a[b] = c": ["a[b] = c -> pass"],
    "raise a": ["raise a -> pass"],
    "while a: continue": ["while a: -> while not a:", "continue -> break"],
    "if a: b": ["if a: -> if not a:"],
    "if a < b: c": ["a < b -> a <= b"],
    "a if b else c": ["a if b else c -> a if not b else c"],
    "[a for b in c if d]": ["for b in c if d -> for b in c if not d"],
    "assert a < 1": [],
    "def f(a: 1 < 2) -> 3: b": [],
}


@pytest.mark.parametrize("source", CHANGES)
def test_the_changes_of(source: str) -> None:
    found = list(mutants(source))
    assert [each.name for each in found] == CHANGES[source]
    for mutant in found:  # one change each, and the rest as it was
        assert ast.unparse(mutant.tree) != ast.unparse(ast.parse(source))
        compile(mutant.tree, "source", "exec")


def test_a_change_says_where_it_is() -> None:
    source = "class A:\n    def b(self):\n        return 1, 1\n\nC = -2\nLIMIT = 64 * 1024\n"
    assert [(each.line, each.name) for each in mutants(source)] == [
        (3, "A.b: 1 -> 2"),
        (3, "A.b: 1 -> 2 (2)"),
        (5, "C: -2 -> 2"),
        (5, "C: 2 -> 3"),
    ]


def test_each_survivor_is_a_change_that_is_made_and_has_a_reason() -> None:
    for file, accepted in tomllib.loads(SURVIVORS.read_text()).items():
        made = {mutant.name for mutant in mutants((ROOT / file).read_text())}
        assert accepted.keys() <= made, f"{file}: these are made no more"
        assert all(accepted.values())
