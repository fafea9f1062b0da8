"""The translation of each section of cloud-config into handlers and scripts, and what is refused or listed."""

# ruff: noqa: E501, ISC004  # tables

from __future__ import annotations

import base64
import gzip
import random
from pathlib import Path
from typing import Any, Union

import pytest
import yaml

from azurelite.errors import ConfigError
from azurelite.metadata import Secret
from azurelite.userdata.parts import Part, split
from azurelite.userdata.reading import read, unarchive
from azurelite.userdata.steps import HandlerStep, MessageStep, ScriptStep
from azurelite.userdata.translate import Translation

pytestmark = pytest.mark.thorough

HASH = "$6$salt$hashed"


def revealed(value: Any) -> Any:
    """The value with its secrets as plain text."""
    if isinstance(value, dict):
        return {key: revealed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [revealed(item) for item in value]
    return value.reveal() if isinstance(value, Secret) else value


class Result:
    """The result of translating a document."""

    def __init__(self, *documents: Union[str, bytes], **more: Any) -> None:
        parts = []
        for number, text in enumerate(documents, 1):
            data = text if isinstance(text, bytes) else text.encode()
            parts.append(Part(f"part-{number:03d}", "cloud-config", data))
        self.reading = read(parts, label="user_data")
        more = {"administrator": "azureuser", "keys": ["platform key"], **more}
        translation = Translation(self.reading, **more)
        self.steps = translation.steps()
        self.problems = [*self.reading.problems, *translation.problems]
        self.left_out = [*self.reading.unknown, *translation.left_out]

    @property
    def handlers(self) -> list[tuple[str, dict[str, Any]]]:
        """Handlers with their options."""
        return [(step.handler, revealed(step.options)) for step in self.steps if isinstance(step, HandlerStep)]

    @property
    def clean(self) -> bool:
        """Whether nothing was refused and nothing is unsupported."""
        return not self.problems and not self.left_out


def scripts(result: Result) -> dict[str, str]:
    return {step.name: step.data.decode() for step in result.steps if isinstance(step, ScriptStep)}


CASES: list[tuple[str, list[tuple[str, dict[str, Any]]]]] = [
    ("hostname: web", [("hostname", {"name": "web"})]),
    ("hostname: web\nfqdn: web.example.org", [("hostname", {"name": "web", "domain": "example.org", "fqdn": "short"})]),
    (
        "fqdn: web.example.org\nprefer_fqdn_over_hostname: true",
        [("hostname", {"name": "web", "domain": "example.org", "fqdn": "domain"})],
    ),
    ("hostname: web.example.org", [("hostname", {"name": "web", "domain": "example.org", "fqdn": "short"})]),
    (
        "hostname: a\nfqdn: b.example.org\nprefer_fqdn_over_hostname: true",
        [("hostname", {"name": "b", "domain": "example.org", "fqdn": "domain"})],
    ),
    ("hostname: web\npreserve_hostname: true", []),
    ("manage_etc_hosts: localhost", [("hostname", {"hosts": True})]),
    ("hostname: a\nmanage_etc_hosts: false", [("hostname", {"name": "a", "hosts": False})]),
    ("prefer_fqdn_over_hostname: true", []),
    ("timezone: Europe/Berlin", [("timezone", {"zone": "Europe/Berlin"})]),
    ("locale: de_DE.UTF-8", [("locale", {"locale": "de_DE.UTF-8"})]),
    ("locale: false", []),
    ("ntp: {servers: [a.example, b.example]}", [("time_sync", {"servers": ["a.example", "b.example"]})]),
    ("ntp: {pools: [p.example], enabled: 'yes'}", [("time_sync", {"pools": ["p.example"]})]),
    ("ntp: {enabled: false, servers: [a]}", []),
    ("ntp:", []),
    ("ssh_pwauth: true", [("sshd", {"password_authentication": "yes"})]),
    ("ssh_pwauth: 'no'", [("sshd", {"password_authentication": "no"})]),
    ("ssh_pwauth: '1'", [("sshd", {"password_authentication": "yes"})]),
    ("ssh_pwauth: '0'", [("sshd", {"password_authentication": "no"})]),
    ("ssh_pwauth: 0", [("sshd", {"password_authentication": "no"})]),
    ("ssh_pwauth: unchanged", []),
    ("disable_root: true", []),
    ("ssh_authorized_keys: [one, two]", [("ssh_keys", {"keys": ["one", "two"]})]),
    ("ssh_genkeytypes: [ed25519]", [("ssh_host_keys", {"types": ["ed25519"]})]),
    ("ssh_deletekeys: true", [("ssh_host_keys", {})]),
    ("ssh_deletekeys: false", []),
    ("growpart: {mode: auto, devices: [/]}", [("growroot", {})]),
    ("growpart: {mode: off}", []),
    ("growpart: {mode: 'off', devices: /}", []),
    ("growpart: {mode: growpart, devices: /}", [("growroot", {})]),
    ("resize_rootfs: 'false'", []),
    ("resize_rootfs: true", [("growroot", {})]),
    ("resize_rootfs: noblock", [("growroot", {})]),
    ("swap: {filename: /swap, size: 1G}", [("swap", {"path": "/swap", "size": 1 << 30})]),
    ("swap: {size: 4294967296, maxsize: 2G}", [("swap", {"path": "/swap.img", "size": 2 << 30})]),
    ("swap: {size: .5T}", [("swap", {"path": "/swap.img", "size": 1 << 39})]),
    ("swap: {size: '1.5GB', maxsize: 0.5G}", [("swap", {"path": "/swap.img", "size": 1 << 29})]),
    ("swap: {size: 0}", []),
    ("swap: {size: auto}", [("swap", {"path": "/swap.img", "size": "auto"})]),
    ("swap: {size: auto, maxsize: 1M}", [("swap", {"path": "/swap.img", "size": "auto", "max_size": 1 << 20})]),
    (
        "mounts: [[/dev/sdb, none, swap, sw, 0, 0]]",
        [("mounts", {"entries": [{"device": "/dev/sdb", "type": "swap", "options": "sw", "dump": 0, "check": 0}]})],
    ),
    ("packages: [git]\npackage_update: false", [("packages", {"install": ["git"], "update": False})]),
    (
        "mounts:\n- [sdc1, /data, ext4, 'defaults,noatime', '0', 2]\n- [/dev/sde, /gone]\n- [/dev/sdd, /more]\n- [sde, null]\n- [ephemeral0]",
        [
            ("mounts", {"entries": [{"device": "/dev/sdc1", "path": "/data", "type": "ext4", "options": "defaults,noatime", "dump": 0, "check": 2}]}),
            ("mounts", {"entries": [{"device": "/dev/sdd", "path": "/more", "type": "auto", "options": "defaults,nofail", "dump": 0, "check": 2}]}),
        ],
    ),
    ("mounts: [[sdb, /x], [sdb, null], [sdb, /y, ext4, ro, 0, 0]]", [
        ("mounts", {"entries": [{"device": "/dev/sdb", "path": "/y", "type": "ext4", "options": "ro", "dump": 0, "check": 0}]})]),
    (
        "mounts: [[LABEL=x, /x]]\nmount_default_fields: [null, null, xfs, ro, '1', '0']",
        [
            (
                "mounts",
                {"entries": [{"device": "LABEL=x", "path": "/x", "type": "xfs", "options": "ro", "dump": 1, "check": 0}]},
            )
        ],
    ),
    (
        "packages: [git, [nginx, '1.2']]\npackage_update: true\npackage_upgrade: 'yes'",
        [("packages", {"install": ["git", ["nginx", "1.2"]], "update": True, "upgrade": True})],
    ),
    ("packages: [{apt: [vim, [nginx, '1.2']]}, git=2]", [("packages", {"install": ["vim", ["nginx", "1.2"], "git=2"]})]),
    ("package_update: false", []),
    ("apt_upgrade: true", [("packages", {"upgrade": True})]),
    (
        "power_state: {mode: reboot, delay: '+5', message: bye, condition: [test, -f, /x]}",
        [("power_state", {"mode": "reboot", "delay": "+5", "message": "bye", "condition": ["test", "-f", "/x"]})],
    ),
    ("power_state: {mode: halt, delay: 3, condition: false}", [("power_state", {"mode": "halt", "delay": 3, "condition": False})]),
    (
        "write_files:\n- {path: /a, content: x, owner: 'root:root', permissions: '0600', append: true}\n"
        "- {path: /b, permissions: 0o644}\n- {path: /c, permissions: 0755, encoding: b64, content: eA==, defer: true}",
        [
            ("write_files", {"files": [{"path": "/a", "content": "x", "owner": "root:root", "permissions": "0600", "append": True}]}),
            ("write_files", {"files": [{"path": "/b", "content": "", "permissions": "0o644"}]}),
            ("write_files", {"files": [{"path": "/c", "content": "eA==", "encoding": "b64", "permissions": 0o755}]}),
        ],
    ),
    ("groups: [staff, {web: [a, b]}, {db: c}, {empty: null}]", [("users", {"groups": [
        {"name": "staff", "members": []}, {"name": "web", "members": ["a", "b"]}, {"name": "db", "members": ["c"]},
        {"name": "empty", "members": []}], "accounts": []})]),
    ("groups: 'a, b'", [("users", {"groups": [{"name": "a", "members": []}, {"name": "b", "members": []}], "accounts": []})]),
    ("groups: {ops: 'x, y'}", [("users", {"groups": [{"name": "ops", "members": ["x", "y"]}], "accounts": []})]),
    ("users: [default]", []),
    ("users: default", []),
    ("users: [azureuser]", []),
    ("users: []", []),
    ("users: [bob]", [("users", {"groups": [], "accounts": [{"name": "bob", "create_groups": True, "sudo": "none"}]})]),
    (
        "users:\n- name: jo\n  gecos: Jo\n  primary_group: jo\n  groups: 'a, b'\n  sudo: 'ALL=(ALL) ALL'\n  shell: /bin/sh\n"
        "  ssh-authorized-keys: [k]\n  lock-passwd: 'false'\n  uid: '1200'\n  no_create_home: true\n  expiredate: 2031-02-03\n"
        f"  inactive: 5\n  homedir: /srv/jo\n  passwd: {HASH}\n  doas: [permit jo]\n  system: true",
        [("users", {"groups": [], "accounts": [{
            "name": "jo", "comment": "Jo", "primary_group": "jo", "groups": ["a", "b"], "create_groups": True,
            "sudo": "none", "sudo_rules": ["ALL=(ALL) ALL"], "doas_rules": ["permit jo"], "shell": "/bin/sh",
            "ssh_authorized_keys": ["k"], "lock_password": False, "uid": 1200, "create_home": False,
            "expire_date": "2031-02-03", "inactive": 5, "home": "/srv/jo", "hashed_password": HASH,
            "password_for_existing": False, "system": True}]})],
    ),
    ("users: [{name: a, system: true}]", [("users", {"groups": [], "accounts": [
        {"name": "a", "create_groups": True, "sudo": "none", "create_home": False, "system": True}]})]),
    ("users: {a: true, b: false, c: {shell: /bin/sh}, d: '1', default: true}", [("users", {"groups": [], "accounts": [
        {"name": "a", "create_groups": True, "sudo": "none"}, {"name": "c", "create_groups": True, "sudo": "none", "shell": "/bin/sh"},
        {"name": "d", "create_groups": True, "sudo": "none"}]})]),
    ("users: [{name: a, groups: {x: null, y: null}, ssh_authorized_keys: {home: k1, work: k2}}]", [("users", {"groups": [], "accounts": [
        {"name": "a", "create_groups": True, "sudo": "none", "groups": ["x", "y"], "ssh_authorized_keys": ["k1", "k2"]}]})]),
    ("users: [{name: a, groups: !!set {x, y}}]", [("users", {"groups": [], "accounts": [
        {"name": "a", "create_groups": True, "sudo": "none", "groups": ["x", "y"]}]})]),
    (f"users: [{{name: a, passwd: '{HASH}'}}, {{name: azureuser, passwd: '{HASH}'}}, {{name: b, passwd: '{HASH}', lock_passwd: false}}]", [
        ("users", {"groups": [], "accounts": [
            {"name": "a", "create_groups": True, "sudo": "none", "hashed_password": HASH, "password_for_existing": False, "lock_password": "new"},
            {"name": "azureuser", "create_groups": True, "sudo": "none", "hashed_password": HASH, "password_for_existing": False},
            {"name": "b", "create_groups": True, "sudo": "none", "hashed_password": HASH, "password_for_existing": False, "lock_password": False}]})]),
    (f"users: [{{name: a, plain_text_passwd: pw}}]\nchpasswd: {{expire: false, users: [{{name: a, password: '{HASH}'}}]}}", [
        ("users", {"groups": [], "accounts": [{"name": "a", "create_groups": True, "sudo": "none", "plain_text_password": "pw"}]}),
        ("passwords", {"expire": False, "users": [{"name": "a", "type": "hash", "password": HASH}]})]),
    ("user: jo\nssh_authorized_keys: [k]\npassword: pw", [
        ("users", {"groups": [], "accounts": [
            {"name": "jo", "create_groups": True, "sudo": "auto", "ssh_authorized_keys": ["platform key", "k"]}]}),
        ("passwords", {"users": [{"name": "jo", "type": "text", "password": "pw"}], "expire": True})]),
    ("user: {name: jo, sudo: 'ALL=(ALL) ALL'}\nusers: [default, jo]", [("users", {"groups": [], "accounts": [
        {"name": "jo", "create_groups": True, "sudo": "none", "sudo_rules": ["ALL=(ALL) ALL"], "ssh_authorized_keys": ["platform key"]}]})]),
    ("user: azureuser", []),
    (
        f"users: [{{name: a, hashed_passwd: '{HASH}', sudo: false}}, {{name: b, plain_text_passwd: pw, sudo: [r1, r2]}}]",
        [("users", {"groups": [], "accounts": [
            {"name": "a", "create_groups": True, "sudo": "none", "hashed_password": HASH, "lock_password": "new"},
            {"name": "b", "create_groups": True, "sudo": "none", "sudo_rules": ["r1", "r2"], "plain_text_password": "pw", "lock_password": "new"}]})],
    ),
    ("user: {groups: [docker]}", [("users", {"groups": [], "accounts": [
        {"name": "azureuser", "create_groups": True, "groups": ["docker"], "sudo": "none"}]})]),
    ("users: [{name: default, shell: /bin/sh}]", [("users", {"groups": [], "accounts": [
        {"name": "azureuser", "create_groups": True, "shell": "/bin/sh", "sudo": "none"}]})]),
    ("password: pw", [("passwords", {"users": [{"name": "azureuser", "type": "text", "password": "pw"}], "expire": True})]),
    (
        f"chpasswd:\n  expire: false\n  users:\n  - {{name: a, password: '{HASH}'}}\n  - {{name: b, password: x, type: text}}\n"
        "  - {name: c, type: RANDOM}",
        [("passwords", {"expire": False, "users": [
            {"name": "a", "type": "hash", "password": HASH}, {"name": "b", "type": "text", "password": "x"},
            {"name": "c", "type": "RANDOM"}]})],
    ),
    (
        f"chpasswd:\n  list: |\n    a:one:two\n    b:{HASH}\n    c:R\n\n    d:RANDOM\n",
        [("passwords", {"expire": True, "users": [
            {"name": "a", "type": "text", "password": "one:two"}, {"name": "b", "type": "hash", "password": HASH},
            {"name": "c", "type": "RANDOM"}, {"name": "d", "type": "RANDOM"}]})],
    ),
    ("chpasswd: {list: ['a:b']}", [("passwords", {"expire": True, "users": [{"name": "a", "type": "text", "password": "b"}]})]),
    ("chpasswd: {expire: false}", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text.split("\n")[0][:40] for text, _ in CASES])
def test_a_section_becomes_a_handler_with_options(text: str, expected: list[Any]) -> None:
    result = Result(f"#cloud-config\n{text}\n")
    assert result.clean, (result.problems, result.left_out)
    assert result.handlers == expected


REFUSED: list[tuple[str, str]] = [
    ("hostname: [a]", "user_data:2:1: `hostname` must be text"),
    ("ssh_pwauth: maybe", "user_data:2:1: `ssh_pwauth`: it must be true, false or"),
    ("swap: {size: lots}", "user_data:2:1: `swap`: `size` must be a number of bytes"),
    ("packages: [[a, b, c]]", "user_data:2:12: `packages[0]`: must be the name of a package, NAME=VERSION or [NAME, V"),
    ("packages: [git, -x]", "user_data:2:17: `packages[1]`: must be the name of a package"),
    ("growpart: {mode: sometimes}", "user_data:2:1: `growpart`: `mode` must be auto, growpart, gpart or off"),
    ("growpart: {mode: true}", "user_data:2:1: `growpart`: `mode` must be auto, growpart, gpart or off"),
    ("resize_rootfs: later", 'user_data:2:1: `resize_rootfs`: it must be true, false or "noblock"'),
    ("power_state: {delay: now}", "user_data:2:1: `power_state`: `mode` is missing: set poweroff, reboot or halt"),
    ("power_state: {}", "`mode` is missing"),
    ("swap: {size: .5X}", "`swap`: `size` must be a number of bytes"),
    ("mounts: [[null, /x]]", "user_data:2:10: `mounts[0]`: it has no device"),
    ("mounts: [[/dev/sda, /x], [/dev/sdb, /x]]", "user_data:2:26: `mounts[1]`: `mounts[0]` has the same path"),
    ("users: {a: 5}", "user_data:2:9: `users[0]` must be text or a mapping of keys"),
    ("users:\n- {uid: 5}", "user_data:3:3: `users[0]`: `name` is missing"),
    ("users:\n- {name: a, uid: many}", "user_data:3:13: `users[0].uid`: `uid` must be a whole number"),
    ("users:\n- {name: a, sudo: true}", "user_data:3:13: `users[0].sudo`: it must be a rule"),
    ("users:\n- {name: a, system: maybe}", "user_data:3:13: `users[0].system` must be true or false"),
    ("users:\n- 5", "user_data:3:3: `users[0]` must be text or a mapping of keys"),
    ("users: 5", "user_data:2:1: `users` must be text or a list"),
    ("write_files:\n- {content: x}", "user_data:3:3: `write_files[0]`: `path` is missing"),
    (
        "write_files:\n- {path: /x, source: {uri: 'http://x'}}",
        "user_data:3:3: `write_files[0]`: `source` is not supported",
    ),
    ("chpasswd: {list: 'no colon'}", "user_data:2:12: `chpasswd.list`: line 1 must be `name:password`"),
    ("chpasswd: {users: [{name: a}]}", "`chpasswd.users[0]`: `password` is missing"),
    ("runcmd: echo", "user_data:2:1: `runcmd` must be a list"),
    ("runcmd: [{a: b}]", "user_data:2:10: `runcmd[0]` must be text or a list"),
    ("runcmd:\n- echo a: b", 'user_data:3:3: `runcmd[0]` must be text or a list: YAML reads a line with ": " in it'),
    ("power_state: {mode: sleep}", "user_data:2:15: `power_state.mode` must be one of: poweroff, reboot, halt"),
    ("mounts: [[a, b, c, d, x, y]]", "user_data:2:10: `mounts[0]`: `the fifth field` must be a whole number"),
    ("password: 0123", "user_data:2:1: `password` must be text"),
    ("timezone: [", "user_data:3:1: not valid YAML"),
    ("- a\n- b", "must be a mapping of keys"),
    ("hostname: !!python/object:os.system a", "user_data:2:11: `hostname`: its YAML tag is unknown"),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_invalid_values_are_refused_with_their_lines(text: str, expected: str) -> None:
    result = Result(f"#cloud-config\n{text}\n")
    (problem,) = result.problems
    assert expected in problem


def test_packages_of_another_manager_are_named_and_each_package_is_checked() -> None:
    text = "#cloud-config\npackages: [5, a b, git, {apt: [5, vim, -x], snap: [y]}]\n"
    result = Result(text, manager=lambda: "apt")
    assert result.handlers == [("packages", {"install": ["git", "vim"]})]
    assert [said.partition(": must")[0].partition(" must")[0] for said in result.problems] == [
        "user_data:2:12: `packages[0]`",
        "user_data:2:32: `packages[3].apt[0]`",
        "user_data:2:15: `packages[1]`",
        "user_data:2:40: `packages[3].apt[2]`",
    ]
    assert result.left_out == ["`packages[3].snap` (user_data:2:45, snap is not the package manager of this system)"]
    (step,) = result.steps
    assert isinstance(step, HandlerStep)
    assert [str(step.places["install", i]) for i in range(2)] == ["user_data:2:20", "user_data:2:35"]


def test_each_line_of_a_list_of_passwords_is_read_for_itself() -> None:
    result = Result("#cloud-config\nchpasswd: {list: [no colon, 'a:b', ':c', 'd:', \"e:f\\ng\"]}\n")
    assert [user["name"] for user in result.handlers[0][1]["users"]] == ["a", "e"]
    assert result.problems == [
        "user_data:2:19: `chpasswd.list[0]`: line 1 must be `name:password`",
        "user_data:2:36: `chpasswd.list[2]`: line 1 must be `name:password`",
        "user_data:2:42: `chpasswd.list[3]`: line 1 must be `name:password`",
        "user_data:2:48: `chpasswd.list[4]`: line 2 must be `name:password`",
    ]


def test_an_invalid_section_does_not_stop_the_others() -> None:
    result = Result("#cloud-config\nhostname: []\nlocale: C\nusers: [{name: 5}, ok]\nswap: {size: x}\nruncmd: [ls]\n")
    assert len(result.problems) == 4
    assert [name for name, _ in result.handlers] == ["users", "locale"]
    (ok,) = result.handlers[0][1]["accounts"]
    assert ok["name"] == "ok"
    assert list(scripts(result)) == ["runcmd"]


UNKNOWN: list[tuple[str, str]] = [
    ("apt: {sources: {}}", "`apt` (user_data:2:1)"),
    ("puppet: {}", "`puppet` (user_data:2:1)"),
    ("runcmds: [ls]", "`runcmds` (user_data:2:1, did you mean `runcmd`?)"),
    ("users:\n- name: a\n  ssh_import_id: [x]", "`users[0].ssh_import_id` (user_data:4:3)"),
    ("ntp: {ntp_client: chrony}", "`ntp.ntp_client` (user_data:2:7)"),
    ("growpart: {devices: [/, /dev/sdb1]}", "`growpart.devices` (user_data:2:12, only the root"),
    ("mounts: [[ephemeral0, /mnt]]", "`mounts[0]` (user_data:2:10, use the handler resource_disk"),
    ("hostname: a\nfqdn: b.example", "`fqdn` (user_data:3:1, its first label: the name is a, from `hostname`)"),
    (
        "write_files: [{path: /x, content: x, source: {uri: 'http://x'}}]",
        "`write_files[0].source` (user_data:2:38, `content` is written)",
    ),
    ("disable_root: false", "`disable_root` (user_data:2:1, SSH keys are never added to root)"),
    ('"odd\\nkey": 1', "`odd…` (user_data:2:1)"),
    (f"{'k' * 200}: 1", f"`{'k' * 64}…` (user_data:2:1)"),
    ("users:\n- {name: bob, plain_text_passwd:canary}", "`users[0].plain_text_passwd…` (user_data:3:15"),
    ("write_files:\n- {path: /x, content:canary}", "`write_files[0].content…` (user_data:3:14"),
    ("password:canary: x", "`password…` (user_data:2:1"),
]


@pytest.mark.parametrize(("text", "expected"), UNKNOWN, ids=[text[:20] for text, _ in UNKNOWN])
def test_unsupported_keys_are_listed_with_their_lines(text: str, expected: str) -> None:
    result = Result(f"#cloud-config\n{text}\n")
    (said,) = result.left_out
    assert said.startswith(expected)
    assert result.problems == []


def test_the_order_is_that_of_cloud_inits_modules() -> None:
    document = """#cloud-config
power_state: {mode: reboot}
final_message: done
runcmd: [ls]
packages: [git]
timezone: UTC
ntp: {servers: [a]}
locale: C
password: x
ssh_pwauth: true
ssh_genkeytypes: [rsa]
ssh_authorized_keys: [k]
users: [bob]
hostname: web
mounts: [[a, /a]]
swap: {size: 1G}
growpart: {}
write_files: [{path: /late, defer: true}, {path: /early}]
bootcmd: [ls]
"""
    hook = Part("hook", "boothook", b"#cloud-boothook\n#!/bin/sh\n")
    own = [Part(name, "script", b"#!/bin/sh\n") for name in ("zz-last.sh", "part-002", "10-first.sh")]
    result = Result(document, boothooks=[hook], scripts=own)
    assert result.clean
    order = [getattr(step, "handler", getattr(step, "name", "message")) for step in result.steps]
    assert order == [
        *("hook", "bootcmd", "write_files", "growroot", "swap", "mounts", "hostname", "users", "ssh_keys"),
        *("ssh_host_keys", "sshd", "passwords", "locale", "timezone", "time_sync", "packages", "write_files"),
        *("10-first.sh", "part-002", "runcmd", "zz-last.sh", "message", "power_state"),
    ]
    assert [step.text for step in result.steps if isinstance(step, MessageStep)] == ["done"]


def test_commands_become_one_script_each() -> None:
    result = Result(
        "#cloud-config\nruncmd:\n- cd /tmp\n- [echo, \"it's\", 5, true, '$HOME']\n-\n- 'false'\nbootcmd: [ls]\n"
    )
    assert result.clean
    assert scripts(result) == {
        "bootcmd": "#!/bin/sh\nls\n",
        "runcmd": "#!/bin/sh\ncd /tmp\n'echo' 'it'\\''s' '5' 'true' '$HOME'\nfalse\n",
    }


@pytest.mark.parametrize("first", ["#cloud-boothook\n#!/bin/sh\nls\n", "#!/bin/sh\nls\n", "#cloud-boothook\nls\n"])
def test_a_boothook_is_a_script(first: str) -> None:
    result = Result("#cloud-config\n{}\n", boothooks=[Part("hook", "boothook", first.encode())])
    assert scripts(result) == {"hook": "#!/bin/sh\nls\n"}


def test_no_two_scripts_have_the_same_name() -> None:
    own = [Part("runcmd", "script", b"#!/bin/sh\n:\n"), Part("bootcmd", "script", b"#!/bin/sh\n")]
    result = Result("#cloud-config\nbootcmd: [ls]\nruncmd: [ls]\n", scripts=own)
    assert list(scripts(result)) == ["bootcmd", "bootcmd-2", "runcmd", "runcmd-2"]


def test_later_parts_win_key_by_key_and_each_has_its_own_lines() -> None:
    result = Result(
        "#cloud-config\nhostname: a\ntimezone: UTC\nruncmd: [one]\n", "#cloud-config\n\nhostname: b\nfoo: 1\n"
    )
    assert dict(result.handlers) == {"hostname": {"name": "b"}, "timezone": {"zone": "UTC"}}
    assert scripts(result) == {"runcmd": "#!/bin/sh\none\n"}
    replaced = "`hostname` is replaced by a later part, set `merge_how` there to keep both (user_data/part-001:2:1)"
    assert result.left_out == [replaced, "`foo` (user_data/part-002:4:1)"]


def test_of_a_repeated_key_the_last_one_wins_and_it_is_noted() -> None:
    result = Result("#cloud-config\nruncmd: [one]\nhostname: a\nruncmd: [two]\n")
    assert scripts(result) == {"runcmd": "#!/bin/sh\ntwo\n"}
    assert result.problems == []
    (said,) = result.left_out
    assert "an earlier `runcmd`, because the key is repeated (user_data:4:1)" in said


def test_the_message_about_a_repeated_key_holds_no_value() -> None:
    again, first = Result("#cloud-config\npassword:canary: x\npassword:canary: y\n").left_out
    assert again == "an earlier `password…`, because the key is repeated (user_data:3:1)"
    assert "canary" not in first


def test_a_part_that_is_not_yaml_does_not_stop_the_others() -> None:
    result = Result("#cloud-config\nhostname: [\n", "#cloud-config\nhostname: b\n")
    assert result.handlers == [("hostname", {"name": "b"})]
    assert result.problems[0].startswith("user_data/part-001:")


def test_places_of_options_are_those_of_the_cloud_config() -> None:
    result = Result(
        "#cloud-config\nwrite_files:\n- path: /late\n  defer: true\n- path: /a\n  permissions: '9'\nlocale: C\n"
    )
    first, locale, late = (step for step in result.steps if isinstance(step, HandlerStep))
    assert (first.options["files"][0]["path"], late.options["files"][0]["path"]) == ("/a", "/late")
    assert str(first.places["files", 0, "permissions"]) == "user_data:6:3"
    assert str(late.places["files", 0, "path"]) == "user_data:3:3"
    assert str(locale.places["locale",]) == "user_data:7:1"


@pytest.mark.parametrize(
    ("pack", "encoding", "expected"),
    [
        (bytes, "", None),
        (bytes, "encoding: b64", None),
        (gzip.compress, "encoding: gzip", "gzip"),
        (gzip.compress, "encoding: gz+base64", "gz"),
    ],
)
def test_content_tagged_binary_is_decoded(pack: Any, encoding: str, expected: str) -> None:
    content = pack(b"binary \xff")
    words = base64.b64encode(content).decode()
    text = f"#cloud-config\n# ä€😀\nwrite_files:\n- path: /text\n  content: |\n    content: !!binary x\n- content: !!binary |\n    {words}\n  path: /b\n  {encoding}\n"
    result = Result(text)
    assert result.clean, result.problems
    plain, binary = (options["files"][0] for _, options in result.handlers)
    assert plain["content"] == "content: !!binary x\n"
    assert binary.get("encoding") == expected
    assert binary["content"] == content


def archive(text: str) -> list[Part]:
    (part,) = split(text.encode(), unpack=lambda data: data)
    found = unarchive(part, label="user_data", unpack=lambda data: data)
    if found.problems:
        raise ConfigError("; ".join(found.problems))
    return list(found.parts)


def test_an_archive_is_a_list_of_parts() -> None:
    document = "#cloud-config-archive\n- |\n  #!/bin/sh\n  ls\n- type: text/cloud-config\n  content: 'hostname: x'\n- {type: foo/bar, content: x, filename: ../y}\n- {content: x, filename: ..}\n"
    found = archive(document)
    assert [(part.name, part.kind) for part in found] == [
        ("part-001-001", "script"),
        ("part-001-002", "cloud-config"),
        ("y", "refused"),
        ("part", "refused"),
    ]
    assert found[1].data == b"hostname: x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n", "user_data/part-001:1:1: an archive must be a list"),
        ("- 5\n", "user_data/part-001:2:3: a part must be text"),
        ("- {type: x}\n", "a part must be text"),
        ("- [\n", "not valid YAML"),
        ("", "must be a list"),
    ],
)
def test_an_invalid_archive_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        archive(f"#cloud-config-archive\n{text}")


