"""The mutants of a package: cosmic-ray's operators over its files, each mutant named by text and not by line.

A key is `file | function | original line | operator`, with `#2` where a function has the same twice. So a key holds
when the code above it moves, and so does the draw: a mutant's place in it is a hash of its key.
"""

from __future__ import annotations

import ast
import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Optional

from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

SEED = "azurelite"
# `is` in the place of `==` is the same for small numbers and short texts; the last two need arguments of their own.
_LEFT_OUT = ("_Is", "_IsNot", "variable-replacer", "variable-inserter", "VariableReplacer", "VariableInserter")


class Mutant(NamedTuple):
    """One change of one file."""

    key: str
    file: str
    line: int
    change: Callable[[str], Optional[str]]  # the file's text -> the mutant's
    local: bool  # inside a function: the tests that run its line are known

    def text(self, root: Path) -> Optional[str]:
        """The file's text with the change; None where Python takes it for the same, or for no code."""
        source = (root / self.file).read_text(encoding="utf-8")
        changed = self.change(source)
        return None if changed is None or _plain(changed) in ("", _plain(source)) else changed


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """All mutants of a file."""
    source = (root / file).read_text(encoding="utf-8")
    lines, functions, heads = source.splitlines(), _functions(source), _heads(source)
    nodes = list(_nodes(get_ast(source)))
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for name in sorted(operator_names()):
        if name.endswith(_LEFT_OUT):
            continue
        operator = get_operator(name)()
        places = [start[0] for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, line in enumerate(places):
            place = functions.get(line, "")
            key = f"{file} | {place} | {lines[line - 1].strip()} | {name.rpartition('/')[2]}"
            seen[key] = seen.get(key, 0) + 1
            key = key if seen[key] == 1 else f"{key} #{seen[key]}"
            change = partial(_mutated, operator=operator, occurrence=occurrence)
            found.append(Mutant(key, file, line, change, bool(place) and line not in heads))
    return found


def chosen(root: Path, file: str, old: str, new: str) -> Mutant:
    """A mutant that is written down: one text in the place of another.

    Raises:
        ValueError: the file does not hold the old text exactly once.
    """
    source = (root / file).read_text(encoding="utf-8")
    if source.count(old) != 1:
        raise ValueError(f"{file} holds {old!r} {source.count(old)} times: write down the mutant anew")
    line = source[: source.index(old)].count("\n") + 1
    place = _functions(source).get(line, "")
    key = f"{file} | {place} | {old} | {new}"
    return Mutant(key, file, line, lambda text: text.replace(old, new), bool(place))


def drawn(mutants: list[Mutant], count: int, root: Path) -> list[Mutant]:
    """As many of them, by the hash of their keys: the same ones each time, and in code that did not change."""
    found: list[Mutant] = []
    for mutant in sorted(mutants, key=lambda one: hashlib.sha256(f"{SEED} {one.key}".encode()).hexdigest()):
        if len(found) == count:
            break
        if mutant.text(root) is not None:
            found.append(mutant)
    return found


def _mutated(source: str, *, operator: Any, occurrence: int) -> Optional[str]:
    text: Optional[str] = mutate_code(source, operator, occurrence)
    return text


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


def _plain(source: str) -> str:
    """The code without annotations, which are never read, on one line; an empty text where it is no code."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _functions(source: str) -> dict[int, str]:
    """Line -> the innermost function around it."""
    found: dict[int, str] = {}

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                inner = f"{name}.{child.name}" if name else child.name
            if isinstance(child, ast.FunctionDef):
                found.update(dict.fromkeys(range(child.lineno, (child.end_lineno or 0) + 1), inner))
            walk(child, inner)

    walk(ast.parse(source), "")
    return found


def _heads(source: str) -> set[int]:
    """Lines that are run when a function is defined: its decorators and defaults."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            found.update(range(first, node.body[0].lineno))
    return found
