"""Disks for real: partitions and file systems on loop devices that grow, are made, mounted and swapped to.

The machine is a set of namespaces that ends with the test; `/` in it is the disk under test, or an overlay. The
devices are the kernel's, so the driver gives back the one that it took, and the fixture looks after it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest

HERE = Path(__file__).parent
TOOLS = {
    "losetup": "mount",
    "partx": "util-linux",
    "sfdisk": "fdisk",
    "growpart": "cloud-guest-utils",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkntfs": "ntfs-3g",
    "ntfscp": "ntfs-3g",
    "mkswap": "util-linux",
}
MIB = 1024 * 1024
MAKERS = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
SWAPON = 'for last in "$@"; do :; done; echo "$last file 1 0 -2" >> /proc/swaps; echo "$@" >> /run/swapon.log'
DIGEST = "cksum < $DISK"  # sha256sum takes seconds for what is hundreds of megabytes of nothing
LOOK = "findmnt --noheadings --output FSTYPE,SIZE --bytes /; cat /sys/class/block/$(basename $DISK)p1/size"

# Loop devices and their partitions are the kernel's, not a namespace's: one worker makes them all.
pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.xdist_group("disks")]
Machine = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def machine(namespaces: list[str], tmp_path: Path) -> Iterator[Machine]:
    """Do a job on a machine with a disk of its own; a list with what came of each of its runs."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: install {' '.join(sorted({TOOLS[name] for name in missing}))}")
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel or container has no loop devices")
    image = tmp_path / "disk.img"

    def do(*runs: dict[str, Any], size: int = 500, grow_to: int = 0, **job: Any) -> list[dict[str, Any]]:
        job = {"image": str(image), "size": size * MIB, "grow_to": grow_to * MIB, "runs": list(runs), **job}
        command = [*namespaces, sys.executable, str(HERE / "disks_driver.py")]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        results: list[dict[str, Any]] = json.loads(done.stdout)
        for result in results:
            assert result["changes"] is not None, result["err"]
        return results

    yield do
    asked = ["losetup", "--noheadings", "--output", "NAME", "-j", str(image)]
    left = subprocess.run(asked, capture_output=True, text=True, check=False)
    for device in left.stdout.split():  # the driver was killed
        subprocess.run(["partx", "--delete", device], capture_output=True, check=False)
        subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)


def may_resize_ext4() -> bool:
    """The kernel lets ext4 grow online only with CAP_SYS_RESOURCE, which a container's root may lack."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return bool(int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16) >> 24 & 1)


def growroot(**more: Any) -> dict[str, Any]:
    return {"handler": "growroot", **more}


class TestGrowroot:
    @pytest.mark.parametrize(
        ("kind", "table", "tool"),
        [
            ("ext4", "gpt", "growpart"),
            ("xfs", "dos", "growpart"),
            ("btrfs", "gpt", "growpart"),
            ("ext4", "dos", "sfdisk"),
            ("xfs", "gpt", "sfdisk"),
            ("btrfs", "dos", "sfdisk"),
        ],
    )
    def test_the_root_grows_with_its_disk(self, machine: Machine, kind: str, table: str, tool: str) -> None:
        told, grown, again = machine(
            growroot(dry_run=True, then=LOOK),
            growroot(then=LOOK + "; sfdisk --verify $DISK"),
            growroot(),
            grow_to=900,
            table=f"label: {table}\n,400M\n",
            format={"1": MAKERS[kind]},
            root=1,
            hide=["growpart"] if tool == "sfdisk" else [],
        )
        before, after = told["out"].split(), grown["out"].split()
        assert before[0] == after[0] == kind
        assert int(before[2]) == 400 * 2048
        assert 898 * 2048 <= int(after[2]) <= 899 * 2048
        assert grown["changes"] == told["changes"]
        assert grown["kinds"] == ["disk", "disk"]
        assert grown["notes"] == []
        assert "No errors detected" in grown["out"]
        if kind == "ext4" and not may_resize_ext4():
            assert "Permission denied" in grown["error"]
            assert again["changes"] == grown["changes"][1:]  # what is left to do is tried again
            return
        assert (grown["error"], again["error"], again["changes"]) == (None, None, [])
        assert int(after[1]) > int(before[1]) + 400 * MIB

    SUBVOLUMES = """set -e; mkfs.btrfs -q -f "$1"; mount "$1" /mnt
