"""Every key that cloud-init's schema names is done or named: none is dropped in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from azurelite.userdata.parts import Part
from azurelite.userdata.reading import read
from azurelite.userdata.steps import HandlerStep
from azurelite.userdata.translate import Translation

KEYS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "data" / "cloud-config-keys.yaml").read_text())
HASH = "$6$salt$hashed"

# A value for each key that azurelite knows; any other key gets OTHER.
OTHER = {"a": "b"}
TOP: dict[str, Any] = {
    "apt_update": True,
    "apt_upgrade": True,
    "bootcmd": ["ls"],
    "chpasswd": {"users": [{"name": "a", "password": HASH}]},
    "disable_root": False,
    "final_message": "done",
    "fqdn": "a.example.org",
    "groups": ["a"],
    "growpart": {"mode": "auto"},
    "hostname": "a",
    "locale": "C.UTF-8",
    "manage_etc_hosts": True,
    "merge_how": "dict(no_replace)",
    "merge_type": "dict(no_replace)",
    "mount_default_fields": [None, None, "xfs"],
    "mounts": [["/dev/sdb", "/b"]],
    "ntp": {},
    "package_update": True,
    "package_upgrade": True,
    "packages": ["git"],
    "password": "x",
    "power_state": {"mode": "reboot"},
    "prefer_fqdn_over_hostname": True,
    "preserve_hostname": True,
    "resize_rootfs": True,
    "runcmd": ["ls"],
    "ssh_authorized_keys": ["k"],
    "ssh_deletekeys": True,
    "ssh_genkeytypes": ["ed25519"],
    "ssh_pwauth": True,
    "swap": {"size": "1G"},
    "timezone": "UTC",
    "user": "a",
    "users": ["a"],
    "write_files": [{"path": "/a"}],
}
# What else must be in the document for a key to have an effect.
BESIDE: dict[str, dict[str, Any]] = {
    "merge_how": {"hostname": "b"},
    "merge_type": {"hostname": "b"},
    "mount_default_fields": {"mounts": [["/dev/sdb", "/b"]]},
    "prefer_fqdn_over_hostname": {"fqdn": "a.example.org"},
    "preserve_hostname": {"hostname": "a"},
}
USER: dict[str, Any] = {
    "create_groups": False,
    "doas": ["permit a"],
    "expiredate": "2030-01-01",
    "gecos": "A",
    "groups": "x",
    "hashed_passwd": HASH,
    "homedir": "/srv/a",
    "inactive": "5",
    "lock_passwd": True,
    "no_create_home": True,
    "passwd": HASH,
    "plain_text_passwd": "x",
    "primary_group": "x",
    "shell": "/bin/sh",
    "ssh_authorized_keys": ["k"],
    "sudo": "ALL=(ALL) ALL",
    "system": True,
    "uid": 5000,
}
# Section -> an entry without the key, and a value for each key.
INNER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "write_files": (
        {"path": "/a"},
        {
            "append": True,
            "content": "x",
            "defer": True,
            "encoding": "b64",
            "owner": "root:adm",
            "permissions": "0600",
            "source": {"uri": "http://x"},
        },
    ),
    "growpart": ({"mode": "auto"}, {"devices": ["/dev/sdb"], "mode": "off", "ignore_growroot_disabled": True}),
    "ntp": ({"enabled": True}, {"enabled": False, "pools": ["a"], "servers": ["a"], "peers": ["a"]}),
    "swap": ({"size": "1G"}, {"filename": "/s", "maxsize": "1M", "size": "2G"}),
    "power_state": (
        {"mode": "reboot"},
        {"condition": False, "delay": 5, "message": "x", "mode": "halt", "timeout": 5},
    ),
    "chpasswd": (
        {"users": [{"name": "a", "password": HASH}]},
        {"expire": False, "list": ["a:b"], "users": [{"name": "b", "password": HASH}]},
    ),
}


def translate(document: dict[str, Any], key: str) -> tuple[list[Any], list[str]]:
    """What the steps do, and everything that is said."""
    parts = [Part("p1", "cloud-config", b"hostname: z\n")] if key.startswith("merge_") else []
    parts.append(Part("p2", "cloud-config", yaml.safe_dump(document).encode()))
    reading = read(parts, label="user_data")
    translation = Translation(reading, administrator="azureuser")
    steps = [
        (step.handler, step.options) if isinstance(step, HandlerStep) else vars(step) for step in translation.steps()
    ]
    return steps, [*reading.problems, *reading.unknown, *translation.problems, *translation.left_out]


def check(key: str, without: dict[str, Any], document: dict[str, Any], *, known: bool) -> None:
    """Assert that the key changes what is done, or is named; a key that azurelite knows is done without a complaint."""
    before, _ = translate(without, key)
    after, said = translate(document, key)
    named = any(f"`{key}`" in line or f".{key}`" in line for line in said)
    assert before != after or named, f"{key} is dropped in silence"
    assert (before != after) == known or named, f"{key} is {'not done' if known else 'done'}: {said}"


@pytest.mark.parametrize("key", KEYS["top"])
def test_every_section_is_done_or_named(key: str) -> None:
    without = BESIDE.get(key, {"version": "v1"})
    check(key, without, {**without, key: TOP.get(key, OTHER)}, known=key in TOP)


@pytest.mark.parametrize("section", ["users", "user"])
@pytest.mark.parametrize("key", KEYS["users"])
def test_every_field_of_a_user_is_done_or_named(section: str, key: str) -> None:
    name = key.replace("-", "_")
    without = {"name": "b" if key == "name" else "a", **({"groups": "x"} if name == "create_groups" else {})}
    entry = {**without, key: "a" if key == "name" else USER.get(name, OTHER)}
    documents = [{section: [one] if section == "users" else one} for one in (without, entry)]
    check(key, *documents, known=name in USER or key == "name")


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, keys in KEYS["others"].items() for key in keys]
)
def test_every_field_of_a_section_is_done_or_named(section: str, key: str) -> None:
    without, values = INNER[section]
    entry = {**without, key: values.get(key, "/b" if key == "path" else OTHER)}
    documents = [{section: [one, {"path": "/z"}] if section == "write_files" else one} for one in (without, entry)]
    check(key, *documents, known=key in values or key == "path")


def test_the_list_of_keys_is_whole() -> None:
    assert len(KEYS["top"]) > 100
    assert set(TOP) <= set(KEYS["top"])
    assert set(USER) <= set(KEYS["users"])
    assert set(INNER) == set(KEYS["others"])
