"""The agents as cases: a script that is the first process of a guest, and what the guest's network is like before it.

`launch NAME PROGRAM...` stands for the launcher; what it tells is the part NAME. All else is off the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOUD_CONFIG = """\
datasource_list: [Azure]
growpart: {mode: off}
resize_rootfs: false
ssh_deletekeys: false
locale: C.UTF-8
"""


@dataclass(frozen=True)
class Case:
    """One agent.

    Attributes:
        name: the row.
        text: what it is.
        script: for /bin/sh.
        parts: what the script launches, in order; their times are added.
        network: the guest's card is up and has its address.
        stays: it does not end by itself, and is ended once it has reported Ready: that is its wall.
    """

    name: str
    text: str
    script: str
    parts: tuple[str, ...] = ("all",)
    network: bool = True
    stays: bool = False


CASES = (
    Case(
        "live",
        "azurelite provision, in a guest of its own",
        "launch all /usr/bin/azurelite provision --config /opt/bench/main-job.yaml\n",
    ),
    Case("live-default", "the same with the default list", "launch all /usr/bin/azurelite provision\n"),
    Case(
        "live-unit",
        "the article's unit, in such a guest",
        "launch all sh /opt/bench/unit.sh /usr/bin/python3 /opt/bench/article_report_ready.py"
        " http://168.63.129.16 169.254.169.254\n",
    ),
    Case(
        "cloud-init",
        "Debian's cloud-init in such a guest: its stages local and network",
        f"""\
cat > /etc/cloud/cloud.cfg.d/99-bench.cfg <<'YAML'
{CLOUD_CONFIG}YAML
launch local cloud-init init --local
ip address flush dev eth0
ip address add 10.0.0.4/24 dev eth0
ip link set eth0 up
ip route replace default via 10.0.0.1
launch network cloud-init init
""",
        parts=("local", "network"),
        network=False,
    ),
    Case(
        "waagent",
        "Debian's waagent in such a guest, until its Ready",
        """\
sed -i -e 's/^Provisioning.Agent=.*/Provisioning.Agent=waagent/' \\
    -e 's/^ResourceDisk.Format=.*/ResourceDisk.Format=n/' \\
    -e 's/^Provisioning.RegenerateSshHostKeyPair=.*/Provisioning.RegenerateSshHostKeyPair=n/' \\
    -e 's/^AutoUpdate.Enabled=.*/AutoUpdate.Enabled=n/' -e 's/^Logs.Collect=.*/Logs.Collect=n/' /etc/waagent.conf
rm -f /etc/systemd/system/*/cloud-*.service
mkdir -p /run/network /mnt/cdrom/secure
printf 'auto lo\\niface lo inet loopback\\nauto eth0\\niface eth0 inet dhcp\\n' > /etc/network/interfaces
ifup eth0
: > /dev/sr0
mount -t tmpfs /dev/sr0 /mnt/cdrom/secure
cp /opt/bench/ovf-env.xml /mnt/cdrom/secure/
exec /opt/bench/launch /opt/bench/out/all.json waagent -daemon
""",
        network=False,
        stays=True,
    ),
)
