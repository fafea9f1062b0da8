"""The .deb on a machine with a past: after a run, and where pip's release had put its units first."""

from __future__ import annotations

from pathlib import Path

import pytest
from packagekit import CHECKOUT, LOOK, boot

from azurelite.service.pieces import marked

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.packaging,
    pytest.mark.xdist_group("debian"),  # they share a root that takes long to make
]

LEFT = "find / -xdev -name '*azurelite*' -not -path '/proc/*' -not -path '/azurelite_*' -not -path '/old*'"
UNITS = "/etc/systemd/system"
PIPS = f"""
mkdir -p {UNITS}/multi-user.target.wants {UNITS}-preset
cp -a /old/init /etc/init.d/azurelite
for level in 2 3 4 5; do ln -s ../init.d/azurelite /etc/rc$level.d/S02azurelite; done
cp /old/unit {UNITS}/azurelite.service
ln -s {UNITS}/azurelite.service {UNITS}/multi-user.target.wants/azurelite.service
cp /old/preset {UNITS}-preset/50-azurelite.preset
"""
HAS = f"""
cat /etc/init.d/azurelite; echo ==
ls {UNITS}/azurelite.service 2>&1 || :
readlink {UNITS}/multi-user.target.wants/azurelite.service
ls /etc/rc2.d | grep azurelite
dpkg-query --show --showformat='${{Status}}' azurelite
"""


def sh(script: str) -> list[str]:
    return ["sh", "-ec", script]


def test_a_purge_after_a_run_leaves_nothing(debian: Path) -> None:
    notes = sh("mkdir -p /var/log/azurelite /etc/azurelite; touch /var/log/azurelite/x /etc/azurelite/own.yaml; "
               "ls -d /var/lib/azurelite")  # fmt: skip
    provision, look, there, remove, still, purge, left = boot(
        debian, ["azurelite", "provision"], LOOK, notes, ["dpkg", "--remove", "azurelite"],
        sh("ls /var/lib/azurelite"), ["dpkg", "--purge", "azurelite"], sh(LEFT),
    )  # fmt: skip
    assert (provision["code"], look["code"], there["code"], remove["code"]) == (0, 0, 0, 0), remove["err"]
    assert "vms" in still["out"]  # which VM this is, it may come back
    assert purge["code"] == 0, purge["err"]
    assert left["out"].split() == ["/etc/azurelite"]  # an administrator's own


def test_what_pips_release_put_there_gives_way_without_a_question(debian: Path, tmp_path: Path) -> None:
    old = {}
    for name, unit, mode in (("init", "sysvinit/azurelite", 0o755), ("unit", "systemd/azurelite.service", 0o644),
                             ("preset", "systemd/50-azurelite.preset", 0o644)):  # fmt: skip
        path = tmp_path / name
        path.write_bytes(marked(unit, "/usr/local/bin/azurelite"))
        old[f"/old/{name}"] = (path, mode)
    install = sh("dpkg -i /azurelite_*.deb")
    gone, laid, installed, has, purge, left = boot(
        debian, ["dpkg", "--purge", "azurelite"], sh(PIPS), install, sh(HAS),
        ["dpkg", "--purge", "azurelite"], sh(LEFT), put=old,
    )  # fmt: skip
    assert (gone["code"], laid["code"]) == (0, 0), laid["err"]
    assert installed["code"] == 0, installed["err"]
    script, _, rest = has["out"].partition("==\n")
    assert script == (CHECKOUT / "azurelite/service/units/sysvinit/azurelite").read_text(encoding="utf-8")
    lines = rest.splitlines()
    assert "No such file" in lines[0]
    assert lines[1].endswith("/lib/systemd/system/azurelite.service")
    assert "azurelite" in lines[2]
    assert lines[-1] == "install ok installed"
    assert purge["code"] == 0, purge["err"]
    assert left["out"] == ""


def test_an_administrators_script_is_his(debian: Path, tmp_path: Path) -> None:
    own = tmp_path / "init"
    own.write_text("#!/bin/sh\n# mine\n")
    again, there = boot(
        debian,
        sh("dpkg --purge azurelite && cp -a /old/init /etc/init.d/azurelite\ndpkg --force-confold -i /azurelite_*.deb"),
        ["cat", "/etc/init.d/azurelite"],
        put={"/old/init": (own, 0o755)},
    )
    assert again["code"] == 0, again["err"]
    assert there["out"] == own.read_text()
