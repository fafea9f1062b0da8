"""`azurelite service install|remove` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Any

import pytest
from kit import Guest

import azurelite
from azurelite.cli import main


@pytest.fixture
def image(tmp_path: Path) -> Guest:
    """A small image with runit."""
    guest = Guest(tmp_path / "image")
    guest.put({"etc/runit/2": "", "etc/runit/runsvdir/default/.keep": "", "usr/bin/azurelite": "#!/usr/bin/python3\n"})
    guest.put({"usr/bin/python3": "", "etc/sv/.keep": ""})
    guest.path("sbin").mkdir()
    guest.path("sbin/init").symlink_to("runit-init")
    for program in ("azurelite", "python3"):
        guest.path(f"usr/bin/{program}").chmod(0o755)
    return guest


def said(capsys: Any, guest: Guest, *words: str) -> list[str]:
    assert main(["service", *words, "--root", guest.root]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines: list[str] = captured.out.splitlines()
    return lines


def test_it_says_what_it_does_and_a_dry_run_says_the_same(image: Guest, capsys: Any) -> None:
    before = image.snapshot()
    told = said(capsys, image, "install", "--dry-run")
    assert image.snapshot() == before
    done = said(capsys, image, "install")
    assert [line.replace("would ", "", 1) for line in told] == done[:-1]
    assert "link /etc/runit/runsvdir/default/azurelite to /etc/sv/azurelite" in done
    assert done[-1] == "runit runs azurelite at boot"
    assert said(capsys, image, "install") == ["runit runs azurelite at boot: nothing had to change"]
    assert said(capsys, image, "install", "--dry-run") == ["nothing to change"]
    assert said(capsys, image, "remove")[-1] == "removed the runit service"
    assert image.snapshot() == before
    assert said(capsys, image, "remove") == ["no service was installed"]


def test_json(image: Guest, capsys: Any) -> None:
    first = json.loads("\n".join(said(capsys, image, "install", "--json", "--dry-run")))
    assert (first["init"], first["notes"]) == ("runit", [])
    assert {"kind": "link", "target": "/etc/runit/runsvdir/default/azurelite", "detail": "to /etc/sv/azurelite"} in (
        first["changes"]
    )
    assert json.loads("\n".join(said(capsys, image, "install", "--json"))) == first
    assert json.loads("\n".join(said(capsys, image, "install", "--json")))["changes"] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["install", "--init", "upstart"], "unknown init system 'upstart'"),
        (["install", "--early"], "--early: runit has no unit that runs before the network"),
        (["install", "--program", "/nowhere"], "no executable file of the guest"),
        (["remove", "--early"], "--early and --program are options of `service install`"),
        (["remove", "--program", "/x"], "--early and --program are options of `service install`"),
        (["install", "--root", "/nonexistent/x"], "not a folder"),
        (["install", "--root", ""], "--root (empty): not a folder"),
    ],
)
def test_what_cannot_be_is_exit_2(words: list[str], expected: str, image: Guest, capsys: Any) -> None:
    before = image.snapshot()
    assert main(["service", "--root", image.root, *words]) == 2
    assert expected in capsys.readouterr().err
    assert image.snapshot() == before


@pytest.mark.parametrize("words", [[], ["start"], ["install", "remove"]])
def test_wrong_words_are_exit_2(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["service", *words])
    assert caught.value.code == 2
    assert "usage: azurelite service" in capsys.readouterr().err


def test_an_unknown_init_system_is_exit_2_and_names_the_folder_of_the_units(tmp_path: Path, capsys: Any) -> None:
    assert main(["service", "install", "--root", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "no init system was found in this guest: give --init one of systemd, " in err
    assert len(err) < 300 + len(str(Path(azurelite.__file__).parent))
    assert str(Path(azurelite.__file__).parent / "service" / "units") in err
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_file_is_exit_1(image: Guest, capsys: Any) -> None:
    image.put({"etc/sv/azurelite/run": "#!/bin/sh\nexec other\n"})
    assert main(["service", "install", "--root", image.root]) == 1
    assert "/etc/sv/azurelite/run is not azurelite's: move it away" in capsys.readouterr().err


@pytest.mark.spawns
@pytest.mark.parametrize("compressed", [True, False])
def test_it_works_out_of_a_zipapp(image: Guest, tmp_path: Path, compressed: bool) -> None:
    """The units are read as package data, not as files."""
    archive = tmp_path / "azurelite.pyz"
    package = Path(azurelite.__file__).parent
    zipapp.create_archive(
        package.parent,
        archive,
        main="azurelite.cli:command",
        compressed=compressed,
        filter=lambda path: path.parts[0] == "azurelite" and "__pycache__" not in path.parts,
    )
    command = [sys.executable, str(archive), "service", "install", "--root", image.root]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'exec "$command" provision' in image.text("etc/sv/azurelite/run")