CANARIES = """#cloud-config
password: [canary-1]
chpasswd: {list: "canary-2", users: [{name: canary-user, password: [canary-3]}]}
users:
- {name: a, passwd: {x: canary-4}, plain_text_passwd: 5}
- {name: b, plain_text_passwd: canary-5, uid: canary-6}
write_files:
- {path: /x, content: [canary-7]}
- {content: canary-8}
runcmd: [{canary-9: canary-9}]
swap: {size: canary-10}
ssh_pwauth: canary-11
timezone: {canary-12: x}
"""


def test_no_problem_repeats_a_value() -> None:
    result = Result(CANARIES)
    assert len(result.problems) >= 8
    assert "canary" not in str(result.problems)
    assert "canary" not in str(result.left_out)
    assert "canary" not in repr(
        Result("#cloud-config\npassword: canary\nwrite_files: [{path: /x, content: canary}]\n").steps
    )


def test_without_an_administrator_values_for_that_account_are_refused() -> None:
    result = Result("#cloud-config\npassword: x\nuser: {shell: /bin/sh}\nusers: [bob]\n", administrator=None)
    assert len(result.problems) == 2
    assert [name for name, _ in result.handlers] == ["users"]


def test_every_case_above_is_valid_yaml() -> None:
    for text, _ in CASES:
        assert isinstance(yaml.safe_load(text), dict)


