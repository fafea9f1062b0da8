"""`user`: when Azure's password is set, when it is not, and that no message repeats it."""

from __future__ import annotations

from typing import Any, Callable, Optional

import pytest
from kit import BASE, SWAPPED_VM_ID, VM_ID, FastClock, Guest

from azurelite.errors import AzureliteError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import password_works
from azurelite.handlers.user import Options, apply
from azurelite.metadata import Secret
from azurelite.state.marker import marker_path
from azurelite.state.store import State
from azurelite.system.accounts.libcrypt import make_hash
from azurelite.system.process import Commands

Make = Callable[..., Context]
GIVEN = "canary:P%ss wörd"


def stored(guest: Guest) -> str:
    return guest.text("etc/shadow").splitlines()[-1].split(":")[1]


def adopted(guest: Guest, field: str) -> Guest:
    guest.put({"etc/passwd": BASE["etc/passwd"] + "azure:x:1500:1500::/home/azure:/bin/sh\n"})
    guest.put({"etc/group": BASE["etc/group"] + "azure:x:1500:\n", "home/azure/.profile": ""})
    return guest.put({"etc/shadow": BASE["etc/shadow"] + f"azure:{field}:19000:0:99999:7:::\n"})


@pytest.mark.parametrize("forbidden", [True, False, None])
@pytest.mark.parametrize("option", ["auto", "always", "never"])
def test_a_new_account_gets_azures_password(
    guest: Guest, context: Make, forbidden: Optional[bool], option: Any
) -> None:
    known = {"username": "azure", "password": Secret(GIVEN), "disable_password_authentication": forbidden}
    ctx = context(**known)
    apply(ctx, Options(password=option))
    fits = ctx.system.accounts.passwords.fits("azure", Secret(GIVEN))
    assert fits is (option != "never")
    assert (stored(guest) == "*") is (option == "never")
    # Over SSH it is usable only if Azure does not forbid it; the console and sudo use it in any case.
    assert password_works(ctx) is (fits and forbidden is not True)
    again = context(**known)
    apply(again, Options(password=option))
    assert len(again.system.journal) == 0


def test_without_a_password_the_account_has_none(guest: Guest, context: Make) -> None:
    ctx = context(username="azure")
    apply(ctx, Options())
    assert stored(guest) == "*"
    assert not password_works(ctx)


@pytest.mark.parametrize("field", ["*", "!", "!!", "!*", ""])
@pytest.mark.parametrize("option", ["auto", "always", "never"])
def test_an_adopted_account_without_a_password_gets_it(
    guest: Guest, context: Make, notes: list[str], field: str, option: Any
) -> None:
    adopted(guest, field)
    ctx = context(username="azure", password=Secret(GIVEN))
    apply(ctx, Options(password=option, sudo="none"))
    assert password_works(ctx) is (option != "never")
    assert (stored(guest) == field) is (option == "never")
    assert notes == []


def nothing(guest: Guest, ctx: Context) -> None:
    pass


def provisioned(guest: Guest, ctx: Context) -> None:
    guest.put({marker_path(VM_ID): "\n"})


def provisioned_in_the_other_byte_order(guest: Guest, ctx: Context) -> None:
    guest.put({marker_path(SWAPPED_VM_ID): "\n"})


def provisioned_by_waagent(guest: Guest, ctx: Context) -> None:
    guest.put({"var/lib/waagent/provisioned": VM_ID.upper() + "\n"})


def forced(guest: Guest, ctx: Context) -> None:
    """What --force does first."""
    provisioned(guest, ctx)
    State(ctx.system, VM_ID, FastClock()).forget()
    assert not guest.path(marker_path(VM_ID)).exists()


def set_before(guest: Guest, ctx: Context) -> None:
    """A run without a marker, as `azurelite apply user`, and then `passwd`."""
    passwords, before = ctx.system.accounts.passwords, stored(guest)
    apply(ctx, Options(sudo="none"))
    passwords.set_hash("azure", Secret("$6$chosen$" + before[-8:].replace("$", "x")))


