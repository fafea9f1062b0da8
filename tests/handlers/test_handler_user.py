"""`user`: new and adopted accounts, and names that are refused."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any, Callable, Optional

import pytest
from kit import BASE, ED25519, Guest

from azurelite.errors import AzureliteError, HandlerError
from azurelite.handlers import Context, ssh_keys, user
from azurelite.handlers.user import Options, apply
from azurelite.metadata import SshKey

Make = Callable[..., Context]
VISUDO = shutil.which("visudo") or shutil.which("visudo", path="/usr/sbin:/sbin:/usr/local/sbin")
SUDOERS = "etc/sudoers.d/90-azurelite"


def executable(guest: Guest, *paths: str) -> None:
    for path in paths:
        guest.put({path: ""}).path(path).chmod(0o755)


def without_sudo(guest: Guest) -> None:
    shutil.rmtree(guest.path("etc/sudoers.d"))


@pytest.mark.parametrize("name", ["azureuser", "A", "_x", "a.b", "a-b", "x1", "User.Name-1", "DEFAULTS", "a" * 32])
def test_a_new_account_is_made(guest: Guest, context: Make, name: str) -> None:
    apply(context(username=name), Options())
    assert guest.text("etc/passwd") == BASE["etc/passwd"] + f"{name}:x:1000:1000::/home/{name}:/bin/sh\n"
    assert f"{name}:*:" in guest.text("etc/shadow")
    assert guest.text(f"home/{name}/.profile") == "umask 022\n"
    assert guest.text(SUDOERS) == f'# written by azurelite\n"{name}" ALL=(ALL:ALL) NOPASSWD: ALL\n'


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../root",
        "..",
        "a/b",
        "a;b",
        "a b",
        "a:b",
        "a,b",
        "root\n",
        "\nroot",
        "a\nb ALL=(ALL) ALL",
        "a\0",
        "$(id)",
        "%wheel",
        "#0",
        "-x",
        "--root",
        ".x",
        "1x",
        "a.",
        "a$",
        'a"',
        "a" * 33,
        "a" * 5000,
        "ALL",
        "ü",
        "jürgen",
        "ａ",
        "а",  # Cyrillic
        "x\u202e",
        "root",
        "daemon",
        "nobody",
        "toor",
        "broken",
    ],
)
@pytest.mark.parametrize(("handler", "options"), [(user, user.Options()), (ssh_keys, ssh_keys.Options())])
def test_a_name_that_no_person_may_have_is_refused(
    guest: Guest, context: Make, name: str, handler: Any, options: Any
) -> None:
    more = "toor:x:0:0::/root:/bin/sh\nbroken:x:none:none::/home/broken:/bin/sh\n"
    guest.put({"etc/passwd": BASE["etc/passwd"] + more, "home/broken/.keep": ""})
    before = guest.snapshot()
    with pytest.raises(HandlerError, match=r"the user name '.*' is refused: ") as caught:
        handler.apply(context(username=name, public_ssh_keys=(SshKey.read(ED25519),)), options)
    assert guest.snapshot() == before
    error = caught.value
    assert error.reason == "failed to provision user"
    assert error.data["user"] == name[:64].encode("unicode_escape").decode()
    assert error.data["user"].isascii()
    assert error.message.isprintable()
    assert len(error.message) < 1000


class TestAdoption:
    OLD = "azure:x:1500:1600:Old,,,:/srv/azure:/bin/zsh"

    @pytest.fixture
    def old(self, guest: Guest) -> Guest:
        return guest.put(
            {
                "etc/passwd": BASE["etc/passwd"] + self.OLD + "\n",
                "etc/group": BASE["etc/group"] + "old:x:1600:\n",
                "etc/shadow": BASE["etc/shadow"] + "azure:$6$salt$hash:19000:0:99999:7:::\n",
                "srv/azure/mine": "kept",
                "bin/bash": "",
            }
        )

    @pytest.mark.parametrize("shell", [None, "/bin/bash"])
    def test_number_password_shell_and_home_stay(self, old: Guest, context: Make, shell: Optional[str]) -> None:
        old.path("bin/bash").chmod(0o755)
        before = old.snapshot()
        apply(context(username="azure"), Options(groups=("wheel",), shell=shell))
        after = old.snapshot()
        changed = {path for path in after if after[path] != before.get(path)}
        assert changed == {"/etc/group", "/etc/gshadow", "/" + SUDOERS, "/etc/.pwd.lock"}
        assert "wheel:x:10:azure" in old.text("etc/group").splitlines()
        assert set(before) <= set(after)

    def test_without_options_only_the_rule_is_written(self, old: Guest, context: Make) -> None:
        before = old.snapshot()
        apply(context(username="azure"), Options())
        assert old.snapshot(without=("/" + SUDOERS,)) == before

    def test_the_users_group_keeps_its_gid_when_the_main_group_has_no_line(self, old: Guest, context: Make) -> None:
        old.put({"etc/group": BASE["etc/group"] + "azure:x:1777:daemon\n"})
        old.put({"etc/gshadow": BASE["etc/gshadow"] + "azure:secret:root:daemon\n"})
        before = old.snapshot()
        apply(context(username="azure"), Options(sudo="none"))
        assert old.snapshot() == before

    def test_a_member_is_not_added_again(self, old: Guest, context: Make) -> None:
        old.put({"etc/group": BASE["etc/group"] + "old:x:1600:\nadm:x:4:azure\n"})
        ctx = context(username="azure")
        apply(ctx, Options(groups=("adm",), sudo="none"))
        assert len(ctx.system.journal) == 0


class TestGroups:
    def test_existing_groups_are_joined_and_missing_ones_noted(
        self, guest: Guest, context: Make, notes: list[str]
    ) -> None:
        apply(context(username="azure"), Options(groups=("wheel", "docker", "daemon")))
        found = guest.text("etc/group").splitlines()
        assert found == ["root:x:0:", "daemon:x:1:azure", "wheel:x:10:azure", "nogroup:x:65534:", "azure:x:1000:"]
        assert notes == ["the group docker does not exist and is skipped: create it, or set `create_groups: true`"]

    def test_a_group_named_twice_is_joined_once(self, guest: Guest, context: Make) -> None:
        ctx = context(username="azure")
        apply(ctx, Options(groups=("wheel", "wheel"), sudo="none"))
        assert "wheel:x:10:azure" in guest.text("etc/group").splitlines()
        made = "create user azure (home /home/azure, shell /bin/sh, groups wheel)"
        assert [str(change) for change in ctx.system.journal.since(0)] == [made]

    def test_missing_groups_are_created_with_create_groups(self, guest: Guest, context: Make, notes: list[str]) -> None:
        apply(context(username="azure"), Options(groups=("docker", "wheel"), create_groups=True))
        members = dict(line.split(":")[::3] for line in guest.text("etc/group").splitlines())
        assert (members["docker"], members["wheel"], notes) == ("azure", "azure", [])

    def test_a_group_with_the_users_name_becomes_the_primary_group(self, guest: Guest, context: Make) -> None:
        guest.put({"etc/group": BASE["etc/group"] + "azure:x:1777:\n"})
        apply(context(username="azure"), Options())
        assert guest.text("etc/passwd").endswith("azure:x:1000:1777::/home/azure:/bin/sh\n")
        assert guest.text("etc/group").count("azure") == 1

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_none_is_made_for_a_user_whose_home_is_refused(self, guest: Guest, context: Make, dry_run: bool) -> None:
        guest.path("home/azure").symlink_to("/var")
        before = guest.snapshot()
        ctx = context(dry_run=dry_run, username="azure")
        with pytest.raises(AzureliteError, match="/home/azure, the home of azure, is a symbolic link"):
            apply(ctx, Options(groups=("docker",), create_groups=True))
        assert guest.snapshot() == before
        assert len(ctx.system.journal) == 0

    @pytest.mark.parametrize("group", ["", "-x", "a b", "a,b", "a:b", "a\n", "ü", "1x", "a" * 33])
    def test_a_name_that_no_group_can_have_is_refused_in_the_options(self, group: str) -> None:
        with pytest.raises(ValueError, match="groups must be names of letters"):
            Options(groups=("wheel", group))


RULE = '# written by azurelite\n"azure" ALL=(ALL:ALL) {}ALL\n'


class TestSudo:
    @pytest.mark.parametrize(
        ("sudo", "rule"),
        [("auto", RULE.format("NOPASSWD: ")), ("nopasswd", RULE.format("NOPASSWD: ")), ("password", RULE.format(""))],
    )
    @pytest.mark.parametrize("program", [None, "usr/bin/sudo", "run/wrappers/bin/sudo"])
    def test_the_rule_is_written_if_sudo_is_installed(
        self, guest: Guest, context: Make, sudo: Any, rule: str, program: Optional[str]
    ) -> None:
        if program is not None:
            without_sudo(guest)
            executable(guest, program)
        apply(context(username="azure"), Options(sudo=sudo))
        assert guest.text(SUDOERS) == rule
        assert guest.mode(SUDOERS) == 0o440
        if program is not None:
            assert guest.mode("etc/sudoers.d") == 0o750

    def test_without_sudo_the_default_is_a_note(self, guest: Guest, context: Make, notes: list[str]) -> None:
        without_sudo(guest)
        apply(context(username="azure"), Options())
        assert notes == ["sudo is not installed: no rule for azure is written"]
        assert not guest.path("etc/sudoers.d").exists()

    @pytest.mark.parametrize("sudo", ["nopasswd", "password"])
    def test_without_sudo_a_requested_rule_is_an_error(self, guest: Guest, context: Make, sudo: Any) -> None:
        without_sudo(guest)
        with pytest.raises(HandlerError, match="sudo is not installed: install it, or set `sudo: none`"):
            apply(context(username="azure"), Options(sudo=sudo))

    @pytest.mark.parametrize("there", [True, False])
    def test_sudo_none_writes_and_notes_nothing(
        self, guest: Guest, context: Make, notes: list[str], there: bool
    ) -> None:
        if not there:
            without_sudo(guest)
        apply(context(username="azure"), Options(sudo="none"))
        assert (guest.path(SUDOERS).exists(), notes) == (False, [])

    def test_an_earlier_administrator_keeps_the_rule(self, guest: Guest, context: Make) -> None:
        apply(context(username="first"), Options())
        apply(context(username="azure"), Options(sudo="password"))
        first = '"first" ALL=(ALL:ALL) NOPASSWD: ALL'
        assert guest.text(SUDOERS).splitlines() == ["# written by azurelite", first, '"azure" ALL=(ALL:ALL) ALL']

    @pytest.mark.parametrize(("before", "after"), [("nopasswd", "password"), ("password", "nopasswd")])
    def test_a_changed_option_replaces_the_users_rule(
        self, guest: Guest, context: Make, before: Any, after: Any
    ) -> None:
        for sudo in (before, after):
            apply(context(username="azure"), Options(sudo=sudo))
        assert guest.text(SUDOERS) == RULE.format("NOPASSWD: " if after == "nopasswd" else "")

    def test_other_rules_are_left_alone(self, guest: Guest, context: Make) -> None:
        guest.put({"etc/sudoers.d/10-mine": "x"})
        apply(context(username="azure"), Options())
        assert (guest.text("etc/sudoers.d/10-mine"), guest.text("etc/sudoers.d/README")) == ("x", "# kept\n")

    @pytest.mark.spawns
    @pytest.mark.skipif(VISUDO is None, reason="needs visudo: install sudo")
    @pytest.mark.parametrize("name", ["azureuser", "User.Name-1", "DEFAULTS", "ADMIN", "Defaults", "_x", "a" * 32])
    @pytest.mark.parametrize("sudo", ["nopasswd", "password"])
    def test_sudo_itself_accepts_the_rule(self, guest: Guest, context: Make, name: str, sudo: Any) -> None:
        apply(context(username=name), Options(sudo=sudo))
        done = subprocess.run([str(VISUDO), "-cf", str(guest.path(SUDOERS))], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


class TestShell:
    @pytest.mark.parametrize(
        ("there", "shell"),
        [
            ([], "/bin/sh"),
            (["bin/sh"], "/bin/sh"),
            (["bin/sh", "bin/ash"], "/bin/ash"),
            (["bin/sh", "bin/ash", "usr/bin/bash"], "/usr/bin/bash"),
            (["bin/sh", "bin/bash", "usr/bin/bash"], "/bin/bash"),
        ],
    )
    def test_the_first_shell_that_exists_is_used(
        self, guest: Guest, context: Make, there: list[str], shell: str
    ) -> None:
        executable(guest, *there)
        apply(context(username="azure"), Options())
        assert guest.text("etc/passwd").splitlines()[-1].split(":")[6] == shell

    def test_a_shell_that_cannot_run_does_not_count(self, guest: Guest, context: Make) -> None:
        guest.put({"bin/bash": ""}).path("bin/bash").chmod(0o644)
        apply(context(username="azure"), Options())
        assert guest.text("etc/passwd").splitlines()[-1].split(":")[6] == "/bin/sh"

    def test_the_configured_shell_is_used(self, guest: Guest, context: Make) -> None:
        executable(guest, "bin/bash", "usr/bin/fish")
        apply(context(username="azure"), Options(shell="/usr/bin/fish"))
        assert guest.text("etc/passwd").splitlines()[-1].split(":")[6] == "/usr/bin/fish"

    def test_a_missing_shell_is_an_error_and_no_account_is_created(self, guest: Guest, context: Make) -> None:
        before = guest.snapshot()
        with pytest.raises(HandlerError, match="the shell /usr/bin/fish does not exist: install it, or change `shell`"):
            apply(context(username="azure"), Options(shell="/usr/bin/fish"))
        assert guest.snapshot() == before

    @pytest.mark.parametrize("shell", ["", "bash", "/bin/ba:sh", "/bin/sh\n", "/bin/sh -c x", "//", "/bin/sh;x"])
    def test_an_invalid_path_is_refused_in_the_options(self, shell: str) -> None:
        with pytest.raises(ValueError, match="shell must be an absolute path"):
            Options(shell=shell)


@pytest.mark.parametrize("linked", ["bin/bash", "usr/bin/sudo"])
def test_circular_links_are_not_programs(guest: Guest, context: Make, linked: str) -> None:
    guest.path(linked).parent.mkdir(parents=True)
    guest.path(linked).symlink_to(f"/{linked}")
    apply(context(username="azure"), Options())
    assert guest.text("etc/passwd").splitlines()[-1].split(":")[6] == "/bin/sh"


def test_without_etc_the_reason_is_told(guest: Guest, context: Make) -> None:
    shutil.rmtree(guest.path("etc"))
    with pytest.raises(AzureliteError, match=r"cannot lock /etc/.pwd.lock: No such file or directory"):
        apply(context(username="azure"), Options(sudo="none"))
