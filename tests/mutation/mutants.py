"""Small changes to a module's source, each of which should make some test fail.

A mutant is described by the smallest piece of source that changed, before and after.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_FUNCTIONS = {"min": "max", "max": "min", "all": "any", "any": "all", "reversed": "iter"}
_DELETABLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.If, ast.For, ast.Return, ast.Continue)


class Mutant(NamedTuple):
    """`function`, `line`: where; `change`: "before -> after"; `tree`: the whole mutated module."""

    function: str
    line: int
    change: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of the module: one change each, in the order of the source."""
    original = ast.parse(source)
    for index, node in enumerate(ast.walk(original)):
        for number in range(len(list(_changes(copy.deepcopy(node))))):
            tree = copy.deepcopy(original)
            target = next(n for i, n in enumerate(ast.walk(tree)) if i == index)
            if not _in_function(tree, target):
                continue
            replacement = list(_changes(copy.deepcopy(target)))[number]
            before = ast.unparse(target)
            _replace(tree, target, replacement)
            function, line = _function_of(original, node), getattr(node, "lineno", 0)
            ast.fix_missing_locations(tree)
            yield Mutant(function, line, f"{before} -> {ast.unparse(replacement)}", tree)


def module_of(mutant: Mutant, name: str) -> ModuleType:
    """The mutant, executed as a module of its own."""
    module = ModuleType(name)
    exec(compile(mutant.tree, f"<{mutant.function}>", "exec"), module.__dict__)
    return module


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of `node`."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                changed = copy.deepcopy(node)
                changed.ops[i] = other()
                yield changed
    elif isinstance(node, ast.BoolOp):
        other_op: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(other_op, node.values)
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield ast.BinOp(
            node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right
        )
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in _FUNCTIONS:
            yield ast.Call(ast.Name(_FUNCTIONS[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield ast.comprehension(node.target, node.iter, [], 0)
    elif isinstance(node, ast.Slice):
        if node.lower is not None:
            yield ast.Slice(None, node.upper, node.step)
        if node.upper is not None:
            yield ast.Slice(node.lower, None, node.step)
    elif isinstance(node, _DELETABLE) and not _is_docstring(node):
        yield ast.Pass()


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replace(tree: ast.AST, target: ast.AST, replacement: ast.AST) -> None:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, field, replacement)
            elif isinstance(value, list) and any(entry is target for entry in value):
                setattr(
                    parent, field, [replacement if entry is target else entry for entry in value]
                )


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _in_function(tree: ast.AST, target: ast.AST) -> bool:
    return any(
        target is inner
        for function in _functions(tree)
        for statement in function.body
        for inner in ast.walk(statement)
    )


def _function_of(tree: ast.AST, target: ast.AST) -> str:
    inside = (f.name for f in _functions(tree) if any(n is target for n in ast.walk(f)))
    return next(inside, "")