def another_vm(guest: Guest, ctx: Context) -> None:
    guest.put({marker_path("11111111-6f0c-4c5e-9f3a-51a7d0b2e8c4"): "\n"})


@pytest.mark.parametrize("field", ["$6$kept$hash", "!$6$kept$hash", "$y$j9T$kept$hash", "abJnggxhB/yWI"])
@pytest.mark.parametrize("option", ["auto", "always", "never"])
@pytest.mark.parametrize(
    ("before", "first"),
    [
        (nothing, True),
        (another_vm, True),
        (provisioned, False),
        (provisioned_in_the_other_byte_order, False),
        (provisioned_by_waagent, False),
        (forced, False),
        (set_before, False),
    ],
)
def test_an_existing_password_is_replaced_on_the_first_boot_of_a_vm_only(
    guest: Guest,
    context: Make,
    notes: list[str],
    field: str,
    option: Any,
    before: Callable[[Guest, Context], None],
    first: bool,
) -> None:
    adopted(guest, field)
    known = {"username": "azure", "password": Secret(GIVEN)}
    before(guest, context(**known))
    kept = stored(guest)
    told = context(dry_run=True, **known)
    apply(told, Options(password=option, sudo="none"))
    notes.clear()
    ctx = context(**known)
    apply(ctx, Options(password=option, sudo="none"))
    assert [str(change) for change in told.system.journal.since(0)] == [
        str(change) for change in ctx.system.journal.since(0)
    ]
    replaced = option == "always" or (option == "auto" and first)
    assert password_works(ctx) is replaced
    assert (stored(guest) == kept) is not replaced
    assert [("since an earlier run: set `password: always`" in note, "canary" in note) for note in notes] == (
        [(True, False)] if option == "auto" and not first else []
    )


def test_a_password_from_another_database_is_kept(guest: Guest, context: Make, notes: list[str]) -> None:
    adopted(guest, "*").put({"etc/passwd": BASE["etc/passwd"] + "azure:*:1500:1500::/home/azure:/bin/sh\n"})
    before = guest.snapshot()
    apply(context(username="azure", password=Secret(GIVEN)), Options(sudo="none"))
    assert guest.snapshot() == before
    assert notes == ["the account azure keeps its password from another database: change it there"]


@pytest.mark.parametrize("option", ["auto", "always"])
def test_an_account_with_the_same_password_is_not_changed(
    guest: Guest, context: Make, notes: list[str], option: Any
) -> None:
    before = adopted(guest, make_hash(Commands(), Secret(GIVEN))).snapshot()
    ctx = context(username="azure", password=Secret(GIVEN))
    apply(ctx, Options(password=option, sudo="none"))
    assert guest.snapshot(without=("/var/lib",)) == {k: v for k, v in before.items() if not k.startswith("/var/lib")}
    assert notes == []
    assert password_works(ctx)


@pytest.mark.parametrize("bad", ["a\nroot:b", "a\r\n", "x\0y", "ü" * 200])
def test_an_invalid_password_is_refused_before_any_change(guest: Guest, context: Make, bad: str) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="the password of azure is refused because ") as caught:
        apply(context(username="azure", password=Secret(bad)), Options(groups=("docker",), create_groups=True))
    assert caught.value.reason == "failed to provision password"
    assert bad not in str(caught.value)
    assert guest.snapshot() == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_guest_without_a_shadow_file_is_refused_before_any_change(guest: Guest, context: Make, dry_run: bool) -> None:
    guest.path("etc/shadow").unlink()
    before = guest.snapshot()
    with pytest.raises(HandlerError, match=r"there is no /etc/shadow, .*set `password: never`"):
        apply(context(dry_run=dry_run, username="azure", password=Secret(GIVEN)), Options())
    assert guest.snapshot() == before
    apply(context(dry_run=dry_run, username="azure", password=Secret(GIVEN)), Options(password="never"))


