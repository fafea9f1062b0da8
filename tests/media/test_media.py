"""The provisioning media: where it is looked for, in which order, and what is said about what was passed over.

Block devices are stood for by image files in a guest's /dev. The kernel here may have neither file system: its mount is
stood for by programs on the search path.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import pytest
from data.discs.udfwriter import PARTITION, Maker, file_entry
from kit import Guest, shim

from azurelite.layout import saved_media, vm_folder
from azurelite.media.find import DOCUMENT_CAP, Candidate, MediaDocument, candidates, fetch_media
from azurelite.system.machine import System

NAME = "ovf-env.xml"
AZURES = b"<Environment>azure</Environment>"
FOREIGN = b"<Environment>other</Environment>"
DISC = Maker().make({NAME: AZURES})
FOREIGN_DISC = Maker().make({NAME: FOREIGN})
EMPTY_DISC = Maker().make({})
DAMAGED_DISC = DISC[: 200 * 2048]  # announced, but without anchors
CDROM = "5\n"


def put(guest: Guest, path: str, data: bytes) -> None:
    place = guest.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


@pytest.fixture
def shared() -> Iterator[Guest]:
    """A guest that everybody may look into, for what root would be allowed."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Guest(Path(folder))


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Act without root's privileges."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def device(guest: Guest, name: str, data: bytes = DISC, *, sysfs: Optional[dict[str, str]] = None) -> None:
    """A device in /dev, and in sysfs when it is said what stands there."""
    put(guest, f"dev/{name}", data)
    for attribute, value in (sysfs or {}).items():
        guest.put({f"sys/class/block/{name}/{attribute}": value})


def mounted(guest: Guest, *rows: tuple[str, str, str]) -> None:
    lines = [f"{40 + i} 1 7:{i} / {folder} ro - {kind} {source} ro" for i, (source, folder, kind) in enumerate(rows)]
    guest.put({"proc/self/mountinfo": "\n".join(lines) + "\n"})


def is_azures(document: bytes) -> bool:
    return document == AZURES


def fetch(guest: Guest, setting: str = "auto") -> tuple[Optional[MediaDocument], list[str]]:
    return fetch_media(System(guest.root), setting, is_azures)


def source(guest: Guest, setting: str = "auto") -> Optional[str]:
    found, _ = fetch(guest, setting)
    assert found is None or found.document == AZURES
    return None if found is None else found.source


