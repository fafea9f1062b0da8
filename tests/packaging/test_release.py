"""The sdist, the wheel and azurelite.pyz: the same bytes every time, nothing missing, built by old setuptools, too."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from packagekit import CHECKOUT, EPOCH, need, run

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.packaging]


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def copy_of_sources(folder: Path) -> Path:
    """What a clone holds, without the history and without what builds and tests have left behind."""
    junk = shutil.ignore_patterns(".?*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(CHECKOUT, folder, ignore=junk, symlinks=True)
    return folder


def test_another_folder_umask_clock_and_language_make_no_difference(release: Path, tmp_path: Path) -> None:
    sources = copy_of_sources(tmp_path / "a checkout elsewhere")
    for where, _, files in os.walk(sources):
        for name in files:
            path = Path(where, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)
                os.utime(path, (time.time() - 86400, time.time() - 86400))
    out = tmp_path / "out"
    script = f'umask 077 && exec "{sys.executable}" contrib/packaging/release.py "{out}"'
    env = {"SOURCE_DATE_EPOCH": EPOCH, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    run("sh", "-c", script, cwd=sources, **env)
    assert sums(out) == sums(release)
    assert len(sums(out)) == 3


@pytest.mark.usefixtures("release")  # which says what is missing
def test_pips_own_wheel_is_the_same_twice(tmp_path: Path) -> None:
    """Without release.py: what a distribution's build does."""
    made = []
    for number in (1, 2):
        sources = copy_of_sources(tmp_path / f"sources{number}")
        words = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path / f"out{number}", "."]
        run(sys.executable, "-m", "pip", *words, cwd=sources, SOURCE_DATE_EPOCH=EPOCH)
        made.append(sums(tmp_path / f"out{number}"))
    assert made[0] == made[1]


def test_owners_times_and_modes_are_even(release: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "root", "root")}
    assert {member.mtime for member in members} == {int(EPOCH)}
    assert {member.mode for member in members if member.isreg()} == {0o644, 0o755}


def test_the_sdist_holds_all_that_a_packager_needs(release: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    kept = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.split()
    kept = kept or [str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "azurelite").rglob("*.py")]
    missing = {name for name in kept if not name.startswith(".") and (CHECKOUT / name).exists()} - inside
    assert missing == set()
    assert not [name for name in inside if "__pycache__" in name or name.startswith((".", "build", "dist"))]


def test_the_wheel_holds_all_of_the_package(release: Path) -> None:
    (wheel,) = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    package = CHECKOUT / "azurelite"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(CHECKOUT)) for path in files} - inside == set()
    shared = {name.partition(".data/data/share/")[2] for name in inside}
    assert {"man/man8/azurelite.8", "man/man5/azurelite.yaml.5"} <= shared
    assert {"bash-completion/completions/azurelite", "zsh/site-functions/_azurelite"} <= shared
    assert "fish/vendor_completions.d/azurelite.fish" in shared


# What Debian 11 and Debian 12 have: pip, setuptools, wheel.
OLD = {"debian-11": ("20.3.4", "52.0.0", "0.34.2"), "debian-12": ("23.0.1", "66.1.1", "0.38.4")}


def old_python() -> str:
    """A Python that these know: from 3.12 on, their pip and setuptools do not start."""
    for name in ("python3.9", "python3.10", "python3.11"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("needs Python 3.9, 3.10 or 3.11 with ensurepip")


@pytest.mark.parametrize("release_of", OLD)
def test_old_tools_build_and_install_it(release_of: str, tmp_path: Path) -> None:
    pip, setuptools, wheel = OLD[release_of]
    shelf = tmp_path / "venv"
    run(old_python(), "-m", "venv", shelf)
    python = shelf / "bin/python"
    needed = ["defusedxml", "PyYAML", "urllib3"]
    run(python, "-m", "pip", "install", "-q", *needed, f"setuptools=={setuptools}", f"wheel=={wheel}", f"pip=={pip}")
    sources = copy_of_sources(tmp_path / "sources")
    run(python, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-index", ".", cwd=sources)
    shutil.rmtree(sources)
    assert "provisioned" in run(shelf / "bin/azurelite", "demo", cwd=tmp_path)
    listed = run(python, "-m", "pip", "show", "-f", "azurelite", cwd=tmp_path)
    assert "azurelite/service/units/systemd/azurelite.service" in listed
    assert "Version: 0." in listed


@pytest.mark.parametrize("name", ["azurelite.8", "azurelite.yaml.5"])
def test_the_manual_pages_are_well_formed(name: str) -> None:
    need({"groff": "groff-base"})
    page = CHECKOUT / "contrib/packaging/man" / name
    told = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", str(page)], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
