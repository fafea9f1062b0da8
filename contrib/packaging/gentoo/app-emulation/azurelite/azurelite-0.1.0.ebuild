# Copyright 2026 azurelite maintainers
# Distributed under the terms of the Apache License, Version 2.0

EAPI=8

DISTUTILS_USE_PEP517=setuptools
PYTHON_COMPAT=( python3_{11..14} )

inherit distutils-r1 systemd

DESCRIPTION="Provisions virtual machines on Azure"
HOMEPAGE="https://example.org/azurelite"
SRC_URI="${P}.tar.gz"

LICENSE="Apache-2.0"
SLOT="0"
KEYWORDS="~amd64 ~arm64"
# The project has no address yet, so example.org stands for it: put the sdist into DISTDIR.
# The tests want a machine of their own: root, namespaces, tools of many kinds.
RESTRICT="fetch test"

RDEPEND="
	>=dev-python/defusedxml-0.6[${PYTHON_USEDEP}]
	>=dev-python/pyyaml-5.3.1[${PYTHON_USEDEP}]
	>=dev-python/urllib3-1.26[${PYTHON_USEDEP}]
"

pkg_nofetch() {
	einfo "Make ${P}.tar.gz from the sources: python contrib/packaging/release.py --only sdist"
	einfo "and put it into your DISTDIR."
}

python_install_all() {
	local DOCS=( README.md CHANGELOG.md docs contrib/handlers.md contrib/azurelite.yaml contrib/azurelite.schema.json )
	distutils-r1_python_install_all
	doinitd azurelite/service/units/openrc/azurelite
	systemd_dounit azurelite/service/units/systemd/azurelite{,-hostname}.service
	doman contrib/packaging/man/azurelite.8
}

pkg_postinst() {
	elog "To provision at every first boot: rc-update add azurelite default"
	elog "or, with systemd: systemctl enable azurelite.service"
}
