"""`hostname`: how names are repaired, and which are refused."""

from __future__ import annotations

import itertools
import logging
import re
from typing import Any, Callable

import pytest
from kit import Guest

from azurelite.config.load import Config, HandlerEntry
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.hostname import NEEDS, Options, apply, needs, usable_name
from azurelite.record import replace

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
    ("10.0.0.4", "ip-10-0-0-4"),
    (" 10.0.0.4. ", "ip-10-0-0-4"),
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
        # The console must say that the name is not the requested one.
        assert notes == (
            [] if expected == given else [f"the host name {given[:100]!r} from Azure was changed to {expected!r}"]
        )


@pytest.mark.parametrize("given", ["", " ", "-", "---", ".", "...", "___", "ü", "\n", "-.-", "\0", "漢字"])
@pytest.mark.parametrize("fqdn", ["short", "keep"])
def test_a_name_of_which_nothing_is_left_is_refused(
    guest: Guest, context: Callable[..., Context], given: str, fqdn: str
) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="cannot be used as host name") as caught:
        apply(context(local_hostname=given), Options(fqdn=fqdn))  # type: ignore[arg-type]
    assert caught.value.reason == "failed to provision hostname"
    assert caught.value.data == {"error": "invalid host name"}
    assert guest.snapshot() == before


def test_every_result_is_a_valid_host_name() -> None:
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


def test_the_same_name_is_not_written_again(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/hostname": "vm\n"}).path("etc/hostname").chmod(0o644)
    ctx = context(local_hostname="vm")
    apply(ctx, Options())
    assert len(ctx.system.journal) == 0


@pytest.mark.parametrize(
    ("given", "domain", "expected"),
    [
        ("vm", "corp.example", "vm.corp.example"),
        ("vm.other.example", "corp.example", "vm.corp.example"),
        ("10.0.0.4", "corp.example", "ip-10-0-0-4.corp.example"),
        ("a" * 51, "corp.example", "a" * 51 + ".corp.example"),
        ("a" * 52, "corp.example", "a" * 52),  # 65 characters would be too many for the kernel
    ],
)
def test_a_domain_is_appended(
    guest: Guest, context: Callable[..., Context], notes: list[str], given: str, domain: str, expected: str
) -> None:
    apply(context(local_hostname=given), Options(fqdn="domain", domain=domain))
    assert guest.text("etc/hostname") == f"{expected}\n"
    assert (notes == []) == (expected == f"{given}.{domain}")


@pytest.mark.parametrize("azure", [None, "of-azure"])
def test_a_name_in_the_configuration_replaces_azures(
    guest: Guest, context: Callable[..., Context], notes: list[str], azure: Any
) -> None:
    apply(context(local_hostname=azure), Options(name="my_own"))
    assert guest.text("etc/hostname") == "my-own\n"
    assert notes == ["the host name 'my_own' from the configuration was changed to 'my-own'"]


def test_without_a_name_in_the_configuration_azures_name_is_needed() -> None:
    assert needs(Options()) == NEEDS == ("local_hostname",)
    assert needs(Options(name="own")) == ()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "-"}, "name needs a letter"),
        ({"fqdn": "domain"}, "needs `domain`"),
        ({"domain": "corp.example", "fqdn": "keep"}, "cannot be combined with"),
        ({"domain": "corp..example"}, "domain must be"),
        ({"domain": "corp.example\n"}, "domain must be"),
        ({"domain": "-.example"}, "domain must be"),
        ({"domain": ""}, "domain must be"),
        ({"domain": "a" * 64}, "domain must be"),
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options(**wrong)


LOCAL = "127.0.0.1 localhost\n"


@pytest.mark.parametrize(
    ("hosts", "before", "nsswitch", "after"),
    [
        ("auto", LOCAL, None, LOCAL + "127.0.1.1\tvm.corp.example vm\n"),
        ("auto", LOCAL, "hosts: files dns\n", LOCAL + "127.0.1.1\tvm.corp.example vm\n"),
        ("auto", LOCAL, "hosts: files myhostname dns\n", LOCAL),
        ("auto", LOCAL, "hosts: files resolve [!UNAVAIL=return] dns\n", LOCAL),
        ("auto", LOCAL, "#hosts: files myhostname\nhosts: files\n", LOCAL + "127.0.1.1\tvm.corp.example vm\n"),
        ("auto", None, None, None),
        (True, LOCAL, "hosts: files myhostname dns\n", LOCAL + "127.0.1.1\tvm.corp.example vm\n"),
        (True, None, None, "127.0.0.1\tlocalhost\n127.0.1.1\tvm.corp.example vm\n::1\tlocalhost\n"),
        (False, LOCAL, None, LOCAL),
        ("auto", "10.0.0.4 VM\n", None, "10.0.0.4 VM\n"),
    ],
)
def test_the_line_in_etc_hosts_depends_on_the_option(
    guest: Guest, context: Callable[..., Context], hosts: Any, before: Any, nsswitch: Any, after: Any
) -> None:
    guest.put({f"etc/{name}": text for name, text in (("hosts", before), ("nsswitch.conf", nsswitch)) if text})
    apply(context(local_hostname="vm.corp.example"), Options(hosts=hosts))
    path = guest.path("etc/hosts")
    assert (path.read_text() if path.exists() else None) == after


