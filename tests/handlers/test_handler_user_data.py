"""`user_data` and `custom_data` in a foreign root: what is stored, applied and refused, and that a rerun is idle."""

# ruff: noqa: E501  # tables

from __future__ import annotations

import base64
import gzip
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import BASE, ED25519, VM_ID, FastClock, Guest
from needs import require

from azurelite.config.load import Config, HandlerEntry
from azurelite.errors import AzureliteError, HandlerError, SkippedError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context, custom_data, user_data
from azurelite.metadata import Metadata, Secret
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System

EXAMPLES = Path(__file__).parents[1] / "data" / "cloud-config"
KEPT = f"/var/lib/azurelite/vms/{VM_ID}"
Options = user_data.Options


@pytest.fixture
def admin(guest: Guest) -> Guest:
    """A guest where the administrator's account exists, as after the handlers of the default plan."""
    guest.put({"etc/passwd": BASE["etc/passwd"] + "azureuser:x:1500:1500::/home/azureuser:/bin/sh\n"})
    guest.put({"etc/shadow": BASE["etc/shadow"] + "azureuser:*:19000:0:99999:7:::\n"})
    guest.put({"home/azureuser/.profile": "", "etc/group": BASE["etc/group"] + "azureuser:x:1500:\n"})
    guest.put({"etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n", "etc/ssh/sshd_config.d/README": ""})
    guest.put({"bin/sh": "", "usr/share/zoneinfo/UTC": "TZif", "etc/chrony/chrony.conf": "makestep 1 3\n"})
    guest.put({"etc/hosts": "127.0.0.1 localhost\n", "etc/fstab": "# kept\n"})
    guest.put({"etc/locale.conf": "", "usr/sbin/chronyd": ""})
    for program in ("bin/sh", "usr/sbin/chronyd"):
        guest.path(program).chmod(0o755)
    guest.path("home/azureuser").chmod(0o700)
    if os.geteuid() == 0:
        os.chown(guest.path("home/azureuser"), 1500, 1500)
    return guest


class Said:
    """The changes, notes and error of a run."""

    def __init__(self, ctx: Context, notes: list[str], error: Optional[AzureliteError]) -> None:
        self.changes = ctx.system.journal.since(0)
        self.notes = notes
        self.error = str(error) if error else ""
        self.reason = error.reason if error else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(vars(self))


def run(
    guest: Guest,
    *,
    dry_run: bool = False,
    handler: Any = user_data,
    options: Any = None,
    config: Optional[Config] = None,
    search_path: Optional[str] = None,
    clock: Optional[FastClock] = None,
    **known: Any,
) -> Said:
    system = System(guest.root, dry_run=dry_run, clock=clock or FastClock(), search_path=search_path)
    notes: list[str] = []
    values = {"vm_id": VM_ID, "username": "azureuser", "local_hostname": "vm", **known}
    for name in ("user_data", "custom_data"):
        if name in values:
            values[name] = Secret(values[name])
    ctx = Context(
        Metadata(**values),
        system,
        Fabric(0),
        Outcome("applied", ""),
        notes.append,
        lambda: None,
        Memory(system.files, VM_ID),
        config=config or Config(handlers=(HandlerEntry("user_data"),)),
    )
    try:
        handler.apply(ctx, options or handler.Options())
    except SkippedError as error:
        notes.append(str(error))
    except AzureliteError as error:
        return Said(ctx, notes, error)
    return Said(ctx, notes, None)


def example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.yaml").read_bytes()


def check_users(guest: Guest) -> None:
    passwd = guest.text("etc/passwd")
    assert re.search(r"^mara:x:\d+:\d+:Mara Quist:/home/mara:/bin/sh$", passwd, re.M)
    assert re.search(r"^ott:\$6\$canary\$hash:", guest.text("etc/shadow"), re.M)
    assert re.search(r"^brin:", passwd, re.M)
    assert re.search(r"^builders:.*:mara$", guest.text("etc/group"), re.M)
    assert "mara@desk" in guest.text("home/mara/.ssh/authorized_keys")
    assert guest.mode("home/mara/.ssh/authorized_keys") == 0o600
    assert not guest.path("home/meter").exists()
    assert any(
        "mara" in path.read_text() and "/usr/bin/make" in path.read_text()
        for path in guest.path("etc/sudoers.d").iterdir()
    )


def check_files(guest: Guest) -> None:
    assert guest.text("etc/motd") == "Made by hand: $HOME {{ x }}\n"
    assert guest.mode("etc/motd") == 0o640
    assert guest.text("etc/packed") == "inside\n"
    assert guest.text("etc/zipped") == "inside\n"
    assert guest.mode("etc/zipped") == 0o755
    assert guest.text("etc/profile.d/more.sh") == "export MORE=1\n"
    assert guest.text("home/azureuser/notes/todo") == "later"
    assert not guest.path("etc/from-elsewhere").exists()


def check_keys(guest: Guest) -> None:
    assert guest.text("home/azureuser/.ssh/authorized_keys").splitlines() == [f"{ED25519} second"]
    assert "PasswordAuthentication no" in guest.text("etc/ssh/sshd_config.d/10-azurelite.conf")


