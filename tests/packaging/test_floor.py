"""Nothing is imported that a newer Python has dropped, and nothing warns when the one that runs this compiles it."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_nothing_that_is_gone_is_imported_and_nothing_warns(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(text, str(path), "exec", dont_inherit=True)
    assert roots_imported(ast.parse(text)) & GONE == set()
