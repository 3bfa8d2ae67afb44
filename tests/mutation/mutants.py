"""Source text -> the ways to break it: one small change each. Pure."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """One change. `name` says what it is and stays the same when lines move; they count from 1."""

    name: str
    line: int
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every change of the text that this module knows."""
    tree = ast.parse(source)
    names: Counter[str] = Counter()
    for path, where, node in _walk(tree, (), ""):
        for changed in _changes(node):
            mutated = copy.deepcopy(tree)
            _put(mutated, path, changed)
            name = f"{where}: {_text(node)} -> {_text(changed)}".removeprefix(": ")
            names[name] += 1
            if names[name] > 1:  # which of those that read alike
                name = f"{name} ({names[name]})"
            yield Mutant(name, getattr(node, "lineno", 0), mutated)


Path = tuple[tuple[str, int | None], ...]  # the fields that lead to a node, with places in lists


def _walk(node: ast.AST, path: Path, where: str) -> Iterator[tuple[Path, str, ast.AST]]:
    """The nodes that decide something: no annotations, texts for people or assertions."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        if isinstance(node, ast.Assign) and len(path) == 1 and _is_number(value):
            continue  # a limit, which nobody has to hit exactly
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for number, child in children:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.Assert, ast.JoinedStr)):
                continue
            inside = where
            match child:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    inside = f"{where}.{child.name}".lstrip(".")
                case ast.Assign(targets=[ast.Name(id=target)]) if not where:
                    inside = target
                case ast.AnnAssign(target=ast.Name(id=target)) if not where:
                    inside = target
            here = (*path, (name, number))
            yield here, inside, child
            yield from _walk(child, here, inside)


def _put(tree: ast.AST, path: Path, new: ast.AST) -> None:
    *parents, (name, number) = path
    for field, place in parents:
        value = getattr(tree, field)
        tree = value if place is None else value[place]
    if number is None:
        setattr(tree, name, new)
    else:
        getattr(tree, name)[number] = new
    ast.fix_missing_locations(tree)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    yield from _of_operators(node)
    yield from _of_values(node)
    yield from _of_conditions(node)
    if isinstance(node, (ast.AugAssign, ast.Raise)) or _is_done_for_its_effect(node):
        yield ast.Pass()
    if isinstance(node, ast.Continue):
        yield ast.Break()


def _of_operators(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=operators):
            for number, comparison in enumerate(operators):
                changed = copy.deepcopy(node)
                changed.ops[number] = COMPARISONS[type(comparison)]()
                yield changed
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left, arithmetic, right) if type(arithmetic) in OPERATORS:
            if not any(map(_is_text, (left, right))):
                yield ast.BinOp(left, OPERATORS[type(arithmetic)](), right)


def _of_values(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
            yield ast.Call(ast.Name(FUNCTIONS[name], ast.Load()), node.args, node.keywords)


def _of_conditions(node: ast.AST) -> Iterator[ast.AST]:
    """Those that no change of an operator turns round."""
    if isinstance(node, (ast.If, ast.IfExp, ast.While)) and _is_plain(node.test):
        changed = copy.deepcopy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    if isinstance(node, ast.comprehension) and len(node.ifs) == 1 and _is_plain(node.ifs[0]):
        filtered = copy.deepcopy(node)
        filtered.ifs = [ast.UnaryOp(ast.Not(), node.ifs[0])]
        yield filtered


def _is_done_for_its_effect(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
    return False


def _is_number(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.BinOp) and _is_number(value.left) and _is_number(value.right)
    )


def _is_plain(test: ast.expr) -> bool:
    return not isinstance(test, (ast.Compare, ast.UnaryOp, ast.BoolOp, ast.Constant))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )


def _text(node: ast.AST) -> str:
    """The change in one line; of a statement with a body, its first."""
    return ast.unparse(node).strip().partition("\n")[0]
