"""Fixtures of the tests of packages: each thing is built once."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests in this folder share packagekit.py


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel and azurelite.pyz, all of one date."""
    from packagekit import EPOCH, PACKAGING, run

    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("needs setuptools in this environment: pip install setuptools")
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, PACKAGING / "release.py", folder, SOURCE_DATE_EPOCH=EPOCH)
    return folder


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the .deb and what came of its build."""
    from packagekit import PACKAGING, build, need

    need({"dpkg-checkbuilddeps": "dpkg-dev"})
    control = str(PACKAGING / "debian/control")
    lacks = subprocess.run(["dpkg-checkbuilddeps", control], capture_output=True, text=True, check=False)
    if lacks.returncode != 0:
        pytest.skip(lacks.stderr.strip())
    folder = tmp_path_factory.mktemp("deb")
    build("deb", folder)
    return folder


@pytest.fixture(scope="session")
def debian(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a small Debian onto which apt has installed the .deb, with all that it depends on."""
    from packagekit import need, run

    need({"mmdebstrap": "mmdebstrap"}, root=True)
    # In memory where there is some: most of the time would go into writing and removing its files.
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > 2 * 1024**3
    folder = Path(tempfile.mkdtemp(dir=shm)) if roomy else tmp_path_factory.mktemp("debian")
    root = folder / "root"
    (package,) = deb.glob("*.deb")
    hooks = [f"copy-in {package} /", f'chroot "$1" apt-get install -y -q /{package.name}']
    words = ["--variant=minbase", "--dpkgopt=force-unsafe-io", *(f"--customize-hook={hook}" for hook in hooks)]
    try:
        run("mmdebstrap", *words, "bookworm", root)
        yield root
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a machine that has BusyBox and Python, and nothing else."""
    from packagekit import busybox_root, need

    need({"busybox": "busybox", "ldd": "libc-bin"}, root=True)
    folder = tmp_path_factory.mktemp("busybox")
    yield busybox_root(folder)
    shutil.rmtree(folder)
