"""`network`: the choice of the renderer and of the primary NIC, and which files are written and removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, Literal

import pytest
import yaml
from kit import Guest, shim

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import AzureliteError, FileError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.network import Options, apply
from azurelite.system.changes import Change
from azurelite.system.network.nics import LocalNic, local_nics, nic_of

MACS = ("00:0d:3a:5e:7b:21", "00:0d:3a:5e:7b:22", "00:0d:3a:5e:7b:23")
DHCP_ETH0 = "source /etc/network/interfaces.d/*\nauto eth0\niface eth0 inet dhcp\n"


def entry(number: int, *further: str) -> dict[str, Any]:
    """A NIC as in IMDS: its subnet, the address from DHCP, and secondary addresses."""
    addresses = [f"10.0.{number}.4", *further]
    return {
        "macAddress": MACS[number].replace(":", "").upper(),
        "ipv4": {
            "ipAddress": [{"privateIpAddress": address, "publicIpAddress": ""} for address in addresses],
            "subnet": [{"address": f"10.0.{number}.0", "prefix": "24"}],
        },
        "ipv6": {"ipAddress": []},
    }


NETWORK = {"interface": [entry(0, "10.0.0.5"), entry(1)]}


def plug(guest: Guest, name: str, mac: str, driver: str = "hv_netvsc") -> None:
    """An interface in the guest's sysfs; without a driver it is a virtual one."""
    here = guest.path(f"sys/class/net/{name}")
    guest.put({f"sys/class/net/{name}/address": mac + "\n", f"sys/class/net/{name}/ifindex": "2\n"})
    if driver:
        guest.path(f"sys/bus/vmbus/drivers/{driver}").mkdir(parents=True, exist_ok=True)
        here.joinpath("device").mkdir()
        here.joinpath("device/driver").symlink_to(f"/sys/bus/vmbus/drivers/{driver}")


def install(guest: Guest, *paths: str) -> None:
    """Create empty executable files as programs."""
    for path in paths:
        guest.put({path: ""}).path(path).chmod(0o755)


def route(guest: Guest, *lines: tuple[str, str, int]) -> None:
    """Write the kernel's routes: (interface, "default" or an address, metric)."""
    text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    for name, to, metric in lines:
        number = "00000000" if to == "default" else bytes(map(int, to.split(".")))[::-1].hex().upper()
        mask = "00000000" if to == "default" else "FFFFFFFF"
        text += f"{name}\t{number}\t0100000A\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"
    guest.put({"proc/net/route": text})


def written(ctx: Context) -> list[str]:
    """The paths of written and removed files, in order."""
    return [change.target for change in ctx.system.journal.since(0) if change.kind in ("write", "delete")]


