"""Accounts by direct edits: numbers, homes, leftovers of a crash, and every foreign line kept byte for byte."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Callable, Optional

import pytest
from kit import BASE, FastClock, Guest

from azurelite.clock import Deadline
from azurelite.errors import FileError, MachineError
from azurelite.system.accounts.accounts import Accounts
from azurelite.system.accounts.passwd import PasswdFiles
from azurelite.system.accounts.tablefiles import LOCK_WAIT, login_range
from azurelite.system.accounts.users import NewUser, User
from azurelite.system.machine import System

AZURE = NewUser("azure", "/home/azure", "/bin/sh")


def edit(guest: Guest, clock: Optional[FastClock] = None) -> PasswdFiles:
    """The direct edit, whatever tools there are."""
    return PasswdFiles(System(guest.root).files, Deadline(clock or FastClock(), LOCK_WAIT))


def accounts(guest: Guest, *, dry_run: bool = False) -> Accounts:
    """The accounts of a root without etc/login.defs, which are edited directly."""
    return System(guest.root, dry_run=dry_run, clock=FastClock()).accounts


def lines(guest: Guest, name: str) -> list[str]:
    return guest.text(name).splitlines()


def test_a_new_account_is_whole(guest: Guest) -> None:
    made = accounts(guest).create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",)))
    assert made == User("azure", 1000, 1000, "/home/azure", "/bin/sh")
    assert guest.text("etc/passwd") == BASE["etc/passwd"] + "azure:x:1000:1000::/home/azure:/bin/sh\n"
    assert guest.text("etc/shadow") == BASE["etc/shadow"] + "azure:*::0:99999:7:::\n"
    assert guest.text("etc/group") == BASE["etc/group"].replace("wheel:x:10:", "wheel:x:10:azure") + "azure:x:1000:\n"
    assert guest.text("etc/gshadow") == BASE["etc/gshadow"].replace("wheel:!::", "wheel:!::azure") + "azure:!::\n"
    assert guest.mode("home/azure") == 0o700
    assert guest.text("home/azure/.profile") == "umask 022\n"


def test_the_files_keep_their_modes_and_no_temporary_is_left(guest: Guest) -> None:
    guest.path("etc/gshadow").chmod(0o600)
    before = guest.snapshot()
    accounts(guest).create_user(AZURE)
    after = guest.snapshot(without=("/var/lib/azurelite",))
    for name in ("passwd", "shadow", "group", "gshadow"):
        assert after[f"/etc/{name}"][:3] == before[f"/etc/{name}"][:3]
    assert set(after) - set(before) == {"/etc/.pwd.lock", "/home/azure", "/home/azure/.profile"}


class TestNumbers:
    @pytest.mark.parametrize(
        ("defs", "taken", "uid"),
        [
            (None, [], 1000),
            (None, [1000, 1001], 1002),
            (None, [1000, 1002], 1001),
            (None, [59999], 1000),
            ("UID_MIN 500\nUID_MAX 600\n", [], 500),
            ("UID_MIN\t\t 2000\n", [2000], 2001),
            ("# UID_MIN 500\n#UID_MIN 501\n", [], 1000),
            ("UID_MIN many\nUID_MAX\n", [], 1000),
            ("UID_MIN 1000\nUID_MIN 3000\n", [], 3000),
            ("", [], 1000),
        ],
    )
    def test_the_lowest_free_number_of_the_range_is_taken(
        self, guest: Guest, defs: Optional[str], taken: list[int], uid: int
    ) -> None:
        guest.put({"etc/passwd": BASE["etc/passwd"] + "".join(f"u{n}:x:{n}:9::/:/bin/sh\n" for n in taken)})
        if defs is not None:
            guest.put({"etc/login.defs": defs})
        edit(guest).add_user(AZURE)
        assert lines(guest, "etc/passwd")[-1] == f"azure:x:{uid}:{uid}::/home/azure:/bin/sh"

    @pytest.mark.parametrize(("groups", "gid"), [([], 1000), ([1001], 1000), ([1000], 1001), ([1000, 1001], 1002)])
    def test_the_groups_number_is_the_users_where_that_is_free(self, guest: Guest, groups: list[int], gid: int) -> None:
        guest.put({"etc/group": BASE["etc/group"] + "".join(f"g{n}:x:{n}:\n" for n in groups)})
        edit(guest).add_user(AZURE)
        assert lines(guest, "etc/passwd")[-1].split(":")[2:4] == ["1000", str(gid)]
        assert lines(guest, "etc/group")[-1] == f"azure:x:{gid}:"

    def test_a_range_that_is_used_up_is_said_and_changes_nothing(self, guest: Guest) -> None:
        guest.put({"etc/login.defs": "UID_MIN 1000\nUID_MAX 1001\n"})
        guest.put({"etc/passwd": BASE["etc/passwd"] + "a:x:1000:9::/:/bin/sh\nb:x:1001:9::/:/bin/sh\n"})
        before = guest.snapshot()
        with pytest.raises(MachineError, match="/etc/passwd has no free number between 1000 and 1001"):
            edit(guest).add_user(AZURE)
        assert guest.snapshot(without=("/etc/.pwd.lock",)) == before

    def test_a_new_group_takes_the_range_of_groups(self, guest: Guest) -> None:
        guest.put({"etc/login.defs": "UID_MIN 1000\nGID_MIN 700\n"})
        assert login_range(System(guest.root).files, "GID") == (700, 60000)
        edit(guest).add_group("docker")
        assert lines(guest, "etc/group")[-1] == "docker:x:700:"
        assert lines(guest, "etc/gshadow")[-1] == "docker:!::"


class TestGroups:
    def test_an_existing_group_of_the_name_becomes_the_primary_one(self, guest: Guest) -> None:
        guest.put({"etc/group": BASE["etc/group"] + "azure:x:777:friend\n"})
        edit(guest).add_user(NewUser("azure", "/home/azure", "/bin/sh", primary_group="azure"))
        assert lines(guest, "etc/passwd")[-1] == "azure:x:1000:777::/home/azure:/bin/sh"
        assert lines(guest, "etc/group")[-1] == "azure:x:777:friend"

    def test_ensure_group_makes_it_once(self, guest: Guest) -> None:
        system = accounts(guest)
        assert [system.ensure_group("docker"), system.ensure_group("docker"), system.ensure_group("wheel")] == [
            True,
            False,
            False,
        ]
        assert [line for line in lines(guest, "etc/group") if line.startswith("docker")] == ["docker:x:1000:"]

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("wheel:x:10:", "wheel:x:10:u"),
            ("wheel:x:10:a", "wheel:x:10:a,u"),
            ("wheel:x:10:uu,au", "wheel:x:10:uu,au,u"),
        ],
    )
    def test_a_user_is_added_to_a_group_once(self, guest: Guest, before: str, after: str) -> None:
        guest.put({"etc/group": f"{before}\nother:x:11:\n", "etc/passwd": "u:x:1000:1000::/home/u:/bin/sh\n"})
        user = accounts(guest).user("u")
        assert user is not None
        assert accounts(guest).ensure_member(user, "wheel")
        assert lines(guest, "etc/group") == [after, "other:x:11:"]
        again = guest.snapshot()
        assert not accounts(guest).ensure_member(user, "wheel")
        assert guest.snapshot() == again

    def test_the_own_group_counts_as_joined(self, guest: Guest) -> None:
        guest.put({"etc/passwd": "u:x:1000:10::/home/u:/bin/sh\n"})
        user = accounts(guest).user("u")
        assert user is not None
        assert accounts(guest).groups_of("u") == {"wheel"}
        assert not accounts(guest).ensure_member(user, "wheel")


class TestHome:
    def test_it_comes_from_skel_with_modes_and_belongs_to_the_user(self, guest: Guest) -> None:
        guest.put({"etc/skel/.config/app/rc": "x", "etc/skel/run.sh": "#!"})
        guest.path("etc/skel/run.sh").chmod(0o755)
        guest.path("etc/skel/.config").chmod(0o710)
        accounts(guest).create_user(AZURE)
        below = {k: v for k, v in guest.snapshot().items() if k.startswith("/home/azure")}
        owner = (1000, 1000) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        assert {value[1:3] for value in below.values()} == {owner}
        assert {k.removeprefix("/home/azure"): stat.S_IMODE(v[0]) for k, v in below.items()} == {
            "": 0o700,
            "/.profile": guest.mode("etc/skel/.profile"),
            "/.config": 0o710,
            "/.config/app": guest.mode("etc/skel/.config/app"),
            "/.config/app/rc": guest.mode("etc/skel/.config/app/rc"),
            "/run.sh": 0o755,
        }

    def test_one_that_was_somebodys_is_not_touched_inside(self, guest: Guest) -> None:
        guest.put({"home/azure/mine": "kept"}).path("home/azure").chmod(0o750)
        guest.put({"etc/passwd": BASE["etc/passwd"] + "old:x:1500:1500::/home/old:/bin/sh\n"})
        os.chown(guest.path("home/azure"), os.geteuid() or 1500, -1)
        before = {k: v for k, v in guest.snapshot().items() if k.startswith("/home")}
        accounts(guest).create_user(AZURE)
        assert {k: v for k, v in guest.snapshot().items() if k.startswith("/home")} == before

    def test_one_of_roots_is_given_to_the_user_and_completed(self, guest: Guest) -> None:
        # A crash between making the folder and giving it away leaves this, and so does an image's preparation.
        guest.put({"home/azure/mine": "kept", "home/azure/.profile": "kept too"}).put({"etc/skel/.new": "new"})
        accounts(guest).create_user(AZURE)
        as_root = os.geteuid() == 0
        assert guest.path("home/azure").stat().st_uid == (1000 if as_root else os.geteuid())
        found = {path.name: path.read_text() for path in guest.path("home/azure").iterdir()}
        assert found == {"mine": "kept", ".profile": "kept too", **({".new": "new"} if as_root else {})}

    @pytest.mark.parametrize("target", ["/etc", "../etc", "/nowhere"])
    def test_a_link_in_its_place_is_refused_and_its_target_untouched(self, guest: Guest, target: str) -> None:
        guest.path("home/azure").symlink_to(target)
        before = guest.snapshot()
        if os.geteuid() == 0:  # the link of an ordinary user, who runs this, counts as a home kept from before
            with pytest.raises(FileError, match="/home/azure"):
                accounts(guest).create_user(AZURE)
            assert "azure" not in guest.text("etc/passwd")
        after = guest.snapshot()
        for path in ("/etc", "/etc/skel", "/home/azure", "/home"):
            assert after[path] == before[path]
        assert "/nowhere" not in after

    def test_links_in_skel_are_left_out_and_lead_nowhere(self, guest: Guest, tmp_path: Path) -> None:
        (tmp_path / "outside").write_text("the host's")
        for name, target in {"loop": ".", "up": "..", "file": "/etc/shadow", "host": str(tmp_path / "outside")}.items():
            guest.path(f"etc/skel/{name}").symlink_to(target)
        accounts(guest).create_user(AZURE)
        assert os.listdir(guest.path("home/azure")) == [".profile"]

    def test_without_skel_it_is_empty(self, guest: Guest) -> None:
        shutil.rmtree(guest.path("etc/skel"))
        accounts(guest).create_user(AZURE)
        assert os.listdir(guest.path("home/azure")) == []

    def test_a_missing_parent_is_made(self, guest: Guest) -> None:
        shutil.rmtree(guest.path("home"))
        accounts(guest).create_user(AZURE)
        assert (guest.mode("home"), guest.mode("home/azure")) == (0o755, 0o700)

    def test_a_fifo_in_skel_is_left_out(self, guest: Guest) -> None:
        os.mkfifo(guest.path("etc/skel/pipe"))
        accounts(guest).create_user(AZURE)
        assert os.listdir(guest.path("home/azure")) == [".profile"]


@pytest.mark.parametrize("absent", [("shadow",), ("gshadow",), ("shadow", "gshadow")])
def test_files_that_a_guest_does_without_are_not_made(guest: Guest, absent: tuple[str, ...]) -> None:
    for name in absent:
        guest.path(f"etc/{name}").unlink()
    accounts(guest).create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",)))
    assert not any(guest.path(f"etc/{name}").exists() for name in absent)
    # Without shadow the lock stands in passwd itself: an `x` there would promise a line that is nowhere.
    assert lines(guest, "etc/passwd")[-1].split(":")[1] == ("*" if "shadow" in absent else "x")
    assert accounts(guest).groups_of("azure") == {"wheel", "azure"}


@pytest.mark.parametrize(
    "leftovers",
    [
        {"etc/shadow": "azure:!!:1:2:3:4:::\n"},
        {"etc/gshadow": "azure:!::\n"},
        {"etc/gshadow": "azure:!::\n", "etc/group": "azure:x:1000:\n"},
        {"etc/gshadow": "azure:!::\n", "etc/group": "azure:x:1000:\n", "etc/shadow": "azure:*::0:99999:7:::\n"},
    ],
)
def test_what_a_crash_left_behind_is_replaced_and_not_doubled(guest: Guest, leftovers: dict[str, str]) -> None:
    guest.put({name: BASE[name] + text for name, text in leftovers.items()})
    own = "azure" if "etc/group" in leftovers else None
    accounts(guest).create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",), primary_group=own))
    for name, line in {
        "etc/passwd": "azure:x:1000:1000::/home/azure:/bin/sh",
        "etc/shadow": "azure:*::0:99999:7:::",
        "etc/group": "azure:x:1000:",
        "etc/gshadow": "azure:!::",
    }.items():
        assert [found for found in lines(guest, name) if found.startswith("azure:")] == [line], name


class TestForeignLines:
    ODD = (
        b"# a comment\n\n  \n+::::::\n-nis\nshort:x:5\nlong:x:6:6:a:b:c:d:e\nno-number:x:abc:1::/:/bin/sh\n"
        b"minus:x:-1:-1::/:/bin/sh\nsquare:x:\xc2\xb2:1::/:/bin/sh\n"
        b"latin:x:900:900:J\xf6rg \xff\xfe:/home/latin:/bin/sh\n:x:0:0:::\nempty-shell:x:901:901::/home/e:\n"
    )

    @pytest.mark.parametrize("name", ["passwd", "group", "shadow", "gshadow"])
    def test_odd_lines_are_kept_byte_for_byte(self, guest: Guest, name: str) -> None:
        path = guest.path(f"etc/{name}")
        before = path.read_bytes() + self.ODD
        path.write_bytes(before)
        accounts(guest).create_user(AZURE)
        after = path.read_bytes()
        assert after.startswith(before)
        assert after[len(before) :].startswith(b"azure:")
        assert after.count(b"\n") == before.count(b"\n") + 1

    @pytest.mark.parametrize("name", ["passwd", "group", "shadow", "gshadow"])
    def test_only_a_newline_ends_a_line(self, guest: Guest, name: str) -> None:
        # A user may set the comment of his own entry: it must not become an entry of its own.
        path = guest.path(f"etc/{name}")
        comments = [f"a{end}evil:x:0:0::/:/bin/sh" for end in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"]
        before = path.read_bytes() + "".join(f"old:x:900:900:{text}\n" for text in comments).encode()
        path.write_bytes(before)
        made = accounts(guest)
        made.create_user(AZURE)
        assert path.read_bytes().startswith(before)
        assert made.user("evil") is None

    def test_lines_of_other_groups_are_kept_when_one_changes(self, guest: Guest) -> None:
        path = guest.path("etc/group")
        path.write_bytes(self.ODD + b"wheel:x:10:\n" + self.ODD)
        accounts(guest).create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",)))
        assert path.read_bytes() == self.ODD + b"wheel:x:10:azure\n" + self.ODD + b"azure:x:1000:\n"

    def test_a_missing_final_newline_is_added(self, guest: Guest) -> None:
        guest.put({"etc/passwd": BASE["etc/passwd"].rstrip("\n")})
        accounts(guest).create_user(AZURE)
        assert guest.text("etc/passwd") == BASE["etc/passwd"] + "azure:x:1000:1000::/home/azure:/bin/sh\n"

    def test_a_name_that_starts_like_another_is_another(self, guest: Guest) -> None:
        guest.put({"etc/shadow": BASE["etc/shadow"] + "azure2:$6$kept:1::::::\n"})
        accounts(guest).create_user(AZURE)
        assert "azure2:$6$kept:1::::::" in lines(guest, "etc/shadow")

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("u:x:1000:1001:Name,,,:/home/u:/bin/zsh", User("u", 1000, 1001, "/home/u", "/bin/zsh")),
            ("u:x:1000:1001:::", User("u", 1000, 1001, "/", "")),
            ("u:x:abc:def::/home/u:/bin/sh", User("u", 0, 0, "/home/u", "/bin/sh")),
            ("u:x:1000:1001", User("u", 1000, 1001, "/", "")),
            ("#u:x:1000:1001::/home/u:/bin/sh", None),
            ("uu:x:1000:1001::/home/u:/bin/sh", None),
        ],
    )
    def test_an_account_is_read_as_passwd_tells_it(self, guest: Guest, line: str, expected: Optional[User]) -> None:
        guest.put({"etc/passwd": f"{line}\n"})
        assert accounts(guest).user("u") == expected


@pytest.mark.parametrize(
    ("line", "defs", "expected"),
    [
        ("u:x:0:0::/:/bin/sh", "", True),
        ("u:x:999:999::/:/bin/sh", "", True),
        ("u:x:1000:1000::/:/bin/sh", "", False),
        ("u:x:65534:65534::/:/bin/sh", "", True),
        ("u:x:65535:65535::/:/bin/sh", "", True),
        ("u:x:500:500::/:/bin/sh", "UID_MIN 500\n", False),
        ("u:x:499:500::/:/bin/sh", "UID_MIN 500\n", True),
        ("u:x:1000:0::/:/bin/sh", "", False),
        ("u:x:broken:0::/:/bin/sh", "", True),
        ("u:x:200000:1::/:/bin/sh", "", False),
    ],
)
def test_the_systems_accounts_are_told_from_peoples_by_number(
    guest: Guest, line: str, defs: str, expected: bool
) -> None:
    guest.put({"etc/passwd": f"{line}\n", "etc/login.defs": defs})
    user = accounts(guest).user("u")
    assert user is not None
    assert accounts(guest).is_system_account(user) is expected


class TestDryRun:
    def test_nothing_changes_and_later_steps_see_the_account(self, guest: Guest) -> None:
        before = guest.snapshot()
        system = System(guest.root, dry_run=True)
        assert system.accounts.ensure_group("docker")
        assert not system.accounts.ensure_group("docker")
        made = system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("docker",)))
        assert system.accounts.user("azure") == made
        assert system.accounts.has_group("docker")
        assert not system.accounts.is_system_account(made)
        assert system.files.is_dir("/home/azure")
        assert guest.snapshot() == before

    def test_the_records_are_those_of_the_real_run(self, guest: Guest) -> None:
        guest.put({"etc/passwd": BASE["etc/passwd"] + "old:x:1000:1000::/home/old:/bin/sh\n"})
        records = []
        for dry_run in (True, False):
            system = System(guest.root, dry_run=dry_run, clock=FastClock())
            system.accounts.ensure_group("docker")
            system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("docker",)))
            old = system.accounts.user("old")
            assert old is not None
            system.accounts.ensure_member(old, "wheel")
            records.append([str(change) for change in system.journal.since(0)])
        assert records[0] == records[1]
        assert records[0] == [
            "create group docker",
            "create user azure (home /home/azure, shell /bin/sh, groups docker)",
            "add user old to group wheel",
        ]


HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


class TestLock:
    def test_it_is_root_only_and_let_go(self, guest: Guest) -> None:
        edit(guest).add_group("a")
        edit(guest).add_group("b")
        assert guest.mode("etc/.pwd.lock") == 0o600

    @pytest.mark.spawns
    def test_another_program_that_holds_it_is_waited_for_and_then_named(self, guest: Guest) -> None:
        before = guest.snapshot()
        clock = FastClock()
        acts: list[Callable[[], object]] = [
            lambda: edit(guest, clock).add_user(AZURE),
            lambda: edit(guest, clock).add_group("docker"),
            lambda: edit(guest, clock).join("azure", "wheel"),
        ]
        argv = [sys.executable, "-S", "-c", HOLD, str(guest.path("etc/.pwd.lock"))]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            for act in acts:
                clock.slept.clear()
                with pytest.raises(FileError, match=r"find it with `fuser"):
                    act()
                assert 14 < sum(clock.slept) < 16
        assert guest.snapshot(without=("/etc/.pwd.lock",)) == before
        edit(guest).add_group("docker")

    def test_a_link_in_its_place_is_followed_only_inside(self, guest: Guest, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_text("kept")
        guest.path("etc/.pwd.lock").symlink_to(outside)
        with pytest.raises(FileError, match=r"cannot lock /etc/.pwd.lock"):
            edit(guest).add_group("docker")
        assert outside.read_text() == "kept"

    def test_a_root_without_etc_cannot_be_locked(self, guest: Guest) -> None:
        shutil.rmtree(guest.path("etc"))
        with pytest.raises(FileError, match=r"cannot lock /etc/.pwd.lock: No such file or directory"):
            edit(guest).add_user(AZURE)


def test_etc_as_an_absolute_link_is_edited_inside_the_root(guest: Guest, tmp_path: Path) -> None:
    outside = Guest(tmp_path / "outside").put({**BASE, "etc/login.defs": "UID_MIN 3000\n"})
    target = str(outside.path("etc"))
    guest.put({"etc/login.defs": "UID_MIN 2000\n"})
    guest.path(target).parent.mkdir(parents=True)
    guest.path("etc").rename(guest.path(target))
    guest.path("etc").symlink_to(target)
    before = outside.snapshot()
    # As root too this is a direct edit: `--prefix` would follow the link out of the root. No mark `spawns` here.
    made = accounts(guest).create_user(AZURE)
    assert made.uid == 2000
    assert "azure:x:2000:2000::/home/azure:/bin/sh" in lines(guest, f"{target}/passwd")
    assert outside.snapshot() == before
