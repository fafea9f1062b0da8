"""Nothing is imported that a newer Python has dropped, and nothing warns when the one that runs this compiles it."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("azurelite", "contrib", "tests") for path in (CHECKOUT / folder).rglob("*.py"))

# Gone, or to go: from 3.12 on distutils, imp, asyncore and asynchat; from 3.13 on what PEP 594 lists. pkg_resources and
# six belong to others, and setuptools is no dependency of a running azurelite.
GONE = {
    *("distutils", "imp", "asynchat", "asyncore", "smtpd", "pkg_resources", "setuptools", "six"),
    *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "mailcap", "msilib", "nis", "nntplib"),
    *("ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib", "lib2to3"),
}


def roots_imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                found.add(str(node.args[0].value).partition(".")[0])
    return found


def warning_of(path: Path) -> str:
    """What the compiler warns of, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        except (SyntaxError, Warning) as error:
            return f"{path}: {error}"
    return ""


def test_nothing_that_is_gone_is_imported() -> None:
    imported = {path: roots_imported(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {str(path): names & GONE for path, names in imported.items() if names & GONE} == {}


def test_no_file_warns_when_it_is_compiled() -> None:
    assert [warning for warning in map(warning_of, SOURCES) if warning] == []
