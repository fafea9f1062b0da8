"""Disc images, read back by readers of another hand: structure by structure, sum by sum."""

from __future__ import annotations

import struct
from typing import Callable

import pytest
from simulator.conftest import Simulate
from simulator.disc_reader import SECTOR, Udf, dstring, joliet_files, sector, short_files

from azurelite.simulator import ovf
from azurelite.simulator.disc import KINDS, disc_image

OVF = {"ovf-env.xml": b"<Environment/>\n"}
SETS = {
    "none": {},
    "ovf": OVF,
    "two": {**OVF, "README": b""},
    "sizes": {
        **{f"{size}.bin": bytes([size % 251]) * size for size in (0, 1, 1871, 1872, 1873, 2047, 2048, 2049)},
        "big": bytes(range(256)) * 8192,
    },
    "names": {name: name.encode() for name in ("a", "A" * 64, "ünï.txt", "Привет.txt", "a b.tar.gz", ".hidden", "ÿĀ")},
    "many": {f"file number {number}.data": b"%d" % number * number for number in range(200)},
}
WITH = {"iso9660": ("iso9660", "bridge"), "udf": ("udf", "bridge")}


def whole_sectors(image: bytes) -> bytes:
    assert len(image) % SECTOR == 0
    assert not any(image[: 16 * SECTOR])
    return image


@pytest.mark.parametrize("files", SETS.values(), ids=SETS)
class TestFiles:
    @pytest.mark.parametrize("kind", WITH["iso9660"])
    def test_joliet_names_and_content_survive(self, files: dict[str, bytes], kind: str) -> None:
        assert joliet_files(whole_sectors(disc_image(files, kind=kind))) == files

    @pytest.mark.parametrize("kind", WITH["iso9660"])
    def test_short_names_hide_no_file(self, files: dict[str, bytes], kind: str) -> None:
        short = short_files(disc_image(files, kind=kind))
        assert sorted(short.values()) == sorted(files.values())
        for name in short:
            stem, dot, ending = name[:-2].partition(".")
            assert (name[-2:], dot) == (";1", ".")
            assert len(stem) <= 8
            assert len(ending) <= 3
            assert set(stem + ending) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

    @pytest.mark.parametrize("kind", WITH["udf"])
    @pytest.mark.parametrize("anchor", [256, -1])
    def test_udf_names_and_content_survive(self, files: dict[str, bytes], kind: str, anchor: int) -> None:
        image = whole_sectors(disc_image(files, kind=kind))
        assert Udf(image, anchor=anchor % (len(image) // SECTOR)).files() == files

    @pytest.mark.parametrize("kind", KINDS)
    def test_order_does_not_matter(self, files: dict[str, bytes], kind: str) -> None:
        assert disc_image(dict(reversed(list(files.items()))), kind=kind) == disc_image(files, kind=kind)


class TestUdf:
    @pytest.mark.parametrize(("kind", "first"), [("udf", 16), ("bridge", 19)])
    def test_recognition_sequence(self, kind: str, first: int) -> None:
        image = disc_image(OVF, kind=kind)
        marks = [sector(image, first + number)[:7] for number in range(3)]
        assert marks == [b"\0BEA01\1", b"\0NSR02\1", b"\0TEA01\1"]
        assert (b"CD001" in image) is (kind == "bridge")

    @pytest.mark.parametrize("kind", WITH["udf"])
    def test_volume(self, kind: str) -> None:
        image = disc_image(SETS["many"], kind=kind)
        volume = Udf(image, anchor=256)
        assert set(volume.main) == set(volume.reserve) == {1, 4, 5, 6, 7}
        assert dstring(volume.main[1][24:56]) == dstring(volume.main[6][84:212]) == "PROVISIONING"
        assert dstring(volume.file_set()[304:336]) == "PROVISIONING"
        assert volume.first == 257
        assert volume.first + volume.blocks + 1 == len(image) // SECTOR
        for tag, descriptor in volume.main.items():
            assert descriptor[16:512] == volume.reserve[tag][16:512]
        kind_of, free, size = struct.unpack_from("<I44x4xII", volume.integrity(), 28)
        assert (kind_of, free, size) == (1, 0, volume.blocks)
        assert struct.unpack_from("<II", volume.integrity(), 120) == (200, 1)

    @pytest.mark.parametrize(("size", "embedded"), [(0, True), (1872, True), (1873, False)])
    def test_small_files_are_embedded_but_on_a_bridge(self, size: int, embedded: bool) -> None:
        for kind, expected in (("udf", embedded), ("bridge", False)):
            volume = Udf(disc_image({"f": b"x" * size}, kind=kind), anchor=256)
            assert volume.files() == {"f": b"x" * size}
            assert volume.embedded == {"f": expected}

    def test_bridge_holds_the_content_once(self) -> None:
        content = bytes(range(256)) * 10
        assert disc_image({"f": content}, kind="bridge").count(content) == 1


class TestMistakes:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "a.",
            "a/b",
            "a\\b",
            "a;1",
            "a:b",
            "a*",
            "a?",
            "a\n",
            "a\n\n",
            "\0",
            "x" * 65,
            "\U0001f600",
            "\ud800",
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_name_that_a_disc_cannot_carry(self, name: str, kind: str) -> None:
        with pytest.raises(ValueError, match="cannot hold the file name"):
            disc_image({name: b""}, kind=kind)

    @pytest.mark.parametrize("kind", ["", "UDF", "iso", "joliet"])
    def test_unknown_kind(self, kind: str) -> None:
        with pytest.raises(ValueError, match="expected one of iso9660, udf, bridge"):
            disc_image(OVF, kind=kind)

    def test_bridge_has_room_for_so_many(self) -> None:
        files = {f"{number:08}{'x' * 56}": b"" for number in range(2500)}
        with pytest.raises(ValueError, match="2500 files are too many"):
            disc_image(files, kind="bridge")
        assert set(joliet_files(disc_image(files, kind="iso9660"))) == set(files)


class TestMedia:
    @pytest.mark.parametrize(("kind", "read"), [("iso9660", joliet_files), ("bridge", joliet_files), ("udf", None)])
    def test_is_the_vms_document_on_a_disc(
        self, simulate: Simulate, kind: str, read: Callable[[bytes], dict[str, bytes]] | None
    ) -> None:
        sim = simulate({"vm": {"hostname": "db-1", "password": "p"}}).sim
        image = sim.media(kind, prefix="x")
        files = Udf(image, anchor=256).files() if read is None else read(image)
        assert files == {"ovf-env.xml": ovf.ovf_document(sim.scenario.vm, prefix="x")}

    def test_is_udf_unless_said_otherwise(self, simulate: Simulate) -> None:
        sim = simulate().sim
        assert sim.media() == sim.media("udf") == disc_image({"ovf-env.xml": sim.ovf()}, kind="udf")
