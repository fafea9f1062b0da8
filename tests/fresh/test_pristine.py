"""The README's commands work on a machine that has only what the README asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.roots import BuildError
from fresh.pristine import Pristine
from needs import require

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.fresh]

SEE_IT = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/azurelite demo"
TEST_IT = ".venv/bin/pip install tox && .venv/bin/tox"
NOTHING_ELSE = """
for program in pip ip sudo busybox gcc ping curl; do
    if command -v "$program"; then exit 9; fi
done
"""
# What the unit of the init system runs, as `azurelite service install` has written it.
AS_THE_UNIT = r"""
sed -n 's/^ExecStart=//p' /etc/systemd/system/azurelite.service >/tmp/command
grep -q '^/.* provision' /tmp/command
sh -eu /tmp/command
"""


@pytest.fixture
def pristine(tmp_path: Path) -> Pristine:
    require("mmdebstrap", "unshare", "git", root=True)
    try:
        return Pristine(tmp_path)
    except BuildError as error:
        pytest.fail(f"the root file system cannot be built: {error}", pytrace=False)


@pytest.mark.parametrize("user", ["root", "visitor"])
def test_both_commands_of_the_readme_pass(pristine: Pristine, user: str) -> None:
    code, told = pristine.run(f"{NOTHING_ELSE}\n{SEE_IT}\n{TEST_IT}", user=user)
    assert code == 0, told[-20000:]
    assert "congratulations" in told  # tox's word for a run without a failure
    assert " passed" in told
    assert " failed" not in told


def test_an_image_gets_a_virtual_environment(pristine: Pristine) -> None:
    """PEP 668: Debian's own Python takes no packages from pip."""
    script = """
    python3 -m venv /opt/azurelite
    /opt/azurelite/bin/pip install .
    /opt/azurelite/bin/azurelite service install --init systemd
    """
    code, told = pristine.run(f"{script}\n{AS_THE_UNIT}\ncat /tmp/command", user="root")
    assert code == 0, told[-5000:]
    assert told.splitlines()[-1].startswith("/opt/azurelite/bin/azurelite provision")
    assert "not on Azure" in told


def test_an_image_gets_one_file_with_byte_code(pristine: Pristine) -> None:
    script = """
    python3 -m venv .venv
    .venv/bin/pip install tox
    .venv/bin/tox -e release -- --only zipapp --compile dist
    install -m 755 dist/azurelite.pyz /usr/bin/azurelite
    azurelite service install --init systemd
    python3 -m zipfile -l dist/azurelite.pyz | grep -c 'azurelite/.*[.]pyc'
    """
    code, told = pristine.run(f"{script}\n{AS_THE_UNIT}\ncat /tmp/command", user="root")
    assert code == 0, told[-5000:]
    assert told.splitlines()[-1].startswith("/usr/bin/azurelite provision")
    assert "not on Azure" in told