class TestCandidates:
    def paths(self, guest: Guest) -> list[str]:
        return [candidate.path for candidate in candidates(System(guest.root).root, "auto")]

    def test_nothing_there(self, guest: Guest) -> None:
        assert candidates(System(guest.root).root, "auto") == []
        assert fetch(guest) == (None, [])

    def test_none_looks_nowhere(self, guest: Guest) -> None:
        device(guest, "sr0")
        assert fetch(guest, "none") == (None, [])

    def test_drives_come_in_order_and_once(self, guest: Guest) -> None:
        for name in ("sr1", "sr0", "cd0", "hdc", "xvdz"):
            device(guest, name)
        guest.path("dev/cdrom").symlink_to("sr0")
        guest.path("dev/dvd").symlink_to("/dev/sr0")
        for name in ("hdc", "sr0", "sr1"):
            guest.put({f"sys/class/block/{name}/device/type": CDROM, f"sys/class/block/{name}/size": "100\n"})
        guest.put({"sys/class/block/xvdz/size": "100\n"})
        assert self.paths(guest) == ["/dev/sr0", "/dev/sr1", "/dev/cd0", "/dev/hdc", "/dev/xvdz"]

    def test_a_link_out_of_the_guest_stays_inside(self, guest: Guest) -> None:
        device(guest, "disc/one")
        guest.path("dev/cdrom").symlink_to("/dev/disc/one")
        assert self.paths(guest) == ["/dev/disc/one"]

    def test_what_is_mounted_comes_first_and_once(self, guest: Guest) -> None:
        device(guest, "sr0")
        device(guest, "sr1")
        guest.path("dev/dvd").symlink_to("sr1")
        mounted(guest, ("/dev/vda", "/", "ext4"), ("/dev/dvd", "/media/x", "udf"), ("/dev/sr1", "/mnt", "udf"))
        assert candidates(System(guest.root).root, "auto") == [
            Candidate("/dev/sr1", mounted_at="/media/x"),
            Candidate("/dev/sr0"),
        ]

    @pytest.mark.parametrize(
        ("name", "sysfs", "is_looked_at"),
        [
            ("vdb", {"size": "2048\n"}, True),
            ("vdb", {"size": "2097152\n"}, True),
            ("vdb", {"size": "2097153\n"}, False),
            ("vdb", {"size": "99999999\n", "removable": "0\n"}, False),
            ("sdb", {"size": "99999999\n", "removable": "1\n"}, True),
            ("vdb", {"size": "0\n", "removable": "1\n"}, False),
            ("vdb", {"size": "\n"}, False),
            ("vdb", {"size": "-5\n"}, False),
            ("vdb", {}, False),
            ("fd0", {"size": "8\n", "removable": "1\n"}, False),
            ("ram0", {"size": "8192\n"}, False),
            ("zram0", {"size": "8192\n"}, False),
            ("nbd0", {"size": "8192\n"}, False),
        ],
    )
    def test_other_devices_only_when_small_or_removable(
        self, guest: Guest, name: str, sysfs: dict[str, str], is_looked_at: bool
    ) -> None:
        device(guest, name, sysfs=sysfs)
        assert self.paths(guest) == ([f"/dev/{name}"] if is_looked_at else [])

    def test_a_slash_in_a_device_name(self, guest: Guest) -> None:
        device(guest, "cciss/c0d0")
        guest.put({"sys/class/block/cciss!c0d0/size": "100\n"})
        assert self.paths(guest) == ["/dev/cciss/c0d0"]

    def test_devices_of_sysfs_that_are_not_in_dev(self, guest: Guest) -> None:
        guest.put({"sys/class/block/vdb/size": "100\n", "sys/class/block/sr0/device/type": CDROM})
        assert self.paths(guest) == []

    def test_a_folder_in_place_of_a_drive(self, guest: Guest) -> None:
        guest.path("dev/cdrom").mkdir(parents=True)
        assert self.paths(guest) == []

    def test_circular_links_are_reported(self, guest: Guest) -> None:
        guest.put({"dev/.keep": ""})
        guest.path("dev/cdrom").symlink_to("cdrom")
        guest.put({"sys/class/block/vdb/size": "100\n"})
        guest.path("dev/vdb").symlink_to("vdb")
        guest.path("sys/class/block/loop").symlink_to("loop")
        found, passed = fetch(guest)
        assert found is None
        assert passed == [
            f"/dev/{name}: cannot open it: Too many levels of symbolic links" for name in ("cdrom", "vdb")
        ]

    def test_the_saved_copy_of_this_vm_comes_last(self, guest: Guest) -> None:
        device(guest, "sr0", FOREIGN_DISC)
        put(guest, saved_media("this"), AZURES)
        put(guest, saved_media("another"), AZURES)
        for setting, first in (("auto", "/dev/sr0"), ("/dev/sr0", "/dev/sr0")):
            found = candidates(System(guest.root).root, setting, vm_id="this")
            assert [candidate.path for candidate in found] == [first, vm_folder("this")]
        assert candidates(System(guest.root).root, "none", vm_id="this") == []
        document, passed = fetch_media(System(guest.root), "auto", is_azures, vm_id="this")
        assert document == MediaDocument(AZURES, vm_folder("this"))
        assert passed == ["/dev/sr0: its ovf-env.xml is not Azure's"]
        assert fetch_media(System(guest.root), "auto", is_azures, vm_id="third")[0] is None