def test_an_unwritable_etc_hosts_is_an_error_only_if_hosts_is_true(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    guest.path("etc/hosts").mkdir()
    apply(context(local_hostname="vm"), Options())
    assert len(notes) == 1
    assert notes[0].startswith("the host name was not added to /etc/hosts: cannot read /etc/hosts")
    with pytest.raises(Exception, match="cannot read /etc/hosts"):
        apply(context(local_hostname="vm"), Options(hosts=True))


@pytest.fixture
def at_boot(context: Callable[..., Context]) -> Callable[..., Context]:
    """A function that creates a context with `frequency: boot` for the handler."""

    def make(**known: Any) -> Context:
        config = Config(handlers=(HandlerEntry("hostname", frequency="boot"),))
        return replace(context(**known), config=config)

    return make


def test_a_name_that_somebody_set_later_is_kept(
    guest: Guest, at_boot: Callable[..., Context], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    apply(at_boot(local_hostname="vm"), Options())
    guest.put({"etc/hostname": "# by hand\nmine\n"})
    ctx = at_boot(local_hostname="vm")
    apply(ctx, Options())
    assert len(ctx.system.journal) == 0
    assert guest.text("etc/hostname") == "# by hand\nmine\n"
    assert "mine is kept: somebody changed the name after azurelite set vm" in caplog.text


@pytest.mark.parametrize("left", ["", "localhost\n", "localhost.localdomain\n"])
def test_a_removed_name_is_set_again(guest: Guest, at_boot: Callable[..., Context], left: str) -> None:
    apply(at_boot(local_hostname="vm"), Options())
    guest.put({"etc/hostname": left})
    apply(at_boot(local_hostname="vm"), Options())
    assert guest.text("etc/hostname") == "vm\n"


def test_a_new_option_overrides_a_kept_name(guest: Guest, at_boot: Callable[..., Context]) -> None:
    apply(at_boot(local_hostname="vm"), Options())
    guest.put({"etc/hostname": "mine\n"})
    apply(at_boot(local_hostname="vm"), Options(name="other"))
    assert guest.text("etc/hostname") == "other\n"


def test_with_frequency_instance_nothing_is_remembered(guest: Guest, context: Callable[..., Context]) -> None:
    """Storing it would take as long as everything else, while Azure waits for Ready."""
    apply(context(local_hostname="vm"), Options())
    assert not guest.path("var/lib/azurelite").exists()


def test_a_name_given_later_is_kept_at_the_next_boot(guest: Guest, at_boot: Callable[..., Context]) -> None:
    apply(at_boot(local_hostname="vm"), Options())
    guest.put({"etc/hostname": "later\n"})
    apply(at_boot(), Options(name="later", fqdn="keep", hosts=False, publish="always"))
    apply(at_boot(local_hostname="vm"), Options())
    assert guest.text("etc/hostname") == "later\n"


def test_dhcp_clients_learn_to_send_the_name_unless_told_not_to(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/dhcpcd.conf": "#hostname\n"})
    apply(context(local_hostname="vm"), Options(publish=False))
    assert guest.text("etc/dhcpcd.conf") == "#hostname\n"
    apply(context(local_hostname="vm"), Options())
    assert guest.text("etc/dhcpcd.conf") == "hostname\n#hostname\n"


@pytest.mark.parametrize("hosts", ["", "127.0.1.1 image\n"])
@pytest.mark.parametrize("fqdn", ["short", "keep"])
@pytest.mark.parametrize(
    "name",
    [
        "a..b",
        "a..",
        "x" * 60_000,
        ".".join(["label"] * 12_000),
        "a\n10.0.0.1 evil",
        "." * 60_000 + "a",
        "ä" * 60_000 + "b",
    ],
    ids=["two dots", "dots at the end", "long label", "many labels", "a line break", "many dots", "not ASCII"],
)
def test_no_damaged_name_reaches_etc_hosts(
    guest: Guest, context: Callable[..., Context], name: str, fqdn: Any, hosts: str
) -> None:
    guest.put({"etc/hosts": hosts, "etc/hostname": "image\n"})
    apply(context(local_hostname=name), Options(fqdn=fqdn))
    (line,) = guest.text("etc/hosts").splitlines()
    address, *words = line.split()
    assert address == "127.0.1.1"
    for word in words:
        assert len(word) <= 253
        assert all(re.fullmatch("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in word.split("."))
