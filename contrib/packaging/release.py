"""Makes what a release consists of: the sdist, the wheel and the one-file program azurelite.pyz.

    python contrib/packaging/release.py [--only sdist|wheel|zipapp] [--compile] [FOLDER]

The same sources and the same setuptools give the same bytes, on any day, in any folder, under any umask: times are
SOURCE_DATE_EPOCH (where it is not set, the last commit's), owners are root, modes are 0644 and 0755. Needs pip,
setuptools and, with setuptools older than 70.1, wheel; `tox -e release` brings the pinned ones. Nothing is written but
FOLDER (dist). It knows nothing of distributions: their recipes begin with the sdist.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Iterator

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1]
CLUTTER = shutil.ignore_patterns(".?*", "__pycache__", "*.egg-info", "build", "dist", "*.pyc")
ZIP_BEGINS = 315532800  # 1980: a zip knows no earlier time
ZIP_ENDS = 4354819199  # 2107, and no later one
INTERPRETER = b"#!/usr/bin/env python3\n"
# Of the wheels: the C loader and its shim are for one Python on one machine; RECORD describes what is no longer so.
LEFT_OUT_SUFFIXES = (".so", ".pyd", ".pyc", "dist-info/RECORD", "dist-info/WHEEL", "dist-info/direct_url.json")
LEFT_OUT_FOLDERS = ("_yaml/",)


def main() -> None:
    """Make what was asked for."""
    parser = argparse.ArgumentParser(
        description="Makes the sdist, the wheel and azurelite.pyz, the same bytes each time."
    )
    parser.add_argument("folder", nargs="?", default="dist", type=Path, help="where they are put (default: dist)")
    parser.add_argument("--only", choices=["sdist", "wheel", "zipapp"], help="only this one")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="azurelite.pyz also holds byte code for the Python that runs this, and starts faster there",
    )
    given = parser.parse_args()
    os.umask(0o022)
    given.folder.mkdir(parents=True, exist_ok=True)
    epoch = source_date()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sdist = make_sdist(scratch, epoch)
        wheel = make_wheel(sdist, scratch, epoch) if given.only != "sdist" else None
        made = {"sdist": sdist, "wheel": wheel, "zipapp": None}
        if wheel is not None and given.only in (None, "zipapp"):
            made["zipapp"] = make_zipapp(wheel, scratch, epoch, compiled=given.compile)
        for kind, path in made.items():
            if path is not None and given.only in (None, kind):
                shutil.copy(path, given.folder)
                print(given.folder / path.name)


def source_date() -> int:
    """The time that all bears: SOURCE_DATE_EPOCH, the last commit's, or setup.cfg's, as in an unpacked sdist."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told is None and (SOURCES / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(SOURCES), "log", "-1", "--format=%ct"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    told = told or str(int((SOURCES / "setup.cfg").stat().st_mtime))
    if not told.isascii() or not told.isdigit() or int(told) > ZIP_ENDS:
        sys.exit("release.py: SOURCE_DATE_EPOCH must be seconds since 1970, before the year 2108")
    return max(int(told), ZIP_BEGINS)


def make_sdist(scratch: Path, epoch: int) -> Path:
    """The sdist, made from a tidy copy of the sources."""
    copy = scratch / "sources"
    shutil.copytree(SOURCES, copy, ignore=CLUTTER, symlinks=True)
    _even_out(copy, epoch)
    made = _by_setuptools("build_sdist", copy, scratch / "sdist", epoch)
    tidy = scratch / made.name
    with tarfile.open(made) as old, tidy.open("wb") as file:
        members = sorted(old.getmembers(), key=lambda member: member.name)
        with (
            gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in members:
                member.pax_headers = {}
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mtime = epoch
                member.mode = _even_mode(member.mode, folder=member.isdir())
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return tidy


def make_wheel(sdist: Path, scratch: Path, epoch: int) -> Path:
    """The wheel, made from the sdist, so that the sdist is known to hold all it needs."""
    shutil.unpack_archive(sdist, scratch / "unpacked")
    (unpacked,) = (scratch / "unpacked").iterdir()
    _even_out(unpacked, epoch)
    return _by_setuptools("build_wheel", unpacked, scratch / "wheel", epoch)


def make_zipapp(wheel: Path, scratch: Path, epoch: int, *, compiled: bool) -> Path:
    """azurelite and what it needs, in one file that Python runs.

    Nothing in it is compressed: it starts sooner, needs no zlib, and its bytes do not hang on a zlib's version.
    """
    shelf = scratch / "wheels"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--platform=manylinux2014_x86_64", "--python-version=3.9", "--implementation=cp", "-d", str(shelf)]
    subprocess.run([*command, "-r", str(HERE / "zipapp" / "requirements.txt")], check=True)
    content = {"__main__.py": (HERE / "zipapp" / "__main__.py").read_bytes()}
    for path in [wheel, *sorted(shelf.iterdir())]:
        content.update(_of_wheel(path))
    if compiled:
        content.update(_byte_code(content))
    packed = io.BytesIO()
    packed.write(INTERPRETER)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _zip_time(epoch))
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.create_system = 3  # Unix, whatever this is
            archive.writestr(entry, content[name])
    made = scratch / "azurelite.pyz"
    made.write_bytes(packed.getvalue())
    made.chmod(0o755)
    return made


def _by_setuptools(hook: str, folder: Path, out: Path, epoch: int) -> Path:
    """Run a hook of the build backend in the sources, as pip would. Returns what it made."""
    out.mkdir()
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    env.pop("PYTHONPATH", None)
    script = f"import sys; import setuptools.build_meta as backend; backend.{hook}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"release.py: setuptools could not do {hook}:\n{done.stdout}{done.stderr}")
    (made,) = out.iterdir()
    return made


def _even_out(folder: Path, epoch: int) -> None:
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where, name)
            if not path.is_symlink():
                path.chmod(_even_mode(path.stat().st_mode, folder=path.is_dir()))
            os.utime(path, (epoch, epoch), follow_symlinks=False)


def _even_mode(mode: int, *, folder: bool) -> int:
    return 0o755 if folder or mode & stat.S_IXUSR else 0o644


def _of_wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            launcher = ".data/" in name  # __main__.py takes its place
            if not name.endswith(("/", *LEFT_OUT_SUFFIXES)) and not name.startswith(LEFT_OUT_FOLDERS) and not launcher:
                yield name, wheel.read(name)


def _byte_code(content: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Byte code beside each source, of the kind that no date invalidates; another Python passes over it."""
    from importlib._bootstrap_external import _code_to_hash_pyc

    for name, source in list(content.items()):
        if name.endswith(".py"):
            code = compile(source, name, "exec", dont_inherit=True)
            yield f"{name}c", bytes(_code_to_hash_pyc(code, importlib.util.source_hash(source), False))


def _zip_time(epoch: int) -> tuple[int, int, int, int, int, int]:
    import time

    moment = time.gmtime(epoch)
    return (moment.tm_year, moment.tm_mon, moment.tm_mday, moment.tm_hour, moment.tm_min, moment.tm_sec)


if __name__ == "__main__":
    main()
