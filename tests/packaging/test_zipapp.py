"""azurelite.pyz: one file, for a machine that has nothing but a Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packagekit import LOOK, PACKAGING, boot, check_provisioned, files_below, run

from azurelite.cli.parser import VERBS
from azurelite.service import INITS

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.packaging]

PROGRAM = "/usr/bin/azurelite"


@pytest.fixture(scope="module")
def pyz(release: Path) -> Path:
    return release / "azurelite.pyz"


def test_it_provisions_a_machine_of_busybox_and_python(pyz: Path, busybox: Path) -> None:
    provision = [PROGRAM, "provision"]
    check_provisioned(*boot(busybox, provision, LOOK, provision, put={PROGRAM: (pyz, 0o755)}))


def test_there_is_nothing_else_in_that_machine(pyz: Path, busybox: Path) -> None:
    names = {path.name for path in (busybox / "usr/bin").iterdir()} | {
        path.name for path in (busybox / "bin").iterdir()
    }
    (applets,) = boot(busybox, ["busybox", "--list"])
    assert {name for name in names if not name.startswith("python")} == {*applets["out"].split(), "env"}
    (yaml,) = boot(busybox, ["python3", "-c", "import yaml"], put={PROGRAM: (pyz, 0o755)})
    assert "No module named" in yaml["err"]


def test_the_demo_runs_with_all_that_it_brings(pyz: Path) -> None:
    """The simulator and its packaged scenario come from inside the file. -I: nothing of this environment helps."""
    told = json.loads(run(sys.executable, "-I", pyz, "demo", "--json"))
    assert told["outcome"]["outcome"] == "provisioned"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_there(pyz: Path, verb: str) -> None:
    assert f"azurelite {verb}" in run(sys.executable, "-I", pyz, verb, "--help")


@pytest.mark.parametrize("init", INITS)
def test_the_units_come_from_inside_it(pyz: Path, tmp_path: Path, init: str) -> None:
    for name in ("usr/bin/azurelite", "usr/bin/env", "etc/s6/svc/.keep", "etc/dinit.d/boot.d/.keep"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/usr/bin/env python3\n")
        path.chmod(0o755)
    (tmp_path / "etc/inittab").write_text("::sysinit:/bin/true\n")
    before = files_below(tmp_path)
    words = ["service", "install", "--init", init, "--root", tmp_path, "--json"]
    told = json.loads(run(sys.executable, "-I", pyz, *words))
    assert told["init"] == init
    written = [tmp_path / change["target"].lstrip("/") for change in told["changes"] if change["kind"] == "write"]
    assert any("/usr/bin/azurelite" in path.read_text() for path in written)
    run(sys.executable, "-I", pyz, "service", "remove", "--init", init, "--root", tmp_path)
    assert files_below(tmp_path) == before


def test_an_unknown_init_is_told_where_the_plain_files_lie(pyz: Path) -> None:
    done = subprocess.run(
        [str(pyz), "service", "install", "--init", "upstart"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"azurelite/service/units in {pyz} (`python3 -m zipfile -e` unpacks it)" in done.stderr
    assert any(name.startswith("azurelite/service/units/runit/") for name in contents(pyz))


def test_busybox_init_starts_it(pyz: Path, busybox: Path, tmp_path: Path) -> None:
    table = tmp_path / "inittab"
    table.write_text("::sysinit:/bin/true\n")
    put = {PROGRAM: (pyz, 0o755), "/etc/inittab": (table, 0o644)}
    install, look = boot(
        busybox,
        [PROGRAM, "service", "install", "--init", "busybox"],
        ["grep", "azurelite provision", "/etc/inittab"],
        put=put,
    )
    assert install["code"] == 0, install["err"]
    assert look["code"] == 0


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_each_python_runs_the_same_file(pyz: Path, version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-V"], capture_output=True, check=False).returncode != 0:
        return  # tox leaves interpreters out that are not installed, and so does this
    assert "provisioned" in run(python, "-I", pyz, "demo")


def test_everything_that_the_package_holds_is_in_it(pyz: Path, release: Path) -> None:
    (wheel,) = release.glob("*.whl")
    inside = set(contents(pyz))
    package = {name for name in contents(wheel) if name.startswith("azurelite/")}
    assert package <= inside
    assert {name.split("/")[0] for name in inside if name.endswith("/__init__.py")} == {
        "azurelite",
        "defusedxml",
        "urllib3",
        "yaml",
    }
    assert not [name for name in inside if name.endswith((".so", ".pyc"))]
    licences = [name for name in inside if "LICENSE" in name.upper()]
    assert len({name.split("/")[0] for name in licences}) == 4


def test_nothing_in_it_is_compressed(pyz: Path) -> None:
    """A Python without zlib reads it, and its bytes do not change with zlib's version."""
    with zipfile.ZipFile(pyz) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_byte_code_is_for_the_python_that_made_it_and_in_no_others_way(release: Path, tmp_path: Path) -> None:
    run(sys.executable, PACKAGING / "release.py", "--only", "zipapp", "--compile", tmp_path)
    content = contents(tmp_path / "azurelite.pyz")
    without_source = {name: data for name, data in content.items() if not name.endswith(".py") or "/" not in name}
    foreign = {name: b"????" + data[4:] if name.endswith(".pyc") else data for name, data in content.items()}
    for kept in (without_source, foreign):
        changed = tmp_path / "changed.pyz"
        with zipfile.ZipFile(changed, "w") as archive:
            for name, data in kept.items():
                archive.writestr(name, data)
        assert "provisioned" in run(sys.executable, "-I", changed, "demo")


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_older_python_is_told_so(pyz: Path, tmp_path: Path) -> None:
    main = contents(pyz)["__main__.py"].decode()
    pretend = main.replace("import sys\n", "import sys\nsys.version_info = (3, 8, 0, 'final', 0)\n", 1)
    old = tmp_path / "__main__.py"
    old.write_text(pretend)
    done = subprocess.run([sys.executable, str(old)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "azurelite: needs Python 3.9 or newer, this is 3.8\n")


def test_plug_ins_of_the_same_python_are_found(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text('SUMMARY = "of acme"\n\n\ndef apply(ctx, options):\n    pass\n')
    about = tmp_path / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[azurelite.handlers]\nacme = acme\n")
    told = run(sys.executable, pyz, "handlers", "--root", tmp_path, PYTHONPATH=str(tmp_path))
    assert "of acme" in told
