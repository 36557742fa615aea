"""What the checks of the scripts look at: a script as a tree, its commands with their parameters."""

from __future__ import annotations

import re
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


AUTOMATIC = {
    *("$_", "$null", "$true", "$false", "$args", "$input", "$matches", "$error"),
    *("$lastexitcode", "$psscriptroot", "$erroractionpreference", "$progresspreference", "$psversiontable"),
}


def unset_variables(source: bytes, known: frozenset[str] = frozenset()) -> list[str]:
    """Variables that are read and nowhere set, which strict mode makes an error; `known` are set by others."""
    nodes = list(walk(parse(source)))
    read = {_plain(text(node)) for node in nodes if node.type == "variable"}
    return sorted(name for name in read - set_variables(source) - known - AUTOMATIC if not name.startswith("$env:"))


def set_variables(source: bytes) -> set[str]:
    """Variables that a script sets: assigned, counted, looped over, or given as parameters."""
    found = set()
    for node in walk(parse(source)):
        if node.type in {"left_assignment_expression", "foreach_statement", "script_parameter"}:
            inner = [child for child in walk(node) if child.type == "variable"]
            chosen = inner[-1:] if node.type == "script_parameter" else inner[:1]
            found |= {_plain(text(child)) for child in chosen}
    return found


def _plain(name: str) -> str:
    return name.lower().replace("$script:", "$").replace("${", "$").rstrip("}").replace("@", "$")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of a script or function: all, and those that must be given; in small letters, without the dollar."""

    names: frozenset[str]
    mandatory: frozenset[str]


def script_parameters(source: bytes) -> Parameters:
    """The param block at the top of a script."""
    return _declared(next((node for node in parse(source).children if node.type == "param_block"), None))


def function_parameters(source: bytes) -> dict[str, Parameters]:
    """By name in small letters: what the functions of a script take."""
    found = {}
    for node in walk(parse(source)):
        if node.type == "function_statement":
            name = next(text(child) for child in node.children if child.type == "function_name")
            found[name.lower()] = _declared(next((inner for inner in walk(node) if inner.type == "param_block"), None))
    return found


def _declared(block: Node | None) -> Parameters:
    names, mandatory = set(), set()
    for node in walk(block) if block else ():
        if node.type == "script_parameter":
            name = next(text(child) for child in node.children if child.type == "variable").lower().lstrip("$")
            names.add(name)
            if "mandatory = $true" in text(node).lower():
                mandatory.add(name)
    return Parameters(names=frozenset(names), mandatory=frozenset(mandatory))


def calls_of_scripts(source: bytes) -> list[tuple[str, frozenset[str]]]:
    """`& (Join-Path -Path $PSScriptRoot ... 'x.ps1') -One $1`: scripts with the parameters given, in small letters."""
    found = []
    for node in walk(parse(source)):
        if node.type == "command" and re.match(r"[&.] \(Join-Path -Path \$PSScriptRoot", text(node)):
            script = re.search(r"'([^']+\.ps1)'\)", text(node))
            elements = next((child for child in node.children if child.type == "command_elements"), None)
            if script is not None:
                given = frozenset(name.lower().lstrip("-") for name, _ in _parameters(elements) if name)
                found.append((script[1], given))
    return found


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
