"""`hostname`: what names become, and which are beyond repair."""

from __future__ import annotations

import itertools
import re
from typing import Callable

import pytest
from kit import Guest

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.hostname import Options, apply, usable_name

A63 = "a" * 63
BOTH = [
    ("azure-vm", "azure-vm"),
    ("VM01", "VM01"),
    ("1", "1"),
    ("my_vm", "my-vm"),
    ("my vm", "my-vm"),
    (" vm\n", "vm"),
    ("vm.", "vm"),
    ("..vm", "vm"),
    ("-vm-", "vm"),
    ("_vm_", "vm"),
    ("vm;reboot", "vm-reboot"),
    ("$(reboot)", "reboot"),
    ("../../etc/passwd", "etc-passwd"),
    ("a\nb", "a-b"),
    ("a\0b", "a-b"),
    ("vüm", "v-m"),
    ("vm\u2028x", "vm-x"),
    (A63, A63),
    ("a" * 64, A63),
    ("a" * 500, A63),
    ("a" * 62 + "_b", "a" * 62),
]


@pytest.mark.parametrize(
    ("given", "short", "keep"),
    [
        *[(given, name, name) for given, name in BOTH],
        ("vm.corp.example", "vm", "vm.corp.example"),
        ("vm.corp.example.", "vm", "vm.corp.example"),
        ("vm..example", "vm", "vm.example"),
        ("-.vm.example", "vm", "vm.example"),
        ("a_b.c_d", "a-b", "a-b.c-d"),
        (f"a.{'b' * 62}", "a", f"a.{'b' * 62}"),
        (f"a.{'b' * 63}", "a", "a"),
        (f"{A63}.b", A63, A63),
        (f"{'a' * 70}.b", A63, A63),
    ],
)
def test_a_name_is_used_as_it_is_or_repaired(
    guest: Guest, context: Callable[..., Context], notes: list[str], given: str, short: str, keep: str
) -> None:
    for fqdn, expected in (("short", short), ("keep", keep)):
        notes.clear()
        apply(context(local_hostname=given), Options(fqdn=fqdn))  # type: ignore[arg-type]
        assert guest.text("etc/hostname") == f"{expected}\n"
        assert guest.mode("etc/hostname") == 0o644
        # Who reads the console must learn that the name is not the one that was asked for.
        assert notes == ([] if expected == given else [f"Azure's host name {given[:100]!r} became {expected!r}"])


@pytest.mark.parametrize("given", ["", " ", "-", "---", ".", "...", "___", "ü", "\n", "-.-", "\0", "漢字"])
@pytest.mark.parametrize("fqdn", ["short", "keep"])
def test_a_name_of_which_nothing_is_left_is_refused(
    guest: Guest, context: Callable[..., Context], given: str, fqdn: str
) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="cannot be made a host name") as caught:
        apply(context(local_hostname=given), Options(fqdn=fqdn))  # type: ignore[arg-type]
    assert caught.value.reason == "failed to provision hostname"
    assert caught.value.data == {"error": "invalid host name"}
    assert guest.snapshot() == before


def test_whatever_comes_in_what_goes_out_is_a_host_name() -> None:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    for letters in itertools.product("a-._ Ü\n", repeat=4):
        for repeat, keep in itertools.product((1, 30), (False, True)):
            given = "".join(letters) * repeat
            try:
                name = usable_name(given, keep_domain=keep)
            except HandlerError:
                assert "a" not in given
            else:
                assert re.fullmatch(rf"{label}(\.{label})*", name), (given, name)
                assert len(name) <= 64


def test_the_name_that_is_there_already_is_not_written_again(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/hostname": "vm\n"}).path("etc/hostname").chmod(0o644)
    ctx = context(local_hostname="vm")
    apply(ctx, Options())
    assert len(ctx.system.journal) == 0