def check_chpasswd(guest: Guest) -> None:
    assert "azureuser:$6$canary$hash:" in guest.text("etc/shadow")
    assert not guest.path("etc/ssh/sshd_config.d/10-azurelite.conf").exists()  # sshd accepts passwords by default


def check_list(guest: Guest) -> None:
    assert "ilse:$6$canary$hash:" in guest.text("etc/shadow")


def check_mounts(guest: Guest) -> None:
    lines = [line.split() for line in guest.text("etc/fstab").splitlines() if not line.startswith("#")]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        ("LABEL=data", "/srv/data", "ext4"),
        ("/dev/sdc1", "/srv/more", "auto"),
        ("tmpfs", "/srv/fast", "tmpfs"),
    ]


def check_ntp(guest: Guest) -> None:
    written = "".join(path.read_text() for path in guest.path("etc/chrony").rglob("*") if path.is_file())
    assert "time.example.org" in written
    assert "1.pool.example.org" in written


def check_place(guest: Guest) -> None:
    assert guest.path("etc/localtime").is_symlink()
    assert "UTC" in guest.path("etc/localtime").readlink().name


def check_hostname(guest: Guest) -> None:
    assert guest.text("etc/hostname") == "lantern\n"
    assert "lantern.harbour.example" in guest.text("etc/hosts")


def check_wrong(guest: Guest) -> None:
    check_place(guest)
    assert re.search("^ilse:", guest.text("etc/passwd"), re.M)
    assert re.search("^ott:", guest.text("etc/passwd"), re.M)
    assert guest.text("etc/hostname") == "localhost\n"


def check_forms(guest: Guest) -> None:
    passwd, group = guest.text("etc/passwd"), guest.text("etc/group")
    assert [name for name in ("mara", "ott", "brin", "gone") if re.search(f"^{name}:", passwd, re.M)] == [
        "mara",
        "ott",
        "brin",
    ]
    assert re.search("^builders:.*:mara$", group, re.M)
    assert re.search("^oils:", group, re.M)
    assert re.search("^ott:[*]:", guest.text("etc/shadow"), re.M)
    assert not guest.path("home/ott").exists()  # a system account has no home
    assert "mara@desk" in guest.text("home/mara/.ssh/authorized_keys")


def check_stores(guest: Guest) -> None:
    lines = [line.split()[:3] for line in guest.text("etc/fstab").splitlines() if not line.startswith("#")]
    assert lines == [["/srv/swap", "none", "swap"], ["LABEL=store", "/srv/store", "xfs"]]
    assert guest.text("etc/hostname") == "lantern\n"
    assert "lantern.harbour.example" in guest.text("etc/hosts")


def check_later(guest: Guest) -> None:
    mara = guest.path("home/mara").stat().st_uid
    assert guest.path("home/mara/.vimrc").stat().st_uid == mara > 0
    assert guest.path("srv/lamp/oil").stat().st_gid > 0
    assert (guest.text("srv/lamp/oil"), guest.text("etc/lamp")) == ("inside\n", "early")


def check_nothing(guest: Guest) -> None:
    assert guest.text("etc/hostname") == "localhost\n"
    assert guest.text("etc/fstab") == "# kept\n"