class TestWhichRenderer:
    @pytest.mark.parametrize(
        ("programs", "files", "first"),
        [
            (["usr/sbin/netplan"], {"etc/netplan/.keep": ""}, "/etc/netplan/50-azurelite-000d3a5e7b21.yaml"),
            (
                ["usr/sbin/netplan", "usr/sbin/NetworkManager"],
                {"usr/lib/netplan/00.yaml": "network: {renderer: NetworkManager}\n", "etc/netplan/.keep": ""},
                "/etc/NetworkManager/system-connections/azurelite-000d3a5e7b21.nmconnection",
            ),
            (
                ["usr/sbin/NetworkManager", "usr/lib/systemd/systemd-networkd"],
                {
                    "usr/lib/systemd/systemd": "",
                    "usr/lib/systemd/system/NetworkManager.service": "",
                    "etc/systemd/system/multi-user.target.wants/NetworkManager.service": "",
                },
                "/etc/NetworkManager/system-connections/azurelite-000d3a5e7b21.nmconnection",
            ),
            (
                ["usr/sbin/NetworkManager", "usr/lib/systemd/systemd-networkd", "sbin/ifup"],
                {
                    "usr/lib/systemd/systemd": "",
                    "usr/lib/systemd/system/NetworkManager.service": "",
                    "usr/lib/systemd/system/systemd-networkd.service": "",
                    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "",
                    "etc/network/interfaces": DHCP_ETH0,
                },
                "/etc/systemd/network/05-azurelite-000d3a5e7b21.network",
            ),
            (
                ["sbin/ifup", "usr/lib/systemd/systemd-networkd"],
                {"etc/network/interfaces": "source-directory interfaces.d\n"},
                "/etc/network/interfaces.d/azurelite",
            ),
        ],
    )
    def test_the_renderer_that_is_installed_and_enabled_is_used(
        self, guest: Guest, context: Callable[..., Context], programs: list[str], files: dict[str, str], first: str
    ) -> None:
        install(guest.put(files), *programs)
        plug(guest, "eth0", MACS[0])
        plug(guest, "eth1", MACS[1])
        ctx = context(network=NETWORK)
        apply(ctx, Options())
        assert written(ctx)[0] == first

    @pytest.mark.parametrize(
        "programs", [[], ["usr/sbin/netplan"], ["usr/lib/systemd/systemd-networkd"], ["sbin/ifup"]]
    )
    def test_without_a_renderer_it_is_an_error_with_a_remedy(
        self, guest: Guest, context: Callable[..., Context], programs: list[str]
    ) -> None:
        install(guest, *programs)
        before = guest.snapshot()
        with pytest.raises(HandlerError, match="set `renderer`, or remove"):
            apply(context(network=NETWORK), Options())
        assert guest.snapshot() == before

    def test_netplan_cannot_match_drivers_for_networkmanager(
        self, guest: Guest, context: Callable[..., Context]
    ) -> None:
        guest.put({"etc/netplan/01.yaml": "network:\n  renderer: NetworkManager\n"})
        with pytest.raises(HandlerError, match="set `renderer: networkmanager`"):
            apply(context(network=NETWORK), Options(renderer="netplan"))

    @pytest.mark.parametrize("main", [None, "auto lo\n", "source /etc/network/interfaces.d/*.cfg\n"])
    def test_ifupdown_must_include_the_folder(self, guest: Guest, context: Callable[..., Context], main: str) -> None:
        if main is not None:
            guest.put({"etc/network/interfaces": main})
        with pytest.raises(HandlerError, match=r"add the line `source /etc/network/interfaces\.d/\*`"):
            apply(context(network=NETWORK), Options(renderer="ifupdown"))