EXAMPLES = sorted((Path(__file__).parents[1] / "data" / "cloud-config").glob("*.yaml"))
ODD: list[Any] = [
    None,
    [],
    {},
    5,
    -1,
    1.5,
    True,
    "",
    "x: y",
    "\0",
    "canary",
    [None],
    [[]],
    [{}],
    {"a": None},
    {"name": 5},
]


DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # wheels have the quick one


def twisted(value: Any, choose: random.Random) -> Any:
    """The value with some parts replaced at random by unusual values."""
    if choose.random() < 0.08:
        return choose.choice(ODD)
    if isinstance(value, dict):
        return {key: twisted(item, choose) for key, item in value.items()}
    if isinstance(value, list):
        return [twisted(item, choose) for item in value]
    return value


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_odd_values_never_raise_an_unexpected_exception(path: Path) -> None:
    text = (
        path.read_text(encoding="utf-8").replace("!!binary", "").replace("#cloud-config-archive", "").replace("{{", "")
    )
    try:
        whole = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    if isinstance(whole, dict):
        for seed in range(150):
            document = yaml.dump(twisted(whole, random.Random(seed)), Dumper=DUMPER)
            Result(f"#cloud-config\n{document}", administrator=None if seed % 5 == 0 else "azureuser")
    choose = random.Random(1)
    for _ in range(50):
        data = bytearray(path.read_bytes())
        for _ in range(choose.randrange(1, 6)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        Result(bytes(data))