# example -> check of the result, parts of the note about unsupported keys, parts of the error, parts of other notes
EXAMPLE_CASES: list[tuple[str, Callable[[Guest], None], list[str], list[str], list[str]]] = [
    ("users-groups", check_users, ["`users[3].ssh_import_id` (user_data:24:5)"], [], []),
    ("write-files", check_files, [], ["user_data:23:5: `write_files[5]`: `source` is not supported"], []),
    ("commands", check_nothing, [], [], ["bootcmd, runcmd"]),
    ("packages", check_nothing, ["`package_reboot_if_required` (user_data:4:1)"], [], ["packages"]),
    ("ssh-keys", check_keys, ["`ssh_keys`", "`no_ssh_fingerprints`"], [], []),
    ("chpasswd", check_chpasswd, [], [], []),
    ("chpasswd-list", check_list, [], [], []),
    ("mounts-swap", check_mounts, ["`mounts[2]` (user_data:5:5"], [], []),
    ("disk-setup", check_nothing, ["`disk_setup`", "`fs_setup`", "`growpart.ignore_growroot_disabled`"], [], []),
    ("ntp", check_ntp, ["`ntp.ntp_client`"], [], []),
    ("place", check_place, ["`keyboard`"], [], []),
    ("power-state", check_nothing, ["`power_state.timeout`"], [], []),
    ("hostname", check_hostname, [], [], []),
    ("ca-certs", check_nothing, ["`ca_certs`", "`ca-certs`"], [], []),
    ("apt", check_nothing, ["`apt` (user_data:2:1)"], [], ["packages"]),
    ("managers", check_nothing, ["`puppet`", "`chef`", "`salt_minion`", "`ansible`", "`yum_repos`"], [], []),
    ("phone-home", check_nothing, ["`phone_home`", "`output`", "`resolv_conf`", "`random_seed`", "`rsyslog`"], [], []),
    (
        "wrong",
        check_wrong,
        ["`packges` (user_data:12:1, did you mean `packages`?)"],
        ["user_data:3:1: `hostname`", "user_data:5:1: `runcmd`", "`users[1].", "user_data:10:5: `write_files[", "user_data:11:1: `ssh_pwauth`"],
        [],
    ),
    ("services", check_place, ["`snap` (user_data:3:1)", "`lxd`", "`landscape`", "`mcollective`", "`reporting`", "`rh_subscription`", "`ubuntu_pro`", "`wireguard`", "`vendor_data`", "`keyboard`", "`zypper`", "`apk_repos`", "`rsyslog`", "`ssh_import_id`", "`locale_configfile`"], [], []),
    ("users-forms", check_forms, ["`defaults` (user_data:3:1)"], ["user_data:8:3 'mara': group '900'"], ["the password of ott is locked"]),
    ("mounts-forms", check_stores, ["`fqdn` (user_data:16:1", "`packages[2].snap` (user_data:13:48"], ["user_data:13:64: `packages[3]`", "user_data:8:5: "], ["packages"]),
    ("boothook", check_nothing, [], [], ["part-001"]),
    ("later", check_later, ["`write_files[2].source` (user_data:6:39"], [], []),
    ("template", check_nothing, ["part-001 is a Jinja template"], [], []),
    ("archive", check_place, ["part-001-003 is a list of URLs"], [], ["part-001-002"]),
]  # fmt: skip


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("name", "check", "left_out", "problems", "notes"), EXAMPLE_CASES, ids=[case[0] for case in EXAMPLE_CASES]
)
class TestExamples:
    def test_each_example_runs_or_is_refused_with_its_key(
        self,
        admin: Guest,
        name: str,
        check: Callable[[Guest], None],
        left_out: list[str],
        problems: list[str],
        notes: list[str],
    ) -> None:
        if name == "ssh-keys":
            require("ssh-keygen")
        said = run(admin, user_data=example(name))
        check(admin)
        named = [note for note in said.notes if "skipped (unsupported" in note]
        assert len(named) == (1 if left_out else 0)
        for words in left_out:
            assert words in named[0]
        for words in problems:
            assert words in said.error
        assert bool(said.error) == bool(problems), said.error
        for words in notes:
            assert any(words in note for note in said.notes), said.notes
        assert "canary" not in str(said)

    def test_a_dry_run_reports_the_same_and_a_second_run_changes_nothing(
        self,
        admin: Guest,
        tmp_path: Path,
        name: str,
        check: Callable[[Guest], None],
        left_out: list[str],
        problems: list[str],
        notes: list[str],
    ) -> None:
        subprocess.run(["cp", "-a", admin.folder, tmp_path / "twin"], check=True)  # with the owners
        before = admin.snapshot()
        told = run(admin, user_data=example(name), dry_run=True)
        assert admin.snapshot() == before
        done = run(Guest(tmp_path / "twin"), user_data=example(name))
        assert told == done
        after = Guest(tmp_path / "twin").snapshot()
        again = run(Guest(tmp_path / "twin"), user_data=example(name))
        assert again.changes == ()
        assert Guest(tmp_path / "twin").snapshot() == after

    def test_an_empty_root_is_handled(
        self,
        tmp_path: Path,
        name: str,
        check: Callable[[Guest], None],
        left_out: list[str],
        problems: list[str],
        notes: list[str],
    ) -> None:
        said = []
        for number, dry_run in enumerate((True, False)):
            (tmp_path / f"empty{number}").mkdir()
            said.append(run(Guest(tmp_path / f"empty{number}"), user_data=example(name), dry_run=dry_run))
        assert said[0] == said[1]
        assert "canary" not in str(said)


def test_every_example_has_its_expectation() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {case[0] for case in EXAMPLE_CASES}


SCRIPT = b"#!/bin/sh\necho canary\n"


UTC, GMT = b"#cloud-config\ntimezone: UTC\n", b"#cloud-config\ntimezone: GMT\n"
DAMAGED = gzip.compress(UTC)[:-4]
BOTH = ("custom_data", "user_data")


def zone(guest: Guest) -> Optional[str]:
    """The time zone that the document which was run has set."""
    path = guest.path("etc/localtime")
    return path.readlink().name if path.is_symlink() else None


def stored(guest: Guest) -> list[str]:
    return sorted(path.name for path in guest.path(KEPT).iterdir()) if guest.path(KEPT).exists() else []