class TestWhichNic:
    def metrics(self, guest: Guest) -> dict[str, str]:
        """MAC → metric in networkd's files."""
        found = {}
        for path in guest.path("etc/systemd/network").glob("05-azurelite-000d*"):
            lines = dict(line.split("=") for line in path.read_text().splitlines() if "=" in line)
            found[lines["MACAddress"]] = lines.get("RouteMetric", "")
        return found

    def test_without_visible_nics_the_order_of_imds_is_used(
        self, guest: Guest, context: Callable[..., Context]
    ) -> None:
        apply(context(network=NETWORK), Options(renderer="networkd"))
        assert self.metrics(guest) == {MACS[0]: "100", MACS[1]: "200"}

    @pytest.mark.parametrize(
        ("lines", "first"),
        [
            ([], 0),
            ([("eth0", "default", 100)], 1),
            ([("eth1", "default", 100)], 0),
            ([("eth1", "default", 200), ("eth0", "default", 100)], 1),
            ([("eth0", "default", 100), ("eth1", "default", 100)], 0),
            ([("tun0", "default", 50), ("eth0", "default", 100), ("eth1", "default", 200)], 1),
            ([("eth1", "default", 100), ("eth0", "default", 200), ("eth0", "169.254.169.254", 200)], 1),
            ([("eth1", "default", 100), ("eth0", "168.63.129.16", 0)], 1),
            ([("eth1", "default", 100), ("eth0", "10.0.0.1", 0)], 0),
            ([("eth0", "168.63.129.16", 100), ("eth1", "168.63.129.16", 100)], 0),
            ([("eth9", "168.63.129.16", 100)], 0),
        ],
    )
    def test_the_routes_determine_the_primary_nic_whatever_the_order_of_imds(
        self, guest: Guest, context: Callable[..., Context], lines: list[tuple[str, str, int]], first: int
    ) -> None:
        plug(guest, "eth0", MACS[1])
        plug(guest, "eth1", MACS[0])
        route(guest, *lines)
        apply(context(network=NETWORK), Options(renderer="networkd"))
        assert self.metrics(guest) == {MACS[first]: "100", MACS[1 - first]: "200"}

    def test_the_stored_order_is_kept_and_a_new_nic_comes_last(
        self, guest: Guest, context: Callable[..., Context]
    ) -> None:
        apply(context(network=NETWORK), Options(renderer="networkd"))
        turned = {"interface": [entry(2), entry(1), entry(0, "10.0.0.5")]}
        ctx = context(network=turned)
        apply(ctx, Options(renderer="networkd"))
        assert self.metrics(guest) == {MACS[0]: "100", MACS[1]: "200", MACS[2]: "300"}
        assert written(ctx) == [
            "/etc/systemd/network/05-azurelite-000d3a5e7b23.network",
            "/etc/systemd/network/05-azurelite-not-hv_netvsc.network",
        ]

    def test_an_entry_that_cannot_be_read_keeps_its_place_and_its_file(
        self, guest: Guest, context: Callable[..., Context], notes: list[str]
    ) -> None:
        apply(context(network=NETWORK), Options(renderer="networkd"))
        before = guest.text("etc/systemd/network/05-azurelite-000d3a5e7b21.network")
        damaged = {"interface": [{**entry(0), "macAddress": "damaged"}, entry(1)]}
        ctx = context(network=damaged)
        apply(ctx, Options(renderer="networkd"))
        assert self.metrics(guest) == {MACS[0]: "100", MACS[1]: "200"}
        assert guest.text("etc/systemd/network/05-azurelite-000d3a5e7b21.network") == before
        assert [note for note in notes if "network.interface[0]" in note]

    def test_the_file_of_a_removed_nic_is_deleted_and_ranks_move_up(
        self, guest: Guest, context: Callable[..., Context]
    ) -> None:
        apply(context(network=NETWORK), Options(renderer="networkd"))
        guest.put({"etc/systemd/network/05-azurelite-mine.network": "[Match]\nMACAddress=x\n"})
        guest.put({"etc/systemd/network/10-dhcp.network": "# written by azurelite\n"})
        apply(context(network={"interface": [entry(1)]}), Options(renderer="networkd"))
        assert sorted(path.name for path in guest.path("etc/systemd/network").iterdir()) == [
            "05-azurelite-000d3a5e7b22.network",
            "05-azurelite-mine.network",
            "05-azurelite-not-hv_netvsc.network",
            "10-dhcp.network",
        ]
        assert "RouteMetric=100" in guest.text("etc/systemd/network/05-azurelite-000d3a5e7b22.network")

    @pytest.mark.parametrize("renderer", ["networkd", "netplan", "networkmanager", "ifupdown"])
    @pytest.mark.parametrize(
        ("name", "mac", "link"),
        [
            ("br0", MACS[1], "master"),
            ("bond0", MACS[1], "master"),
            ("br0", "02:00:00:00:00:01", "master"),
            ("eth1.20", MACS[1], "upper"),
            ("vlan20", "02:00:00:00:00:01", "upper"),
            ("macvlan0", MACS[1], ""),
        ],
    )
    def test_a_nic_that_others_are_built_on_is_left_alone(
        self,
        guest: Guest,
        context: Callable[..., Context],
        notes: list[str],
        name: str,
        mac: str,
        link: str,
        renderer: Literal["networkd", "netplan", "networkmanager", "ifupdown"],
    ) -> None:
        guest.put({"etc/network/interfaces": DHCP_ETH0})
        plug(guest, "eth0", MACS[0])
        plug(guest, "eth1", MACS[1])
        plug(guest, name, mac, driver="")
        here = guest.path("sys/class/net/eth1")
        if link:
            (here / f"upper_{name}").symlink_to(f"../{name}")
        if link == "master":
            (here / "master").symlink_to(f"../{name}")
        apply(context(network=NETWORK), Options(renderer=renderer))
        texts = [path.read_text() for path in guest.path("etc").rglob("*azurelite*") if path.is_file()]
        assert any(MACS[0] in text or "eth0" in text for text in texts)
        assert not any(MACS[1] in text or "eth1" in text for text in texts)
        assert [note for note in notes if "eth1" in note] == [
            f"eth1 is not configured, because it is part of {name}: configure that in the image"
        ]

    def test_the_second_device_of_an_accelerated_nic_is_not_built_on_it(
        self, guest: Guest, context: Callable[..., Context], notes: list[str]
    ) -> None:
        plug(guest, "eth0", MACS[0])
        plug(guest, "enP1s1", MACS[0], driver="mlx5_core")
        guest.path("sys/class/net/enP1s1/master").symlink_to("../eth0")
        guest.path("sys/class/net/eth0/lower_enP1s1").symlink_to("../enP1s1")
        apply(context(network=NETWORK), Options(renderer="networkd"))
        assert guest.path("etc/systemd/network/05-azurelite-000d3a5e7b21.network").exists()
        assert not [note for note in notes if "left alone" in note]

    @pytest.mark.parametrize("network", [{}, {"interface": []}, {"interface": [{"macAddress": "damaged"}]}])
    def test_without_any_nic_nothing_is_touched(
        self, guest: Guest, context: Callable[..., Context], notes: list[str], network: dict[str, Any]
    ) -> None:
        apply(context(network=NETWORK), Options(renderer="networkd"))
        before = guest.snapshot()
        apply(context(network=network), Options(renderer="networkd"))
        assert guest.snapshot() == before
        assert notes

    def test_changing_the_renderer_removes_the_files_of_the_old_one(
        self, guest: Guest, context: Callable[..., Context]
    ) -> None:
        for renderer in ("networkd", "netplan", "networkmanager"):
            ctx = context(network=NETWORK)
            apply(ctx, Options(renderer=renderer))
        left = [path.name for path in guest.folder.rglob("*azurelite-000d*")]
        assert sorted(left) == ["azurelite-000d3a5e7b21.nmconnection", "azurelite-000d3a5e7b22.nmconnection"]
        assert guest.mode("etc/NetworkManager/system-connections") == 0o700
        assert guest.mode("etc/NetworkManager/system-connections/azurelite-000d3a5e7b21.nmconnection") == 0o600


