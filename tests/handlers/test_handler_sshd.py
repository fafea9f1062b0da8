"""`sshd`: passwords as Azure says, the first value wins, sshd checks the result, nobody is locked out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Callable, Union

import pytest
from kit import BASE, ED25519, Guest, shim

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, FileError, HandlerError
from azurelite.handlers import Context, ssh_keys
from azurelite.handlers.sshd import Options, apply
from azurelite.metadata import Secret, SshKey
from azurelite.system.machine import System
from azurelite.system.ssh.sshd_config import complaint, read_config

Make = Callable[..., Context]
MAIN, DROP_IN = "etc/ssh/sshd_config", "etc/ssh/sshd_config.d/10-azurelite.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
OFF = "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
ON = OFF.replace("no", "yes")
HEAD, TAIL = "# azurelite: begin (sshd takes the first value that it meets)\n", "# azurelite: end\n"
FORBID: dict[str, Any] = {"username": "azure", "disable_password_authentication": True}
ALLOW: dict[str, Any] = {"username": "azure", "disable_password_authentication": False}


@pytest.fixture
def keyed(guest: Guest) -> Guest:
    """The guest with an account `azure` that has a key."""
    number = os.geteuid() or 1500
    guest.put({"etc/passwd": BASE["etc/passwd"] + f"azure:x:{number}:{number}::/home/azure:/bin/sh\n"})
    return guest.put({"etc/login.defs": "UID_MIN 1\n", "home/azure/.ssh/authorized_keys": f"{ED25519}\n"})


def effective(guest: Guest, keyword: str = "passwordauthentication") -> str:
    config = read_config(System(guest.root).files)
    assert config is not None
    return config.value(keyword)


# The main file and drop-ins, and where "no" is written: to a drop-in, to the main file, or nowhere.
PLACES: list[tuple[str, dict[str, str], str]] = [
    ("drop-in", {MAIN: INCLUDE + "UsePAM yes\n"}, DROP_IN),
    ("drop-in ahead of cloud-init's", {MAIN: INCLUDE, "etc/ssh/sshd_config.d/50-cloud-init.conf": ON}, DROP_IN),
    ("relative include", {MAIN: "Include sshd_config.d/*.conf\n"}, DROP_IN),
    ("no include", {MAIN: "UsePAM yes\n"}, MAIN),
    ("folder without include", {MAIN: "UsePAM yes\n", "etc/ssh/sshd_config.d/x.conf": ""}, MAIN),
    ("commented include", {MAIN: f"#{INCLUDE}"}, MAIN),
    ("include of other names", {MAIN: "Include /etc/ssh/sshd_config.d/*.cfg\n"}, MAIN),
    ("value ahead of the include", {MAIN: "PasswordAuthentication yes\n" + INCLUDE}, MAIN),
    ("one value ahead of the include", {MAIN: "ChallengeResponseAuthentication yes\n" + INCLUDE}, MAIN),
    ("an earlier drop-in", {MAIN: INCLUDE, "etc/ssh/sshd_config.d/00-a.conf": ON}, MAIN),
    ("include in a match", {MAIN: "Match User root\n" + INCLUDE}, MAIN),
    ("match at the end", {MAIN: "UsePAM yes\nMatch User root\nX11Forwarding no"}, MAIN),
    ("match in front", {MAIN: "Match User root\nX11Forwarding no\n"}, MAIN),
    ("yes in place", {MAIN: "  passwordauthentication=YES # sure\n"}, MAIN),
    ("crlf", {MAIN: "UsePAM yes\r\nPasswordAuthentication yes\r\n"}, MAIN),
    ("empty", {MAIN: ""}, MAIN),
    ("bytes", {MAIN: "# \udcff\udcfe\n"}, MAIN),
    ("off already", {MAIN: OFF}, ""),
    ("off already by a drop-in", {MAIN: INCLUDE + ON, "etc/ssh/sshd_config.d/x.conf": OFF}, ""),
    ("off by old names", {MAIN: 'passwordauthentication "no"\r\nSkeyAuthentication no\r\n'}, ""),
    ("vendor's", {"usr/etc/ssh/sshd_config": INCLUDE}, DROP_IN),
]


def put(guest: Guest, files: dict[str, str]) -> None:
    for name, text in files.items():
        guest.put({name: ""}).path(name).write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize(("name", "files", "where"), PLACES, ids=[name for name, _, _ in PLACES])
def test_the_setting_is_written_where_it_takes_effect(
    keyed: Guest, context: Make, notes: list[str], name: str, files: dict[str, str], where: str
) -> None:
    put(keyed, files)
    before = {path: keyed.path(path).read_bytes() for path in files}
    ctx = context(**FORBID)
    apply(ctx, Options())
    assert effective(keyed) == effective(keyed, "kbdinteractiveauthentication") == "no"
    written = [change.target for change in ctx.system.journal.since(0) if change.kind == "write"]
    assert written == ([f"/{where}"] if where else [])
    for path, data in before.items():
        assert keyed.path(path).read_bytes().endswith(data)  # the existing content is kept
    if where == DROP_IN:
        assert keyed.text(where) == HEAD + OFF + TAIL
        assert keyed.mode(where) == 0o600
    assert notes == []
    again = context(**FORBID)
    apply(again, Options())
    assert len(again.system.journal) == 0


@pytest.mark.parametrize(("name", "files", "where"), PLACES, ids=[name for name, _, _ in PLACES])
def test_the_setting_can_be_reversed(keyed: Guest, context: Make, name: str, files: dict[str, str], where: str) -> None:
    put(keyed, files)
    for _ in range(2):
        apply(context(**FORBID), Options())
        apply(context(**ALLOW), Options())
        assert effective(keyed) == effective(keyed, "kbdinteractiveauthentication") == "yes"
    if where == MAIN:
        assert keyed.path(MAIN).read_bytes().count(b"azurelite: begin") == 1


def test_the_mode_of_an_existing_file_is_kept(keyed: Guest, context: Make) -> None:
    keyed.put({MAIN: "UsePAM yes\n"}).path(MAIN).chmod(0o640)
    apply(context(**FORBID), Options())
    assert keyed.mode(MAIN) == 0o640


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        (True, "auto", "no"),
        (False, "auto", "yes"),
        (None, "auto", "kept"),
        (True, "keep", "kept"),
        (True, "yes", "yes"),
        (True, True, "yes"),
        (False, "no", "no"),
        (False, False, "no"),
        (None, "yes", "yes"),
    ],
)
@pytest.mark.parametrize("image", ["yes", "no"])
def test_azure_or_the_option_decides_about_passwords(
    keyed: Guest, context: Make, known: Any, asked: Any, expected: str, image: str
) -> None:
    keyed.put({MAIN: f"PasswordAuthentication {image}\nKbdInteractiveAuthentication {image}\n"})
    apply(context(username="azure", disable_password_authentication=known), Options(password_authentication=asked))
    assert effective(keyed) == (image if expected == "kept" else expected)


def test_a_password_without_keys_enables_passwords(keyed: Guest, context: Make) -> None:
    keyed.put({MAIN: OFF})
    apply(context(username="azure", password=Secret("x"), public_ssh_keys=(SshKey.read(ED25519),)), Options())
    assert effective(keyed) == "no"
    apply(context(username="azure", password=Secret("x")), Options())
    assert effective(keyed) == "yes"


LOCKED_OUT: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "no key": ({"home/azure/.ssh/authorized_keys": "# none\n"}, FORBID),
    "a key elsewhere": ({MAIN: "AuthorizedKeysFile .ssh/x\n"}, FORBID),
    "no file of keys": ({MAIN: "AuthorizedKeysFile none\n"}, FORBID),
    "no account": ({}, {**FORBID, "username": "other"}),
    "no name": ({}, {"disable_password_authentication": True}),
    "only an authority": ({"home/azure/.ssh/authorized_keys": f"cert-authority {ED25519}\n"}, FORBID),
    "a forced command": ({"home/azure/.ssh/authorized_keys": f'command="/bin/false" {ED25519}\n'}, FORBID),
    "restricted": ({"home/azure/.ssh/authorized_keys": f"restrict {ED25519}\n"}, FORBID),
    "from some addresses": ({"home/azure/.ssh/authorized_keys": f'from="10.1.2.3" {ED25519}\n'}, FORBID),
    "until some day": ({"home/azure/.ssh/authorized_keys": f'expiry-time="20990101" {ED25519}\n'}, FORBID),
    "garbage": ({"home/azure/.ssh/authorized_keys": "ssh-ed25519 AAAAgarbage\n"}, FORBID),
    "a forced command in the first file": (
        {
            MAIN: "AuthorizedKeysFile .ssh/first .ssh/authorized_keys\n",
            "home/azure/.ssh/first": f'command="/bin/false" {ED25519}\n',
        },
        FORBID,
    ),
}
# What sshd's configuration refuses -> how the note goes on.
REFUSED = {
    "PubkeyAuthentication no": "change it to `yes`",
    "AuthenticationMethods publickey,password": "a key alone is not enough: remove the other methods",
    "AllowGroups remote": "set `user: {groups: [remote]}`, or add a group of azure to the line",
    "AllowUsers builder": "add azure to the line",
    "DenyUsers bob azure": "remove azure from it",
}


@pytest.mark.parametrize("name", LOCKED_OUT)
def test_passwords_stay_enabled_if_nobody_could_log_in_without_one(
    keyed: Guest, context: Make, notes: list[str], name: str
) -> None:
    files, known = LOCKED_OUT[name]
    keyed.put({MAIN: "UsePAM yes\n", **files})
    before = keyed.snapshot()
    apply(context(**known), Options())
    assert keyed.snapshot() == before
    assert len(notes) == 1
    assert notes[0].startswith("passwords stay enabled: sshd has no usable key for ")
    with pytest.raises(HandlerError, match=r"passwords cannot be disabled: .*list `ssh_keys` before `sshd`"):
        apply(context(**known), Options(password_authentication="no"))
    assert keyed.snapshot() == before


STRICT = ["home/azure", "home/azure/.ssh", "home/azure/.ssh/authorized_keys"]


@pytest.mark.parametrize("path", STRICT)
@pytest.mark.parametrize("strict", ["", "StrictModes yes\n", "StrictModes no\n"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_key_that_strictmodes_rejects_does_not_count(
    keyed: Guest, context: Make, path: str, strict: str, mode: int
) -> None:
    keyed.put({MAIN: strict}).path(path).chmod(mode)
    apply(context(**FORBID), Options())
    assert effective(keyed) == ("no" if "no" in strict else "yes")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files to somebody else")
@pytest.mark.parametrize("path", STRICT)
@pytest.mark.parametrize(("uid", "expected"), [(1700, "yes"), (1500, "no"), (0, "no")])
def test_a_key_counts_only_if_the_user_or_root_owns_the_file(
    keyed: Guest, context: Make, path: str, uid: int, expected: str
) -> None:
    os.chown(keyed.put({MAIN: ""}).path(path), uid, uid)
    apply(context(**FORBID), Options())
    assert effective(keyed) == expected


@pytest.mark.parametrize(("path", "expected"), [("etc/keys", "yes"), ("etc", "yes"), ("home/azure", "no")])
def test_outside_the_home_the_modes_of_all_folders_count(keyed: Guest, context: Make, path: str, expected: str) -> None:
    keyed.put({MAIN: "AuthorizedKeysFile /etc/keys/%u\n", "etc/keys/azure": f"{ED25519}\n"}).path(path).chmod(0o777)
    apply(context(**FORBID), Options())
    assert effective(keyed) == expected


def test_a_dry_run_assumes_the_permissions_that_ssh_keys_would_set(
    keyed: Guest, context: Make, notes: list[str]
) -> None:
    keyed.put({MAIN: ""}).path("home/azure/.ssh").chmod(0o777)
    keyed.path("home/azure/.ssh/authorized_keys").chmod(0o666)
    told = []
    for dry_run in (True, False):
        ctx = context(dry_run=dry_run, public_ssh_keys=(SshKey.read(ED25519),), **FORBID)
        ssh_keys.apply(ctx, ssh_keys.Options())
        apply(ctx, Options())
        told.append(ctx.system.journal.since(0))
    assert told[0] == told[1]
    assert (effective(keyed), notes) == ("no", [])


@pytest.mark.parametrize("line", REFUSED)
def test_passwords_stay_enabled_if_sshd_refuses_the_administrator(
    keyed: Guest, context: Make, notes: list[str], line: str
) -> None:
    keyed.put({MAIN: f"{line}\n"})
    apply(context(**FORBID), Options())
    assert effective(keyed) == "yes"
    assert len(notes) == 1
    assert notes[0].startswith(f"passwords stay enabled: /etc/ssh/sshd_config line 1 has `{line}`")
    assert notes[0].endswith(REFUSED[line])
    with pytest.raises(HandlerError, match=r"passwords cannot be disabled: .*line 1 has"):
        apply(context(**FORBID), Options(password_authentication="no"))


def test_settings_that_let_the_administrator_in_count_already(keyed: Guest, context: Make, notes: list[str]) -> None:
    keyed.put({MAIN: "AllowGroups remote\n", "etc/group": BASE["etc/group"] + "staff:x:77:azure\n"})
    apply(context(**FORBID), Options(settings={"AllowGroups": "staff"}))
    assert (effective(keyed), notes) == ("no", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the file must belong to another user")
@pytest.mark.parametrize(("mode", "counts"), [(0o644, True), (0o666, False), (0o600, False)])
def test_a_link_instead_of_the_key_file_counts_as_sshd_counts_it(
    keyed: Guest, context: Make, notes: list[str], mode: int, counts: bool
) -> None:
    number = 1500
    keyed.put(
        {MAIN: "UsePAM yes\n", "etc/passwd": BASE["etc/passwd"] + f"azure:x:{number}:{number}::/home/azure:/bin/sh\n"}
    )
    keyed.path("home/azure/.ssh/authorized_keys").rename(keyed.path("root/keys"))
    keyed.path("home/azure/.ssh/authorized_keys").symlink_to("/root/keys")
    keyed.path("root/keys").chmod(mode)
    apply(context(**FORBID), Options())
    assert effective(keyed) == ("no" if counts else "yes")
    assert len(notes) == (not counts)


@pytest.mark.parametrize("line", ["AuthorizedKeysCommand /usr/bin/keys", "TrustedUserCAKeys /etc/ssh/ca.pub"])
def test_keys_from_a_command_or_an_authority_count(keyed: Guest, context: Make, line: str) -> None:
    keyed.put({MAIN: f"{line}\n", "home/azure/.ssh/authorized_keys": ""})
    apply(context(**FORBID), Options())
    assert effective(keyed) == "no"


@pytest.mark.parametrize(
    ("match", "known", "noted"),
    [
        ("Match Address 10.0.0.0/8\nPasswordAuthentication yes\n", FORBID, True),
        ("Match all\nPasswordAuthentication no\n", FORBID, False),
        ("Match User azure\nPasswordAuthentication no\n", ALLOW, True),
        ("Match User git\nPasswordAuthentication no\n", ALLOW, False),
    ],
)
def test_a_match_block_that_overrides_the_setting_is_noted(
    keyed: Guest, context: Make, notes: list[str], match: str, known: dict[str, Any], noted: bool
) -> None:
    keyed.put({MAIN: f"# first\n{match}"})
    apply(context(**known), Options())
    value = match.rsplit(maxsplit=1)[-1]
    asked = {"yes": "no", "no": "yes"}[value]
    told = f"the Match block at /etc/ssh/sshd_config line 3 overrides `PasswordAuthentication {asked}`: "
    assert notes == ([f"{told}change its `PasswordAuthentication {value}`"] if noted else [])


@pytest.mark.parametrize("files", [{}, {"etc/ssh/ssh_config": ""}, {"usr/sbin/sshd": ""}, {DROP_IN: ON}])
def test_without_sshd_there_is_nothing_to_do(
    keyed: Guest, context: Make, notes: list[str], files: dict[str, str]
) -> None:
    before = keyed.put(files).snapshot()
    for asked in ("auto", "no", "yes"):
        apply(context(**FORBID), Options(password_authentication=asked))
    assert (keyed.snapshot(), notes) == (before, [])


@pytest.mark.parametrize(
    ("flags", "noted"),
    [
        ("", True),
        ('DROPBEAR_EXTRA_ARGS=""\n', True),
        ("# DROPBEAR_EXTRA_ARGS=-s\n", True),
        ('DROPBEAR_EXTRA_ARGS="-s"\n', False),
        ("DROPBEAR_EXTRA_ARGS='-w -sg'\n", False),
        ("DROPBEAR_OPTS=-s\n", False),
    ],
)
def test_dropbear_without_the_argument_s_is_noted(
    keyed: Guest, context: Make, notes: list[str], flags: str, noted: bool
) -> None:
    keyed.put({"etc/dropbear/dropbear_rsa_host_key": "", "etc/default/dropbear": flags})
    apply(context(**FORBID), Options())
    assert [note.partition(":")[0] for note in notes] == (["dropbear accepts passwords"] if noted else [])


def test_the_distributions_own_file_is_not_written(keyed: Guest, context: Make) -> None:
    before = keyed.put({"usr/etc/ssh/sshd_config": "UsePAM yes\n"}).snapshot()
    for dry_run in (True, False):
        with pytest.raises(HandlerError, match="copy it to /etc/ssh/sshd_config"):
            apply(context(dry_run=dry_run, **FORBID), Options())
    assert keyed.snapshot() == before


def test_azures_password_reset_finds_the_file_50_cloud_init_conf(keyed: Guest, context: Make) -> None:
    """The extension sets lines of sshd_config and 50-cloud-init.conf that begin with the keyword to `yes`."""
    name = "etc/ssh/sshd_config.d/50-cloud-init.conf"
    keyed.put({MAIN: INCLUDE})
    apply(context(**FORBID), Options(file="50-cloud-init.conf"))
    lines = keyed.text(name).split("\n")
    turned = ["PasswordAuthentication yes" if line.startswith("PasswordAuthentication") else line for line in lines]
    keyed.put({name: "\n".join(turned)})
    assert effective(keyed) == "yes"


def test_other_lines_of_the_named_drop_in_stay(keyed: Guest, context: Make) -> None:
    name = "etc/ssh/sshd_config.d/50-cloud-init.conf"
    keyed.put({MAIN: INCLUDE, name: "PasswordAuthentication yes\nX11Forwarding no\n"})
    apply(context(**FORBID), Options(file="50-cloud-init.conf"))
    assert keyed.text(name) == HEAD + OFF + TAIL + "PasswordAuthentication yes\nX11Forwarding no\n"


def test_further_settings_are_written(keyed: Guest, context: Make) -> None:
    keyed.put({MAIN: INCLUDE + "X11Forwarding no\n"})
    settings: dict[str, Union[bool, int, str]] = {
        "PermitRootLogin": "no",
        "ClientAliveInterval": 180,
        "X11Forwarding": False,
        "AllowUsers": "a b",
    }
    options = Options(password_authentication="keep", settings=settings)
    apply(context(), options)
    lines = "PermitRootLogin no\nClientAliveInterval 180\nX11Forwarding no\nAllowUsers a b\n"
    assert keyed.text(DROP_IN) == HEAD + lines + TAIL
    again = context()
    apply(again, options)
    assert len(again.system.journal) == 0


def bound(options: dict[str, Any]) -> Any:
    return bind(Options, options, Document({}, {}), ("sshd",))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"password_authentication": "maybe"}, "password_authentication"),
        ({"file": "x"}, "file"),
        ({"file": "../x.conf"}, "file"),
        ({"file": "a/b.conf"}, "file"),
        ({"file": ".conf"}, "file"),
        ({"file": "x.conf\n"}, "file"),
        ({"settings": {"Match": "all"}}, "settings cannot have Match"),
        ({"settings": {"include": "x"}}, "settings cannot have include"),
        ({"settings": {"PasswordAuthentication": "no"}}, "set the option password_authentication"),
        ({"settings": {"ChallengeResponseAuthentication": "no"}}, "set the option password_authentication"),
        ({"settings": {"Port 22\nX": "no"}}, "keyword"),
        ({"settings": {"Banner": "a\nMatch all"}}, "settings.Banner"),
        ({"settings": {"Banner": ""}}, "settings.Banner"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        bound(options)


def test_yes_and_no_without_quotes_are_accepted() -> None:
    assert bound({"password_authentication": False}).password_authentication is False
    assert bound({"password_authentication": "no"}).password_authentication == "no"


def test_a_configuration_that_cannot_be_read_is_one_clear_failure(keyed: Guest, context: Make) -> None:
    keyed.path(MAIN).mkdir(parents=True)
    for dry_run in (True, False):
        with pytest.raises(FileError, match="/etc/ssh/sshd_config"):
            apply(context(dry_run=dry_run, **FORBID), Options())


CHECKS = [
    # sshd's output for the new file (it has the word "new") and for the present one; the expected complaint
    ("exit 0", None),
    ('echo "no hostkeys available -- exiting." >&2; exit 1', None),
    ('grep -q new "$3" || exit 0; echo "$3: line 7: Bad configuration option: new" >&2; exit 255', "Bad configuration"),
    ('grep -q new "$3" && echo "$3: line 8: Bad" >&2 || echo "$3: line 5: Bad" >&2; exit 255', None),
    ('grep -q new "$3" && echo "$3: line 8: Bad" >&2 || echo "no hostkeys" >&2; exit 255', "line: Bad"),
]


@pytest.mark.spawns
@pytest.mark.parametrize(("script", "expected"), CHECKS)
def test_only_new_complaints_of_sshd_count(tmp_path: Path, script: str, expected: Any) -> None:
    log = shim(tmp_path / "bin", "sshd", script=script)
    system = System("/", dry_run=True, search_path=str(tmp_path / "bin"))
    words = complaint(system, "/etc/ssh/sshd_config", "new\n", "old\n")
    assert (words is None) if expected is None else (words is not None and expected in words)
    assert "/run/" not in str(words)
    arguments = log.read_text().split("\n")
    assert arguments[:2] == ["-t", "-f"]
    assert not Path(arguments[2]).parent.exists()


def test_the_hosts_sshd_is_not_asked_about_a_foreign_root(guest: Guest, tmp_path: Path) -> None:
    shim(tmp_path / "bin", "sshd", exit_code=1)
    assert complaint(System(guest.root, search_path=str(tmp_path / "bin")), "/x", "new", "old") is None


@pytest.mark.spawns
@pytest.mark.namespaces
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server")
@pytest.mark.parametrize(("name", "files", "where"), PLACES, ids=[name for name, _, _ in PLACES])
def test_sshd_itself_reports_the_new_values(
    keyed: Guest, context: Make, name: str, files: dict[str, str], where: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    put(keyed, files)
    script = (
        'mount --make-rprivate / && mount --bind "$1/etc/ssh" /etc/ssh && mount -t tmpfs t /run && mkdir /run/sshd && '
        'ssh-keygen -q -t ed25519 -N "" -f /run/key && f=/etc/ssh/sshd_config && '
        'if [ -e "$1/usr/etc/ssh/sshd_config" ]; then f=$1/usr/etc/ssh/sshd_config; fi && '
        'exec /usr/sbin/sshd -T -h /run/key -f "$f"'
    )
    for known, expected in ((FORBID, "no"), (ALLOW, "yes")):
        apply(context(**known), Options())
        words = ["unshare", "--mount", "--fork", "sh", "-c", script, "sh", keyed.root]
        keyed.path("etc/ssh").mkdir(exist_ok=True)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"\npasswordauthentication {expected}\n" in done.stdout
        assert f"\nkbdinteractiveauthentication {expected}\n" in done.stdout
