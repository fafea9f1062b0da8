"""The house keeps its shape: who may import whom, how long a room may be, and what is nobody's to use."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterable, Mapping

import pytest

import azurelite

PACKAGE = Path(azurelite.__file__).parent
LONGEST_FILE = 500
LONGEST_FUNCTION = 50
MOST_UNITS = 30  # modules and packages at the top
MOST_EDGES = 180  # pairs of them of which one imports the other, by any statement, also inside functions
SAME_LINES = 8  # a block of so many lines may stand in one place only

# From the ground up. A module imports only from its own package or from packages in rows above it.
ORDER = """
errors clock layout version record
guard
keys
metadata
netconf
system
hypervisor
fabric
media
config
datasource
userdata
outcome plugins
state
handlers
run
service
capture
doctor
describe
api
cli
"""
LEVEL = {package: level for level, row in enumerate(ORDER.split("\n")) for package in row.split()}
ALONE = "simulator"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES: dict[Path, ast.Module] = {}


def name_of(path: Path) -> str:
    parts = ["azurelite", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in inner}
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "azurelite"


NAMES = {name_of(path) for path in MODULES}


def tree_of(path: Path) -> ast.Module:
    if path not in TREES:
        TREES[path] = ast.parse(path.read_text(encoding="utf-8"))
    return TREES[path]


def wrong_way(room: str, other: str) -> str:
    """Why a module of one room may not import one of the other; empty where it may."""
    if room == ALONE:
        return "" if other == ALONE else "the simulator stands alone"
    if other == ALONE:
        return "" if room == "cli" else "only the command line serves the simulator"
    return "" if other == room or LEVEL[other] < LEVEL[room] else f"{other} is above {room}"


def test_imports_point_downwards_only() -> None:
    offenders = []
    for path in MODULES:
        room = room_of(name_of(path))
        if room in ("azurelite", "__main__"):
            continue
        for module in sorted(imports_of(path)):
            if module.startswith("azurelite.") and not room_of(module).startswith("__"):
                why = wrong_way(room, room_of(module))
                offenders += [f"{name_of(path)} imports {module}: {why}"] if why else []
    assert offenders == []


def test_the_top_level_stays_small() -> None:
    units = {room_of(name) for name in NAMES} - {"azurelite"}
    edges = {
        (room_of(name_of(path)), room_of(module))
        for path in MODULES
        for module in imports_of(path)
        if module.startswith("azurelite.")
    }
    edges = {(one, other) for one, other in edges if one != other}
    assert len(units) <= MOST_UNITS, sorted(units)
    assert len(edges) <= MOST_EDGES, f"{len(edges)}: {sorted(edges)}"


def circle_in(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The modules of one circle, in order; empty where there is none. One depth-first search."""
    done: set[str] = set()
    trail: list[str] = []

    def search(module: str) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        trail.append(module)
        found = next((circle for other in edges.get(module, ()) if (circle := search(other))), [])
        done.add(trail.pop())
        return found

    return next((circle for module in edges if (circle := search(module))), [])


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle_in({name_of(path): sorted(imports_of(path) & NAMES - {"azurelite"}) for path in MODULES}) == []


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": [], "b": ["a", "c"], "c": ["a", "b"]}, ["b", "c", "b"]),
    ],
)
def test_a_circle_is_found(edges: dict[str, list[str]], circle: list[str]) -> None:
    assert circle_in(edges) == circle


def test_files_and_functions_stay_short() -> None:
    offenders = []
    for path in MODULES:
        lines = path.read_text(encoding="utf-8").count("\n")
        offenders += [f"{name_of(path)} has {lines} lines"] if lines > LONGEST_FILE else []
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                docstring = ast.get_docstring(node) or ""
                length = (node.end_lineno or 0) - node.lineno + 1 - docstring.count("\n")
                offenders += [f"{name_of(path)}.{node.name} has {length} lines"] if length > LONGEST_FUNCTION else []
    assert offenders == []


def test_everything_public_has_a_docstring() -> None:
    # A method that the standard library calls by its own name needs no words of ours.
    offenders = []
    for path in MODULES:
        tree = tree_of(path)
        nodes = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        public = [(f"{name_of(path)}.{node.name}", node) for node in nodes if not node.name.startswith("_")]
        offenders += [name for name, node in [(name_of(path), tree), *public] if not ast.get_docstring(node)]
    assert offenders == []


def test_one_broad_except_in_the_whole_code() -> None:
    broad = []
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                kinds = ast.dump(node.type) if node.type is not None else "bare"
                if "bare" in kinds or "id='Exception'" in kinds or "id='BaseException'" in kinds:
                    broad.append(path.name)
    assert broad == ["guard.py"]


def test_handlers_never_run_programs_nor_read_the_clock() -> None:
    forbidden = {"subprocess", "os", "time", "shutil", "pathlib"}
    assert [path.name for path in (PACKAGE / "handlers").glob("*.py") if imports_of(path) & forbidden] == []


def test_no_test_patches_the_code() -> None:
    tests = [path for path in Path(__file__).parent.rglob("*.py") if "mock" in path.read_text(encoding="utf-8")]
    assert [str(path) for path in tests if any("mock" in module for module in imports_of(path))] == []


def test_no_regular_expression_is_compiled_at_import() -> None:
    """`re` keeps what it compiled at the first use; most runs use few of them."""
    offenders = []
    for path in MODULES:
        statements = [] if room_of(name_of(path)) == ALONE else tree_of(path).body
        for statement in statements:
            if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
                found = any(getattr(called, "attr", None) == "compile" for called in calls)
                offenders += [f"{name_of(path)}, line {statement.lineno}"] if found else []
    assert offenders == []


def code_of(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line of code; imports, signatures, docstrings and remarks are left out."""
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            skipped.update(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            skipped.update(range(node.lineno, node.body[0].lineno))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.update(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if number not in skipped)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def test_no_block_of_code_is_written_twice() -> None:
    """The simulator is a second opinion: it is compared with itself only."""
    seen: dict[tuple[bool, tuple[str, ...]], str] = {}
    twice = []
    for path in MODULES:
        lines = code_of(path)
        alone = room_of(name_of(path)) == ALONE
        for at in range(len(lines) - SAME_LINES + 1):
            block = alone, tuple(line for _, line in lines[at : at + SAME_LINES])
            place = f"{path.relative_to(PACKAGE)}:{lines[at][0]}"
            first = seen.setdefault(block, place)
            if first != place:
                twice.append(f"{first} ~ {place}")
    assert twice == []