class TestDrivers:
    @pytest.mark.parametrize(
        ("plugged", "driver"),
        [
            ([], "hv_netvsc"),
            ([("eth0", "hv_netvsc")], "hv_netvsc"),
            ([("enP1s1", "mlx5_core"), ("eth0", "hv_netvsc")], "hv_netvsc"),
            ([("enP1s1", "mana"), ("eth0", "hv_netvsc")], "hv_netvsc"),
            ([("eth0", "virtio_net")], "virtio_net"),
            ([("eth0", "mlx5_core"), ("eth1", "mana")], "hv_netvsc"),
            ([("veth0", "")], None),
        ],
    )
    def test_the_driver_goes_with_the_mac(
        self, guest: Guest, context: Callable[..., Context], plugged: list[tuple[str, str]], driver: str
    ) -> None:
        for name, kind in plugged:
            plug(guest, name, MACS[0], kind)
        apply(context(network={"interface": [entry(0)]}), Options(renderer="networkd"))
        text = guest.text("etc/systemd/network/05-azurelite-000d3a5e7b21.network")
        assert (f"\nDriver={driver}\n" if driver else "[Match]") in text
        assert ("Driver" in text) is (driver is not None)

    def test_local_nics_are_read_with_their_drivers(self, guest: Guest) -> None:
        plug(guest, "eth1", MACS[1])
        plug(guest, "eth0", MACS[0])
        plug(guest, "enP1", MACS[0], "mlx5_core")
        plug(guest, "lo", "00:00:00:00:00:00", "")
        plug(guest, "odd name", MACS[2])
        ctx_nics = local_nics(_root(guest))
        assert nic_of(MACS[0], ctx_nics) == LocalNic("eth0", MACS[0], "hv_netvsc")
        assert nic_of(MACS[2], ctx_nics) is None
        assert [nic.name for nic in ctx_nics] == ["enP1", "eth0", "eth1"]


