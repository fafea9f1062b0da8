"""The metadata in other programs' shapes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from kit import Guest

from azurelite.cli import main
from azurelite.cli.formats import as_cloud_init, as_env
from azurelite.simulator import Simulator


def test_env_names_and_values() -> None:
    document: dict[str, Any] = {
        "username": "azureuser",
        "password": None,
        "disable_password_authentication": True,
        "tags": {"role": "web", "cost center": "a b"},
        "public_ssh_keys": ["ssh-ed25519 AAAA me"],
        "raw": {"imds": {}},
        "provenance": {"username": "imds"},
    }
    assert as_env(document).splitlines() == [
        'AZURELITE_USERNAME="azureuser"',
        'AZURELITE_DISABLE_PASSWORD_AUTHENTICATION="true"',
        'AZURELITE_TAGS_ROLE="web"',
        'AZURELITE_TAGS_COST_CENTER="a b"',
        'AZURELITE_PUBLIC_SSH_KEYS_0="ssh-ed25519 AAAA me"',
    ]


@pytest.mark.spawns
@pytest.mark.parametrize(
    "value", ["plain", "a b", '"', "'", "\\", "$HOME", "`id`", "$(id)", "a\nb", "ü", "a;b", "#", "!x"]
)
def test_a_shell_reads_back_what_was_written(value: str) -> None:
    script = as_env({"tags": {"x": value}}) + '\nprintf %s "$AZURELITE_TAGS_X"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == " ".join(value.splitlines())


def test_cloud_init_has_the_keys_that_its_scripts_ask_for() -> None:
    document: dict[str, Any] = {
        "instance_id": "i",
        "local_hostname": "web-1",
        "region": "westeurope",
        "availability_zone": None,
        "fault_domain": "2",
        "public_ssh_keys": ["k"],
        "raw": {"imds": {"compute": {"vmSize": "s"}}},
    }
    shaped = as_cloud_init(document, os_release='ID=void\nVERSION_ID="1"\n', machine={"machine": "x86_64"})
    v1 = shaped["v1"]
    assert v1["cloud_name"] == v1["cloud-name"] == v1["platform"] == "azure"
    assert v1["availability_zone"] == v1["availability-zone"] == "2"
    assert (v1["distro"], v1["distro_version"], v1["machine"]) == ("void", "1", "x86_64")
    assert shaped["ds"]["meta_data"]["imds"]["compute"]["vmSize"] == "s"
    assert shaped["ds"]["meta_data"]["instance-id"] == "i"
    assert as_cloud_init({"region": "chinaeast"}, os_release="", machine={})["v1"]["cloud_id"] == "azure-china"


def test_the_verb_prints_them(guest: Guest, fabric: Simulator, capsys: Any) -> None:
    guest.on_azure().configure(fabric).put({"etc/os-release": "ID=scratch\n"})
    assert main(["metadata", "--root", guest.root, "--format", "env"]) == 0
    assert 'AZURELITE_LOCAL_HOSTNAME="web-1"\n' in capsys.readouterr().out
    assert main(["metadata", "--root", guest.root, "--format", "cloud-init"]) == 0
    assert json.loads(capsys.readouterr().out)["v1"]["distro"] == "scratch"
    assert main(["metadata", "username", "--root", guest.root, "--format", "env"]) == 2
    assert "leave KEY out" in capsys.readouterr().err


def test_saved_asks_nothing(guest: Guest, fabric: Simulator, capsys: Any) -> None:
    guest.on_azure().configure(fabric)
    assert main(["metadata", "--saved", "--root", guest.root]) == 2
    assert "azurelite provision" in capsys.readouterr().err
    assert main(["provision", "--root", guest.root]) == 0
    asked = len(fabric.requests)
    capsys.readouterr()
    assert main(["metadata", "username", "--saved", "--root", guest.root]) == 0
    assert capsys.readouterr().out == "azureuser\n"
    assert len(fabric.requests) == asked
    guest.put({"run/azurelite/metadata.json": "{"})
    assert main(["metadata", "--saved", "--root", guest.root]) == 2