@pytest.mark.parametrize(
    ("known", "sources", "ran"),
    [
        ({"custom_data": UTC, "user_data": GMT}, BOTH, "UTC"),
        ({"custom_data": UTC, "user_data": GMT}, BOTH[::-1], "GMT"),
        ({"user_data": GMT}, BOTH, "GMT"),
        ({"custom_data": UTC}, BOTH, "UTC"),
        ({"custom_data": b"", "user_data": GMT}, BOTH, "GMT"),
        ({"custom_data": UTC, "user_data": GMT}, ("user_data",), "GMT"),
        ({"custom_data": UTC}, ("user_data",), None),
        ({"custom_data": b"only text", "user_data": GMT}, BOTH, None),
        ({"custom_data": DAMAGED, "user_data": GMT}, BOTH, "GMT"),
        ({}, BOTH, None),
    ],
)
def test_one_source_is_run_and_all_are_stored(admin: Guest, known: Any, sources: Any, ran: Optional[str]) -> None:
    admin.put({"usr/share/zoneinfo/GMT": "TZif"})
    said = run(admin, options=Options(sources=sources), **known)
    assert zone(admin) == ran
    there = [source for source in sources if known.get(source)]
    assert stored(admin) == sorted(there)
    assert said.error == ""
    both = [note for note in said.notes if "Azure has custom data and user data" in note]
    assert len(both) == (len(there) == 2)
    assert all(source in note for source in there for note in both)
    assert user_data.Options().sources == BOTH


@pytest.mark.parametrize("required", [True, None])
def test_custom_data_that_cannot_be_read_is_a_warning_unless_it_is_required(
    admin: Guest, required: Optional[bool]
) -> None:
    admin.put({"usr/share/zoneinfo/GMT": "TZif"})
    config = Config(handlers=(HandlerEntry("user_data", required=required),))
    said = run(admin, config=config, custom_data=DAMAGED, user_data=GMT)
    assert zone(admin) == "GMT"
    words = "the user data cannot be read: its gzip data is damaged"
    assert (words in said.error) == bool(required)
    assert any(words in note for note in said.notes) != bool(required)
    alone = run(admin, custom_data=DAMAGED)
    assert words in alone.error


def test_a_vm_that_an_older_release_provisioned_runs_nothing_anew(admin: Guest) -> None:
    """Before, user data came first, and only the document that was run was stored."""
    admin.put({"usr/share/zoneinfo/GMT": "TZif"})
    older = run(admin, options=Options(sources=("user_data",)), user_data=GMT)
    assert older.error == ""
    assert (zone(admin), stored(admin)) == ("GMT", ["user_data"])
    before = admin.snapshot()
    for dry_run in (True, False, False):
        said = run(admin, custom_data=UTC, user_data=GMT, dry_run=dry_run)
        assert (said.changes, said.error, said.notes) == ((), "", [])
    assert admin.snapshot() == before
    run(admin, options=Options(sources=("custom_data",)), custom_data=UTC, user_data=GMT)
    assert zone(admin) == "UTC"


def test_without_data_nothing_is_done(guest: Guest) -> None:
    before = guest.snapshot()
    for handler in (user_data, custom_data):
        said = run(guest, handler=handler)
        assert (said.changes, said.notes, said.error) == ((), [], "")
    assert guest.snapshot() == before


@pytest.mark.parametrize("listed", [True, False])
def test_custom_data_is_left_to_its_own_handler_where_that_is_listed(guest: Guest, listed: bool) -> None:
    names = ("user_data", "custom_data") if listed else ("user_data",)
    config = Config(handlers=tuple(HandlerEntry(name) for name in names))
    run(guest, config=config, custom_data=b"#cloud-config\ntimezone: UTC\n")
    assert guest.path(KEPT).exists() != listed
    run(guest, config=config, handler=custom_data, custom_data=b"#cloud-config\n{}\n")
    assert guest.path(f"{KEPT}/custom_data").read_bytes() == b"#cloud-config\n{}\n"


@pytest.mark.parametrize("handler", [user_data, custom_data])
@pytest.mark.parametrize("action", ["run", "save", "ignore"])
def test_each_action_stores_and_runs_what_it_should(admin: Guest, handler: Any, action: Any) -> None:
    data = b"#cloud-config\ntimezone: UTC\n"
    said = run(
        admin,
        handler=handler,
        options=handler.Options(action=action, save="/var/lib/waagent/CustomData"),
        user_data=data,
        custom_data=data,
    )
    assert said.error == ""
    kept = admin.path(f"{KEPT}/{'user_data' if handler is user_data else 'custom_data'}")
    assert kept.exists() == (action != "ignore")
    assert admin.path("var/lib/waagent/CustomData").exists() == (action != "ignore")
    assert admin.path("etc/localtime").is_symlink() == (action == "run")
    if action != "ignore":
        assert kept.read_bytes() == data
        assert kept.stat().st_mode & 0o777 == 0o600
        assert admin.mode("var/lib/azurelite") == 0o700
        assert admin.mode("var/lib/waagent/CustomData") == 0o600


