"""The recipes for Arch, Alpine, Gentoo, Void and Nix, as far as each can be run away from its home.

Arch: makepkg and pacman themselves. Alpine: the recipe's own functions, in BusyBox's shell, with the real build tools.
Gentoo and Void: the recipes' own functions, with stand-ins for what the distribution brings to put files into place.
Nix: read and evaluated, with a stand-in for nixpkgs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
from packagekit import CHECKOUT, LOOK, PACKAGING, boot, build, check_provisioned, files_below, need, pages, run

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.packaging]

# Stand-ins: each puts a file where the distribution's own would.
GENTOO = """
inherit() { :; }
into=$1 recipe=$2; S=$PWD P=azurelite-0.1.0
distutils-r1_python_install_all() { dodoc "$into/usr/share/doc/azurelite" "${DOCS[@]}"; }
dodoc() { mkdir -p "$1" && cp -R -t "$@"; }
doinitd() { install -D -m 755 -t "$into/etc/init.d" "$@"; }
systemd_dounit() { install -D -m 644 -t "$into/usr/lib/systemd/system" "$@"; }
doman() { install -D -m 644 -t "$into/usr/share/man/man8" "$@"; }
einfo() { :; }; elog() { :; }
. "$recipe"
[ "$EAPI" = 8 ] && [ -n "$DESCRIPTION" ] && [ -n "$LICENSE" ] && [ -n "$SLOT" ] && [ ${#PYTHON_COMPAT[@]} -ge 3 ]
pkg_nofetch
python_install_all
pkg_postinst
"""
VOID = """
DESTDIR=$1 PYPI_SITE=x recipe=$2
vmkdir() { mkdir -p "$DESTDIR/$1"; }
vinstall() { install -D -m "$2" "$1" "$DESTDIR/$3/$(basename "$1")"; }
vman() { install -D -m 644 -t "$DESTDIR/usr/share/man/man${1##*.}" "$1"; }
vdoc() { install -D -m 644 -t "$DESTDIR/usr/share/doc/azurelite" "$1"; }
vcopy() { cp $1 "$DESTDIR/$2"; }
vsconf() { install -D -m 644 -t "$DESTDIR/usr/share/examples/azurelite" "$1"; }
. "$recipe"
[ "$build_style" = python3-pep517 ] && [ -n "$short_desc$maintainer$license$homepage$distfiles$checksum" ]
post_install
"""
ALPINE = """
pkgdir=$1 recipe=$2
. "$recipe"
[ -n "$pkgver$pkgrel$pkgdesc$url$arch$license" ]
for function in build package; do
	( set -e; $function ) || exit 1
done
"""


@pytest.fixture
def sources(release: Path, tmp_path: Path) -> Path:
    """The unpacked sdist: what these recipes begin with."""
    (sdist,) = release.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path)
    (folder,) = tmp_path.glob("azurelite-*")
    return folder


@pytest.mark.xdist_group("debian")  # see test_debian.py
def test_arch(debian: Path, tmp_path: Path) -> None:
    """Installed into the Debian, where Python finds it: makepkg here has Debian's Python, and so its folders."""
    need(
        {"makepkg": "makepkg", "pacman": "pacman-package-manager", "bsdtar": "libarchive-tools", "fakeroot": "fakeroot"}
    )
    (package,) = build("arch", tmp_path)
    provision = ["/usr/bin/azurelite", "provision"]
    pacman = [
        "pacman",
        "--noconfirm",
        "-dd",
        "--root",
        "{root}",
        "--dbpath",
        "{root}/var/lib/pacman",
        "--cachedir",
        "{root}/tmp",
    ]
    outside = [
        ["chroot", "{root}", "dpkg", "--purge", "azurelite"],
        ["mkdir", "-p", "{root}/var/lib/pacman"],
        [*pacman, "--logfile", "/dev/null", "-U", "{root}/tmp/azurelite.pkg.tar.gz"],
    ]
    *done, files = boot(
        debian,
        provision,
        LOOK,
        provision,
        ["sh", "-c", "cat /var/lib/pacman/local/azurelite-*/files"],
        put={"/tmp/azurelite.pkg.tar.gz": (package, 0o644)},
        outside=outside,
    )
    check_provisioned(*done)
    names = files["out"].splitlines()
    for name in ("azurelite", "azurelite-hostname"):
        assert f"usr/lib/systemd/system/{name}.service" in names
    assert [name for name in names if name.startswith("usr/share/man/man8/azurelite.8")]
    assert pages("usr/share/doc/azurelite") <= set(names)
    assert not [name for name in names if name.startswith(("etc", "usr/local"))]


def test_alpine(sources: Path, tmp_path: Path) -> None:
    need({"busybox": "busybox"})
    if importlib.util.find_spec("gpep517") is None or importlib.util.find_spec("installer") is None:
        pytest.skip("needs gpep517 and installer in this environment: pip install gpep517 installer")
    script, into = tmp_path / "alpine.sh", tmp_path / "into"
    script.write_text(ALPINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run("busybox", "ash", "-eu", script, into, PACKAGING / "alpine/APKBUILD", cwd=sources, PATH=path)
    files = files_below(into)
    assert {"/etc/init.d/azurelite", "/usr/share/man/man8/azurelite.8"} <= files
    assert pages("/usr/share/doc/azurelite") <= files
    assert [name for name in files if name.endswith("/bin/azurelite")]
    assert [name for name in files if name.endswith("/azurelite/service/units/openrc/azurelite")]


def test_gentoo(sources: Path, tmp_path: Path) -> None:
    need({"bash": "bash"})
    script, into = tmp_path / "gentoo.sh", tmp_path / "into"
    script.write_text(GENTOO)
    (recipe,) = (PACKAGING / "gentoo").rglob("*.ebuild")
    run("bash", "-eu", script, into, recipe, cwd=sources, PYTHON_USEDEP="")
    files = files_below(into)
    assert pages("/usr/share/doc/azurelite") <= files
    assert {
        "/etc/init.d/azurelite",
        "/usr/lib/systemd/system/azurelite.service",
        "/usr/share/man/man8/azurelite.8",
        "/usr/share/doc/azurelite/README.md",
    } <= files


def test_void(sources: Path, tmp_path: Path) -> None:
    need({"bash": "bash"})
    script, into = tmp_path / "void.sh", tmp_path / "into"
    script.write_text(VOID)
    run("bash", "-eu", script, into, PACKAGING / "void/azurelite/template", cwd=sources)
    files = files_below(into)
    assert pages("/usr/share/doc/azurelite") <= files
    assert {"/etc/sv/azurelite/run", "/etc/sv/azurelite/supervise", "/usr/share/man/man8/azurelite.8"} <= files
    units = CHECKOUT / "azurelite/service/units/runit"
    assert {path.name for path in units.iterdir()} <= {path.name for path in (into / "etc/sv/azurelite").iterdir()}


STAND_IN = """
let
  packages = { buildPythonApplication = recipe: recipe; setuptools = 1; defusedxml = 2; pyyaml = 3; urllib3 = 4; };
  lib = { cleanSource = path: path; licenses.asl20 = "Apache-2.0"; platforms.linux = [ ]; };
  made = import %s { pkgs = { }; inherit lib; python3Packages = packages; };
in "${made.version} ${toString made.dependencies} ${made.meta.mainProgram}"
"""


def test_nix(tmp_path: Path) -> None:
    from azurelite.version import VERSION

    need({"nix-instantiate": "nix-bin"})
    recipe = PACKAGING / "nix/default.nix"
    run("nix-instantiate", "--parse", recipe)
    home = {"HOME": str(tmp_path), "NIX_CONFIG": "build-users-group ="}
    words = ["--store", "dummy://", "--eval", "--strict", "-E", STAND_IN % recipe]
    assert run("nix-instantiate", *words, **home).strip() == f'"{VERSION} 2 3 4 azurelite"'
