"""The root file systems that are booted: what each is made of, and how it is built and kept.

A root is a folder in the cache ($AZURELITE_TEST_CACHE, or /var/cache/azurelite-test-roots), made by mmdebstrap from
Debian's packages and never written to again: guests run on an overlay. Its key is its packages and recipe, so that a
root that is there is right. Roots of one suite share a base, onto which each gets its packages in a copy. A mirror
that cannot be reached is an error that says so.

Run as a program it builds what is missing, several at a time, and prints how long each took.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

HERE = Path(__file__).resolve().parent
RECIPES = HERE / "recipes"
BUILD_SECONDS = 600  # for one root, on a busy machine with a slow mirror
LISTS_SECONDS = 3600  # after which a mirror may not have any more what its lists named

BASE = (
    "iproute2",
    "openssh-server",
    "passwd",
    "python3-defusedxml",
    "python3-urllib3",
    "python3-yaml",
    "sudo",
)
SYSV = ("initscripts", "sysvinit-core")
INITS: dict[str, tuple[str, ...]] = {
    "systemd": ("dbus", "systemd", "systemd-sysv"),
    "openrc": ("insserv", "openrc", "orphan-sysvinit-scripts", *SYSV),
    "sysvinit": ("insserv", "orphan-sysvinit-scripts", *SYSV),
    "runit": ("getty-run", "runit", "runit-init"),
    "s6": ("busybox-static", "execline", "s6"),
    "finit": ("finit", "finit-plugins", "finit-sysv"),
    "busybox": ("busybox-static",),
}
CLIENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "networkd": ((), "networkd"),
    "dhclient": (("ifupdown", "isc-dhcp-client"), "ifupdown"),
    "ifupdown+dhcpcd": (("dhcpcd-base", "ifupdown"), "ifupdown"),
    "ifupdown+udhcpc": (("ifupdown", "udhcpc"), "ifupdown"),
    "dhcpcd": (("dhcpcd",), "dhcpcd-service"),
    "udhcpc": ((), "udhcpc"),
}
APT = {
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "root",
    "Acquire::Check-Date": "false",
    # Debian's unreleased suite is signed for a week only, and machines whose clock is odd build this too.
    "Acquire::Check-Valid-Until": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "20",
}
DPKG = ("force-unsafe-io", *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")))


class BuildError(RuntimeError):
    """A root could not be built. The message says what went wrong, and what can be done."""


@dataclass(frozen=True)
class Root:
    """One root file system.

    Attributes:
        suite: Debian's name of the release.
        init: a key of INITS.
        client: a key of CLIENTS.
    """

    suite: str
    init: str
    client: str

    @property
    def name(self) -> str:
        """A name for people and files."""
        return f"{self.suite}-{self.init}-{self.client}"

    @property
    def base(self) -> tuple[str, ...]:
        """The packages that it begins with, beside Debian's smallest set."""
        return BASE

    @property
    def packages(self) -> tuple[str, ...]:
        """What it has beside the base."""
        return tuple(sorted({*INITS[self.init], *CLIENTS[self.client][0]}))

    @property
    def scripts(self) -> tuple[Path, ...]:
        """What is run in it once its packages are there."""
        return tuple(RECIPES / f"{name}.sh" for name in ("common", CLIENTS[self.client][1], self.init))

    @property
    def key(self) -> str:
        """Changes with everything that it is made of."""
        made_of = [self.suite, *self.base, *self.packages, *DPKG, *(script.read_text() for script in self.scripts)]
        return f"{self.name}-{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:12]}"

    @property
    def base_key(self) -> str:
        """The same of the base that it shares with others of its suite."""
        made_of = [self.suite, *self.base, *DPKG]
        return f"{self.suite}-base-{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:12]}"

    def build(self) -> Path:
        """Its folder; built first where it is missing. Raises BuildError."""
        return _kept(self.key, self._make)

    def _make(self, folder: Path) -> None:
        base = _kept(self.base_key, self._make_base)
        _copy(base, folder)
        lists = folder / "var/lib/apt/lists"
        if time.time() - lists.stat().st_mtime > LISTS_SECONDS:
            _in_root(folder, _apt(folder, "update"))
        if self.packages:
            _in_root(folder, _apt(folder, "install", "--no-install-recommends", *self.packages))
        for script in self.scripts:
            _in_root(folder, ["chroot", str(folder), "sh", "-eu"], given=script.read_text())
        shutil.rmtree(lists, ignore_errors=True)

    def _make_base(self, folder: Path) -> None:
        command = ["mmdebstrap", "--variant=minbase", "--skip=cleanup/apt/lists", f"--include={','.join(self.base)}"]
        command += [f'--aptopt={key} "{value}"' for key, value in APT.items()]
        command += [f"--dpkgopt={option}" for option in DPKG]
        _run([*command, "--format=directory", self.suite, str(folder), _mirror()])


