#!/bin/sh
# Builds a package of one kind from the checkout that this file is in.
#
#     contrib/packaging/build.sh deb|rpm|arch FOLDER [WORDS FOR dpkg-buildpackage, rpmbuild OR makepkg]
#
# The package goes into FOLDER, everything else into a scratch folder. On Debian, these make all three:
#     deb:  debhelper dh-python pybuild-plugin-pyproject python3-all python3-setuptools
#     rpm:  rpm python3-setuptools python3-wheel
#     arch: pacman-package-manager makepkg libarchive-tools fakeroot, and what the deb needs
# PYTHON (python3) makes the sdist, and needs setuptools for that.
set -eu
kind=${1:?deb, rpm or arch}
mkdir -p "${2:?the folder for the package}"
folder=$(cd "$2" && pwd)
shift 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" "$here/release.py" --only sdist "$work" >/dev/null
sdist=$(echo "$work"/azurelite-*.tar.gz)
version=${sdist##*/azurelite-}
version=${version%.tar.gz}
# The distribution's own Python builds the package, whatever else is on the way here.
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C.UTF-8
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

case $kind in
deb)
	mkdir "$work/deb"
	cp "$sdist" "$work/deb/azurelite_$version.orig.tar.gz"
	tar -xf "$sdist" -C "$work/deb"
	cp -r "$here/debian" "$work/deb/azurelite-$version/debian"
	(cd "$work/deb/azurelite-$version" && dpkg-buildpackage -us -uc "$@")
	find "$work/deb" -maxdepth 1 -type f -exec cp -t "$folder" {} +
	;;
rpm)
	mkdir -p "$work/rpm/SOURCES"
	cp "$sdist" "$work/rpm/SOURCES"
	nodeps=
	[ -e /etc/debian_version ] && nodeps=--nodeps # the names of another distribution
	rpmbuild -ba $nodeps --define "_topdir $work/rpm" "$@" "$here/rpm/azurelite.spec"
	cp "$work"/rpm/RPMS/noarch/*.rpm "$work"/rpm/SRPMS/*.rpm "$folder"
	;;
arch)
	mkdir -p "$work/arch/bin"
	cp "$here/arch/PKGBUILD" "$sdist" "$work/arch"
	# Arch calls it python. No link: the program that is made would begin with the link's name.
	printf '#!/bin/sh\nexec /usr/bin/python3 "$@"\n' >"$work/arch/bin/python"
	chmod 755 "$work/arch/bin/python"
	nodeps=
	[ -e /etc/debian_version ] && nodeps=--nodeps
	as=
	if [ "$(id -u)" -eq 0 ]; then # makepkg will not be root
		as="setpriv --reuid=nobody --regid=nogroup --clear-groups"
		chmod 755 "$work"
		chown -R nobody "$work/arch"
	fi
	export DEB_PYTHON_INSTALL_LAYOUT=deb # else Debian's Python puts it below /usr/local
	(cd "$work/arch" && HOME=$work/arch PATH=$PATH:$work/arch/bin $as makepkg $nodeps --noconfirm "$@")
	cp "$work"/arch/*.pkg.tar* "$folder"
	;;
*)
	echo "usage: $0 deb|rpm|arch FOLDER" >&2
	exit 2
	;;
esac
