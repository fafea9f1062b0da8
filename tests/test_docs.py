"""The documentation agrees with the project: files exist, commands parse, excerpts mean what the shipped files mean."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import textwrap
from pathlib import Path
from typing import Callable

import pytest
import yaml

import azurelite
from azurelite.cli.parser import VERBS, verb_parser
from azurelite.handlers import BUILTIN
from azurelite.metadata import NAMES

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
PAGES = [README, CHECKOUT / "HACKING.md", CHECKOUT / "CHANGELOG.md"]
# Pages of reference are made from the code.
PAGES += [path for path in sorted((CHECKOUT / "docs").rglob("*.md")) if path.parent.name != "reference"]
PAGES += [CHECKOUT / "contrib" / name / "README.md" for name in ("packaging", "initramfs")]
WIDTH = 100
LONGEST_SENTENCE = 24  # words


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks_of(path: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", text_of(path), re.MULTILINE | re.DOTALL)


def commands_of(path: Path) -> list[str]:
    """Every command of the page that runs azurelite: in shell blocks, in indented lines and in code font."""
    lines = [*"\n".join(blocks_of(path, "sh")).splitlines(), *re.findall(r"^    (.+)$", text_of(path), re.MULTILINE)]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    parts += re.findall(r"`([^`\n]+)`", text_of(path))
    return [part for part in parts if re.match(r"(\S*/)?azurelite [a-z-]", part)]


def parses(command: str) -> bool:
    """Whether the program takes a command; `[KEY]` may be left out, `…` stands for a name, `a|b` for one of them."""
    command = re.sub(r" \[[^]]*\]", "", command.partition(" > ")[0]).replace(" …", " NAME")
    verb, *words = shlex.split(re.sub(r"\|[a-z|]+", "", command))[1:]
    if verb not in VERBS or not words:  # without words: a sentence that names the verb
        return verb in VERBS
    try:
        verb_parser(verb).parse_args(words)
    except SystemExit:  # no such option
        return False
    return True


def links_of(text: str) -> list[str]:
    """The targets of all links and pictures, in Markdown and in HTML."""
    found = re.findall(r"\]\(([^)]*)\)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']*)", text, re.MULTILINE)
    return [target for groups in found for target in groups if target]


def prose_of(text: str) -> str:
    """The text without code blocks, comments and tables; each item of a list and each heading is a paragraph."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^ *\|.*$|^    .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"^(\* |#+ |\d+\. )", r"\n\n\1", text, flags=re.MULTILINE)


def long_sentences(text: str) -> list[str]:
    """Sentences of too many words; code in backquotes is one word, and a colon or semicolon ends no sentence."""
    found = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"`[^`]*`", "`code`", prose_of(text))):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            if len(sentence.split()) > LONGEST_SENTENCE:
                found.append(sentence)
    return found


