"""The criterion of `--until`: a word, or an expression over what an attempt came to.

    crash                                                a bugcheck, whichever
    hang, fail                                           likewise
    crash and code == 0x139 and module == "x.sys"
    symbol == "release_ledger" or "W119" in rules
    outcome in ("CRASH", "HANG") and departures == 0

The text is the user's and never run: Python's own parser makes a tree of it, only the nodes named here are allowed in
it, and every name has one type, so that a comparison that can never be true is refused and not silently false.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from harness.errors import UsageError
from harness.minimise.verdict import Verdict
from harness.report import Outcome

_LONGEST, _DEEPEST = 2000, 40
_HINT = (
    "Say crash, hang or fail, or compare outcome, code, module, offset, symbol, departures and message by "
    "== != < <= > >= in, with and, or, not; 'W119' in rules asks for a broken rule."
)
_TYPES: dict[str, type] = {
    "crash": bool, "hang": bool, "fail": bool, "outcome": str, "code": int, "module": str, "offset": int,
    "symbol": str, "rules": tuple, "departures": int, "message": str,
}  # fmt: skip
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq), ast.NotEq: ("!=", operator.ne), ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le), ast.Gt: (">", operator.gt), ast.GtE: (">=", operator.ge),
}  # fmt: skip
_NAMES_OF_TYPES = {bool: "true or false", str: "a text", int: "a number", tuple: "a list"}

Values = Mapping[str, Any]
_Part = tuple[type, Callable[[Values], Any]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is looked for; `text` says it, and parses to the same criterion again."""

    text: str
    _holds: Callable[[Values], Any]

    def holds(self, verdict: Verdict) -> bool:
        """Whether the attempt is one that is looked for. One that was lost, or skipped, says nothing and is none."""
        return verdict.outcome not in (Outcome.LOST, Outcome.SKIP) and bool(self._holds(_values(verdict)))

    def pinned_to(self, verdict: Verdict) -> Criterion:
        """This, and the same crash, or the same broken rules: what keeps a smaller capture from showing another fault.

        Of a crash the code and the function (the offset where no function is known); of a failure the rules.
        """
        crash = verdict.crash
        more: list[str] = [f"outcome == {str(verdict.outcome)!r}"]
        if crash is not None:
            more.append(f"code == {crash.code:#x}")
            if crash.module:
                more.append(f"module == {crash.module!r}")
                if crash.symbol:
                    more.append(f"symbol == {crash.symbol!r}")
                elif crash.offset is not None:
                    more.append(f"offset == {crash.offset:#x}")
        more += [f"{rule!r} in rules" for rule in dict.fromkeys(verdict.rules) if verdict.outcome is Outcome.FAIL]
        return parse_criterion(f"({self.text}) and {' and '.join(more)}")

    def __str__(self) -> str:
        return self.text


def parse_criterion(text: str) -> Criterion:
    """Read a criterion; raises UsageError that says what in it is wrong."""
    if len(text) > _LONGEST:
        raise UsageError(f"The criterion has {len(text)} characters, {_LONGEST} are allowed.", hint=_HINT)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"The criterion '{text}' cannot be read: {said}.", hint=_HINT) from error
    kind, holds = _Reader(text).part(tree.body, 0)
    if kind is not bool:
        raise UsageError(f"The criterion '{text}' is {_NAMES_OF_TYPES[kind]}, wanted true or false.", hint=_HINT)
    return Criterion(text.strip(), holds)