class TestAuto:
    def test_a_drive(self, guest: Guest) -> None:
        device(guest, "sr0")
        assert fetch(guest) == (MediaDocument(AZURES, "/dev/sr0"), [])

    def test_no_device_may_be_ejected_that_is_a_file(self, guest: Guest) -> None:
        device(guest, "sr0")
        found, _ = fetch(guest)
        assert found is not None
        assert found.device is None

    def test_the_first_of_azures_wins_and_others_are_named(self, guest: Guest) -> None:
        for name, disc in (("sr0", FOREIGN_DISC), ("sr1", EMPTY_DISC), ("sr2", b""), ("sr3", DAMAGED_DISC)):
            device(guest, name, disc)
        device(guest, "sr4")
        found, passed = fetch(guest)
        assert found == MediaDocument(AZURES, "/dev/sr4")
        assert passed == [
            "/dev/sr0: its ovf-env.xml is not Azure's",
            "/dev/sr1: no ovf-env.xml",
            "/dev/sr2: no UDF or ISO 9660 file system",
            "/dev/sr3: damaged UDF: no anchor at block 256, at 512, at the last one or 256 before it",
        ]

    def test_what_comes_after_the_first_is_not_opened(self, guest: Guest) -> None:
        device(guest, "sr0")
        os.mkfifo(guest.path("dev/sr1"))
        assert fetch(guest) == (MediaDocument(AZURES, "/dev/sr0"), [])

    def test_a_disk_without_a_signature_is_skipped_without_a_message(self, guest: Guest) -> None:
        device(guest, "sda", bytes(100_000), sysfs={"size": "200\n"})
        device(guest, "sdb", EMPTY_DISC, sysfs={"size": "200\n"})
        device(guest, "sdc", sysfs={"size": "200\n"})
        assert fetch(guest) == (MediaDocument(AZURES, "/dev/sdc"), [])

    def test_a_foreign_disc_on_a_disk_is_named(self, guest: Guest) -> None:
        device(guest, "sda", FOREIGN_DISC, sysfs={"size": "200\n"})
        assert fetch(guest) == (None, ["/dev/sda: its ovf-env.xml is not Azure's"])

    def test_a_pipe_in_place_of_a_drive_is_not_waited_for(self, guest: Guest) -> None:
        guest.put({"dev/.keep": ""})
        os.mkfifo(guest.path("dev/sr0"))
        assert fetch(guest) == (None, ["/dev/sr0: neither a device nor an image file"])

    def test_a_device_that_may_not_be_read(self, shared: Guest) -> None:
        device(shared, "sr0")
        shared.path("dev/sr0").chmod(0)
        with nobody():
            assert fetch(shared) == (None, ["/dev/sr0: cannot open it: Permission denied. Run as root"])

    def test_a_document_that_is_too_long(self, guest: Guest) -> None:
        device(guest, "sr0", Maker(block_size=2048).make({NAME: b"x" * 200_000})[: 1 << 21])
        device(guest, "sr1", sparse_file(DOCUMENT_CAP + 1))
        _, passed = fetch(guest)
        assert passed[-1] == "/dev/sr1: ovf-env.xml is longer than 1048576 bytes"

    def test_nothing_is_changed(self, guest: Guest) -> None:
        device(guest, "sr0")
        device(guest, "sr1", DAMAGED_DISC)
        before = guest.snapshot()
        fetch(guest)
        fetch_media(System(guest.root, dry_run=True), "auto", is_azures)
        assert guest.snapshot() == before


def sparse_file(size: int) -> bytes:
    """A disc whose file is long, but nowhere written."""
    image = bytearray(DISC)
    entry = file_entry(3, 5, size, (0x40000000 | size).to_bytes(4, "little") + bytes(4), 0)
    image[(PARTITION + 3) * 2048 : (PARTITION + 3) * 2048 + len(entry)] = entry
    return bytes(image)


class TestMounted:
    def test_the_file_is_taken_where_it_is_mounted(self, guest: Guest) -> None:
        mounted(guest, ("/dev/sr0", "/media/my\\040disc", "udf"))
        put(guest, f"media/my disc/{NAME}", AZURES)
        assert source(guest) == "/dev/sr0 (mounted at /media/my disc)"

    @pytest.mark.parametrize("name", ["OVF-ENV.XML", "ovf_env.xml", "OVF_ENV.XML;1"])
    def test_names_as_a_kernel_shows_them(self, guest: Guest, name: str) -> None:
        mounted(guest, ("/dev/sr0", "/mnt", "iso9660"))
        put(guest, f"mnt/{name}", AZURES)
        assert source(guest) == "/dev/sr0 (mounted at /mnt)"

    def test_a_disc_without_the_file_is_not_read_again(self, guest: Guest) -> None:
        device(guest, "sr0")
        mounted(guest, ("/dev/sr0", "/mnt", "udf"))
        guest.put({"mnt/other": ""})
        assert fetch(guest) == (None, ["/dev/sr0 (mounted at /mnt): no ovf-env.xml"])

    def test_the_device_is_read_when_the_folder_cannot_be(self, guest: Guest) -> None:
        device(guest, "sr0")
        mounted(guest, ("/dev/sr0", "/mnt", "udf"))
        guest.path(f"mnt/{NAME}").mkdir(parents=True)
        found, passed = fetch(guest)
        assert found == MediaDocument(AZURES, "/dev/sr0")
        assert passed == ["/dev/sr0 (mounted at /mnt): cannot read ovf-env.xml: Is a directory"]

    def test_a_link_on_a_disc_leads_nowhere_but_into_it(self, guest: Guest) -> None:
        mounted(guest, ("/dev/sr0", "/mnt", "iso9660"))
        put(guest, "etc/secret", AZURES)
        guest.path("mnt").mkdir()
        guest.path(f"mnt/{NAME}").symlink_to("/etc/secret")
        assert fetch(guest)[0] is None
        guest.path(f"mnt/{NAME}").unlink()
        guest.path(f"mnt/{NAME}").symlink_to("../../etc/secret")
        assert fetch(guest)[0] is None
        put(guest, "mnt/etc/secret", AZURES)
        assert source(guest) == "/dev/sr0 (mounted at /mnt)"

    def test_a_file_that_is_too_long_is_not_taken(self, guest: Guest) -> None:
        mounted(guest, ("/dev/sr0", "/mnt", "udf"))
        put(guest, f"mnt/{NAME}", bytes(DOCUMENT_CAP + 1))
        _, passed = fetch(guest)
        assert passed[0] == "/dev/sr0 (mounted at /mnt): ovf-env.xml is longer than 1048576 bytes"


