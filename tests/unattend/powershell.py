"""What the checks of the scripts look at: a script as a tree, its commands with their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call: the name as it stands there, and what follows it, parameters with the text behind them."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    line: int

    def argument(self, parameter: str) -> str | None:
        """What stands behind a parameter, without quotation marks; None when it is not given."""
        return next(
            (value.strip("'\"") for name, value in self.parameters if name.lower() == f"-{parameter}".lower()), None
        )


@cache
def parser() -> Parser:
    return Parser(Language(tree_sitter_powershell.language()))


def parse(source: bytes) -> Node:
    return parser().parse(source).root_node


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node) -> str:
    return (node.text or b"").decode()


def errors(source: bytes) -> list[str]:
    """Places that the grammar cannot make sense of."""
    return [
        f"line {node.start_point.row + 1}: {text(node)[:60]!r}"
        for node in walk(parse(source))
        if node.is_error or node.is_missing
    ]


def commands(source: bytes) -> list[Command]:
    """All calls by name; '& $variable' and '. (expression)' have none."""
    found = []
    for node in walk(parse(source)):
        if node.type == "command":
            name = next((child for child in node.children if child.type == "command_name"), None)
            if name is not None:
                elements = next((child for child in node.children if child.type == "command_elements"), None)
                found.append(Command(name=text(name), parameters=_parameters(elements), line=node.start_point.row + 1))
    return found


def functions(source: bytes) -> set[str]:
    return {
        text(child)
        for node in walk(parse(source))
        if node.type == "function_statement"
        for child in node.children
        if child.type == "function_name"
    }


def overwritten_parameters(source: bytes) -> list[str]:
    """Parameters that the script they belong to assigns to; a name in other capitals is the same variable."""
    root = parse(source)
    declared = {
        text(child).lower()
        for block in root.children
        if block.type == "param_block"
        for node in walk(block)
        if node.type == "script_parameter"
        for child in node.children
        if child.type == "variable"
    }
    assigned = [
        text(variable)
        for node in walk(root)
        if node.type in {"left_assignment_expression", "foreach_statement"} and not _inside_function(node)
        for variable in [next((found for found in walk(node) if found.type == "variable"), None)]
        if variable is not None and (node.type == "foreach_statement" or text(variable) == text(node))
    ]
    return [name for name in assigned if name.lower() in declared]


def _inside_function(node: Node) -> bool:
    above = node.parent
    while above is not None and above.type != "function_statement":
        above = above.parent
    return above is not None


def _parameters(elements: Node | None) -> tuple[tuple[str, str], ...]:
    parts: list[tuple[str, str]] = []
    for child in elements.children if elements else ():
        if child.type == "command_parameter":
            parts.append((text(child).rstrip(":"), ""))
        elif child.type not in {"command_argument_sep", "redirection"} and text(child).strip():
            name, value = parts.pop() if parts and not parts[-1][1] else ("", "")
            parts.append((name, value + text(child).strip()))
    return tuple(parts)


def scripts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ps1"))
