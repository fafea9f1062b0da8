"""A home that a removed account left: the new account owns it, its keys let nobody in, nothing else is given away."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import BASE, ED25519, Guest

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import MachineError
from azurelite.handlers import Context, ssh_keys, user, users
from azurelite.handlers.support.entries import Account
from azurelite.metadata import SshKey
from azurelite.system.accounts.leftover_homes import Leftover, named, take_over
from azurelite.system.accounts.users import NewUser, Owner
from azurelite.system.machine import System

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: homes change their owner")

Make = Callable[..., Context]
FORMER, OTHER = 1003, 1700
KEY = ED25519
FORMER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAC former"


def leave(
    guest: Guest, files: dict[str, str], *, home: str = "home/azure", uid: int = FORMER, mode: int = 0o755
) -> Path:
    """Leave a home with these files, all owned by `uid`."""
    guest.put({f"{home}/{name}": text for name, text in files.items()})
    folder = guest.path(home)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)
    return folder


def owner_of(path: Path) -> int:
    return path.lstat().st_uid


def run(make: Make, *, dry_run: bool = False, keys: bool = True, **options: Any) -> Context:
    known = (SshKey.read(KEY),) if keys else None
    ctx = make(dry_run=dry_run, username="azure", public_ssh_keys=known)
    user.apply(ctx, user.Options(sudo="none", **options))
    if keys:
        ssh_keys.apply(ctx, ssh_keys.Options())
    return ctx


@pytest.mark.parametrize("uid", [FORMER, 1000, 250000, 500], ids=["another", "recycled", "high", "below people's"])
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o777, 0o000, 0o775, 0o2770])
def test_the_home_and_its_files_belong_to_the_new_account(guest: Guest, context: Make, uid: int, mode: int) -> None:
    home = leave(guest, {"notes/today": "kept", ".bashrc": "kept"}, uid=uid, mode=mode)
    told = [str(change) for change in run(context, dry_run=True).system.journal.since(0)]
    made = [str(change) for change in run(context).system.journal.since(0)]
    assert told == made
    new = int(guest.text("etc/passwd").splitlines()[-1].split(":")[2])
    assert {owner_of(path) for path in [home, *home.rglob("*")]} == {new}
    assert stat.S_IMODE(home.stat().st_mode) == (mode & 0o755) | 0o700
    assert guest.text("home/azure/.profile") == BASE["etc/skel/.profile"]
    assert guest.text("home/azure/notes/today") == "kept"
    assert KEY in guest.text("home/azure/.ssh/authorized_keys")
    assert len(run(context).system.journal) == 0


@pytest.mark.parametrize(
    ("config", "path", "renamed"),
    [
        (None, ".ssh/authorized_keys", ".ssh/authorized_keys.former"),
        (None, ".ssh/authorized_keys2", ".ssh/authorized_keys2.former"),
        ("AuthorizedKeysFile .config/keys\n", ".config/keys", ".config/keys.former"),
        ("AuthorizedKeysFile %h/keys/%u\n", "keys/azure", "keys/azure.former"),
        ("AuthorizedKeysFile keys-%U\n", "keys-1003", "keys-1003.former"),
        ("AuthorizedKeysFile keys-%U\n", "keys-1000", "keys-1000.former"),  # the number of the new account
        ("AuthorizedKeysFile /etc/keys/%u\n", ".ssh/authorized_keys", ".ssh/authorized_keys.former"),
        ("Match User azure\n AuthorizedKeysFile mine\n", "mine", "mine.former"),
    ],
)
def test_keys_found_there_are_renamed_and_named(
    guest: Guest, context: Make, notes: list[str], config: Optional[str], path: str, renamed: str
) -> None:
    leave(guest, {path: FORMER_KEY + "\n"})
    if config is not None:
        guest.put({"etc/ssh/sshd_config": config})
    run(context)
    assert guest.text(f"home/azure/{renamed}") == FORMER_KEY + "\n"
    left = guest.path(f"home/azure/{path}")
    assert not left.exists() or FORMER_KEY not in left.read_text()
    (note,) = [note for note in notes if "was renamed to" in note]
    assert f"/home/azure/{path} was renamed to {renamed.rpartition('/')[2]}" in note


OTHER_FILES = {
    ".ssh/rc": "sshd would use it at each login",
    ".ssh/environment": "sshd would use it at each login",
    ".ssh/authorized_principals": "it says who else may log in",
    ".principals": "it says who else may log in",
    ".rhosts": "it says who else may log in",
    ".shosts": "it says who else may log in",
    ".k5login": "it says who else may log in",
    ".k5users": "it says who else may log in",
    ".ssh/authorized_keys": "the keys in it are those of a removed account",
    ".bashrc": "",
    ".ssh/config": "",
    ".ssh/known_hosts": "",
}


@pytest.mark.parametrize("path", OTHER_FILES)
def test_what_lets_others_in_or_runs_at_a_login_is_renamed(
    guest: Guest, context: Make, notes: list[str], path: str
) -> None:
    home = leave(guest, {path: "the former's\n"})
    guest.put({"etc/ssh/sshd_config": "Match User az*\nAuthorizedPrincipalsFile %h/.principals\n"})
    told = [str(change) for change in run(context, dry_run=True).system.journal.since(0)]
    assert [str(change) for change in run(context).system.journal.since(0)] == told
    renamed = bool(OTHER_FILES[path])
    assert (home / (f"{path}.former" if renamed else path)).read_text() == "the former's\n"
    assert not renamed or not (home / path).exists() or "the former's" not in (home / path).read_text()
    reasons = {note.partition(", because ")[2] for note in notes if f"/{path} was renamed" in note}
    assert [reason.startswith(OTHER_FILES[path]) for reason in reasons] == [True] * renamed


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_older_renamed_file_is_not_lost(guest: Guest, context: Make, dry_run: bool) -> None:
    home = leave(guest, {f".ssh/authorized_keys{end}": end for end in ("", ".former", ".former.2")})
    ctx = run(context, dry_run=dry_run)
    changes = [str(change) for change in ctx.system.journal.since(0)]
    assert "rename /home/azure/.ssh/authorized_keys to authorized_keys.former.3" in changes
    if not dry_run:
        found = {path.name: path.read_text() for path in (home / ".ssh").iterdir()}
        assert [found[f"authorized_keys{end}"] for end in (".former", ".former.2", ".former.3")] == [
            ".former",
            ".former.2",
            "",
        ]


@pytest.mark.parametrize("linked", [".ssh", ".ssh/authorized_keys"])
def test_a_link_to_keys_elsewhere_is_renamed_and_leads_nowhere(
    guest: Guest, context: Make, tmp_path: Path, linked: str
) -> None:
    guest.put({"srv/keys/authorized_keys": FORMER_KEY + "\n"})
    home = leave(guest, {"kept": ""})
    target = "/srv/keys" if linked == ".ssh" else "/srv/keys/authorized_keys"
    (home / linked).parent.mkdir(exist_ok=True)
    (home / linked).symlink_to(target)
    for path in {home / linked, (home / linked).parent}:
        os.chown(path, FORMER, FORMER, follow_symlinks=False)
    told = [str(change) for change in run(context, dry_run=True).system.journal.since(0)]
    assert [str(change) for change in run(context).system.journal.since(0)] == told
    assert os.readlink(home / f"{linked}.former") == target
    assert guest.text("home/azure/.ssh/authorized_keys").split()[1] == KEY.split()[1]
    assert guest.text("srv/keys/authorized_keys") == FORMER_KEY + "\n"
    assert owner_of(guest.path("srv/keys/authorized_keys")) == 0


def hard_link(guest: Guest, home: Path) -> Path:
    guest.put({"etc/secret": "root's"})
    os.chown(guest.path("etc/secret"), FORMER, FORMER)
    os.link(guest.path("etc/secret"), home / "odd")
    return guest.path("etc/secret")


def somebodys(guest: Guest, home: Path) -> Path:
    (home / "odd").write_text("")
    os.chown(home / "odd", OTHER, OTHER)
    return home / "odd"


def device(guest: Guest, home: Path) -> Path:
    os.mknod(home / "odd", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chown(home / "odd", FORMER, FORMER)
    return home / "odd"


def outward(guest: Guest, home: Path) -> Path:
    guest.put({"srv/data/file": ""})
    for path in ("srv/data", "srv/data/file"):
        os.chown(guest.path(path), FORMER, FORMER)
    (home / "odd").symlink_to("/srv/data")
    return guest.path("srv/data/file")


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (hard_link, "it has a second hard link"),
        (somebodys, f"it belongs to uid {OTHER}"),
        (device, "it is a device"),
        (outward, "it belongs to uid 0"),  # the link is root's; what it leads to is not looked at
    ],
)
def test_what_is_not_the_former_owners_alone_keeps_its_owner_and_is_named(
    guest: Guest, context: Make, notes: list[str], odd: Callable[[Guest, Path], Path], why: str
) -> None:
    home = leave(guest, {"before": "", "zulu/after": ""})
    kept = odd(guest, home)
    before = owner_of(kept)
    run(context, keys=False)
    assert owner_of(kept) == before
    assert {owner_of(home / name) for name in ("before", "zulu", "zulu/after")} == {1000}
    assert [note for note in notes if "/home/azure/odd" in note and why in note] == notes != []


def test_setuid_programs_of_the_former_owner_are_set_uid_no_more(guest: Guest, context: Make) -> None:
    home = leave(guest, {"tool": "#!/bin/sh\n"})
    (home / "tool").chmod(0o6755)
    run(context, keys=False)
    assert (owner_of(home / "tool"), stat.S_IMODE((home / "tool").stat().st_mode)) == (1000, 0o755)


def test_links_and_pipes_of_the_former_owner_change_hands_unfollowed(guest: Guest, context: Make) -> None:
    home = leave(guest, {})
    (home / "out").symlink_to("/etc/shadow")
    os.mkfifo(home / "pipe")
    for name in ("out", "pipe"):
        os.chown(home / name, FORMER, FORMER, follow_symlinks=False)
    before = owner_of(guest.path("etc/shadow"))
    run(context, keys=False)
    assert [owner_of(home / name) for name in ("out", "pipe")] == [1000, 1000]
    assert owner_of(guest.path("etc/shadow")) == before


@pytest.mark.spawns
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_another_file_system_is_not_entered(
    guest: Guest, context: Make, notes: list[str], tmp_path: Path, kind: str
) -> None:
    home = leave(guest, {"here": "", "disk/.keep": "", "file": ""})
    disk, there = tmp_path / "disk", home / "disk" if kind == "folder" else home / "file"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={FORMER}", "disk", disk], check=False).returncode != 0:
        pytest.skip("cannot mount here")
    (disk / "inner").write_text("")
    os.chown(disk / "inner", FORMER, FORMER)
    try:
        subprocess.run(["mount", "--bind", disk if kind == "folder" else disk / "inner", there], check=True)
        try:
            run(context, keys=False)
            assert [owner_of(path) for path in (home / "here", there, disk / "inner")] == [1000, FORMER, FORMER]
            assert f"/home/azure/{there.name} (another file system)" in notes[0]
        finally:
            subprocess.run(["umount", there], check=True)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.spawns
def test_a_deep_tree_is_walked_to_its_end(guest: Guest, context: Make) -> None:
    home = leave(guest, {})
    here = os.open(home, os.O_RDONLY)
    for _ in range(1200):  # deeper than Python recurses, longer than PATH_MAX
        os.mkdir("deeper", dir_fd=here)
        os.chown("deeper", FORMER, FORMER, dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    run(context, keys=False)
    assert os.fstat(here).st_uid == 1000
    os.close(here)
    subprocess.run(["rm", "-rf", home], check=True)


def test_many_skipped_files_are_counted(guest: Guest, context: Make, notes: list[str]) -> None:
    home = leave(guest, {})
    for number in range(8):
        (home / f"odd{number}").write_text("")
    run(context, keys=False)
    assert notes[0].count("it belongs to uid 0") == 5
    assert notes[0].endswith(" and 3 more")
    assert named(["a", "b"]) == "a, b"


def test_without_time_the_rest_is_named(guest: Guest) -> None:
    leave(guest, {"a": ""})
    files = System(guest.root).files
    left = Leftover("/home/azure", uid=FORMER, gid=FORMER, mode=0o755)
    skipped = take_over(files, left, Owner("azure", 1000, 1000), mode=None, wait=Deadline(SystemClock(), 0))
    assert skipped == ["/home/azure/a and what follows (no time is left)"]
    assert owner_of(guest.path("home/azure")) == 1000  # without it nobody could log in


@pytest.mark.parametrize("begun", [False, True], ids=["nothing given", "home given"])
def test_after_a_crash_the_next_run_goes_on(guest: Guest, context: Make, begun: bool) -> None:
    home = leave(guest, {"a": "", "b": ""}, mode=0o750)
    System(guest.root).accounts.create_user(NewUser("twin", "/home/twin", "/bin/sh"))  # makes the tables' new lines
    passwd = guest.text("etc/passwd") + "azure:x:1001:1001::/home/azure:/bin/sh\n"
    guest.put({"etc/passwd": passwd, "etc/group": guest.text("etc/group") + "azure:x:1001:\n"})
    guest.put({"etc/shadow": guest.text("etc/shadow") + "azure:*::0:99999:7:::\n"})
    guest.put(
        {
            "var/lib/azurelite/accounts/azure.json": '{"name": "azure", "home": "/home/azure", "shell": "/bin/sh", '
            '"groups": [], "create_home": false, "former": [1003, 1003, 488]}'
        }
    )
    if begun:
        for path in (home, home / "a"):
            os.chown(path, 1001, 1001)
    run(context, keys=False)
    assert {owner_of(path) for path in [home, *home.rglob("*")]} == {1001}
    assert stat.S_IMODE(home.stat().st_mode) == 0o750
    assert guest.path("home/azure/.profile").exists()
    assert len(run(context, keys=False).system.journal) == 0


@pytest.mark.parametrize(
    ("uid", "account"),
    [(1003, "old:x:1003:1003::/home/old:/bin/sh\n"), (0, ""), (1, "")],
    ids=["another account's", "root's", "a daemon's"],
)
def test_a_home_with_an_owner_is_no_leftover(guest: Guest, context: Make, uid: int, account: str) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"] + account})
    leave(guest, {".ssh/authorized_keys": FORMER_KEY + "\n"}, uid=uid)
    ctx = context(username="azure")
    assert ctx.system.accounts.leftover_home(NewUser("azure", "/home/azure", "/bin/sh")) is None
    user.apply(ctx, user.Options(sudo="none"))
    assert owner_of(guest.path("home/azure/.ssh/authorized_keys")) == uid
    assert guest.text("home/azure/.ssh/authorized_keys") == FORMER_KEY + "\n"


@pytest.mark.parametrize(
    ("fields", "taken"),
    [({}, True), ({"create_home": False}, False), ({"home": "/srv/azure"}, True), ({"uid": FORMER}, True)],
)
def test_further_accounts_are_treated_alike(guest: Guest, context: Make, fields: dict[str, Any], taken: bool) -> None:
    home = leave(guest, {".ssh/authorized_keys": FORMER_KEY}, home=str(fields.get("home", "/home/azure")).strip("/"))
    users.apply(context(), users.Options(accounts=(Account(name="azure", sudo="none", **fields),)))
    made = int(guest.text("etc/passwd").splitlines()[-1].split(":")[2])
    assert (owner_of(home), (home / ".ssh/authorized_keys.former").exists()) == (made if taken else FORMER, taken)


def test_the_configured_mode_counts(guest: Guest, context: Make) -> None:
    leave(guest, {}, mode=0o755)
    run(context, keys=False, home_mode="0710")
    assert guest.mode("home/azure") == 0o710


def test_a_home_that_cannot_be_given_fails_with_its_name(guest: Guest) -> None:
    files = System(guest.root).files
    left = Leftover("/home/gone/azure", uid=FORMER, gid=FORMER, mode=0o755)
    with pytest.raises(MachineError, match="/home/gone/azure"):
        take_over(files, left, Owner("azure", 1000, 1000), mode=None, wait=Deadline(SystemClock(), 5))