def test_a_refused_file_does_not_stop_the_others(admin: Guest) -> None:
    entries = (
        "{path: /etc/a1, content: canary, encoding: none}",
        "{path: /etc/a2, content: two, permissions: 0640}",
        "{path: etc/a3, content: canary}",
        "{path: /etc/a4, content: canary, owner: a b}",
        "{path: /etc/a5, content: canary, permissions: 644}",
        "{path: /etc/a6, content: canary, permissions: 400}",
        "{path: /etc/a7, content: canary, permissions: 440}",
        "{path: /etc/a8, content: canary, owner: nobodyknows}",
        "{path: /etc/a9, content: nine, permissions: 0600}",
    )
    said = run(admin, user_data="".join(["#cloud-config\nwrite_files:\n", *(f"- {e}\n" for e in entries)]).encode())
    found = {path.name: path.stat().st_mode & 0o7777 for path in admin.path("etc").glob("a[0-9]")}
    assert found == {"a2": 0o640, "a9": 0o600}
    for line, words in ((3, "encoding"), (5, "path"), (6, "owner"), (7, "permissions"), (8, "perm"), (9, "perm")):
        assert re.search(rf"user_data:{line}:\d+: [^;]*{words}", said.error), said.error
    assert "/etc/a8: user nobodyknows does not exist" in said.error
    assert 'in quotes, such as "0644"' in said.error
    assert "canary" not in str(said)


def test_numbers_as_keys_of_an_unsupported_section_cost_only_that_section(admin: Guest) -> None:
    text = (
        "#cloud-config\nusers:\n  - {name: meter, shell: /bin/sh}\nwrite_files:\n  - {path: /etc/meter, content: a}\n"
        "snap:\n  commands:\n    00: snap install lamp\n    01: snap list\nruncmd:\n  - touch /root/ran\n"
    )
    said = run(admin, user_data=text.encode())
    assert said.error == ""
    assert "meter:x:" in admin.text("etc/passwd")
    assert admin.text("etc/meter") == "a"
    assert any("`snap` (user_data:6:1)" in note for note in said.notes)
    assert any("runcmd" in note for note in said.notes)  # scripts are not run in a foreign root


@pytest.mark.parametrize(
    ("packed", "script", "problem"),
    [
        (gzip.compress(b"#!/bin/sh\n:\n"), True, ""),
        (b"#!/bin/sh\n:\n", True, ""),
        (gzip.compress(b"#!/bin/sh\n:\n")[:-4], False, "user_data/part-001:7:3: "),
        (b"\xff\xfe\x00\xd8", False, "user_data/part-001:7:3: "),
    ],
    ids=["packed", "text", "truncated", "no text"],
)
def test_each_item_of_an_archive_is_read_for_itself(guest: Guest, packed: bytes, script: bool, problem: str) -> None:
    text = (
        "#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    #cloud-config\n    runcmd: [':']\n"
        '- {type: text/x-shellscript, filename: a.sh, content: "#!/bin/sh\\n:"}\n'
        f"- {{filename: z.sh, content: !!binary {base64.b64encode(packed).decode()}}}\n"
        "- {filename: lost.sh, content: !secret x}\n- |\n  #!/bin/sh\n  :\n"
    )
    said = run(guest, user_data=text.encode())
    names = ["a.sh", "part-001-005", "runcmd", *(["z.sh"] if script else [])]
    assert [note for note in said.notes if "the running system" in note] == [
        f"these parts need the running system: {', '.join(names)}"
    ]
    assert problem in said.error
    assert "user_data/part-001:8:32: `items[3].content`: its YAML tag is unknown" in said.error


@pytest.mark.parametrize(
    ("data", "script"),
    [
        (b"\n  \n#cloud-config\nruncmd:\n  - touch /root/ran\n", "runcmd"),
        (b"    #cloud-config\n    runcmd:\n      - touch /root/ran\n", "runcmd"),
        (b"\n  #!/bin/sh\n  touch /root/ran\n", "part-001"),
    ],
)
def test_white_space_before_the_first_line_does_not_matter(guest: Guest, data: bytes, script: str) -> None:
    said = run(guest, user_data=data)
    assert said.error == ""
    assert said.notes == [f"these parts need the running system: {script}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files to another user")
def test_files_wait_for_the_account_that_the_same_document_creates(admin: Guest) -> None:
    admin.put({"etc/skel/.profile": "skeleton"})
    text = (
        "#cloud-config\nusers:\n  - default\n  - {name: bob, shell: /bin/sh}\n  - {name: eve, homedir: /srv/eve}\n"
        "groups: [crew]\nwrite_files:\n  - {path: /home/bob/a.txt, content: a}\n"
        "  - {path: /home/bob/b/b.txt, content: b, owner: 'bob:bob'}\n  - {path: /srv/c.txt, content: c, owner: bob}\n"
        "  - {path: /srv/d.txt, content: d, owner: 'root:crew'}\n  - {path: /srv/eve/e.txt, content: e}\n"
        "  - {path: /srv/f.txt, content: f, owner: nobody-knows}\n  - {path: /etc/early, content: g}\n"
    )
    said = run(admin, user_data=text.encode())
    assert said.error == (
        "user_data:13:5: `write_files[5]`: /srv/f.txt: "
        "user nobody-knows does not exist: create it first, or set another owner"
    )
    ids = {line.split(":")[0]: int(line.split(":")[2]) for line in admin.text("etc/passwd").splitlines()}
    crew = next(int(line.split(":")[2]) for line in admin.text("etc/group").splitlines() if line.startswith("crew:"))
    for path, owner in (("home/bob", "bob"), ("home/bob/b", "bob"), ("home/bob/b/b.txt", "bob"), ("srv/c.txt", "bob")):
        assert admin.path(path).stat().st_uid == ids[owner], path
    assert admin.path("srv/eve").stat().st_uid == ids["eve"]
    assert admin.path("srv/d.txt").stat().st_gid == crew
    assert admin.text("home/bob/.profile") == "skeleton"
    assert [admin.text(path) for path in ("home/bob/a.txt", "srv/eve/e.txt", "etc/early")] == ["a", "e", "g"]
    order = [change.target for change in said.changes]
    assert order.index("/etc/early") < order.index("bob") < order.index("/home/bob/a.txt")