ROOTS = (
    Root("bookworm", "systemd", "networkd"),
    Root("trixie", "systemd", "dhcpcd"),
    Root("bookworm", "openrc", "dhclient"),
    Root("forky", "systemd", "networkd"),
    Root("bookworm", "sysvinit", "ifupdown+dhcpcd"),
    Root("bookworm", "runit", "ifupdown+udhcpc"),
    Root("bullseye", "systemd", "dhclient"),
    Root("bookworm", "s6", "udhcpc"),
    Root("bookworm", "finit", "dhclient"),
    Root("bookworm", "busybox", "udhcpc"),
)


def cache() -> Path:
    """The folder where roots are kept."""
    return Path(os.environ.get("AZURELITE_TEST_CACHE") or "/var/cache/azurelite-test-roots")


def find(init: str, suite: str = "bookworm") -> Root:
    """The root with this init."""
    return next(root for root in ROOTS if (root.init, root.suite) == (init, suite))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else is in here, of this process or another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _kept(key: str, make: Callable[[Path], None]) -> Path:
    folder = cache() / key
    with locked(cache() / f".{key}.lock"):
        if folder.is_dir():
            return folder
        if os.geteuid() != 0:
            raise BuildError("building root file systems needs root")
        fresh = cache() / f".{key}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            make(fresh)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    _drop_older(key)
    return folder


def _drop_older(key: str) -> None:
    """What the same root was before its recipe changed."""
    name = key.rpartition("-")[0]
    for other in cache().glob(f"{name}-*"):
        if other.name != key and re.fullmatch(re.escape(name) + "-[0-9a-f]{12}", other.name):
            shutil.rmtree(other, ignore_errors=True)


def _copy(base: Path, folder: Path) -> None:
    """What lies in /usr is shared by hard links: dpkg replaces files, and the recipes change none there in place."""
    for entry in base.iterdir():
        links = "-al" if entry.name == "usr" else "-a"
        subprocess.run(["cp", links, entry, folder], check=True)


def _mirror() -> str:
    """The Debian mirror: $AZURELITE_TEST_MIRROR, or the one that this machine has, or Debian's own."""
    given = os.environ.get("AZURELITE_TEST_MIRROR")
    if given:
        return given
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)|$(LABEL)|$(COMPONENT)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line.split(" ", 1)[0] for line in done.stdout.splitlines() if line.endswith(" Debian|Debian|main")]
    return found[0].rstrip("/") if found else "http://deb.debian.org/debian"


def _apt(folder: Path, *words: str) -> list[str]:
    """apt of this machine, at work in a root: it fetches, and dpkg runs in there."""
    options = {**APT, "Dir": str(folder), "Dir::State::status": f"{folder}/var/lib/dpkg/status"}
    options.update({"DPkg::Chroot-Directory": str(folder), "DPkg::Use-Pty": "false"})
    return ["apt-get", "-q", "-y", *(f"-o{key}={value}" for key, value in options.items()), *words]


_IN_ROOT = """
mount --make-rprivate /
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs run "$root/run"
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
code=0
"$@" || code=$?
rm -f "$root/usr/sbin/policy-rc.d"
exit $code
"""


def _in_root(folder: Path, command: list[str], given: str = "") -> None:
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    _run([*namespaces, "sh", "-eu", "-c", _IN_ROOT, "sh", str(folder), *command], given=given)


def _run(command: list[str], given: str = "") -> None:
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is missing: install it (on Debian, the package of that name)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1", "LC_ALL": "C.UTF-8"}
    env["PATH"] = f"{env.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command,
            input=given,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took over {BUILD_SECONDS} s: is {_mirror()} slow?") from None
    if done.returncode != 0:
        raise BuildError(_why(command, done.stdout))


def _why(command: list[str], output: str) -> str:
    unreachable = re.search(r"Could not (resolve|connect)[^\n]*|Temporary failure[^\n]*|Failed to fetch[^\n]*", output)
    if unreachable:
        mirror = _mirror()
        return f"the mirror {mirror} cannot be reached ({unreachable[0]}): set AZURELITE_TEST_MIRROR to one that can be"
    return f"{' '.join(command)[:300]} failed:\n{output[-4000:]}"


def main() -> int:
    """Build what is missing. A machine that cannot build is no failure: the tests are skipped there, and say why."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        sys.stdout.write("roots are built by root with mmdebstrap: nothing is built\n")
        return 0
    started = time.monotonic()

    def build(root: Root) -> str:
        begun = time.monotonic()
        root.build()
        return f"{root.name}: {time.monotonic() - begun:.1f} s"

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in concurrent.futures.as_completed([pool.submit(build, root) for root in ROOTS]):
            try:
                sys.stdout.write(f"{future.result()}\n")
            except BuildError as error:
                failed = 1
                sys.stdout.write(f"{error}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(ROOTS)} root file systems in {time.monotonic() - started:.0f} s\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
