"""A condition on the figures of a replay, for CI: `misses>2 or false_alarms_per_hour>0.5`.

Comparisons of figures and numbers, joined by `and`, `or`, `not` and parentheses. Parsed, never executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.replaying.errors import GateError

_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MAX_LENGTH: Final = 1000


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that was parsed."""

    text: str
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str, known: frozenset[str]) -> Gate:
        """Read a condition over the `known` figures.

        Raises:
            GateError: the text is no such condition, or names an unknown figure; the message lists the known ones.
        """
        where = f"--fail-if {text!r}"
        if len(text) > _MAX_LENGTH:
            raise GateError(f"--fail-if: {len(text)} characters, expected at most {_MAX_LENGTH}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            _check(tree, known, where)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise GateError(f"{where}: expected comparisons like misses>2, joined by and, or, not") from None
        return cls(text, tree)

    def failures(self, figures: Mapping[str, float | None]) -> list[str]:
        """The comparisons that make the condition hold, each with its figure; empty if it does not hold.

        A comparison with an unknown figure (no time to alert without a detection) counts as holding: a result that
        cannot be shown to be good enough does not pass.
        """
        holds, said = _evaluate(self._tree, figures, negated=False)
        return said if holds else []


def _check(node: ast.expr, known: frozenset[str], where: str) -> None:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value, known, where)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand, known, where)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARE for op in ops):
            for side in (left, *comparators):
                _check_side(side, known, where)
        case _:
            raise GateError(f"{where}: {ast.unparse(node)!r} is not a comparison like misses>2")


def _check_side(node: ast.expr, known: frozenset[str], where: str) -> None:
    match node:
        case (
            ast.Constant(value=int() | float() as value)
            | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value))
        ) if not isinstance(value, bool):
            if not _finite(value):
                raise GateError(f"{where}: a number is too large to compare with")
        case ast.Name(id=name):
            if name not in known:
                raise GateError(f"{where}: unknown figure {name!r}; known are {', '.join(sorted(known))}")
        case _:
            raise GateError(f"{where}: {ast.unparse(node)!r} is neither a figure nor a number")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an int may be too large for a float
        return False


def _evaluate(node: ast.expr, figures: Mapping[str, float | None], *, negated: bool) -> tuple[bool, list[str]]:
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _evaluate(operand, figures, negated=not negated)
        case ast.BoolOp(op=op, values=values):
            parts = [_evaluate(value, figures, negated=negated) for value in values]
            every = isinstance(op, ast.And) != negated  # De Morgan
            holds = all(p for p, _ in parts) if every else any(p for p, _ in parts)
            return holds, [text for holding, said in parts if holding for text in said]
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [left, *comparators]
            values_found = [_value(side, figures) for side in sides]
            text = ast.unparse(node)
            if any(value is None for value in values_found):
                missing = [
                    s.id for s, v in zip(sides, values_found, strict=True) if v is None and isinstance(s, ast.Name)
                ]
                return True, [f"{text}: {missing[0]} is not known"]
            pairs = zip(values_found, ops, values_found[1:], strict=False)
            holds = all(_COMPARE[type(op)](a, b) for a, op, b in pairs) != negated
            shown = ", ".join(
                f"{s.id} is {v:.6g}" for s, v in zip(sides, values_found, strict=True) if isinstance(s, ast.Name)
            )
            return holds, [f"{'not ' if negated else ''}{text}: {shown or 'always'}"] if holds else []
    raise AssertionError(ast.dump(node))


def _value(node: ast.expr, figures: Mapping[str, float | None]) -> float | None:
    match node:
        case ast.Name(id=name):
            return figures[name]
        case ast.UnaryOp(operand=ast.Constant(value=value)):
            return -float(value)  # type: ignore[arg-type]  # a number: checked when parsed
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
    raise AssertionError(ast.dump(node))
