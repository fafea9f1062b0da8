"""The generated files: kept as the code makes them, complete, and usable by the programs that read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import check_links
import generate
import pytest
from generator.files import files
from generator.verbs import cell, commands, complete_parser, program

from azurelite.cli.parser import VERBS, verb_parser
from azurelite.handlers import BUILTIN

CHECKOUT = Path(__file__).parents[1]
# In bash a function is called with the words of the line, the one to complete last.
BASH = """
. "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_azurelite azurelite "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'source $argv[1]; complete -C (string join -- " " $argv[2..-1]) | string replace -r "\\t.*" ""'
LINES = [
    (["pro"], {"provision"}),
    (["config", ""], {"show", "check", "schema"}),
    (["provision", "--d"], {"--debug", "--detach", "--diff", "--dry-run"}),
    (["apply", "hostn"], {"hostname"}),
    (["service", "--init", "s6"], {"s6"}),
]


def made(name: str) -> str:
    return generate.MADE[name]()


@pytest.mark.parametrize("name", generate.MADE)
def test_the_checkout_has_what_the_code_makes(name: str) -> None:
    assert (CHECKOUT / name).read_text(encoding="utf-8") == made(name), "run `tox -e docs`"


def test_check_names_what_differs_and_writes_nothing(tmp_path: Path, capsys: Any) -> None:
    assert generate.main(["--into", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": written\n") == len(generate.MADE)
    page = tmp_path / "docs/reference/verbs.md"
    page.write_text("older\n")
    assert generate.main(["--check", "--into", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "docs/reference/verbs.md: differs: run `tox -e docs`\n"
    assert page.read_text() == "older\n"
    assert generate.main(["--into", str(tmp_path)]) == 0
    assert generate.main(["--check", "--into", str(tmp_path)]) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_everywhere(verb: str) -> None:
    options = {name for action in verb_parser(verb)._actions for name in action.option_strings} - {"-h", "--help"}
    for name in ("docs/reference/verbs.md", "contrib/packaging/man/azurelite.8"):
        text = made(name).replace("\\-", "-")
        assert [option for option in options if option not in text] == [], name
    for shell in ("bash/azurelite", "zsh/_azurelite", "fish/azurelite.fish"):
        text = made(f"contrib/completion/{shell}")
        assert verb in text
        assert [option for option in options if option.lstrip("-") not in text] == [], shell


def test_a_verb_with_actions_is_described_by_action() -> None:
    words = [" ".join(command.words) for command in commands()]
    assert [one for one in words if one.startswith("config")] == ["config show", "config check", "config schema"]
    assert next(c for c in commands() if c.words == ("config", "check")).synopsis == "azurelite config check [FILE…]"
    assert {name for option in program().options for name in option.names} >= {"--debug", "--version"}


@pytest.mark.parametrize("words", [["plan", "--json"], ["config", "check", "a.yaml"], ["--debug", "apply", "hostname"]])
def test_the_complete_parser_takes_what_the_program_takes(words: list[str]) -> None:
    assert complete_parser().parse_args(words).verb in words
    with pytest.raises(SystemExit):
        complete_parser().parse_args([*words, "--no-such-option"])


def test_a_cell_shows_the_text_as_it_is() -> None:
    assert cell("a|b <N> *x* `<y> *`\n c") == "a\\|b \\<N> \\*x\\* `<y> *` c"


def test_every_file_is_described() -> None:
    assert [file.path for file in files() if not file.text] == [], "add a comment to the path in azurelite/layout.py"
    assert {"/run/azurelite/status.json", "/var/lib/azurelite/vms"} <= {file.path for file in files()}


def test_the_man_page_of_the_yaml_has_every_handler() -> None:
    page = made("contrib/packaging/man/azurelite.yaml.5")
    assert [name for name in BUILTIN if f"\n.SS {name}\n" not in page] == []
    assert ".TP\n\\fBdatasource.deadline\\fR (number; default: 1200)\n" in page


@pytest.mark.spawns
@pytest.mark.parametrize(("words", "expected"), LINES)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_words_are_completed(shell: str, words: list[str], expected: set[str]) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}")
    path = CHECKOUT / f"contrib/completion/{'bash/azurelite' if shell == 'bash' else 'fish/azurelite.fish'}"
    given = [program, "-c", BASH, "x"] if shell == "bash" else [program, "--no-config", "-c", FISH]
    done = subprocess.run([*given, path, "azurelite", *words], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) == expected


@pytest.mark.spawns
def test_zsh_reads_its_completion() -> None:
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh")
    path = CHECKOUT / "contrib/completion/zsh/_azurelite"
    assert path.read_text().startswith("#compdef azurelite\n")
    subprocess.run(["zsh", "-n", path], check=True, timeout=60)


@pytest.mark.parametrize(
    ("link", "holds"),
    [
        ("b.html", True),
        ("b.html#here", True),
        ("#top", True),
        ("sub/c.html", True),
        ("https://example.org/x#y", True),
        ("b.html#nowhere", False),
        ("#nowhere", False),
        ("gone.html", False),
        ("sub/../../outside.html", False),
    ],
)
def test_broken_links_are_found(link: str, holds: bool, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (tmp_path / "outside.html").write_text("")
    (site / "a.html").write_text(f'<a id="top" href="{link}">x</a>')
    (site / "b.html").write_text('<p id="here">')
    (site / "sub/c.html").write_text("")
    assert check_links.broken(site) == ([] if holds else [f"a.html: {link}"])


def test_a_folder_without_pages_is_no_success(tmp_path: Path) -> None:
    assert check_links.broken(tmp_path) == [f"{tmp_path}: no pages"]