def _root(guest: Guest) -> Any:
    from azurelite.system.root import Root

    return Root(guest.root)


class TestIfupdown:
    def test_it_uses_the_name_of_the_synthetic_nic(
        self, guest: Guest, context: Callable[..., Context], notes: list[str]
    ) -> None:
        guest.put({"etc/network/interfaces": DHCP_ETH0})
        plug(guest, "eth0", MACS[0])
        plug(guest, "enP1s1", MACS[1], "mlx5_core")
        plug(guest, "eth1", MACS[1])
        network = {"interface": [*NETWORK["interface"], entry(2)]}
        apply(context(network=network), Options(renderer="ifupdown"))
        text = guest.text("etc/network/interfaces.d/azurelite")
        assert "iface eth0 inet manual\n    up ip address replace 10.0.0.5/32 dev eth0\n" in text
        assert "auto eth1\niface eth1 inet dhcp\n    metric 200\n" in text
        assert "enP1s1" not in text
        assert [note for note in notes if MACS[2] in note and "skipped" in note]

    @pytest.mark.parametrize(
        ("main", "files"),
        [
            ("source /run/network/interfaces.d/*\n", {"run/network/interfaces.d/eth0": "iface eth0 inet dhcp\n"}),
            ("source-directory /run/net.d\n", {"run/net.d/x": "auto eth0\niface eth0 inet dhcp\n"}),
            ("source more.d/*.cfg\n", {"etc/network/more.d/a.cfg": "iface eth0 inet static\n"}),
            ("source /srv/*/if[0-9]\n", {"srv/a/if0": "\n", "srv/b/if1": "iface eth0 inet dhcp\n"}),
            (
                "source one\n",
                {"etc/network/one": "source two/../two/x\n", "etc/network/two/x": "iface eth0 inet dhcp\n"},
            ),
            ("source /etc/network/interfaces\n", {"etc/network/interfaces.d/x": "iface eth0 inet dhcp\n"}),
        ],
    )
    def test_stanzas_in_all_included_files_count(
        self, guest: Guest, context: Callable[..., Context], main: str, files: dict[str, str]
    ) -> None:
        guest.put({"etc/network/interfaces": f"{main}source /etc/network/interfaces.d/*\n", **files})
        guest.put({"etc/network/interfaces.d/.hidden": "iface eth1 inet dhcp\n", "run/other": "iface eth1 inet dhcp\n"})
        plug(guest, "eth0", MACS[0])
        plug(guest, "eth1", MACS[1])
        for _ in range(2):
            apply(context(network=NETWORK), Options(renderer="ifupdown"))
            text = guest.text("etc/network/interfaces.d/azurelite")
            assert "iface eth0 inet manual\n    up ip address replace 10.0.0.5/32 dev eth0\n" in text
            assert "iface eth0 inet dhcp" not in text
            assert "auto eth1\niface eth1 inet dhcp\n" in text

    def test_a_nic_that_is_not_visible_keeps_its_file(self, guest: Guest, context: Callable[..., Context]) -> None:
        guest.put({"etc/network/interfaces": DHCP_ETH0})
        guest.put({"etc/network/interfaces.d/azurelite": "# written by azurelite\nauto eth5\n"})
        before = guest.text("etc/network/interfaces.d/azurelite")
        apply(context(network=NETWORK), Options(renderer="ifupdown"))
        assert guest.text("etc/network/interfaces.d/azurelite") == before

    def test_busybox_gets_one_stanza_for_an_interface(
        self, guest: Guest, context: Callable[..., Context], notes: list[str]
    ) -> None:
        install(guest, "bin/busybox")
        guest.path("sbin").mkdir()
        guest.path("sbin/ifup").symlink_to("/bin/busybox")
        guest.put({"etc/network/interfaces": DHCP_ETH0})
        plug(guest, "eth0", MACS[0])
        plug(guest, "eth1", MACS[1])
        apply(context(network=NETWORK), Options())
        assert "iface eth0" not in guest.text("etc/network/interfaces.d/azurelite")
        assert [note for note in notes if "BusyBox" in note]