class TestConfigured:
    def test_an_image_file(self, guest: Guest) -> None:
        put(guest, "srv/disc.iso", DISC)
        assert fetch(guest, "/srv/disc.iso") == (MediaDocument(AZURES, "/srv/disc.iso"), [])

    def test_a_folder(self, guest: Guest) -> None:
        put(guest, f"srv/media/{NAME}", AZURES)
        assert fetch(guest, "/srv/media") == (MediaDocument(AZURES, "/srv/media"), [])

    def test_a_folder_may_hold_a_link(self, guest: Guest) -> None:
        put(guest, "srv/kept.xml", AZURES)
        guest.path("srv/media").mkdir()
        guest.path(f"srv/media/{NAME}").symlink_to("/srv/kept.xml")
        assert source(guest, "/srv/media") == "/srv/media"

    def test_nothing_else_is_looked_at(self, guest: Guest) -> None:
        device(guest, "sr0")
        guest.path("srv").mkdir()
        assert fetch(guest, "/srv") == (None, ["/srv: no ovf-env.xml"])
        assert fetch(guest, "/dev/sr1") == (None, ["/dev/sr1: cannot open it: No such file or directory"])

    def test_a_folder_that_may_not_be_read(self, shared: Guest) -> None:
        shared.path("srv").mkdir(mode=0)
        words = "/srv: cannot read ovf-env.xml: Permission denied. Run as root"
        with nobody():
            assert fetch(shared, "/srv") == (None, [words])


@pytest.mark.spawns
class TestKernel:
    """A disc that only the kernel can read; the running system is stood for by a guest that is said to be live."""

    def system(self, guest: Guest, programs: Path, *, mount: str, exit_code: int = 0, live: bool = True) -> System:
        last = 'for place in "$@"; do :; done'
        shim(programs, "mount", script=f"{last}; {mount}", exit_code=exit_code)
        shim(programs, "umount", script=f'{last}; rm -f "$place"/*')
        system = System(guest.root, search_path=str(programs))
        system.live = live
        return system

    def test_the_kernel_reads_what_the_reader_cannot(self, guest: Guest, tmp_path: Path) -> None:
        device(guest, "sr0", DAMAGED_DISC)
        system = self.system(guest, tmp_path / "bin", mount=f'printf %s "{AZURES.decode()}" > "$place/{NAME}"')
        assert fetch_media(system, "auto", is_azures) == (MediaDocument(AZURES, "/dev/sr0"), [])
        words = (tmp_path / "bin/mount.log").read_text().split()
        assert words[:5] == ["-t", "udf,iso9660", "-o", "ro,nosuid,nodev,noexec", str(guest.path("dev/sr0"))]
        assert (tmp_path / "bin/umount.log").exists()
        assert list(guest.path("run/azurelite").iterdir()) == []

    def test_both_refusals_are_reported(self, guest: Guest, tmp_path: Path) -> None:
        device(guest, "sr0", DAMAGED_DISC)
        system = self.system(guest, tmp_path / "bin", mount="echo unknown filesystem type >&2", exit_code=32)
        found, passed = fetch_media(system, "auto", is_azures)
        assert found is None
        assert passed[0].startswith("/dev/sr0: damaged UDF: no anchor")
        assert passed[0].endswith("cannot mount it either: mount failed with status 32: unknown filesystem type")

    @pytest.mark.parametrize(
        ("name", "disc", "sysfs"),
        [
            ("sr0", DISC, {}),
            ("sr0", EMPTY_DISC, {}),
            ("sr0", FOREIGN_DISC, {}),
            ("sr0", bytes(1 << 20), {}),
            ("vdb", DAMAGED_DISC, {"size": "100\n"}),
        ],
        ids=["read", "without", "foreign", "blank", "disk"],
    )
    def test_the_kernel_is_not_asked_otherwise(
        self, guest: Guest, tmp_path: Path, name: str, disc: bytes, sysfs: dict[str, str]
    ) -> None:
        device(guest, name, disc, sysfs=sysfs)
        fetch_media(self.system(guest, tmp_path / "bin", mount=""), "auto", is_azures)
        assert not (tmp_path / "bin/mount.log").exists()

    def test_a_dry_run_never_mounts(self, guest: Guest, tmp_path: Path) -> None:
        device(guest, "sr0", DAMAGED_DISC)
        system = self.system(guest, tmp_path / "bin", mount="", live=False)
        found, passed = fetch_media(system, "auto", is_azures)
        assert found is None
        assert passed[0].startswith("/dev/sr0: damaged UDF")
        assert not (tmp_path / "bin/mount.log").exists()
