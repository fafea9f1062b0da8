"""Accounts on a live system: shadow-utils, BusyBox, PAM, sudo and doas themselves say what they think of the result.

The machine is a set of namespaces that ends with the test; its `/` is this one's under an overlay.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import ED25519
from needs import needs

HERE = Path(__file__).parent
STAGE = 'mount --make-rprivate / && mount -t tmpfs stage /run && exec "$@"'
BUSYBOX = Path(os.environ.get("AZURELITE_BUSYBOX", "/var/cache/azurelite-busybox/busybox"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

needs_busybox = pytest.mark.skipif(
    not BUSYBOX.exists(), reason="needs a BusyBox with adduser: tests/live/build_busybox.sh builds one"
)
needs_doas = pytest.mark.skipif(shutil.which("doas", path=PATH) is None, reason="needs doas: install opendoas")

# What stands in the guest's way to each kind of tools.
HIDE_SHADOW = "rm -f /usr/sbin/useradd /usr/sbin/usermod /usr/sbin/groupadd /sbin/useradd\n"
HIDE_ALL = HIDE_SHADOW + "rm -f /usr/sbin/chpasswd\n"
WITH_BUSYBOX = HIDE_ALL + (
    "cp /run/busybox /usr/local/bin/busybox\n"
    "for name in adduser addgroup chpasswd; do ln -s busybox /usr/local/bin/$name; done\n"
)
TOOLS = [
    pytest.param("", id="shadow"),
    pytest.param(HIDE_ALL, id="edit"),
    pytest.param(WITH_BUSYBOX, id="busybox", marks=needs_busybox),
]

PASSWORD = "pa:ss %s wörd$1 'q\" \\x"
ADMIN = {"username": "Liv.e-1", "password": PASSWORD}
Stage = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def stage(namespaces: list[str]) -> Stage:
    """Take steps in a guest that `setup` has prepared; a list with what came of each."""

    def run(setup: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        job = {"setup": setup, "steps": list(steps), "busybox": str(BUSYBOX) if BUSYBOX.exists() else None}
        command = [*namespaces, "sh", "-c", STAGE, "stage", sys.executable, str(HERE / "accounts_driver.py")]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        results: list[dict[str, Any]] = json.loads(done.stdout)
        return results

    return run


def sh(script: str) -> dict[str, Any]:
    """A step that looks around in the guest."""
    return {"sh": script}


def apply(*handlers: Any, dry: bool = False, **metadata: Any) -> dict[str, Any]:
    """A step that applies handlers: a name, or a name with options."""
    entries = [entry if isinstance(entry, list) else [entry, {}] for entry in handlers]
    return {"apply": entries, "metadata": metadata or ADMIN, "dry": dry}


def enter(name: str, password: str) -> dict[str, Any]:
    """A step in which nobody asks PAM for the account, by su."""
    quoted = "'" + password.replace("'", "'\\''") + "'"
    return sh(
        f"printf '%s\\n' {quoted} | setpriv --reuid 65534 --regid 65534 --clear-groups su {name} -c 'id -un; pwd'"
    )


@pytest.mark.parametrize("setup", [*TOOLS, pytest.param("rm -f /usr/bin/sudo /usr/sbin/visudo\n", id="no-sudo")])
def test_the_administrator_is_created_with_the_available_tools_and_logs_in_with_azures_password(
    stage: Stage, setup: str
) -> None:
    wish = ["user", {"groups": ["livegroup", "audio"], "create_groups": True, "shell": "/bin/sh", "home_mode": "0750"}]
    told, made, look, entered, wrong, again = stage(
        setup,
        apply(wish, dry=True),
        apply(wish),
        sh("getent passwd Liv.e-1; stat -c '%U %a' /home/Liv.e-1; id -Gn Liv.e-1; ls -A /home/Liv.e-1 /etc/skel"),
        enter("Liv.e-1", PASSWORD),
        enter("Liv.e-1", "pa"),
        apply(wish),
    )
    assert made["errors"] == []
    assert told == made
    assert len([change for change in made["changes"] if "set the password" in change]) == 1
    passwd, home, groups, *_ = look["out"].splitlines()
    assert re.match(r"Liv.e-1:x:1[0-9]{3}:1[0-9]{3}:", passwd)
    assert passwd.endswith(":/home/Liv.e-1:/bin/sh")
    assert home == "Liv.e-1 750"
    assert set(groups.split()) == {"Liv.e-1", "livegroup", "audio"}
    assert (entered["code"], entered["out"].split("\n")[0]) == (0, "Liv.e-1"), entered
    assert wrong["code"] != 0
    assert again["changes"] == []
    assert PASSWORD not in str([told, made, again])


BROKEN = "for name in {tools}; do printf '#!/bin/sh\\nexit {status}\\n' > /usr/sbin/$name; done\n"
CRASHES = "for name in {tools}; do printf '#!/bin/sh\\nkill -SEGV $$\\n' > /usr/sbin/$name; done\n"
ALL = "useradd usermod groupadd chpasswd"


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(BROKEN.format(tools="useradd usermod groupadd", status=127), id="shadow lacks a library"),
        pytest.param(BROKEN.format(tools="chpasswd", status=127), id="chpasswd lacks a library"),
        pytest.param(BROKEN.format(tools="useradd", status=126), id="useradd may not run"),
        pytest.param(CRASHES.format(tools=ALL), id="all crash"),
        pytest.param("for name in useradd chpasswd; do echo junk > /usr/sbin/$name; done\n", id="of another processor"),
        pytest.param(
            WITH_BUSYBOX.replace(HIDE_ALL, "") + BROKEN.format(tools=ALL, status=127),
            id="shadow beside BusyBox",
            marks=needs_busybox,
        ),
        pytest.param(
            WITH_BUSYBOX + "printf '#!/bin/sh\\nexit 127\\n' > /usr/local/bin/busybox\n",
            id="BusyBox without its library",
            marks=needs_busybox,
        ),
    ],
)
def test_tools_that_this_machine_cannot_run_are_passed_over(stage: Stage, setup: str) -> None:
    wish = ["user", {"groups": ["livegroup"], "create_groups": True, "shell": "/bin/sh"}]
    made, look, entered, again = stage(
        setup,
        apply(wish),
        sh("getent passwd Liv.e-1; stat -c '%U' /home/Liv.e-1; id -Gn Liv.e-1; grep -c Liv.e-1 /etc/shadow"),
        enter("Liv.e-1", PASSWORD),
        apply(wish),
    )
    assert made["errors"] == []
    passwd, owner, groups, count = look["out"].splitlines()
    assert passwd.endswith(":/home/Liv.e-1:/bin/sh")
    assert (owner, set(groups.split()), count) == ("Liv.e-1", {"Liv.e-1", "livegroup"}, "1")
    assert (entered["code"], entered["out"].split("\n")[0]) == (0, "Liv.e-1"), entered
    assert again["changes"] == []


# What a power cut inside useradd leaves.
OLD = "touch -d '2 years ago' /etc/$name.lock\n"
SLEEPS = "sleep 300 >/dev/null 2>&1 </dev/null &\n"
STALE = {
    "of a process that has ended": "printf '4194000\\0' > /etc/passwd.lock\n",
    "without a number, for its data were not on the disk": ": > /etc/shadow.lock\n",
    "of a number that another process has now": f"{SLEEPS}name=group; printf '%s\\0' $! > /etc/group.lock; {OLD}",
    "of the first process, older than this boot": f"name=gshadow; printf '1\\0' > /etc/gshadow.lock; {OLD}",
    "all of them, and temporary files": "for name in passwd group shadow gshadow subuid subgid; do\n"
    f"printf '1\\0' > /etc/$name.lock; echo x > /etc/$name.4194000; echo x > /etc/$name+; {OLD}done\n",
}


@pytest.mark.parametrize("tools", TOOLS)
@pytest.mark.parametrize("left", STALE.values(), ids=STALE)
def test_locks_that_a_power_cut_left_do_not_last(stage: Stage, left: str, tools: str) -> None:
    dry, made, look = stage(tools + left, apply("user", dry=True), apply("user"), sh("id -un Liv.e-1; ls -A /etc"))
    assert made["errors"] == []
    assert dry["changes"] == made["changes"]
    user, *names = look["out"].splitlines()
    assert user == "Liv.e-1"
    left_over = [
        name for name in names if re.fullmatch("(passwd|group|g?shadow|sub[ug]id)([.]lock|[.][0-9]+|[+])", name)
    ]
    assert left_over == []


def test_the_lock_of_a_program_at_work_is_respected(stage: Stage) -> None:
    """Its process made it and still runs; the C library's lock is free."""
    made, look = stage(f"{SLEEPS}echo $! > /etc/passwd.lock\n", apply("user"), sh("ls /etc/passwd.lock; id Liv.e-1"))
    assert "passwd" in str(made["errors"])
    assert "/etc/passwd.lock" in look["out"]


