"""The .rpm: built here, and at work in a root that rpm has put it into.

That root is a Debian (no other distribution's packages can be had here), so rpm is told where its Python looks, and is
not asked about dependencies, which are there under Debian's names.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from packagekit import LOOK, PACKAGING, boot, build, check_provisioned, need, pages, run

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.packaging,
    pytest.mark.xdist_group("debian"),  # they share a root that takes long to make
]

SITE = "/usr/lib/python3/dist-packages"
SPEC = PACKAGING / "rpm" / "azurelite.spec"


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need({"rpmbuild": "rpm"})
    folder = tmp_path_factory.mktemp("rpm")
    build("rpm", folder, "--define", f"python3_sitelib {SITE}")
    (package,) = folder.glob("*.noarch.rpm")
    return package


def test_it_provisions_a_machine(rpm: Path, debian: Path) -> None:
    provision = ["/usr/bin/azurelite", "provision"]
    outside = [
        ["chroot", "{root}", "dpkg", "--purge", "azurelite"],
        ["rpm", "--root", "{root}", "--install", "--nodeps", "{root}/tmp/azurelite.rpm"],
        ["rpm", "--root", "{root}", "--verify", "--nodeps", "azurelite"],
    ]
    put = {"/tmp/azurelite.rpm": (rpm, 0o644)}
    check_provisioned(*boot(debian, provision, LOOK, provision, put=put, outside=outside))


def test_it_holds_the_units_the_page_and_nothing_in_etc(rpm: Path) -> None:
    files = run("rpm", "--query", "--list", "--package", rpm).splitlines()
    assert "/usr/lib/systemd/system/azurelite.service" in files
    assert "/usr/lib/systemd/system/azurelite-hostname.service" in files
    assert "/usr/share/man/man8/azurelite.8" in [name.replace(".gz", "") for name in files]
    assert f"{SITE}/azurelite/service/units/systemd/azurelite.service" in files
    (readme,) = (name for name in files if name.endswith("/README.md"))
    assert pages(str(Path(readme).parent)) <= set(files)
    assert not [name for name in files if name.startswith(("/etc", "/usr/local", "/var"))]


@pytest.mark.parametrize(
    ("macros", "names"),
    [
        ({"fedora": "42"}, {"python3-defusedxml", "python3-pyyaml >= 5.3.1", "python3-urllib3 >= 1.26"}),
        ({"suse_version": "1600"}, {"python3-defusedxml", "python3-PyYAML >= 5.3.1", "python3-urllib3 >= 1.26"}),
    ],
)
def test_the_spec_is_sound_where_its_macros_are(macros: dict[str, str], names: set[str]) -> None:
    """Read as Fedora and openSUSE would: with their macros for Python and systemd in place."""
    need({"rpmspec": "rpm"})
    known = {
        **macros,
        "pyproject_wheel": "echo WHEEL",
        "pyproject_install": "echo INSTALL",
        "systemd_post": "echo POST",
        "systemd_preun": "echo PREUN",
        "python3_sitelib": "/usr/lib/python3.13/site-packages",
    }
    words = [word for name, value in known.items() for word in ("--define", f"{name} {value}")]
    assert names <= set(run("rpmspec", *words, "--query", "--requires", SPEC).splitlines())
    text = run("rpmspec", *words, "--parse", SPEC)
    for made in (
        "echo WHEEL",
        "echo INSTALL",
        "echo POST",
        "echo PREUN",
        "/usr/lib/python3.13/site-packages/azurelite/",
    ):
        assert made in text
    assert "import setuptools" not in text