def wide_lines(text: str) -> list[str]:
    """Lines that are too wide; of a table's rows and of quoted files no line can be broken."""
    text = re.sub(r"^ *```yaml$.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if len(line) > WIDTH and not line.startswith("|")]


def offenders(check: Callable[[Path], list[str]]) -> list[str]:
    return [f"{path.relative_to(CHECKOUT)}: {offence}" for path in PAGES for offence in check(path)]


def test_lines_are_narrow() -> None:
    assert offenders(lambda path: wide_lines(text_of(path))) == []


def test_sentences_are_short() -> None:
    lists_of_names = CHECKOUT / "CHANGELOG.md"
    assert offenders(lambda path: long_sentences(text_of(path)) if path != lists_of_names else []) == []


def test_named_files_exist() -> None:
    """`docs/`, `contrib/`, `tests/` and `azurelite/…` in code font are paths of this checkout."""
    made_by_hacking = {"azurelite/handlers/motd.py", "tests/handlers/wishes/motd.yaml"}
    made_by_hacking |= {"tests/handlers/test_handler_motd.py"}

    def missing(path: Path) -> list[str]:
        named = re.findall(r"`((?:docs|contrib|tests|azurelite)/[\w./-]+)`", text_of(path))
        return [name for name in named if name not in made_by_hacking and not (CHECKOUT / name).exists()]

    assert offenders(missing) == []


def test_commands_parse() -> None:
    assert offenders(lambda path: [command for command in commands_of(path) if not parses(command)]) == []


def test_the_readme_is_short() -> None:
    assert text_of(README).count("\n") <= 225
    assert text_of(CHECKOUT / "HACKING.md").count("\n") <= 116


def test_the_readme_has_no_link_that_a_package_index_would_break() -> None:
    assert [target for target in links_of(text_of(README)) if not target.startswith("https://")] == []
    inside = links_of("[a](b.md) ![c](d.png)\n\n[e]: f.md\n<img alt='g' src=\"h.svg\">[i](#j) <k.md> [l](https://m)")
    assert inside == ["b.md", "d.png", "f.md", "h.svg", "#j", "https://m"]


def test_the_readme_names_every_page_verb_and_exit_code() -> None:
    readme = text_of(README)
    assert [path.name for path in (CHECKOUT / "docs").glob("*.md") if f"`docs/{path.name}`" not in readme] == []
    assert [verb for verb in VERBS if f"| `azurelite {verb}" not in readme] == []
    assert [code for code in (0, 1, 2, 3) if f"\n| {code} |" not in readme] == []


def test_readme_and_hacking_have_the_same_two_commands() -> None:
    first, second = blocks_of(README, "sh")[:2]
    assert first == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/azurelite demo\n"
    assert second == ".venv/bin/pip install tox && .venv/bin/tox\n"
    assert f"{first}{second}" in blocks_of(CHECKOUT / "HACKING.md", "sh")


@pytest.mark.spawns
@pytest.mark.parametrize("block", blocks_of(README, "sh"))
def test_shell_blocks_are_shell(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def missing_names(block: str) -> list[str]:
    """What a block of Python imports from azurelite or takes from it, and what does not exist. Raises SyntaxError."""
    found = []
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "azurelite":
            home = importlib.import_module(node.module or "")
            found += [f"{node.module}.{name.name}" for name in node.names if not hasattr(home, name.name)]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "azurelite":
            found += [] if hasattr(azurelite, node.attr) else [f"azurelite.{node.attr}"]
    return found


def test_python_blocks_are_python_and_name_what_exists() -> None:
    made_by_hacking = CHECKOUT / "HACKING.md"  # its example imports a module that the reader writes
    pages = [page for page in (*PAGES, *(CHECKOUT / "contrib").rglob("*.md")) if page != made_by_hacking]
    blocks = [textwrap.dedent(block) for page in pages for block in blocks_of(page, "python")]
    assert len(blocks) > 5
    assert [name for block in blocks for name in missing_names(block)] == []
    assert missing_names("from azurelite import crawl, crawll\nazurelite.aply()") == [
        "azurelite.crawll",
        "azurelite.aply",
    ]


def test_the_excerpt_means_what_the_shipped_file_means() -> None:
    """Keys and values of the README's first YAML are those of contrib/azurelite.yaml, which holds the defaults."""
    excerpt = yaml.safe_load(blocks_of(README, "yaml")[0])
    shipped = yaml.safe_load(text_of(CHECKOUT / "contrib/azurelite.yaml"))
    assert excerpt["datasource"].items() <= shipped["datasource"].items()
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in shipped["handlers"]]
    assert excerpt["handlers"] == names


@pytest.mark.parametrize("name", ["azurelite.yaml", "distribution.yaml"])
def test_documented_files_are_the_shipped_ones(name: str) -> None:
    shipped = text_of(CHECKOUT / "contrib" / name)
    assert shipped in blocks_of(CHECKOUT / "docs/configuration.md", "yaml"), f"copy contrib/{name} into the page"


def test_the_library_page_describes_every_function_method_and_error() -> None:
    page = text_of(CHECKOUT / "docs/library.md")
    cells = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", "\n".join(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))))
    functions = {name for name in azurelite.__all__ if name[0].islower()}
    methods = {name for name in vars(azurelite.Azure) if not name.startswith("_")}
    assert (len(functions), methods - functions) == (10, {"close", "is_done", "mark_done", "plan", "vm_id"})
    assert (functions | methods) - cells == set()
    assert {"root", "config", "seconds", "clock", *NAMES} - cells == set()
    errors = {kind.__name__ for kind in azurelite.AzureliteError.__subclasses__()}
    assert (errors & set(azurelite.__all__)) - cells == set()


def test_headings_about_handlers_name_handlers() -> None:
    headings = re.findall(r"^## (.+)$", text_of(CHECKOUT / "docs/behaviour.md"), re.MULTILINE)
    assert headings
    assert {name for heading in headings for name in heading.split(", ")} - {"The log"} <= set(BUILTIN)


def test_every_tox_environment_is_described() -> None:
    hacking = text_of(CHECKOUT / "HACKING.md")
    environments = re.findall(r"^\[testenv:([a-z]+)\]", text_of(CHECKOUT / "tox.ini"), re.MULTILINE)
    assert environments
    assert [name for name in environments if f"`{name}`" not in hacking] == []


def test_long_sentences_and_wide_lines_are_found() -> None:
    words = "a word " * 13
    assert long_sentences(f"Short. {words.strip()}.\n") == [f"{words.strip()}."]
    assert long_sentences(f"| {words} |\n\n* {words[:50].strip()}\n* {words[:50].strip()}\n") == []
    assert wide_lines("x" * 101 + "\n| " + "x" * 101) == ["x" * 101]