def test_a_failure_to_store_the_data_is_reported_and_stops_nothing(admin: Guest) -> None:
    said = run(admin, options=Options(save="/etc/passwd/x"), user_data=b"#cloud-config\ntimezone: UTC\n")
    assert "/etc/passwd" in said.error
    assert said.reason == "failed to apply user data"
    check_place(admin)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "part-001 is of an unknown kind"),
        (b'{"ignition": {"version": "3.4.0"}}', "part-001 is JSON, perhaps an Ignition configuration"),
        (b"#include\nhttps://example.org/\n", "part-001 is a list of URLs to download"),
        (b"\x00\xff canary", "part-001 is of an unknown kind"),
    ],
)
def test_unsupported_data_is_stored_and_noted(guest: Guest, data: bytes, words: str) -> None:
    said = run(guest, user_data=data)
    assert said.error == ""
    assert len(said.notes) == 1
    assert words in said.notes[0]
    assert guest.path(f"{KEPT}/user_data").read_bytes() == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"#!/bin/sh\n")[:-6], "damaged"),
        (gzip.compress(b"\0" * (17 << 20)), "more than 16777216 bytes"),
        (b"Content-Type: multipart/mixed\n\nx", "cannot be read: it is declared as multipart"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_unreadable_data_is_stored_and_an_error(guest: Guest, data: bytes, words: str) -> None:
    said = run(guest, user_data=data)
    assert words in said.error
    assert said.changes == ()
    assert guest.path(f"{KEPT}/user_data").read_bytes() == data


def test_scripts_are_not_run_in_a_foreign_root_and_one_note_says_so(guest: Guest) -> None:
    mime = b'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n\n#!/bin/sh\n--b\n\n#cloud-boothook\nx\n--b--\n'
    said = run(guest, user_data=mime)
    assert said.notes == ["these parts need the running system: part-002, part-001"]
    assert said.changes == ()


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd: install zstd")
class TestZstd:
    def pack(self, data: bytes) -> bytes:
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_the_program_unpacks_it(self, guest: Guest, dry_run: bool) -> None:
        said = run(guest, user_data=self.pack(SCRIPT), dry_run=dry_run)
        assert said.error == ""
        assert "part-001" in said.notes[0]

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [(lambda data: data[:-4], "damaged"), (lambda data: data[:9] + b"\xff" + data[10:], "damaged")],
    )
    def test_damaged_data_is_an_error(self, guest: Guest, spoil: Callable[[bytes], bytes], words: str) -> None:
        assert words in run(guest, user_data=spoil(self.pack(SCRIPT * 50))).error

    def test_a_decompression_bomb_is_refused(self, guest: Guest) -> None:
        assert "more than 16777216 bytes" in run(guest, user_data=self.pack(b"\0" * (1 << 25))).error
        assert run(guest, user_data=self.pack(b"#" + b"\0" * ((16 << 20) - 1))).error == ""


def test_without_the_program_zstd_is_an_error_with_a_remedy(guest: Guest) -> None:
    class Bare(System):
        """A machine where nothing is installed."""

    system = Bare(guest.root)
    system.commands.search_path = "/nonexistent"
    ctx = Context(
        Metadata(vm_id=VM_ID, user_data=Secret(b"\x28\xb5\x2f\xfd....")),
        system, Fabric(0), Outcome("applied", ""), lambda text: None, lambda: None, Memory(system.files, VM_ID),
    )  # fmt: skip
    with pytest.raises(HandlerError, match="zstd is not installed: add it to the image, or use gzip"):
        user_data.apply(ctx, Options())


