"""azurelite's wheel, for tests that install it. It is built of a copy, so that nothing is left in the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
FILES = ["LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"]
FOLDERS = ["azurelite", "contrib/completion", "contrib/launcher", "contrib/packaging/man"]


def build_wheel(folder: Path) -> Path:
    """Build it in the folder `sources` of this folder, which must not exist yet, and put it beside that.

    Raises CalledProcessError, with what pip said in `stderr`.
    """
    copy = folder / "sources"
    copy.mkdir()
    for name in FILES:
        shutil.copyfile(CHECKOUT / name, copy / name)
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(copy)], check=True, capture_output=True, text=True)
    (built,) = folder.glob("azurelite-*.whl")
    return built