def test_a_missing_shadow_line_is_added_with_the_password(guest: Guest, context: Make) -> None:
    adopted(guest, "*").put({"etc/shadow": BASE["etc/shadow"]})
    ctx = context(username="azure", password=Secret(GIVEN))
    apply(ctx, Options())
    assert password_works(ctx)
    again = context(username="azure", password=Secret(GIVEN))
    apply(again, Options())
    assert len(again.system.journal) == 0


def test_in_a_dry_run_the_password_counts_for_what_comes_after(guest: Guest, context: Make) -> None:
    ctx = context(dry_run=True, username="azure", password=Secret(GIVEN))
    assert not password_works(ctx)
    apply(ctx, Options())
    assert password_works(ctx)
    assert "canary" not in str(ctx.system.journal.since(0))


@pytest.mark.parametrize(("mode", "bits"), [("0750", 0o750), ("755", 0o755), ("0700", 0o700)])
def test_the_home_gets_the_configured_mode(guest: Guest, context: Make, mode: str, bits: int) -> None:
    apply(context(username="azure"), Options(home_mode=mode, comment="An Admin, 1st"))
    assert guest.mode("home/azure") == bits
    assert guest.text("etc/passwd").splitlines()[-1].split(":")[4] == "An Admin, 1st"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"home_mode": "rwx"}, "home_mode must be octal permissions"),
        ({"home_mode": "04755"}, "home_mode must be octal permissions"),
        ({"home_mode": "9"}, "home_mode must be octal permissions"),
        ({"comment": "a:b"}, "comment must be one line"),
        ({"comment": "a\nroot::0:0"}, "comment must be one line"),
        ({"comment": "x" * 300}, "comment must be one line"),
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Options(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["/etc", "../etc", "/nowhere"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_home_that_is_a_link_is_refused_and_nothing_changes(
    guest: Guest, context: Make, target: str, dry_run: bool
) -> None:
    guest.path("home/azure").symlink_to(target)
    before = guest.snapshot()
    with pytest.raises(AzureliteError, match="the home of azure, is a symbolic link, which is not followed"):
        apply(context(dry_run=dry_run, username="azure"), Options())
    assert guest.snapshot() == before


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("sudo", ["nopasswd", "password"])
def test_a_rule_without_sudo_is_refused_before_any_change(
    guest: Guest, context: Make, sudo: Any, dry_run: bool
) -> None:
    guest.path("etc/sudoers.d/README").unlink()
    guest.path("etc/sudoers.d").rmdir()
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="sudo is not installed"):
        apply(context(dry_run=dry_run, username="azure"), Options(sudo=sudo, groups=("docker",), create_groups=True))
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    ("sudo", "line"),
    [("auto", "permit nopass keepenv"), ("nopasswd", "permit nopass keepenv"), ("password", "permit keepenv")],
)
def test_doas_gets_the_rule_if_sudo_is_missing(
    guest: Guest, context: Make, notes: list[str], sudo: Any, line: str
) -> None:
    guest.path("etc/sudoers.d/README").unlink()
    guest.path("etc/sudoers.d").rmdir()
    guest.put({"etc/doas.d/wheel.conf": "permit persist :wheel\n"})
    for _ in range(2):
        ctx = context(username="azure")
        apply(ctx, Options(sudo=sudo))
        assert guest.text("etc/doas.d/azurelite.conf") == f'# written by azurelite\n{line} "azure"\n'
    assert len(ctx.system.journal) == 0
    assert notes == []


def test_sudo_by_doas_writes_a_doas_rule(guest: Guest, context: Make) -> None:
    guest.put({"etc/doas.conf": ""})
    apply(context(username="azure"), Options(sudo_by="doas"))
    assert guest.text("etc/doas.conf").endswith('permit nopass keepenv "azure"\n')
    assert not guest.path("etc/sudoers.d/90-azurelite").exists()
    guest.path("etc/doas.conf").unlink()
    with pytest.raises(HandlerError, match="doas is not installed: install it, or set `sudo: none`"):
        apply(context(username="azure"), Options(sudo_by="doas", sudo="password"))
