"""The README's commands work on a machine that has only what the README asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from boot.roots import BuildError
from fresh.pristine import CHECKOUT, Pristine
from needs import require

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.fresh]

SEE_IT = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/azurelite demo"
TEST_IT = ".venv/bin/pip install tox && .venv/bin/tox"
NOTHING_ELSE = """
for program in pip ip sudo busybox gcc ping curl; do
    if command -v "$program"; then exit 9; fi
done
"""
# What the unit of the init system runs, as `azurelite service install` has written it. The last line printed is that.
AS_THE_UNIT = r"""
sed -n 's/^ExecStart=//p' /etc/systemd/system/azurelite.service >/tmp/command
grep -q '^/.* provision' /tmp/command
sh -eu /tmp/command
cat /tmp/command
"""


def commands_with(word: str) -> str:
    """The README's shell commands, as far as one block of them: the one that has this word in it."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) if word in block)
    return str(block)


@pytest.fixture
def pristine(tmp_path: Path) -> Pristine:
    require("mmdebstrap", "unshare", "setpriv", "git", root=True)
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


# The new machine has no init system, as an image that is being made may have none.
SERVICE = "azurelite service install"


def test_an_image_gets_a_virtual_environment(pristine: Pristine) -> None:
    """PEP 668: Debian's own Python takes no packages from pip. The unit runs it by the link, or where there is none."""
    install = commands_with("python3 -m venv /opt/azurelite")
    service = commands_with(SERVICE).replace(SERVICE, f"{SERVICE} --init systemd")
    unlinked = f"rm /usr/bin/azurelite\n/opt/azurelite/bin/{SERVICE} --init systemd"
    code, told = pristine.run(f"{install}\n{service}\n{AS_THE_UNIT}\n{unlinked}\n{AS_THE_UNIT}", user="root")
    assert code == 0, told[-5000:]
    lines = told.splitlines()
    assert [line for line in lines if line.startswith("/usr/bin/azurelite provision")]
    assert lines[-1].startswith("/opt/azurelite/bin/azurelite provision")
    assert told.count("not on Azure") == 2


def test_an_image_gets_one_file_with_byte_code(pristine: Pristine) -> None:
    build = commands_with("tox -e release")
    service = commands_with(SERVICE).replace(SERVICE, f"{SERVICE} --init systemd")
    look = "python3 -m zipfile -l dist/azurelite.pyz | grep -c 'azurelite/.*[.]pyc'"
    tox = "python3 -m venv .venv\n.venv/bin/pip install tox"
    code, told = pristine.run(f"{tox}\n{build}\n{service}\n{look}\n{AS_THE_UNIT}", user="root")
    assert code == 0, told[-5000:]
    assert told.splitlines()[-1].startswith("/usr/bin/azurelite provision")
    assert "not on Azure" in told
