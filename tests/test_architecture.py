"""The house keeps its shape: who may import whom, how long a room may be, and what is nobody's to use."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import azurelite

PACKAGE = Path(azurelite.__file__).parent
LONGEST_FILE = 500
LONGEST_FUNCTION = 50
MOST_UNITS = 30  # modules and packages at the top
MOST_EDGES = 150  # pairs of them of which one imports the other, by any statement, also inside functions
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
describe
api
cli
"""
LEVEL = {package: level for level, row in enumerate(ORDER.split("\n")) for package in row.split()}
ALONE = "simulator"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = ["azurelite", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in inner}
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "azurelite"


NAMES = {name_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards_only(path: Path) -> None:
    room = room_of(name_of(path))
    if room in ("azurelite", "__main__"):
        return
    for module in imports_of(path):
        if not module.startswith("azurelite.") or room_of(module).startswith("__"):
            continue
        other = room_of(module)
        if room == ALONE:
            assert other == ALONE, f"the simulator stands alone, yet imports {module}"
        elif other == ALONE:
            assert room == "cli", f"{module} is a test double; only the command line serves it"
        else:
            assert LEVEL[other] < LEVEL[room] or other == room, f"{room} imports {module} from above"


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


def test_no_module_imports_itself_in_a_circle() -> None:
    edges = {
        name_of(path): {module for module in imports_of(path) if module.startswith("azurelite.")} for path in MODULES
    }

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        for other in edges.get(module, ()):
            if other in edges:
                walk(other, (*trail, module))

    for module in edges:
        if module != "azurelite":
            walk(module, ())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node) or ""
            length = (node.end_lineno or 0) - node.lineno + 1 - docstring.count("\n")
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says what it knows and what it refuses to know"
    # A method that the standard library calls by its own name needs no words of ours.
    nodes = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for node in nodes:
        if not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_one_broad_except_in_the_whole_code() -> None:
    broad = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                kinds = ast.dump(node.type) if node.type is not None else "bare"
                if "bare" in kinds or "id='Exception'" in kinds or "id='BaseException'" in kinds:
                    broad.append(path.name)
    assert broad == ["guard.py"]


def test_handlers_never_run_programs_nor_read_the_clock() -> None:
    for path in (PACKAGE / "handlers").glob("*.py"):
        assert not imports_of(path) & {"subprocess", "os", "time", "shutil", "pathlib"}, path.name


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_no_test_patches_the_code(path: Path) -> None:
    assert not any("mock" in module for module in imports_of(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_regular_expression_is_compiled_at_import(path: Path) -> None:
    """`re` keeps what it compiled at the first use; most runs use few of them."""
    if room_of(name_of(path)) == ALONE:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            continue
        for node in ast.walk(statement):
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "attr", None) != "compile", f"line {statement.lineno}"


def code_of(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line of code; imports, signatures, docstrings and remarks are left out."""
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
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
