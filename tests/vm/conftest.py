"""Real machines take minutes, so they are only looked at where they are asked for: `tox -e vm`, or `pytest -m vm`.

What a machine needs and this one lacks is named in one sentence, the reason of a skip.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator, NoReturn, Optional

import pytest
from boot.roots import BuildError
from vm.lab import COLUMNS, NAMESPACES, Lab
from wheels import build_wheel

TOOLS = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "modprobe": "kmod",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
TRIES = "ip link add br0 type bridge && ip tuntap add dev tap0 mode tap && ip link set tap0 master br0"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Optional[bool]:
    del collection_path
    return None if re.search(r"\bvm\b", config.getoption("markexpr")) else True


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where the time went, on each machine. Tests hand in their lines as properties, whichever process ran them."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    table = [line for report in calls for name, line in report.user_properties if name == "machine"]
    if not table:
        return
    terminalreporter.section("machines")
    widths = [max(len(line[column]) for line in (COLUMNS, *table)) for column in range(len(COLUMNS))]
    for line in (COLUMNS, *table):
        cells = (cell.ljust(width) for cell, width in zip(line, widths))
        terminalreporter.write_line("  ".join(cells).rstrip())
    terminalreporter.write_line("seconds to Ready and to login: from the kernel's start, on an emulated processor;")
    terminalreporter.write_line("azurelite: its own seconds from its start until Azure accepted; memory: its peak")


def _cannot(why: str) -> NoReturn:
    pytest.skip(f"needs more than there is here: {why}")


@pytest.fixture(scope="session")
def able() -> None:
    """This machine can build and boot machines. What is missing is the reason of a skip."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None})
    if os.geteuid() != 0:
        _cannot("booting machines needs root: root file systems, namespaces and a tap are made")
    if missing:
        _cannot(f"booting machines needs more programs: install {' '.join(missing)}")
    if platform.machine() != "x86_64":
        _cannot(f"the machines are x86_64, and their roots are built by running it; this one is {platform.machine()}")
    tried = subprocess.run([*NAMESPACES, "sh", "-c", TRIES], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        _cannot(f"this kernel or container does not allow a bridge and a tap in new namespaces: {tried.stderr}")


@pytest.fixture(scope="session")
def lab(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The one place for all machines of this run."""
    folder = tmp_path_factory.mktemp("vm")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f", str(key)], check=True)
    try:
        yield Lab(folder, build_wheel(folder), key)
    except BuildError as error:
        pytest.fail(f"the wheel cannot be built: {error}", pytrace=False)