def test_the_final_message_is_printed_with_its_variables(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    guest.put({"proc/uptime": "12.34 5.6\n"})
    with caplog.at_level(logging.INFO):
        run(
            guest,
            user_data=b"#cloud-config\nfinal_message: 'up $UPTIME, $datasource, ${version}, $5 $other'\n",
            dry_run=True,
        )
        assert caplog.messages == []
        run(guest, user_data=b"#cloud-config\nfinal_message: 'up $UPTIME, $datasource, ${version}, $5 $other'\n")
    (message,) = caplog.messages
    assert re.fullmatch(r"up 12\.34, DataSourceAzure, [\d.]+\w*, \$5 \$other", message)


@pytest.mark.parametrize(
    "options",
    [
        {"save": "relative"}, {"save": "/a/../b"}, {"save": "/folder/"}, {"timeout": 0.0}, {"timeout": -1.0},
        {"timeout": float("inf")}, {"timeout": float("nan")}, {"sources": ("user_data", "user_data")},
    ],
)  # fmt: skip
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"save|timeout|sources"):
        Options(**options)
    if "sources" not in options:
        with pytest.raises(ValueError, match=r"save|timeout"):
            custom_data.Options(**options)


@pytest.mark.parametrize(("count", "notes", "end"), [(100, 5, ")"), (200, 10, ")"), (250, 10, "; and 50 more")])
def test_unsupported_keys_are_all_named_up_to_a_limit(guest: Guest, count: int, notes: int, end: str) -> None:
    keys = "".join(f"nobody_knows_{i}: 1\n" for i in range(count))
    said = run(guest, user_data=f"#cloud-config\n{keys}".encode()).notes
    assert len(said) == notes
    assert said[-1].endswith(end)
    assert sum(note.count("nobody_knows_") for note in said) == min(count, 200)


@pytest.mark.spawns
def test_the_modules_cost_little_where_nothing_was_given() -> None:
    code = (
        "import sys, azurelite.handlers\n"
        "before = set(sys.modules)\n"
        "import azurelite.handlers.user_data, azurelite.handlers.custom_data\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['azurelite.handlers.custom_data', 'azurelite.handlers.user_data']\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # the line, and the path that the user wrote; an odd item before the entry does not shift its position
        ("write_files:\n- 5\n- {path: rel}", "4:3: `write_files[1]`: path must be"),
        ("write_files:\n- 5\n- {path: /b}\n- {path: /a, encoding: rot13}", "5:14: `write_files[2].encoding` must be one of"),
        ("write_files:\n- 5\n- {path: /a, owner: nobody-knows}", "4:3: `write_files[1]`: /a: user nobody-knows does not"),
        ("mounts:\n- 5\n- [/dev/sdb, rel]", "4:3: `mounts[1]`: path must be"),
        ("mounts:\n- 5\n- [/dev/sdb, /a]\n- [/dev/sdc, /a]", "5:3: `mounts[2]`: `mounts[1]` has the same path"),
        ("packages: [{a: b}, {apt: [[a, b, c, d], x, '-y']}]", "2:44: `packages[1].apt[2]`: must be the name"),
        ("ssh_genkeytypes: [rsa, foo]", "2:24: `ssh_genkeytypes[1]` must be one of"),
        ("ntp: {servers: [a], pools: ['b c']}", "2:1: `ntp`: pools must be"),
        ("groups: ['a,b', 5, 'c d']", "`groups`: user_data:2:20 'c d': name must be"),
        ("groups: {a: [], 'c d': []}", "`groups`: user_data:2:17 'c d': name must be"),
        ("groups: [a, 5, {b: [], 'c d': []}]", "`groups`: user_data:2:24 'c d': name must be"),
        ("users: [{name: a, uid: 5}, 5, {name: 'c d'}]", "`users`: user_data:2:31 'c d': name must be"),
        ("password: x\nchpasswd: {users: [5, {name: a, password: b}]}", "user_data:3:23 'a': the account does not exist"),
        ("chpasswd:\n  list: [5, 'a:b']", "user_data:3:13 'a': the account does not exist"),
        ("chpasswd:\n  list: |\n    root:x\n\n    wrong\n", "3:3: `chpasswd.list`: line 3 must be `name:password`"),
        ("chpasswd:\n  list: [5, 'root:x', wrong]", "3:23: `chpasswd.list[2]`: line 1 must be `name:password`"),
    ],
)  # fmt: skip
def test_messages_name_the_entry_where_the_user_wrote_it(admin: Guest, text: str, expected: str) -> None:
    assert expected in run(admin, user_data=f"#cloud-config\n{text}\n".encode()).error


@pytest.mark.parametrize(
    ("fields", "content", "mode"),
    [  # as cloud-init reads them
        ("content: YQ==, encoding: B64", "a", 0o644),
        ("content: YQ==, encoding: ' Base64 '", "a", 0o644),
        ("content: H4sIAAAAAAAC/0sEAEO+t+gBAAAA, encoding: GZip+B64", "a", 0o644),
        ("content: YQ==, encoding: ''", "YQ==", 0o644),
        ("content: a, encoding: Text/Plain", "a", 0o644),
        ("content: a, owner: ''", "a", 0o644),
        ("content: a, owner: ' '", "a", 0o644),
        ("content: a, owner: '-1:-1'", "a", 0o644),
        ("content: a, owner: ' root : root '", "a", 0o644),
        ("content: a, owner: 'None:root'", "a", 0o644),
        ("content: a, owner: 'root:'", "a", 0o644),
        ("content: a, owner: ':'", "a", 0o644),
        ("content: a, permissions: ''", "a", 0o644),
        ("content: a, permissions: ' 0600 '", "a", 0o600),
    ],
)
def test_fields_of_a_file_are_read_as_cloud_init_does(admin: Guest, fields: str, content: str, mode: int) -> None:
    said = run(admin, user_data=f"#cloud-config\nwrite_files:\n- {{path: /etc/a, {fields}}}\n".encode())
    assert (said.error, said.notes) == ("", [])
    assert (admin.text("etc/a"), admin.mode("etc/a")) == (content, mode)