# A useradd that does its work, of which a power cut takes a part, and with it the run.
CUT = """mv /usr/sbin/useradd /usr/sbin/useradd.real
cat > /usr/sbin/useradd <<'EOF'
#!/bin/sh
mv -f /usr/sbin/useradd.real /usr/sbin/useradd
useradd "$@"
set -e
%s
kill -9 $PPID
EOF
chmod 755 /usr/sbin/useradd
"""
CUTS = {
    "nothing": "userdel -r Liv.e-1",
    "the passwd line alone": "rm -r /home/Liv.e-1; cd /etc; sed -i /^Liv/d shadow group gshadow subuid subgid",
    "no home": "rm -r /home/Liv.e-1",
    "a home of nobody's yet": "rm -r /home/Liv.e-1; mkdir -m 0 /home/Liv.e-1",
    "a home without rights": "rm -r /home/Liv.e-1; mkdir -m 0 /home/Liv.e-1; chown Liv.e-1: /home/Liv.e-1",
    "a home without files": "rm /home/Liv.e-1/.[a-z]*",
    "half of the files": "rm /home/Liv.e-1/.profile",
    "no gshadow": "sed -i '/^Liv/d; s/,Liv.e-1//; s/Liv.e-1//' /etc/gshadow",
    "all": "true",
}
STATE = """getent passwd Liv.e-1 | cut -d: -f5-; grep ^Liv.e-1: /etc/shadow | cut -d: -f2 | cut -c1-3; id -Gn Liv.e-1
grep -e ^Liv.e-1: -e ^audio: /etc/gshadow; stat -c '%U %G %a' /home/Liv.e-1
cd /home/Liv.e-1; find . -printf '%P %u %m %s\\n' | sort"""


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_an_account_after_a_crash_is_that_of_an_uninterrupted_run(stage: Stage, cut: str) -> None:
    wish = ["user", {"groups": ["audio"], "shell": "/bin/sh"}]
    made, expected, _, broken, second, look, again = stage(
        "",
        apply(wish),
        sh(STATE),
        sh("userdel -r Liv.e-1; " + CUT % cut),
        apply(wish),
        apply(wish),
        sh(STATE),
        apply(wish),
    )
    assert made["errors"] == []
    assert broken.get("code") not in (0, None), broken  # killed
    assert second["errors"] == []
    assert look["out"] == expected["out"]
    assert again["changes"] == []