for name in @ @var; do btrfs subvolume create "/mnt/$name" >/dev/null; done
umount /mnt"""

    @pytest.mark.parametrize("elsewhere", ["subvol=@var", "subvol=@var,ro", None])
    def test_a_read_only_btrfs_root_grows_by_another_mount_of_it(
        self, machine: Machine, elsewhere: Optional[str]
    ) -> None:
        told, grown, again = machine(
            growroot(dry_run=True),
            growroot(then=LOOK + "; findmnt -no OPTIONS /"),
            growroot(),
            grow_to=900,
            table="label: gpt\n,400M\n",
            format={"1": ["sh", "-c", self.SUBVOLUMES, "sh"]},
            root=1,
            root_options="subvol=@",
            also=[elsewhere, "/srv"] if elsewhere else None,
            read_only=True,
        )
        assert (grown["error"], again["error"]) == (None, None)
        assert grown["changes"] == told["changes"]
        assert grown["out"].split()[-1].startswith("ro")
        if elsewhere == "subvol=@var":
            assert grown["changes"][-1].startswith("grow /srv (btrfs, to the size of /dev/loop")
            assert int(grown["out"].split()[1]) > 850 * MIB
            assert (grown["notes"], again["changes"]) == ([], [])
        else:
            assert grown["changes"] == []
            assert grown["notes"] == again["notes"]
            (note,) = grown["notes"]
            assert "the root file system is mounted read-only, so 499 MiB" in note

    def test_a_root_that_has_all_of_its_disk_costs_nothing(self, machine: Machine) -> None:
        # A program that were started would fail.
        shims = dict.fromkeys(("growpart", "sfdisk", "partx", "resize2fs"), "exit 1")
        (result,) = machine(growroot(), table="label: gpt\n,+\n", format={"1": MAKERS["ext4"]}, root=1, shims=shims)
        assert (result["changes"], result["notes"], result["error"]) == ([], [], None)
        assert result["ran"] == []

    def test_a_file_system_smaller_than_its_partition_grows_alone(self, machine: Machine) -> None:
        maker = ["sh", "-c", 'mkfs.btrfs -q -f -b 200M "$1"', "sh"]
        grown, again = machine(growroot(then=LOOK), growroot(), table="label: gpt\n,+\n", format={"1": maker}, root=1)
        (change,) = grown["changes"]
        assert change.startswith("grow / (btrfs, to the size of /dev/loop")
        assert int(grown["out"].split()[1]) > 490 * MIB
        assert again["changes"] == []

    def test_a_partition_in_the_way_is_noted_and_kept(self, machine: Machine) -> None:
        (result,) = machine(
            growroot(then="sfdisk --dump $DISK 2>/dev/null | grep -c size="),
            grow_to=900,
            table="label: gpt\n,400M\n,50M\n",
            format={"1": MAKERS["ext4"]},
            root=1,
        )
        assert result["changes"] == []
        (note,) = result["notes"]
        assert "p2 is between it and 449 MiB of free space on /dev/loop" in note
        assert result["out"].split() == ["2"]

    def test_the_room_up_to_the_next_partition_is_used(self, machine: Machine) -> None:
        table = "label: gpt\nstart=1MiB, size=350MiB\nstart=450MiB\n"
        grown, again = machine(growroot(then=LOOK), growroot(), table=table, format={"1": MAKERS["xfs"]}, root=1)
        assert grown["error"] is None
        assert int(grown["out"].split()[2]) == 449 * 2048
        assert (again["changes"], again["notes"]) == ([], [])

    def test_a_logical_partition_is_noted_and_kept(self, machine: Machine) -> None:
        table = "label: dos\nstart=1MiB, size=450MiB, type=5\nstart=2MiB, size=400MiB\n"
        (result,) = machine(growroot(), grow_to=900, table=table, format={"5": MAKERS["ext4"]}, root=5)
        assert result["changes"] == []
        assert "is a logical partition" in result["notes"][0]

    def test_without_any_tool_the_error_says_what_to_install(self, machine: Machine) -> None:
        (result,) = machine(
            growroot(then=LOOK),
            grow_to=900,
            table="label: gpt\n,400M\n",
            format={"1": MAKERS["ext4"]},
            root=1,
            hide=["growpart", "sfdisk"],
        )
        assert result["error"] == "neither growpart nor sfdisk is installed: install cloud-guest-utils, or fdisk"
        assert int(result["out"].split()[2]) == 400 * 2048

    def test_an_overlay_as_root_is_skipped(self, machine: Machine) -> None:
        (result,) = machine(growroot())
        assert (result["changes"], result["notes"], result["error"]) == ([], [], None)


def resource_disk(then: str = "", *, dry_run: bool = False, **options: Any) -> dict[str, Any]:
    return {"handler": "resource_disk", "options": options, "then": then, "dry_run": dry_run}


NTFS = "label: dos\n,+,7\n"
WHERE = "findmnt --noheadings --output FSTYPE,SOURCE /mnt/resource; ls /mnt/resource"


class TestResourceDisk:
    @pytest.mark.parametrize(("attach", "kind"), [("gen1", "ext4"), ("gen2", "xfs"), ("nvme", "btrfs")])
    def test_a_disk_of_zeros_is_formatted_and_mounted(self, machine: Machine, attach: str, kind: str) -> None:
        look = (
            "cd /mnt/resource; findmnt -no FSTYPE .; stat -c '%a %s %b' . swapfile; head -1 *README.txt; "
            "lsattr swapfile 2>/dev/null | cut -c16; cat /run/swapon.log /run/modes.log"
        )
        wish: dict[str, Any] = {"filesystem": kind, "mode": "1777", "swap": "24M"}
        shims = {"swapon": SWAPON, "mkswap": 'stat -c %a "$1" >> /run/modes.log; exec /sbin/mkswap "$1"'}
        told, made, again, back, same = machine(
            resource_disk(**wish, dry_run=True, then="ls /mnt"),
            resource_disk(**wish, then=look),
            resource_disk(
                **wish, then="echo mine > /mnt/resource/file; umount /mnt/resource; echo Filename > /proc/swaps"
            ),
            resource_disk(**wish, then="cat /mnt/resource/file"),
            resource_disk(**wish),
            attach=attach,
            shims=shims,
        )
        assert "resource" not in told["out"]
        assert made["changes"] == told["changes"]
        assert (made["notes"], made["error"]) == ([], None)
        lines = made["out"].splitlines()
        assert lines[0] == kind
        assert lines[1].split()[0] == "1777"
        mode, size, blocks = lines[2].split()
        assert (mode, int(size)) == ("600", 24 * MIB)
        assert int(blocks) * 512 >= 24 * MIB
        assert lines[3] == "WARNING: THIS IS A TEMPORARY DISK."
        assert ("C" in lines[4]) == (kind == "btrfs")
        assert lines[-2:] == ["/mnt/resource/swapfile", "600"]
        assert again["changes"] == []
        # The same disk after a reboot: nothing on it is lost.
        assert back["kinds"] == ["mount", "swap"]
        assert back["out"] == "mine\n"
        assert same["changes"] == []

    def test_azures_ntfs_is_formatted_and_mounted(self, machine: Machine) -> None:
        readme = ["sh", "-c", 'mkntfs -q -F -Q "$1" && ntfscp -q "$1" /etc/hostname DATALOSS_WARNING_README.txt', "sh"]
        told, made, again = machine(
            resource_disk(dry_run=True),
            resource_disk(then=WHERE + "; sfdisk --dump $DISK 2>&1 | grep -c start="),
            resource_disk(),
            attach="gen1",
            table=NTFS,
            format={"1": readme},
        )
        assert made["changes"] == told["changes"]
        assert made["error"] is None
        assert made["out"].split() == [
            *("ext4", made["out"].split()[1], "DATALOSS_WARNING_README.txt", "lost+found", "0")
        ]
        assert again["changes"] == []

    @pytest.mark.parametrize(
        ("job", "words"),
        [
            (
                {
                    "table": NTFS,
                    "format": {"1": ["sh", "-c", 'mkntfs -qFQ "$1" && ntfscp -q "$1" /etc/hostname my.txt', "sh"]},
                },
                "has files that are not Azure's",
            ),
            (
                {
                    "table": NTFS,
                    "format": {
                        "1": [
                            "sh",
                            "-c",
                            'mkntfs -qFQ "$1" && echo damage | dd of="$1" bs=1 seek=21504 conv=notrunc status=none',
                            "sh",
                        ]
                    },
                },
                "cannot be read",
            ),
            ({"table": NTFS, "format": {"1": MAKERS["ext4"]}}, "is not the NTFS that Azure creates (ext4)"),
            ({"table": NTFS}, "is not the NTFS that Azure creates (blank)"),
            ({"table": "label: gpt\n,100M\n,100M\n,+\n"}, "it has 3 partitions"),
            ({"table": "label: gpt\n"}, "it has 0 partitions"),
            (
                {"table": "label: gpt\n,100M\n,+\n", "format": {"1": MAKERS["ext4"], "2": ["mkntfs", "-qFQ"]}},
                "p1 is not empty",
            ),
            ({"format": {"0": ["mkfs.xfs", "-q", "-f"]}}, "(xfs)"),
            ({"format": {"0": ["mkfs.ext4", "-q", "-L", "data"]}}, "(ext4)"),
            ({"format": {"0": ["mkswap"]}}, "(swap)"),
            ({"before": "echo database | dd of=$DISK seek=3000 conv=notrunc status=none"}, "(other)"),
            ({"before": "echo database | dd of=$DISK seek=1023000 conv=notrunc status=none"}, "(other)"),
        ],
    )
    def test_a_disk_that_is_not_as_azure_delivers_it_is_not_changed(
        self, machine: Machine, job: dict[str, Any], words: str
    ) -> None:
        told, left = machine(resource_disk(DIGEST, dry_run=True), resource_disk(DIGEST), attach="gen2", **job)
        (note,) = left["notes"]
        assert words in note
        assert "`format: always` overwrites it" in note
        assert (left["changes"], left["error"], left["out"]) == ([], None, told["out"])
        assert told["notes"] == left["notes"]

    @pytest.mark.parametrize(
        "job",
        [
            {"table": NTFS, "format": {"1": MAKERS["ext4"]}},
            {"format": {"0": MAKERS["xfs"]}},
            {"format": {"0": ["mkswap"]}},
        ],
    )
    def test_always_overwrites_what_others_made_and_never_what_it_made_itself(
        self, machine: Machine, job: dict[str, Any]
    ) -> None:
        made, back = machine(
            resource_disk(format="always", then="echo mine > /mnt/resource/file; umount /mnt/resource"),
            resource_disk(format="always", then="cat /mnt/resource/file"),
            attach="gen1",
            **job,
        )
        assert made["error"] is None
        assert made["changes"][0].endswith("(ext4, 500 MiB)")
        assert back["kinds"] == ["mount"]
        assert back["out"] == "mine\n"

    @pytest.mark.parametrize("use", ["mount $DISK /media", "mount ${DISK}p1 /media"])
    def test_a_disk_in_use_is_not_touched_even_by_always(self, machine: Machine, use: str) -> None:
        whole = "p1" not in use
        job: dict[str, Any] = {"format": {"0": MAKERS["ext4"]}}
        if not whole:
            job = {"table": NTFS, "format": {"1": MAKERS["ext4"]}}
        first, second = machine(
            {"handler": "mounts", "then": use + " && echo used"},
            resource_disk(format="always", then="findmnt -no TARGET -S $DISK; findmnt -no TARGET -S ${DISK}p1"),
            attach="gen1",
            **job,
        )
        assert first["out"] == "used\n"
        assert (second["changes"], second["error"], second["out"]) == ([], None, "/media\n")

    def test_a_disk_that_only_the_kernel_knows_to_be_in_use_is_not_touched(self, machine: Machine) -> None:
        """Its mount is not in the table that the guest sees, as with a btrfs of several devices."""
        (result,) = machine(
            resource_disk(DIGEST, format="always"),
            attach="gen1",
            before="mkfs.ext4 -q $DISK; mkdir /run/elsewhere; mount $DISK /run/elsewhere",
        )
        assert "the kernel is using it" in result["error"]
        assert result["changes"] == []

    def test_never_mounts_the_existing_file_system(self, machine: Machine) -> None:
        mounted, blank = (
            machine(resource_disk(format="never", then=WHERE), attach="gen1", **job)[0]
            for job in ({"table": NTFS, "format": {"1": MAKERS["xfs"]}}, {})
        )
        assert mounted["kinds"] == ["mkdir", "mount"]
        assert mounted["out"].split()[0] == "xfs"
        assert blank["changes"] == []
        assert "`format` is never" in blank["notes"][0]

    def test_a_mount_point_in_use_is_left_to_its_user(self, machine: Machine) -> None:
        _, left = machine(
            {"handler": "mounts", "then": "mount -t tmpfs theirs /media"},
            resource_disk(DIGEST, mount="/media"),
            attach="gen1",
        )
        assert left["changes"] == []
        assert "something else is mounted at /media" in left["notes"][0]

    def test_a_mount_point_behind_a_link_is_the_same_place(self, machine: Machine) -> None:
        wish: dict[str, Any] = {"mount": "/srv/link/disk", "swap": "2M"}
        _, made, again = machine(
            {"handler": "mounts", "then": "ln -s /media /srv/link"},
            resource_disk(then="findmnt -no TARGET -S $DISK; rm /media/disk/swapfile", **wish),
            resource_disk(**wish),
            attach="gen1",
            shims={"swapon": SWAPON},
        )
        assert (made["error"], made["out"]) == (None, "/media/disk\n")
        assert again["kinds"] == ["swap"]

    def test_an_interrupted_format_is_repeated(self, machine: Machine) -> None:
        cut, made = machine(
            resource_disk("rm /run/shims/mkfs.ext4"),
            resource_disk(WHERE),
            attach="nvme",
            shims={"mkfs.ext4": "kill -9 $$"},
        )
        assert "mkfs.ext4 failed" in cut["error"]
        assert made["error"] is None
        assert made["out"].split()[0] == "ext4"

    def test_a_missing_program_is_named_before_anything_is_written(self, machine: Machine) -> None:
        told, failed = machine(
            resource_disk(DIGEST, dry_run=True, filesystem="xfs"),
            resource_disk(DIGEST, filesystem="xfs"),
            attach="gen1",
            hide=["mkfs.xfs"],
        )
        assert told["error"] == failed["error"] == "mkfs.xfs is not installed: install xfsprogs"
        assert (failed["changes"], failed["out"]) == ([], told["out"])

    def test_a_vm_without_a_temporary_disk_is_skipped_at_once(self, machine: Machine) -> None:
        (result,) = machine(resource_disk(swap="4G"))
        assert (result["changes"], result["notes"], result["error"]) == ([], [], None)
        assert result["ran"] == []

    def test_swap_larger_than_the_disk_is_noted(self, machine: Machine) -> None:
        (result,) = machine(resource_disk(swap="4G", then="ls /mnt/resource"), attach="gen2")
        assert "swap skipped: 4096 MiB is more than 90 % of " in result["notes"][0]
        assert "swapfile" not in result["out"]


def swap(then: str = "", *, dry_run: bool = False, **options: Any) -> dict[str, Any]:
    return {"handler": "swap", "options": options, "then": then, "dry_run": dry_run}


class TestSwap:
    @pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
    def test_on_every_file_system_there_are_no_holes(self, machine: Machine, kind: str) -> None:
        wish: dict[str, Any] = {"path": "/srv/swap/file", "size": "20M", "priority": 7}
        look = (
            "stat -c '%a %s %b %U' /srv/swap/file; lsattr /srv/swap/file | cut -c16; "
            "cat /run/swapon.log; tail -1 /etc/fstab"
        )
        first, told, made, again = machine(
            {"handler": "mounts", "then": "mkdir -p /srv/swap; mount $DISK /srv/swap"},
            swap(dry_run=True, then="ls /srv/swap | grep -c file", **wish),
            swap(then=look, **wish),
            swap(**wish),
            format={"0": MAKERS[kind]},
            shims={"swapon": SWAPON},
        )
        assert first["out"] == ""
        assert told["out"] == "0\n"
        assert made["changes"] == told["changes"]
        assert (made["error"], made["notes"]) == (None, [])
        stat, flag, asked, line = made["out"].splitlines()
        mode, size, blocks, owner = stat.split()
        assert (mode, int(size), owner) == ("600", 20 * MIB, "root")
        assert int(blocks) * 512 >= 20 * MIB
        assert (flag == "C") == (kind == "btrfs")
        assert asked == "-p 7 /srv/swap/file"
        assert line == "/srv/swap/file none swap sw,nofail,pri=7 0 0 # azurelite"
        assert again["changes"] == []

    def test_a_swap_file_that_the_kernel_refuses_is_removed(self, machine: Machine) -> None:
        look = "ls -A /srv; cat /etc/fstab"
        before, failed = machine(
            {"handler": "mounts", "then": look},
            swap(look, path="/srv/swapfile", size="2M"),
            shims={"swapon": "echo swapon failed: Invalid argument >&2; exit 255"},
        )
        assert "Invalid argument" in failed["error"]
        assert failed["out"] == before["out"]

    def test_auto_goes_by_memory_and_free_space(self, machine: Machine) -> None:
        _, made = machine(
            {"handler": "mounts", "then": "mount $DISK /srv"},
            swap("stat -c %s /srv/swapfile", path="/srv/swapfile", max_size="64M"),
            format={"0": MAKERS["ext4"]},
            shims={"swapon": SWAPON},
        )
        assert made["error"] is None
        assert int(made["out"]) == 64 * MIB

    def test_auto_creates_no_swap_file_without_free_space(self, machine: Machine) -> None:
        _, left = machine(
            {"handler": "mounts", "then": "mount $DISK /srv"},
            swap("ls /srv", path="/srv/swapfile"),
            format={"0": MAKERS["ext4"]},
            shims={"swapon": SWAPON},
        )
        assert "too little free space" in left["notes"][0]
        assert (left["changes"], left["out"]) == ([], "lost+found\n")


def mounts(*entries: dict[str, Any], then: str = "", dry_run: bool = False) -> dict[str, Any]:
    return {"handler": "mounts", "options": {"entries": list(entries)}, "then": then, "dry_run": dry_run}


class TestMounts:
    def test_a_disk_by_its_uuid_is_mounted_at_once(self, machine: Machine) -> None:
        uuid = "0f3a52c6-0b41-4d4f-8c22-1a8f0f1f6a10"
        entries = [
            {"device": f"UUID={uuid}", "path": "/srv/two words", "type": "ext4", "options": "noatime,nofail"},
            {"device": "tmpfs", "path": "/srv/memory", "type": "tmpfs", "options": "size=1m"},
            {"device": "LABEL=absent", "path": "/srv/absent"},
            {"device": "LABEL=later", "path": "/srv/later", "options": "noauto"},
        ]
        link = f"mkdir -p /dev/disk/by-uuid; ln -s $DISK /dev/disk/by-uuid/{uuid}"
        _, told, made, again = machine(
            mounts(then=link),
            mounts(*entries, dry_run=True),
            mounts(
                *entries, then="findmnt -rno FSTYPE,OPTIONS '/srv/two words'; findmnt -no FSTYPE /srv/memory; ls /srv"
            ),
            mounts(*entries),
            format={"0": [*MAKERS["ext4"], "-U", uuid]},
        )
        assert made["changes"] == told["changes"]
        assert made["error"] is None
        assert made["notes"] == told["notes"] == ["/srv/absent is not mounted yet: LABEL=absent does not exist"]
        disk, memory, *names = made["out"].splitlines()
        assert disk.startswith("ext4 rw,noatime")
        assert memory == "tmpfs"
        assert names == ["absent", "later", "memory", "two words"]
        assert again["changes"] == []

    def test_an_entry_without_nofail_fails_if_it_cannot_be_mounted(self, machine: Machine) -> None:
        wanted = {"device": "tmpfs", "path": "/srv/x", "type": "tmpfs", "options": "size=nonsense"}
        failed, noted = machine(
            mounts(wanted),
            mounts({**wanted, "options": "nofail,size=nonsense"}),
        )
        assert failed["error"].startswith("/srv/x: mount failed")
        assert noted["error"] is None
        assert noted["notes"][0].startswith("/srv/x is not mounted yet: mount failed")
