"""Mounted discs, mounting one for a moment, and ejecting.

The kernel that the tests run on may know neither UDF nor ISO 9660: `mount` and `umount` are programs of the tests, but
for one test that mounts a file system in memory with the real ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kit import Guest, shim

import azurelite
from azurelite.errors import CommandError, FileError, MachineError
from azurelite.system.disks.eject import eject
from azurelite.system.disks.mounts import MountedDisc, Mounts, mounted_discs
from azurelite.system.process import Commands
from azurelite.system.root import Root

TABLE = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 22 0:5 / /proc rw - proc proc rw\n"
    "40 22 11:0 / /media/CD\\040ROM\\011x ro,nosuid shared:2 master:3 - udf /dev/sr0 ro\n"
    "41 22 11:1 / /mnt\\134back ro - iso9660 /dev/sr1 ro,nojoliet\n"
    "42 22 11:2 /folder /srv ro - udf /dev/sr2 ro\n"
    "43 22 7:0 / /first ro - iso9660 /dev/loop0 ro\n"
    "44 22 0:50 / /first rw - tmpfs tmpfs rw\n"
)


@pytest.fixture
def root(guest: Guest) -> Root:
    guest.put({"proc/self/mountinfo": TABLE})
    return Root(guest.root)


class TestTable:
    def test_the_mounted_discs(self, root: Root) -> None:
        assert mounted_discs(root) == [
            MountedDisc("/dev/sr0", "/media/CD ROM\tx", "udf"),
            MountedDisc("/dev/sr1", "/mnt\\back", "iso9660"),
        ]

    @pytest.mark.parametrize(
        "table",
        [
            "",
            "\n\n",
            "garbage\n",
            "1 2 3 4 5 6 7 8 9 10 11\n",
            "40 22 11:0 / /mnt ro udf /dev/sr0 ro\n",
            "40 22 11:0 / /mnt ro - udf\n",
            "- - - - - - - - - -\n",
            "40 22 11:0 / /mnt ro - ext4 /dev/sr0 ro\n",
        ],
    )
    def test_other_lines_are_no_discs(self, guest: Guest, table: str) -> None:
        guest.put({"proc/self/mountinfo": table})
        assert mounted_discs(Root(guest.root)) == []

    def test_no_table(self, guest: Guest) -> None:
        assert mounted_discs(Root(guest.root)) == []

    def test_a_table_that_is_a_folder(self, guest: Guest) -> None:
        guest.path("proc/self/mountinfo").mkdir(parents=True)
        assert mounted_discs(Root(guest.root)) == []

    def test_a_name_that_is_no_text_is_kept(self, guest: Guest) -> None:
        guest.path("proc/self").mkdir(parents=True)
        guest.path("proc/self/mountinfo").write_bytes(b"40 22 11:0 / /m\xff\\303\\274 ro - udf /dev/sr0 ro\n")
        assert [os.fsencode(disc.folder) for disc in mounted_discs(Root(guest.root))] == [b"/m\xff\xc3\xbc"]

    def test_the_running_systems_own_table(self) -> None:
        if not os.path.exists("/proc/self/mountinfo"):
            pytest.skip("this kernel has no mountinfo")
        assert isinstance(mounted_discs(Root("/")), list)


LAST = 'for place in "$@"; do :; done; '
MOUNT = LAST + 'touch "$place/mounted"; stat -c "%a" "$place" > "$(dirname "$0")/mode"'
UMOUNT = LAST + 'rm "$place/mounted"'


@pytest.mark.spawns
class TestReadOnly:
    """By programs of the tests: what counts is that `umount` runs and the folder goes, whatever happens."""

    def mounts(
        self, folder: Path, *, mount: str = MOUNT, umount: str = UMOUNT, codes: tuple[int, int] = (0, 0)
    ) -> Mounts:
        shim(folder / "bin", "mount", script=mount, exit_code=codes[0])
        shim(folder / "bin", "umount", script=umount, exit_code=codes[1])
        return Mounts(Commands(str(folder / "bin")), folder=str(folder / "run/azurelite"))

    def left(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder / "run/azurelite"))

    def words(self, folder: Path, program: str) -> list[str]:
        log = folder / "bin" / f"{program}.log"
        return log.read_text().split() if log.exists() else []

    def test_it_is_mounted_unmounted_and_gone(self, tmp_path: Path) -> None:
        with self.mounts(tmp_path).read_only("/dev/sr0") as place:
            assert os.listdir(place) == ["mounted"]
            assert Path(place).parent == tmp_path / "run/azurelite"
            assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
        assert (tmp_path / "bin/mode").read_text() == "700\n"
        options = ["-t", "udf,iso9660", "-o", "ro,nosuid,nodev,noexec"]
        assert self.words(tmp_path, "mount") == [*options, "/dev/sr0", place, "--"]
        assert self.words(tmp_path, "umount") == [place, "--"]
        assert self.left(tmp_path) == []

    @pytest.mark.parametrize("kind", [ValueError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_it_goes_whatever_is_raised(self, tmp_path: Path, kind: type[BaseException]) -> None:
        with pytest.raises(kind), self.mounts(tmp_path).read_only("/dev/sr0"):
            raise kind
        assert len(self.words(tmp_path, "umount")) == 2
        assert self.left(tmp_path) == []

    def test_what_the_kernel_cannot_mount(self, tmp_path: Path) -> None:
        mounts = self.mounts(tmp_path, mount="echo unknown filesystem type udf >&2", codes=(32, 0))
        words = "mount failed with status 32: unknown filesystem type udf"
        with pytest.raises(CommandError, match=words), mounts.read_only("/dev/sr0"):
            raise AssertionError("the block must not run")
        assert self.words(tmp_path, "umount") == []
        assert self.left(tmp_path) == []

    def test_a_disc_that_somebody_looks_into_is_let_go_later(self, tmp_path: Path) -> None:
        lazy = LAST + '[ "$1" = -l ] || exit 32; rm "$place/mounted"'
        with self.mounts(tmp_path, umount=lazy).read_only("/dev/sr0") as place:
            pass
        assert self.words(tmp_path, "umount") == [place, "--", "-l", place, "--"]
        assert self.left(tmp_path) == []

    def test_a_disc_that_stays_is_told_and_nothing_on_it_removed(self, tmp_path: Path) -> None:
        mounts = self.mounts(tmp_path, umount="echo target is busy >&2", codes=(0, 32))
        places = []
        words = "umount failed with status 32: target is busy"
        with pytest.raises(CommandError, match=words), mounts.read_only("/dev/sr0") as place:
            places.append(place)
        assert os.listdir(places[0]) == ["mounted"]

    def test_no_folder_to_mount_on(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        words = r"cannot create a folder in .*/run/azurelite: Not a directory"
        with pytest.raises(FileError, match=words), self.mounts(tmp_path).read_only("/dev/sr0"):
            raise AssertionError("the block must not run")
        assert self.words(tmp_path, "mount") == []


REAL = """
import os, subprocess, sys
from azurelite.errors import CommandError
from azurelite.system.disks.mounts import Mounts
from azurelite.system.process import Commands
folder = sys.argv[1]
mounts = Mounts(Commands(folder + "/bin"), folder=folder + "/run")
try:
    with mounts.read_only("/dev/none") as place:
        assert os.path.ismount(place), "not mounted"
        print("inside")
        if sys.argv[2] == "busy":
            os.chdir(place)
        if sys.argv[2] == "raise":
            raise CommandError("from the block")
