"""Makes small mistakes in a module, one at a time: each is a mutant that some test ought to notice.

A mistake is one of a kind that people make: a comparison that is off by one, a condition turned round, a line that is
missing, a number or a word that is another, an argument forgotten, a row of a table missing, wrong, or one too many.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
RECKON: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module with one mistake in it."""

    line: int
    what: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse(source)
    count = sum(1 for _ in _mistakes(tree))
    for number in range(count):
        broken = copy.deepcopy(tree)
        for place, (node, what, make) in enumerate(_mistakes(broken)):
            if place == number:
                before = ast.unparse(node) if not isinstance(node, ast.Module) else ""
                make()
                yield Mutant(
                    line=getattr(node, "lineno", 0),
                    what=f"{what}: {before.splitlines()[0][:70] if before else ''}",
                    tree=ast.fix_missing_locations(broken),
                )
                break


Mistake = tuple[ast.AST, str, "Make"]


class Make:
    """Carries a mistake out."""

    def __init__(self, target: object, name: str, value: object) -> None:
        self._target, self._name, self._value = target, name, value

    def __call__(self) -> None:
        if isinstance(self._target, list):
            self._target[int(self._name)] = self._value
        else:
            setattr(self._target, self._name, self._value)


def _mistakes(tree: ast.Module) -> Iterator[Mistake]:
    for node in _worth_it(tree):
        yield from _in_expression(node)
        yield from _in_value(node)
        yield from _in_statement(node)
        yield from _in_table(node)


def _worth_it(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that do something: no annotation, no documentation, no imports, no `__main__`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) or _tells(node):
            continue
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            children = value if isinstance(value, list) else [value]
            waiting.extend(child for child in children if isinstance(child, ast.AST))


def _in_expression(node: ast.AST) -> Iterator[Mistake]:
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in COMPARE.get(type(op), ()):
                    yield node, f"compares by {other.__name__}", Make(ops, str(place), other())
        case ast.BoolOp(op=op, values=values):
            other_op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield node, f"joins by {type(other_op).__name__}", Make(node, "op", other_op)
            for place in range(len(values)):
                kept = [*values[:place], *values[place + 1 :]]
                yield node, f"leaves out part {place + 1}", Make(node, "values", kept)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, "does not negate", Make(node, "operand", ast.UnaryOp(op=ast.Not(), operand=operand))
        case ast.BinOp(op=op) if type(op) in RECKON:
            yield node, f"reckons by {RECKON[type(op)].__name__}", Make(node, "op", RECKON[type(op)]())
        case ast.IfExp(test=test):
            yield node, "takes the other branch", Make(node, "test", ast.UnaryOp(op=ast.Not(), operand=test))


def _in_value(node: ast.AST) -> Iterator[Mistake]:
    match node:
        case ast.Constant(value=bool(value)):
            yield node, f"says {not value}", Make(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, "is one more", Make(node, "value", value + 1)
        case ast.Constant(value=str(value)):
            yield node, "says another word", Make(node, "value", f"{value}x")
        case ast.Call(keywords=keywords):
            for place, keyword in enumerate(keywords):
                if keyword.arg is not None:
                    kept_words = [*keywords[:place], *keywords[place + 1 :]]
                    yield node, f"forgets {keyword.arg}", Make(node, "keywords", kept_words)


def _in_statement(node: ast.AST) -> Iterator[Mistake]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield node, "decides the other way", Make(node, "test", ast.UnaryOp(op=ast.Not(), operand=test))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield node, "returns nothing", Make(node, "value", ast.Constant(value=None))
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if not isinstance(statements, list):
            continue
        for place, statement in enumerate(statements):
            if not isinstance(node, ast.Module) and _does_something(statement):
                yield statement, "is left out", Make(statements, str(place), ast.Pass())


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant) and not _tells(statement)
    return isinstance(statement, ast.Raise | ast.Assign | ast.AugAssign | ast.Continue | ast.Break)


def _tells(statement: ast.AST) -> bool:
    """Whether a statement only writes a line of the log, or is a crash point."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    return ast.unparse(statement.value.func).partition(".")[0] in ("log", "crashpoint")


def _in_table(node: ast.AST) -> Iterator[Mistake]:
    """Yield mistakes of a table that is a dictionary of dictionaries of names."""
    if not isinstance(node, ast.Dict):
        return
    for place in range(len(node.keys)):
        key = ast.unparse(node.keys[place] or ast.Constant(value=None))
        without = copy.copy(node)
        without.keys = [*node.keys[:place], *node.keys[place + 1 :]]
        without.values = [*node.values[:place], *node.values[place + 1 :]]
        yield node.values[place], f"has no {key}", _Replace(node, without)
    inner = [(place, row) for place, row in enumerate(node.values) if isinstance(row, ast.Dict)]
    moves = {ast.unparse(key): key for _, row in inner for key in row.keys if key is not None}
    targets = {
        ast.unparse(value): value for _, row in inner for value in row.values if isinstance(value, ast.Attribute)
    }
    for place, row in inner:
        state = ast.unparse(node.keys[place] or ast.Constant(value=None))
        for at, value in enumerate(row.values):
            if isinstance(value, ast.Attribute):
                other = next(made for name, made in targets.items() if name != ast.unparse(value))
                yield (
                    value,
                    f"leads from {state} to {ast.unparse(other)}",
                    Make(row.values, str(at), copy.deepcopy(other)),
                )
        known = {ast.unparse(key) for key in row.keys if key is not None}
        for name, move in moves.items():
            if name not in known:
                wider = copy.copy(row)
                wider.keys = [*row.keys, copy.deepcopy(move)]
                wider.values = [*row.values, copy.deepcopy(next(iter(targets.values())))]
                yield row, f"lets {name} happen in {state}", _Replace(row, wider)


class _Replace(Make):
    """Gives a dictionary other entries."""

    def __init__(self, node: ast.Dict, like: ast.Dict) -> None:
        self._node, self._like = node, like

    def __call__(self) -> None:
        self._node.keys, self._node.values = self._like.keys, self._like.values


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
