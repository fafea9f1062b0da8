"""`azurelite handlers [NAME]`: what the code says of the handlers, in four forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import Guest

from azurelite.cli import main
from azurelite.config.schema import fields_of
from azurelite.handlers import BUILTIN, look_up

REPO = Path(__file__).parents[2]


def printed(capsys: Any, *words: str) -> str:
    assert main(["handlers", *words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    out: str = captured.out
    return out


def test_all_are_listed_with_how_often_and_what_they_need(guest: Guest, capsys: Any) -> None:
    lines = printed(capsys, "--root", guest.root).splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) >= set(BUILTIN)
    for name in BUILTIN:
        known = look_up(name)
        assert known is not None
        assert known.summary in rows[name]
        assert ("  required  " in rows[name]) == known.required
        assert all(need in rows[name] for need in known.needs)
    assert "  at every boot  " in rows["growroot"]
    assert "  once per VM    " in rows["user"]


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_one_is_told_with_every_option_and_an_example(name: str, guest: Guest, capsys: Any) -> None:
    out = printed(capsys, name, "--root", guest.root)
    known = look_up(name)
    assert known is not None
    assert known.options is not None
    assert out.startswith(f"{name}: {known.summary}\n")
    told, _, example = out.partition("\nexample:\n")
    for field in fields_of(known.options):
        assert f"\n  {field.name}: " in told
    (entry,) = yaml.safe_load(example)
    assert name == (entry if isinstance(entry, str) else next(iter(entry)))


def test_an_option_has_type_default_and_text(guest: Guest, capsys: Any) -> None:
    out = printed(capsys, "user", "--root", guest.root)
    assert "  sudo: auto | nopasswd | password | none (default: auto)\n" in out
    assert '      further groups, for example "wheel". ' in out
    assert "every entry also takes: id, when, frequency, required, before, after\n" in out
    assert "every entry also takes" not in printed(capsys, "report_ready", "--root", guest.root)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_json_of_one(name: str, guest: Guest, capsys: Any) -> None:
    document = json.loads(printed(capsys, name, "--json", "--root", guest.root))
    assert set(document) == {
        "name", "summary", "text", "needs", "uses", "frequency", "required", "options", "example"
    }  # fmt: skip
    assert all(set(option) == {"name", "kind", "default", "text"} for option in document["options"])
    assert all(option["text"] for option in document["options"])


def test_json_of_all(guest: Guest, capsys: Any) -> None:
    documents = json.loads(printed(capsys, "--json", "--root", guest.root))
    assert {document["name"] for document in documents} >= set(BUILTIN)


def test_the_page_is_kept_in_contrib(capsys: Any) -> None:
    kept = (REPO / "contrib" / "handlers.md").read_text(encoding="utf-8")
    assert kept == printed(capsys, "--markdown"), "run `azurelite handlers --markdown > contrib/handlers.md`"


def test_the_tables_of_the_page_are_tables(capsys: Any) -> None:
    columns = 0
    for line in printed(capsys, "--markdown").splitlines():
        cells = line.replace("\\|", "").count("|")
        if not line.startswith("|"):
            columns = 0
        elif columns:
            assert cells == columns, line
        else:
            columns = cells


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hostnam"], "unknown handler 'hostnam'; did you mean 'hostname'?"),
        (["os"], "unknown handler 'os'"),
        (["../../x"], "unknown handler '../../x'"),
        ([""], "unknown handler ''"),
        (["user", "--markdown"], "--markdown prints all handlers: leave NAME out"),
    ],
)
def test_what_is_not_there_is_exit_2(words: list[str], said: str, guest: Guest, capsys: Any) -> None:
    assert main(["handlers", "--root", guest.root, *words]) == 2
    assert said in capsys.readouterr().err


def test_executables_of_the_guest_are_listed_too(guest: Guest, capsys: Any) -> None:
    path = "etc/azurelite/handlers.d/mine"
    guest.put({path: "#!/bin/sh\n", "etc/azurelite/handlers.d/weak": "#!/bin/sh\n"}).path(path).chmod(0o755)
    rows = {line.split()[0]: line for line in printed(capsys, "--root", guest.root).splitlines()}
    assert f"run /{path}" in rows["mine"]
    assert "cannot be used: " in rows["weak"]
    assert "options: any\n" in printed(capsys, "mine", "--root", guest.root)
    assert json.loads(printed(capsys, "mine", "--json", "--root", guest.root))["options"] is None


@pytest.mark.spawns
@pytest.mark.parametrize("words", [["handlers"], ["handlers", "--markdown"], ["config", "schema", "--builtin"]])
def test_nothing_is_needed_for_it(words: list[str], tmp_path: Path) -> None:
    """Neither a root's rights nor a home, a language or a network."""
    environment = {"LC_ALL": "C", "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"}
    command = [sys.executable, "-m", "azurelite", *words]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"user" in done.stdout


@pytest.mark.spawns
def test_a_boot_pays_for_none_of_it() -> None:
    modules = {
        f"azurelite.{name}" for name in ("optiondocs", "handlerdocs", "handlerexamples", "jsonschema", "configtext")
    }
    code = f"import sys, azurelite.run.provision; print(sorted({modules} & set(sys.modules)))"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"[]\n"