@pytest.mark.parametrize("renderer", ["networkd", "networkmanager", "ifupdown"])
def test_a_udev_rule_sets_names_if_the_renderer_cannot(
    guest: Guest, context: Callable[..., Context], renderer: Any
) -> None:
    guest.put({"etc/network/interfaces": "source interfaces.d/*\n"})
    plug(guest, "eth0", MACS[1])
    plug(guest, "eth1", MACS[0])
    apply(context(network=NETWORK), Options(renderer=renderer, set_name=True))
    rules = guest.text("etc/udev/rules.d/70-azurelite-net.rules").splitlines()[1:]
    assert [(MACS[n] in rule, f'NAME="eth{n}"' in rule) for n, rule in enumerate(rules)] == [(True, True)] * 2
    apply(context(network=NETWORK), Options(renderer=renderer))
    assert not guest.path("etc/udev/rules.d/70-azurelite-net.rules").exists()


def test_a_file_instead_of_the_folder_is_an_error(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/netplan": "not a folder"})
    before = guest.snapshot()
    for dry_run in (True, False):
        with pytest.raises(FileError, match="/etc/netplan is not a folder: remove it"):
            apply(context(dry_run=dry_run, network=NETWORK), Options(renderer="netplan"))
        assert guest.snapshot() == before


WISHES = yaml.safe_load((Path(__file__).parent / "wishes/network.yaml").read_text(encoding="utf-8"))
DAMAGED = {"interface": [*NETWORK["interface"], {"macAddress": "damaged"}]}


@pytest.mark.parametrize("network", [NETWORK, DAMAGED], ids=["good", "damaged"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("wish", WISHES, ids=range(len(WISHES)))
def test_the_cases_keep_the_contract_on_a_guest_with_nics(
    guest: Guest,
    context: Callable[..., Context],
    notes: list[str],
    tmp_path: Path,
    wish: dict[str, Any],
    seen: bool,
    network: dict[str, Any],
) -> None:
    guest.put(wish.get("files", {}))
    if seen:
        plug(guest, "eth0", MACS[0])
        plug(guest, "eth1", MACS[1])
    if guest.path("usr/sbin/netplan").exists():
        guest.path("usr/sbin/netplan").chmod(0o755)
    options = bind(Options, wish.get("options", {}), Document({}, {}), ("network",))

    def run(dry_run: bool) -> tuple[tuple[Change, ...], list[str]]:
        ctx = context(dry_run=dry_run, network=network)
        notes.clear()
        try:
            apply(ctx, options)
        except AzureliteError as error:
            notes.append(f"failed: {error}")
        return ctx.system.journal.since(0), list(notes)

    before = guest.snapshot()
    told = run(True)
    assert guest.snapshot() == before
    assert told == run(False)
    after = guest.snapshot()
    assert run(False)[0] == ()
    assert guest.snapshot() == after


def test_no_program_is_run_for_a_foreign_root(guest: Guest, context: Callable[..., Context], tmp_path: Path) -> None:
    logs = [shim(tmp_path / "bin", name) for name in ("networkctl", "nmcli", "netplan", "ip")]
    guest.put({"run/systemd/netif/state": "", "run/NetworkManager/devices/.keep": ""})
    for renderer in ("networkd", "netplan", "networkmanager"):
        ctx = context(network=NETWORK)
        ctx.system.commands.search_path = str(tmp_path / "bin")
        apply(ctx, Options(renderer=renderer, apply=True))
    assert not any(log.exists() for log in logs)
    shutil.rmtree(tmp_path / "bin")