class _Reader:
    """Turns the tree into functions, and refuses what does not belong in it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def part(self, node: ast.expr, depth: int) -> _Part:  # noqa: PLR0911 - one for each kind of node
        if depth > _DEEPEST:
            raise self._wrong("is nested too deeply")
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Constant(value=bool() | int() | str() as value):
                return type(value), lambda _: value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)) if type(value) is int:
                return int, lambda _: -value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                truth = self._truth(operand, depth)
                return bool, lambda values: not truth(values)
            case ast.BoolOp(op=ast.And(), values=operands):
                all_of = [self._truth(operand, depth) for operand in operands]
                return bool, lambda values: all(each(values) for each in all_of)
            case ast.BoolOp(op=ast.Or(), values=operands):
                any_of = [self._truth(operand, depth) for operand in operands]
                return bool, lambda values: any(each(values) for each in any_of)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return bool, self._compare(left, op, right, depth)
            case ast.Compare():
                raise self._wrong("compares more than two things at once: join them with 'and'")
        raise self._wrong(f"contains '{ast.unparse(node)}', which a criterion cannot hold")

    def _name(self, name: str) -> _Part:
        if name not in _TYPES:
            near = get_close_matches(name, _TYPES, n=1)
            raise self._wrong(f"names '{name}', which is not known" + (f" (there is '{near[0]}')" if near else ""))
        return _TYPES[name], lambda values: values[name]

    def _truth(self, node: ast.expr, depth: int) -> Callable[[Values], Any]:
        kind, value = self.part(node, depth + 1)
        if kind is not bool:
            raise self._wrong(f"takes '{ast.unparse(node)}', {_NAMES_OF_TYPES[kind]}, for true or false")
        return value

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> Callable[[Values], Any]:
        kind, first = self.part(left, depth + 1)
        if isinstance(op, (ast.In, ast.NotIn)):
            contains = self._contains(kind, left, right, depth)
            wanted = isinstance(op, ast.In)
            return lambda values: contains(first(values), values) == wanted
        if type(op) not in _ORDER:
            raise self._wrong("compares by 'is', which a criterion cannot")
        sign, compare = _ORDER[type(op)]
        other, second = self.part(right, depth + 1)
        if kind is not other or kind is tuple:
            raise self._wrong(
                f"compares '{ast.unparse(left)}', {_NAMES_OF_TYPES[kind]}, "
                f"with '{ast.unparse(right)}', {_NAMES_OF_TYPES[other]}"
            )
        self._check_outcomes(left, right)

        def holds(values: Values) -> bool:
            a, b = first(values), second(values)
            if a is None or b is None:  # without a crash there is no code
                return sign == "!="
            return compare(a, b)

        return holds

    def _contains(self, kind: type, left: ast.expr, right: ast.expr, depth: int) -> Callable[[Any, Values], bool]:
        if isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            for element in right.elts:
                if self.part(element, depth + 1)[0] is not kind:
                    raise self._wrong(f"looks for '{ast.unparse(left)}' among things of another kind")
                self._check_outcomes(left, element)
            choices = [self.part(element, depth + 1)[1] for element in right.elts]
            return lambda value, values: any(value == choice(values) for choice in choices)
        other, second = self.part(right, depth + 1)
        if kind is not str or other not in (tuple, str):
            raise self._wrong(f"looks for '{ast.unparse(left)}' in '{ast.unparse(right)}', which cannot hold it")
        return lambda value, values: value is not None and value in (second(values) or ())

    def _check_outcomes(self, *sides: ast.expr) -> None:
        if not any(isinstance(side, ast.Name) and side.id == "outcome" for side in sides):
            return
        for side in sides:
            if isinstance(side, ast.Constant) and side.value not in (Outcome.FAIL, Outcome.CRASH, Outcome.HANG):
                raise self._wrong(f"asks for the outcome {side.value!r}: those of a driver are FAIL, CRASH and HANG")

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"The criterion '{self._text}' {what}.", hint=_HINT)


def _values(verdict: Verdict) -> Values:
    crash = verdict.crash
    return {
        "outcome": str(verdict.outcome),
        "crash": verdict.outcome is Outcome.CRASH,
        "hang": verdict.outcome is Outcome.HANG,
        "fail": verdict.outcome is Outcome.FAIL,
        "code": crash.code if crash else None,
        "module": crash.module if crash else None,
        "offset": crash.offset if crash else None,
        "symbol": crash.symbol if crash else None,
        "rules": verdict.rules,
        "departures": verdict.departures,
        "message": verdict.message,
    }