@needs("sudo", "visudo")
@pytest.mark.parametrize("setup", TOOLS)
def test_sudo_lets_the_administrator_be_root(stage: Stage, setup: str) -> None:
    made, sudo = stage(setup, apply("user"), sh("sudo -l -U Liv.e-1"))
    assert made["errors"] == []
    assert "(ALL : ALL) NOPASSWD: ALL" in sudo["out"]


@pytest.mark.parametrize("setup", TOOLS)
def test_without_a_password_password_login_is_locked_and_key_login_works(stage: Stage, setup: str) -> None:
    made, shadow, home, refused = stage(
        setup,
        apply("user", username="keyed"),
        sh("getent shadow keyed | cut -d: -f2"),
        sh("stat -c '%U %G %a' /home/keyed; ls -A /home/keyed | sort; ls -A /etc/skel | sort"),
        enter("keyed", ""),
    )
    assert made["errors"] == []
    assert shadow["out"] == "*\n"
    owner, *files = home["out"].splitlines()
    assert owner == "keyed keyed 700" or (setup == "" and owner.startswith("keyed keyed "))
    assert files[: len(files) // 2] == files[len(files) // 2 :]
    assert refused["code"] != 0


ADOPTED = [  # what is stored, the wish, and whether it becomes Azure's password
    ("*", {}, True),
    ("!", {}, True),
    ("$6$old$hash", {}, False),
    ("!$6$old$hash", {}, False),
    ("$6$old$hash", {"password": "always"}, True),
    ("*", {"password": "never"}, False),
]


@pytest.mark.parametrize("setup", TOOLS)
def test_an_adopted_account_gets_the_password_only_where_it_has_none(stage: Stage, setup: str) -> None:
    steps = []
    for number, (before, options, _) in enumerate(ADOPTED):
        name = f"liv{number}"
        setup += f"""
        echo '{name}:x:{1500 + number}:100::/home/{name}:/bin/sh' >> /etc/passwd
        echo '{name}:{before}:19000:0:99999:7:::' >> /etc/shadow
        mkdir /home/{name} && chown {1500 + number}:100 /home/{name}
        """
        wish: list[Any] = ["user", {"sudo": "none", **options}]
        admin: dict[str, Any] = {"username": name, "password": "azure-Pass"}
        look = [sh(f"getent shadow {name} | cut -d: -f2"), enter(name, "azure-Pass")]
        steps += [apply(wish, dry=True, **admin), apply(wish, **admin), *look, apply(wish, **admin)]
    results = stage(setup, *steps)
    for number, (before, options, changed) in enumerate(ADOPTED):
        told, made, stored, entered, again = results[number * 5 : number * 5 + 5]
        assert told == made
        assert made["changes"] == ([f"set the password (user liv{number})"] if changed else [])
        assert bool(made["notes"]) is (not changed and not options)
        assert (stored["out"] == f"{before}\n") is not changed
        assert (entered["code"] == 0) is changed
        assert again["changes"] == []


def test_a_password_that_pam_rejects_is_an_error_that_does_not_repeat_it(stage: Stage) -> None:
    strict = "echo 'password required pam_deny.so' > /etc/pam.d/chpasswd"
    made, shadow = stage(strict, apply("user"), sh("getent shadow Liv.e-1 | cut -d: -f2"))
    (error,) = made["errors"]
    assert error.startswith("cannot set the password of Liv.e-1: chpasswd failed with status ")
    assert PASSWORD not in error
    assert shadow["out"] == "*\n"


def test_where_selinux_is_on_restorecon_labels_a_home_that_the_direct_edit_made(stage: Stage) -> None:
    shim = "printf '#!/bin/sh\\necho \"$@\" >> /run/labelled\\n' > /usr/local/sbin/restorecon\n"
    shim += "chmod 755 /usr/local/sbin/restorecon; mkdir -p /sys/fs/selinux; echo 1 > /sys/fs/selinux/enforce\n"
    made, _, log = stage(HIDE_ALL + shim, apply("user"), apply("user"), sh("cat /run/labelled"))
    assert made["errors"] == []
    assert log["out"] == "-R -- /home/Liv.e-1\n"


def test_debians_adduser_is_not_mistaken_for_busyboxs(stage: Stage) -> None:
    fake = HIDE_ALL + "printf '#!/bin/sh\nexit 9\n' > /usr/local/sbin/adduser; chmod 755 /usr/local/sbin/adduser\n"
    made, look = stage(fake + "cp /usr/local/sbin/adduser /usr/local/sbin/addgroup", apply("user"), sh("id Liv.e-1"))
    assert made["errors"] == []
    assert look["code"] == 0


HOLD = """python3 -c '
import fcntl, time
lock = open("/etc/.pwd.lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
open("/run/held", "w").close()
time.sleep(100)
' > /dev/null 2>&1 &
while [ ! -e /run/held ]; do sleep 0.1; done
"""


@pytest.mark.parametrize("setup", TOOLS)
def test_tables_locked_by_another_program_are_an_error_and_not_changed(stage: Stage, setup: str) -> None:
    sums = sh("cat /etc/passwd /etc/shadow /etc/group /etc/gshadow | sha256sum; ls /home /etc/sudoers.d")
    before, made, after = stage(setup + HOLD, sums, {**apply("user"), "wait": 3}, sums)
    (error,) = made["errors"]
    assert "find it with `fuser" in error
    assert before["out"] == after["out"]


READ_ONLY = "mount --bind /etc /etc; mount -o remount,ro,bind /etc\n"


@pytest.mark.parametrize("setup", TOOLS)
def test_a_read_only_etc_is_named_in_the_error(stage: Stage, setup: str) -> None:
    wish = ["user", {"groups": ["livegroup"], "create_groups": True, "sudo": "none"}]
    made, look = stage(setup + READ_ONLY, apply(wish), sh("grep -l live /etc/group; ls -d /home/Liv*"))
    (error,) = made["errors"]
    assert error == "cannot lock /etc/.pwd.lock: Read-only file system"
    assert look["out"] == ""


def test_a_read_only_etc_leaves_no_mount_point_and_no_swap_file(stage: Stage) -> None:
    mounts = ["mounts", {"entries": [{"device": "tmpfs", "path": "/zz/point", "type": "tmpfs"}]}]
    wishes = [mounts, ["swap", {"size": "1M", "path": "/zz/swapfile"}]]
    told, made, look = stage(READ_ONLY, apply(*wishes, dry=True), apply(*wishes), sh("ls /zz; cat /proc/swaps"))
    assert told == made
    assert (
        made["errors"]
        == ["cannot write /etc/fstab: Read-only file system: mount it writable before azurelite starts"] * 2
    )
    assert made["changes"] == []
    assert "/zz" not in look["out"]


@needs("sudo", "visudo")
@pytest.mark.parametrize("setup", TOOLS)
def test_more_accounts_and_their_rules(stage: Stage, setup: str) -> None:
    accounts = [
        {"name": "alice", "sudo": "password", "plain_text_password": "alice-Pass", "ssh_authorized_keys": [ED25519]},
        {"name": "bob", "uid": 2005, "expire_date": "2001-01-01", "plain_text_password": "bob-Pass"},
        {"name": "svc", "system": True, "create_home": False, "sudo_rules": ["ALL=(root) NOPASSWD: /bin/true"]},
        {"name": "mallory", "sudo_rules": ["ALL=(ALL NOPASSWD ALL"]},
        {"name": "root", "groups": ["audio"]},
    ]
    groups = [{"name": "crew", "members": ["alice", "daemon"]}]
    wish = ["users", {"groups": groups, "accounts": accounts}]
    told, made, look, alice, bob, again = stage(
        setup,
        apply(wish, dry=True),
        apply(wish),
        sh("getent group crew; id -u svc bob; sudo -l -U alice; sudo -l -U svc; visudo -c; cat /etc/sudoers.d/90*"),
        enter("alice", "alice-Pass"),
        enter("bob", "bob-Pass"),
        apply(wish),
    )
    assert told == made
    (error,) = made["errors"]
    assert "accounts[3] 'mallory': visudo rejects the rules of mallory" in error
    assert "accounts[4] 'root': it is a system account" in error
    lines = look["out"].splitlines()
    assert lines[0].endswith(":alice,daemon")
    assert 100 <= int(lines[1]) < 1000
    assert lines[2] == "2005"
    assert "(ALL : ALL) ALL" in look["out"]
    assert "(root) NOPASSWD: /bin/true" in look["out"]
    assert "mallory" not in look["out"]
    assert alice["code"] == 0, alice
    assert bob["code"] != 0  # his account has expired
    assert again["changes"] == []


def test_passwords_are_set_hashed_or_plain_and_made_to_expire(stage: Stage) -> None:
    users = [
        {"name": "one", "password": "one-Pass", "type": "text"},
        {"name": "two", "password": "$6$saltsalt$"},
        {"name": "three", "type": "RANDOM"},
    ]
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input="two-Pass\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    users[1]["password"] = hashed
    wish = ["passwords", {"users": users, "expire": True}]
    told, made, ages, again, one, two = stage(
        "for name in one two three; do useradd -m $name; done",
        apply(wish, dry=True),
        apply(wish),
        sh("chage -l one | head -1; chage -l two | head -1; chage -l three | head -1"),
        apply(wish),
        sh("chage -d -1 one; printf 'one-Pass\\n' | setpriv --reuid 65534 --clear-groups --regid 65534 su one -c true"),
        sh("chage -d -1 two; printf 'two-Pass\\n' | setpriv --reuid 65534 --clear-groups --regid 65534 su two -c true"),
    )
    assert told == made
    assert len(made["changes"]) == 4
    (error,) = made["errors"]
    assert error.startswith("users[2] 'three': type RANDOM is refused")
    assert ["must be changed" in line for line in ages["out"].splitlines()] == [True, True, False]
    assert again["changes"] == []
    assert (one["code"], two["code"]) == (0, 0), (one, two)


@needs_doas
@pytest.mark.parametrize("folder", ["", "mkdir -p /etc/doas.d\n"])
def test_without_sudo_doas_lets_the_administrator_be_root(stage: Stage, folder: str) -> None:
    # Debian's doas reads /etc/doas.conf only: what goes into a folder is read by the patched one of Alpine.
    hide = "rm -rf /etc/sudoers /etc/sudoers.d /usr/bin/sudo /usr/sbin/visudo /bin/sudo\n"
    file = "/etc/doas.d/azurelite.conf" if folder else "/etc/doas.conf"
    told, made, rule, check, again, stricter, last = stage(
        hide + folder + "rm -f /etc/doas.conf\n",
        apply("user", dry=True),
        apply("user"),
        sh(f"cat {file}; stat -c %a {file}"),
        sh(f"cp -n {file} /etc/doas.conf; su Liv.e-1 -c 'doas -n id -u'"),
        apply("user"),
        apply(["user", {"sudo": "password"}]),
        sh(f"cat {file}; doas -C {file} && echo fine"),
    )
    assert told == made
    assert made["errors"] == []
    assert rule["out"] == '# written by azurelite\npermit nopass keepenv "Liv.e-1"\n600\n'
    assert (check["code"], check["out"]) == (0, "0\n"), check
    assert again["changes"] == []
    assert stricter["errors"] == []
    assert last["out"] == '# written by azurelite\npermit keepenv "Liv.e-1"\nfine\n'


@needs("sudo", "visudo")
def test_a_sudoers_that_reads_no_folder_is_made_to_and_a_broken_one_is_left_alone(stage: Stage) -> None:
    bare = "printf 'root ALL=(ALL:ALL) ALL\\n' > /etc/sudoers; rm -f /etc/sudoers.d/*\n"
    broken = {"sh": "printf 'root ALL=(ALL:ALL ALL\\n' > /etc/sudoers; rm -f /etc/sudoers.d/90-azurelite"}
    told, made, look, again, _, refused, still = stage(
        bare,
        apply("user", dry=True),
        apply("user"),
        sh("cat /etc/sudoers; sudo -l -U Liv.e-1; stat -c %a /etc/sudoers"),
        apply("user"),
        broken,
        apply("user"),
        sh("cat /etc/sudoers; ls /etc/sudoers.d"),
    )
    assert told == made
    assert made["errors"] == []
    assert look["out"].startswith("root ALL=(ALL:ALL) ALL\n#includedir /etc/sudoers.d\n")
    assert "NOPASSWD: ALL" in look["out"]
    assert look["out"].endswith("440\n")
    assert again["changes"] == []
    assert "visudo rejects /etc/sudoers" in refused["errors"][0]
    assert still["out"] == "root ALL=(ALL:ALL ALL\n"


LEFTOVER = (
    "useradd -m -u 3003 Liv.e-1; mkdir /home/Liv.e-1/.ssh; echo old > /home/Liv.e-1/.ssh/authorized_keys\n"
    "touch /home/Liv.e-1/mine /home/Liv.e-1/roots; chown -R 3003:3003 /home/Liv.e-1; chown 0 /home/Liv.e-1/roots\n"
    "userdel Liv.e-1; rm /home/Liv.e-1/.profile; chmod 775 /home/Liv.e-1\n"
)


@pytest.mark.parametrize("taken", ["", "useradd -u 3002 someone\n"], ids=["another uid", "the same uid"])
@pytest.mark.parametrize("setup", TOOLS)
def test_the_home_of_a_removed_account_belongs_to_the_new_one(stage: Stage, setup: str, taken: str) -> None:
    told, made, look, entered, again = stage(
        LEFTOVER + taken + setup,
        apply("user", dry=True),
        apply("user"),
        sh("cd /home/Liv.e-1; stat -c '%U:%G %a' . mine .ssh .profile roots; id -u Liv.e-1; ls .ssh"),
        enter("Liv.e-1", PASSWORD),
        apply("user"),
    )
    assert (told["errors"], made["errors"]) == ([], [])
    assert told["changes"] == made["changes"]
    assert look["err"] == ""
    home, mine, ssh, profile, roots, uid, *names = look["out"].splitlines()
    assert home == "Liv.e-1:Liv.e-1 755"
    assert {mine[:15], ssh[:15], profile[:15]} == {"Liv.e-1:Liv.e-1"}
    assert roots.startswith("root:")
    assert names == ["authorized_keys.former"]
    assert (entered["code"], entered["out"].split()[0]) == (0, "Liv.e-1"), entered
    assert any("authorized_keys was renamed to authorized_keys.former" in note for note in made["notes"])
    named = ["/home/Liv.e-1/roots (it belongs to uid 0)" in note for note in made["notes"]]
    assert any(named) is (uid != "3003")  # with the number of the removed account nothing has to be given
    assert again["changes"] == []


@pytest.mark.skipif(not list(Path("/usr/lib").glob("*/libnss_systemd.so.2")), reason="needs libnss-systemd")
@pytest.mark.parametrize(
    ("home", "setup", "error"),
    [
        ("/home/ldap", "", ""),
        ("/home/far/away/ldap", "", ""),
        ("/nonexistent", "", "set another home for ldap where the account is stored"),
        ("/home/closed/ldap", "touch /home/closed\n", "cannot create folder /home/closed"),
    ],
)
def test_an_account_from_elsewhere_gets_its_missing_home(stage: Stage, home: str, setup: str, error: str) -> None:
    record = {"userName": "ldap", "uid": 200001, "gid": 200001, "homeDirectory": home, "shell": "/bin/sh"}
    setup += (
        "sed -i 's/^passwd:.*/passwd: files systemd/; s/^group:.*/group: files systemd/' /etc/nsswitch.conf\n"
        f"mkdir -p /etc/userdb; echo '{json.dumps(record)}' > /etc/userdb/ldap.user\n"
        'echo \'{"groupName": "ldap", "gid": 200001}\' > /etc/userdb/ldap.group\n'
        "getent passwd ldap >&2; ! grep ldap /etc/passwd"
    )
    known: dict[str, Any] = {"username": "ldap", "public_ssh_keys": [ED25519]}
    told, made, look, again = stage(
        setup,
        apply("user", "ssh_keys", dry=True, **known),
        apply("user", "ssh_keys", **known),
        sh(f"stat -c '%u:%g %a' {home} {home}/.profile {home}/.ssh/authorized_keys"),
        apply("user", "ssh_keys", **known),
    )
    if error:
        assert error in " ".join(made["errors"]), made
        return
    assert told == made
    assert made["errors"] == []
    assert [line.split()[0] for line in look["out"].splitlines()] == ["200001:200001"] * 3, look
    assert look["out"].startswith("200001:200001 700\n")
    assert again["changes"] == []


LABELS = """
import os
from azurelite.system.machine import System
os.setxattr("/etc", "security.selinux", b"system_u:object_r:etc_t:s0\\0")
os.setxattr("/etc/hosts", "security.selinux", b"system_u:object_r:net_conf_t:s0\\0")
system = System()
with system.together():
    system.files.rewrite("/etc/hosts", b"127.0.0.1 localhost\\n")
    system.files.write("/etc/created", b"", mode=0o600)
    system.files.mkdirs("/etc/created.d")
print(os.getxattr("/etc/hosts", "security.selinux").decode().rstrip("\\0"))
print("labels" if system.files.created else "none left")
"""


@pytest.mark.parametrize(
    ("setup", "asked"),
    [
        ("mkdir -p /sys/fs/selinux; touch /sys/fs/selinux/enforce", "-i -- /etc/created /etc/created.d\n"),
        ("true", ""),  # a labelled disk on a kernel without SELinux
    ],
)
def test_new_files_are_labelled_by_the_policy_and_rewritten_ones_keep_their_label(
    stage: Stage, setup: str, asked: str
) -> None:
    shim = "printf '#!/bin/sh\\necho \"$@\" >> /run/asked\\n' > /usr/sbin/restorecon; chmod +x /usr/sbin/restorecon\n"
    done, look = stage(shim + setup, sh(f"{sys.executable} - <<'EOF'\n{LABELS}\nEOF"), sh("cat /run/asked 2>/dev/null"))
    if "Operation not supported" in done["err"]:
        pytest.skip("this overlay has no labels")
    assert done["out"] == "system_u:object_r:net_conf_t:s0\nnone left\n", done["err"]
    assert look["out"] == asked
