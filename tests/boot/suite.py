"""Runs the tests on the Python of a Debian suite, with its packages: for interpreters that this machine lacks.

    python tests/boot/suite.py SUITE [ARGUMENTS OF pytest]

bullseye has Python 3.9, bookworm 3.11, trixie 3.13, forky 3.14. The root is one of roots.py; this machine's pip fetches
the tests' tools for that Python, azurelite is installed as a wheel, and all that is written goes into memory. Needs
root. Tests of tools that such a root lacks are skipped there.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from boot.machine import wheel  # noqa: E402
from boot.roots import BuildError, Root  # noqa: E402

# What the tools want on some Pythons: pip asks the one that runs it, and not the one that it fetches for.
PERHAPS = ("exceptiongroup", "tomli", "typing-extensions")
USUAL = ("--few", "3", "-m", "not namespaces and not thorough")
NAMESPACES = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
# Arguments: the folder with what was fetched, the root, the checkout, the place of Python's packages, pytest's words.
RUN = """
mount --make-rprivate /
layer=$1 lower=$2 sources=$3 place=$4
shift 4
ip link set lo up
mount -t tmpfs work /mnt
mkdir -p /mnt/upper/root/azurelite "/mnt/upper${place%/*}" /mnt/work /mnt/root /mnt/changes /mnt/work2
mv "$layer" "/mnt/upper$place"
mount -t overlay root -o "lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount -t overlay sources -o "lowerdir=$sources,upperdir=/mnt/changes,workdir=/mnt/work2" root/azurelite
mount -t proc proc proc
mount -t sysfs sys sys -o ro
mount --rbind /dev dev
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    chroot . sh -euc 'cd /root/azurelite; exec python3 "$@"' sh \
    "$place/bin/pytest" -q -n auto -p no:cacheprovider "$@"
"""


@dataclass(frozen=True)
class SuiteRoot(Root):
    """A root for tests, which nothing boots."""

    @property
    def name(self) -> str:
        """A name for people and files."""
        return f"{self.suite}-tests"

    @property
    def packages(self) -> tuple[str, ...]:
        """What it has beside the base: the tools that many tests use."""
        return ("busybox", "e2fsprogs", "openssl", "procps")

    @property
    def scripts(self) -> tuple[Path, ...]:
        """Nothing is run in it."""
        return ()


def fetch(folder: Path, version: str) -> Path:
    """The tests' tools, in the versions of tox.ini, for that Python; azurelite beside them."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(CHECKOUT / "tox.ini", encoding="utf-8")
    tools = [*tox["tools"]["test"].split(), *tox["tools"]["generate"].split()]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*pip, "--python-version", version, "--only-binary=:all:", *tools, *PERHAPS], check=True)
    built = wheel(folder.parent)
    subprocess.run([*pip, "--python-version", version, "--no-deps", str(built)], check=True)
    return folder


def main() -> int:
    """Build, fetch, run; pytest's own exit status."""
    if len(sys.argv) < 2:
        sys.stderr.write(f"usage: {Path(sys.argv[0]).name} SUITE [ARGUMENTS OF pytest]\n")
        return 2
    suite, *words = sys.argv[1:]
    try:
        root = SuiteRoot(suite, "", "").build()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    ask = ["chroot", str(root), "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    sys.stdout.write(f"{suite}: Python {version}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as scratch:
        layer = fetch(Path(scratch) / "layer", version)
        place = f"/usr/local/lib/python{version}/dist-packages"
        command = [*NAMESPACES, "sh", "-euc", RUN, "sh", str(layer), str(root), str(CHECKOUT), place]
        env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        return subprocess.run([*command, *USUAL, *words], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
