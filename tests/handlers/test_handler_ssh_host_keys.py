"""`ssh_host_keys`: new keys once per VM, old keys until all new ones exist, fingerprints as OpenSSH prints them."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock, Guest, shim

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import AzureliteError, CommandError, ConfigError, HandlerError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.handlers.ssh_host_keys import Options, apply
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System
from azurelite.system.ssh.hostkeys import fingerprint

Make = Callable[..., Context]
MAIN = "etc/ssh/sshd_config"
TYPES = ("rsa", "ecdsa", "ed25519")
NO_RSA = Options(types=("ecdsa", "ed25519"))  # RSA keys take seconds to create
KEYGEN = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: install openssh-client")
DROPBEARKEY = pytest.mark.skipif(shutil.which("dropbearkey") is None, reason="needs dropbearkey: install dropbear-bin")
OLD = {f"etc/ssh/ssh_host_{t}_key{s}": "from the image\n" for t in (*TYPES, "dsa") for s in ("", ".pub")}


@pytest.fixture
def image(guest: Guest) -> Guest:
    """A guest with the host keys of its image."""
    return guest.put({MAIN: "UsePAM yes\n", "etc/ssh/moduli": "", "etc/ssh/ssh_config": "", **OLD})


def machine(guest: Guest, notes: list[str], *, vm_id: str = VM_ID, **options: Any) -> Context:
    """A context for a given VM id; `search_path` adds a folder with programs before the usual ones."""
    system = System(guest.root, clock=FastClock(), **options)
    outcome = Outcome("applied", "")
    memory = Memory(system.files, vm_id)
    return Context(Metadata(), system, Fabric(0), outcome, notes.append, lambda: None, memory)


def listed(guest: Guest) -> list[str]:
    return sorted(name for name in os.listdir(guest.path("etc/ssh")) if name.startswith("ssh_host"))


def shown(guest: Guest, name: str) -> str:
    """The output of `ssh-keygen -l` for a key: bits, fingerprint, comment, type."""
    words = ["ssh-keygen", "-l", "-f", str(guest.path(name))]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.spawns
@KEYGEN
def test_the_images_keys_are_replaced_and_others_of_it_removed(image: Guest, context: Make, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        apply(context(), Options())
    assert listed(image) == sorted(f"ssh_host_{t}_key{s}" for t in TYPES for s in ("", ".pub"))
    for key_type in TYPES:
        path = f"etc/ssh/ssh_host_{key_type}_key"
        assert (image.mode(path), image.mode(f"{path}.pub")) == (0o600, 0o644)
        derived = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(image.path(path))], capture_output=True, text=True, check=True
        ).stdout
        assert derived.split()[:2] == image.text(f"{path}.pub").split()[:2]
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("azurelite.handlers")]
    expected = sorted(shown(image, f"etc/ssh/ssh_host_{t}_key.pub") for t in TYPES)
    assert messages[0] == "-----BEGIN SSH HOST KEY FINGERPRINTS-----"
    assert sorted(messages[1:-1]) == expected
    assert messages[-1] == "-----END SSH HOST KEY FINGERPRINTS-----"


@pytest.mark.spawns
@KEYGEN
def test_once_per_vm_and_again_for_another(image: Guest, notes: list[str]) -> None:
    seen = []
    for vm_id in (VM_ID, VM_ID, "0f0e0d0c-0b0a-4908-8706-050403020100"):
        ctx = machine(image, notes, vm_id=vm_id)
        apply(ctx, NO_RSA)
        seen.append((image.text("etc/ssh/ssh_host_ed25519_key.pub"), len(ctx.system.journal)))
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert seen[1][1] == 0


@pytest.mark.spawns
@KEYGEN
def test_a_lost_key_is_created_again_and_the_others_kept(image: Guest, context: Make) -> None:
    apply(context(), NO_RSA)
    kept = image.text("etc/ssh/ssh_host_ecdsa_key")
    image.path("etc/ssh/ssh_host_ed25519_key").unlink()
    apply(context(), NO_RSA)
    assert image.text("etc/ssh/ssh_host_ecdsa_key") == kept
    assert "(ED25519)" in shown(image, "etc/ssh/ssh_host_ed25519_key")


SPECIALISED: dict[str, Any] = {"imds": {"compute": {}, "extended": {}}, "ovf": None}


@pytest.mark.spawns
@KEYGEN
@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (SPECIALISED, True),
        ({**SPECIALISED, "ovf": {}}, False),  # there is a disc
        ({"imds": SPECIALISED["imds"]}, False),  # a drive could not be read
        ({"imds": {"compute": {}}, "ovf": None}, False),  # an old api-version
        ({"imds": {"compute": {"osProfile": {}}, "extended": {}}, "ovf": None}, False),
        ({"ovf": None}, False),  # IMDS could not be read
    ],
)
def test_a_specialised_disk_keeps_its_keys(image: Guest, context: Make, raw: dict[str, Any], kept: bool) -> None:
    image.path("etc/ssh/ssh_host_ed25519_key").unlink()
    for dry_run in (True, False):
        apply(context(dry_run=dry_run, raw=raw), NO_RSA)
    assert (image.text("etc/ssh/ssh_host_ecdsa_key") == "from the image\n") is kept
    assert image.path("etc/ssh/ssh_host_dsa_key").exists() is kept
    assert "(ED25519)" in shown(image, "etc/ssh/ssh_host_ed25519_key")


@pytest.mark.spawns
@KEYGEN
def test_keep_makes_only_what_is_missing(image: Guest, context: Make) -> None:
    image.path("etc/ssh/ssh_host_ed25519_key").unlink()
    apply(context(), Options(keep=True))
    assert image.text("etc/ssh/ssh_host_rsa_key") == "from the image\n"
    assert image.text("etc/ssh/ssh_host_dsa_key") == "from the image\n"
    assert "(ED25519)" in shown(image, "etc/ssh/ssh_host_ed25519_key")


@pytest.mark.spawns
@KEYGEN
@pytest.mark.parametrize(
    ("config", "types", "expected"),
    [
        ("HostKey /etc/ssh/ssh_host_ed25519_key\n", "auto", ["ed25519"]),
        (
            "hostkey=/etc/ssh/ssh_host_ecdsa_key\r\nHostKey /etc/ssh/ssh_host_ed25519_key\r\n",
            "auto",
            ["ecdsa", "ed25519"],
        ),
        ("HostKey /etc/ssh/ssh_host_ed25519_key\n", ("ed25519", "ecdsa", "ecdsa"), ["ecdsa", "ed25519"]),
        ("HostKey /keys/other\nHostKey /etc/ssh/ssh_host_ed25519_key\n", "auto", ["ed25519"]),
    ],
)
def test_the_types_are_those_that_sshds_configuration_names(
    image: Guest, context: Make, config: str, types: Any, expected: list[str]
) -> None:
    image.put({MAIN: config})
    apply(context(), Options(types=types))
    assert [name for name in listed(image) if not name.endswith(".pub")] == [f"ssh_host_{t}_key" for t in expected]


def test_types_that_leave_sshd_without_a_key_are_refused(image: Guest, context: Make) -> None:
    before = image.put({MAIN: "HostKey /etc/ssh/ssh_host_ed25519_key\n"}).snapshot()
    for dry_run in (True, False):
        with pytest.raises(HandlerError, match="its configuration uses only ed25519: add one of these"):
            apply(context(dry_run=dry_run), Options(types=("rsa",)))
    assert image.snapshot() == before


@pytest.mark.spawns
@KEYGEN
def test_host_certificates_are_kept_and_noted(image: Guest, context: Make, notes: list[str]) -> None:
    image.put({"etc/ssh/ssh_host_ed25519_key-cert.pub": "certificate\n"})
    apply(context(), Options(types=("ed25519",)))
    assert image.text("etc/ssh/ssh_host_ed25519_key-cert.pub") == "certificate\n"
    assert notes == [
        "/etc/ssh/ssh_host_ed25519_key-cert.pub is a certificate for the old host key: have the new one signed"
    ]


FAILING = [
    "echo no entropy >&2; exit 1",  # fails for the first key
    'case "$*" in *ecdsa*) ;; *) echo no entropy >&2; exit 1;; esac; exec {real} "$@"',  # fails for the second key
]


@pytest.mark.spawns
@KEYGEN
@pytest.mark.parametrize("script", FAILING)
def test_the_old_keys_stay_if_a_new_one_cannot_be_created(
    image: Guest, notes: list[str], tmp_path: Path, script: str
) -> None:
    shim(tmp_path / "bin", "ssh-keygen", script=script.format(real=shutil.which("ssh-keygen")))
    before = image.snapshot()
    with pytest.raises(CommandError, match="no entropy"):
        apply(machine(image, notes, search_path=str(tmp_path / "bin")), NO_RSA)
    assert image.snapshot() == before
    apply(machine(image, notes), NO_RSA)  # the next run creates them
    assert "(ED25519)" in shown(image, "etc/ssh/ssh_host_ed25519_key")


def test_without_an_ssh_server_no_keys_are_created(guest: Guest, context: Make, notes: list[str]) -> None:
    before = guest.put({"etc/ssh/ssh_config": ""}).snapshot()
    apply(context(), Options())
    assert guest.snapshot() == before
    assert notes == ["no SSH server is installed: no host keys are created"]


@pytest.mark.spawns
@KEYGEN
def test_a_link_to_the_key_is_followed(image: Guest, context: Make) -> None:
    image.put({"persist/key": "from the image\n"})
    image.path("etc/ssh/ssh_host_ed25519_key").unlink()
    image.path("etc/ssh/ssh_host_ed25519_key").symlink_to("/persist/key")
    apply(context(), Options(types=("ed25519",)))
    assert image.path("etc/ssh/ssh_host_ed25519_key").is_symlink()
    assert "(ED25519)" in shown(image, "persist/key")


@pytest.mark.spawns
@DROPBEARKEY
def test_dropbears_keys_are_made_by_its_own_program(guest: Guest, context: Make, caplog: Any) -> None:
    guest.put({"etc/dropbear/dropbear_dss_host_key": "old", "etc/dropbear/dropbear_ed25519_host_key": "old"})
    guest.put({"etc/dropbear/authorized_keys": "kept"})
    with caplog.at_level(logging.INFO):
        apply(context(), NO_RSA)
    names = sorted(os.listdir(guest.path("etc/dropbear")))
    assert names == ["authorized_keys", "dropbear_ecdsa_host_key", "dropbear_ed25519_host_key"]
    for key_type in ("ecdsa", "ed25519"):
        path = guest.path(f"etc/dropbear/dropbear_{key_type}_host_key")
        assert guest.mode(f"etc/dropbear/{path.name}") == 0o600
        said = subprocess.run(["dropbearkey", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
        public = next(line for line in said.splitlines() if line.startswith(("ssh-", "ecdsa-")))
        assert fingerprint(" ".join(public.split()[:2])) in [record.getMessage() for record in caplog.records]
    again = context()
    apply(again, NO_RSA)
    assert len(again.system.journal) == 0


@pytest.mark.parametrize("options", [{"types": []}, {"types": ["dsa"]}, {"types": "all"}, {"keep": "yes"}])
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        bind(Options, options, Document({}, {}), ("ssh_host_keys",))


@pytest.mark.spawns
@KEYGEN
@pytest.mark.parametrize(
    ("key_type", "bits"), [("rsa", 2048), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("ed25519", 256)]
)
@pytest.mark.parametrize("comment", ["", "me@host", "two  words"])
def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path, key_type: str, bits: int, comment: str) -> None:
    words = ["ssh-keygen", "-q", "-t", key_type, "-b", str(bits), "-N", "", "-C", comment, "-f", str(tmp_path / "key")]
    subprocess.run(words, check=True)
    public = tmp_path / "key.pub"
    expected = subprocess.run(["ssh-keygen", "-l", "-f", str(public)], capture_output=True, text=True, check=True)
    assert fingerprint(public.read_text()) == expected.stdout.strip()


@pytest.mark.parametrize(
    "text", ["", "ssh-rsa", "ssh-rsa !", "ssh-rsa AAAA", "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQAB", "x y z"]
)
def test_text_that_is_not_a_key_has_no_fingerprint(text: str) -> None:
    assert fingerprint(text) is None


@pytest.mark.spawns
def test_a_missing_program_is_named_and_the_keys_stay(image: Guest, notes: list[str]) -> None:
    """The program is not installed at all, so the search path is replaced instead of extended."""
    before = image.snapshot()
    for dry_run in (True, False):
        ctx = machine(image, notes, dry_run=dry_run)
        ctx.system.commands.search_path = "/nowhere"
        with pytest.raises(AzureliteError, match="ssh-keygen is not installed: add it to the image"):
            apply(ctx, NO_RSA)
    assert image.snapshot() == before