except CommandError as error:
    print(error)
os.chdir("/")
print(os.listdir(folder + "/run"), folder in open("/proc/self/mountinfo").read())
"""


@pytest.mark.spawns
@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("way", "exit_code", "says"),
    [
        ("quiet", 0, ["inside"]),
        ("busy", 0, ["inside"]),
        ("raise", 0, ["inside", "from the block"]),
        ("late", 1, ["mount failed with status 1: no error output"]),
    ],
)
def test_with_real_mounts_of_a_file_system_in_memory(tmp_path: Path, way: str, exit_code: int, says: list[str]) -> None:
    """`late`: the program mounted it, and failed all the same."""
    real = shutil.which("mount", path="/usr/bin:/bin:/usr/sbin:/sbin")
    unshare = ["unshare", "--mount", "--propagation", "private"]
    unshare += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if real is None or shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    shim(tmp_path / "bin", "mount", script=f'{LAST} {real} -t tmpfs none "$place" || exit 9', exit_code=exit_code)
    package = str(Path(azurelite.__file__).parent.parent)
    argv = [*unshare, sys.executable, "-S", "-c", REAL, str(tmp_path), way]
    done = subprocess.run(
        argv, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": package}, timeout=30, text=True
    )
    assert done.stdout.splitlines() == [*says, "[] False"]


class TestEject:
    def test_the_door_is_unlocked_first(self, tmp_path: Path) -> None:
        (tmp_path / "sr0").write_bytes(b"")
        calls = []

        def ioctl(descriptor: int, request: int, argument: int) -> None:
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            calls.append((request, argument, flags & os.O_ACCMODE == os.O_RDONLY, bool(flags & os.O_NONBLOCK)))

        eject(str(tmp_path / "sr0"), ioctl=ioctl)
        assert calls == [(0x5329, 0, True, True), (0x5309, 0, True, True)]

    def test_a_drive_without_a_lock_is_ejected(self, tmp_path: Path) -> None:
        (tmp_path / "sr0").write_bytes(b"")
        calls = []

        def ioctl(descriptor: int, request: int, argument: int) -> None:
            calls.append(request)
            if request == 0x5329:
                raise OSError(errno.EINVAL, "Invalid argument")

        eject(str(tmp_path / "sr0"), ioctl=ioctl)
        assert calls == [0x5329, 0x5309]

    def test_the_descriptor_is_closed_when_it_fails(self, tmp_path: Path) -> None:
        (tmp_path / "sr0").write_bytes(b"")
        opened = []

        def ioctl(descriptor: int, request: int, argument: int) -> None:
            opened.append(descriptor)
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

        with pytest.raises(MachineError, match="sr0: Device or resource busy"):
            eject(str(tmp_path / "sr0"), ioctl=ioctl)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])

    def test_what_is_no_drive_is_told_in_the_systems_words(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(MachineError, match=r"cannot eject .*/file: Inappropriate ioctl for device"):
            eject(str(tmp_path / "file"))
        with pytest.raises(MachineError, match=r"cannot eject .*/absent: No such file or directory"):
            eject(str(tmp_path / "absent"))
