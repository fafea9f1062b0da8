"""The recipes say what the project says: its version, its dependencies, its verbs. Nothing is built here."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from azurelite.cli.parser import VERBS
from azurelite.version import VERSION

CHECKOUT = Path(__file__).parents[2]
PACKAGING = CHECKOUT / "contrib" / "packaging"

VERSIONS = {
    "debian/changelog": r"^azurelite \(([0-9.]+)-",
    "rpm/azurelite.spec": r"^Version: +([0-9.]+)$",
    "arch/PKGBUILD": r"^pkgver=([0-9.]+)$",
    "alpine/APKBUILD": r"^pkgver=([0-9.]+)$",
    "void/azurelite/template": r"^version=([0-9.]+)$",
}
# How each distribution calls defusedxml, PyYAML and urllib3.
NAMES = {
    "debian/control": ("python3-defusedxml", "python3-yaml (>= 5.3.1)", "python3-urllib3 (>= 1.26)"),
    "rpm/azurelite.spec": ("python3-defusedxml", "python3-pyyaml >= 5.3.1", "python3-urllib3 >= 1.26"),
    "arch/PKGBUILD": ("'python-defusedxml'", "'python-yaml'", "'python-urllib3'"),
    "alpine/APKBUILD": ("py3-defusedxml", "py3-yaml", "py3-urllib3"),
    "gentoo/app-emulation/azurelite/azurelite-*.ebuild": (
        ">=dev-python/defusedxml-0.6[",
        ">=dev-python/pyyaml-5.3.1[",
        ">=dev-python/urllib3-1.26[",
    ),
    "void/azurelite/template": ("python3-defusedxml", "python3-yaml", "python3-urllib3"),
    "nix/default.nix": ("python3Packages.defusedxml", "python3Packages.pyyaml", "python3Packages.urllib3"),
    "zipapp/requirements.txt": ("defusedxml==", "PyYAML==", "urllib3=="),
}


def text_of(pattern: str) -> str:
    (path,) = PACKAGING.glob(pattern)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", VERSIONS)
def test_the_version_is_the_projects(name: str) -> None:
    found = re.search(VERSIONS[name], text_of(name), re.MULTILINE)
    assert found is not None
    assert found[1] == VERSION


def test_the_ebuild_is_named_by_the_version() -> None:
    assert [path.name for path in (PACKAGING / "gentoo").rglob("*.ebuild")] == [f"azurelite-{VERSION}.ebuild"]


@pytest.mark.parametrize("name", NAMES)
def test_the_dependencies_are_the_three(name: str) -> None:
    text = text_of(name)
    for dependency in NAMES[name]:
        assert dependency in text
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    wanted = sorted(setup["options"]["install_requires"].split())
    assert wanted == ["PyYAML>=5.3.1", "defusedxml>=0.6", "urllib3>=1.26"], "NAMES and the recipes need a look"


def test_the_pinned_ones_are_new_enough_and_have_sums() -> None:
    lines = [line for line in text_of("zipapp/requirements.txt").splitlines() if not line.startswith("#")]
    assert len(lines) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_the_manual_page_tells_of_every_verb() -> None:
    page = text_of("man/azurelite.8").replace("\\-", "-")
    told = set(re.findall(r"^\.(?:B|BR|TP)\n?.*?\b([a-z][a-z-]*)", page, re.MULTILINE))
    assert set(VERBS) <= told
    for code in "0123":
        assert re.search(rf"^\.B {code}$", page, re.MULTILINE)


def test_gentoos_description_is_xml() -> None:
    root = ElementTree.fromstring(text_of("gentoo/app-emulation/azurelite/metadata.xml"))
    assert (root.tag, [child.tag for child in root]) == ("pkgmetadata", ["maintainer", "longdescription"])


def test_every_folder_is_in_the_table_of_the_readme() -> None:
    table = text_of("README.md")
    for folder in PACKAGING.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert f"`{folder.name}/`" in table