def zeros(size: int) -> str:
    return base64.b64encode(gzip.compress(b"\0" * size)).decode()


MIB = 1 << 20
TOO_MUCH = f"its content and all that was unpacked before it have more than {16 * MIB} bytes"


@pytest.mark.parametrize("packed_itself", [False, True])
@pytest.mark.parametrize(
    ("sizes", "refused"),
    [  # MiB of the files, and those that are refused
        ([15], {}),
        ([17], {0: "its content "}),
        ([8, 7], {}),
        ([8, 9, 7], {1: TOO_MUCH}),
        ([9, 9, 9, 1], {1: TOO_MUCH, 2: TOO_MUCH}),
    ],
)
def test_all_unpacked_files_count_against_the_limit_of_the_document(
    guest: Guest, sizes: list[int], refused: dict[int, str], packed_itself: bool
) -> None:
    files = "".join(
        f"- {{path: /srv/{i}, encoding: gz+b64, content: {zeros(size * MIB)}}}\n" for i, size in enumerate(sizes)
    )
    text = f"#cloud-config\nwrite_files:\n{files}".encode()
    said = run(guest, user_data=gzip.compress(text) if packed_itself else text)
    for i, size in enumerate(sizes):
        if i in refused:
            assert f"`write_files[{i}]`: /srv/{i}: {refused[i]}" in said.error
            assert f"more than {16 * MIB} bytes" in said.error
            assert not guest.path(f"srv/{i}").exists()
        else:
            assert guest.path(f"srv/{i}").stat().st_size == size * MIB
    assert said.error.count("`write_files[") == len(refused)


def test_a_bomb_that_is_repeated_by_an_alias_ends_at_the_time_limit(guest: Guest) -> None:
    class Slow(FastClock):
        def monotonic(self) -> float:
            self.sleep(0.5)
            return super().monotonic()

    entries = "".join(f"- {{path: /srv/{i}, encoding: gz, content: *bomb}}\n" for i in range(40))
    packed = f"&bomb !!binary {zeros(17 * MIB)}"
    text = f"#cloud-config\nwrite_files:\n- {{path: /srv/x, encoding: gz, content: {packed}}}\n{entries}"
    said = run(guest, user_data=text.encode(), clock=Slow())
    assert 0 < said.error.count("when unpacked") < 12
    assert said.error.count("unpacking the user data takes too long: compress fewer files") > 28


NULLS = [
    "no_create_home",
    "system",
    "create_groups",
    "lock_passwd",
    "shell",
    "homedir",
    "groups",
    "sudo",
    "uid",
    "gecos",
]
EMPTY = ["shell", "homedir", "gecos", "primary_group", "groups", "expiredate", "uid", "inactive", "passwd", "sudo"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a home belongs to another user")
@pytest.mark.parametrize(
    "fields",
    [
        *[f"{key}: null" for key in NULLS],
        *[f"{key}: ''" for key in (*EMPTY, "ssh_authorized_keys", "plain_text_passwd", "hashed_passwd")],
        "ssh_authorized_keys: ['', ' ']",
    ],
)
def test_a_key_without_a_value_counts_as_left_out(admin: Guest, fields: str) -> None:
    said = run(admin, user_data=f"#cloud-config\nusers: [{{name: ann, {fields}}}]\n".encode())
    assert (said.error, said.notes) == ("", [])
    assert re.search(r"^ann:x:\d+:\d+::/home/ann:/bin/sh$", admin.text("etc/passwd"), re.M)
    assert admin.path("home/ann").is_dir()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("write_files: [{path: /etc/a, append: null, defer: null, content: null}]", ""),
        ("write_files: [{path: null, content: x}]", "user_data:2:15: `write_files[0]`: `path` is missing"),
        ("chpasswd: {expire: null, users: null}", ""),
        ("swap: {filename: null}", ""),
        ("ntp: {enabled: null, servers: null}", ""),
        ("growpart: null", ""),
        ("users: [{name: ann, shell: rel}]", "user_data:2:9: `users[0]`: 'ann': shell must be an absolute path"),
        ("users: [5, {name: ann, shell: rel}]", "user_data:2:12: `users[1]`: 'ann': shell must be an absolute path"),
    ],
)
def test_null_is_the_default_and_a_message_has_no_index_of_options(admin: Guest, text: str, error: str) -> None:
    said = run(admin, user_data=f"#cloud-config\n{text}\n".encode())
    assert error in said.error if error else said.error == ""
    assert "accounts[" not in said.error
