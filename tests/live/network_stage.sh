#!/bin/sh
# A machine with two NICs and a twin of the first one, for the length of a script; run inside fresh network, mount, PID
# and UTS namespaces.
#
#     network_stage.sh TOOLS PYTHON FOLDER... < SCRIPT
#
# The guest is this machine's file system under an overlay, with the programs of TOOLS laid over it and the FOLDERs,
# which may be other mounts, put into it. SCRIPT runs in the guest with sh. Its /sys shows eth0 and eth1 with the
# driver `veth`; there is a device `twin` that has eth0's MAC; `real_sys COMMAND` shows the kernel's own to a
# command. Behind each NIC is a DHCP server.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=$1 python=$2
shift 2

mount --make-rprivate /
mount -t tmpfs stage /run
mkdir -p /run/netns /run/stage/upper /run/stage/work /run/stage/guest
guest=/run/stage/guest
mount -t overlay guest -o lowerdir=/,upperdir=/run/stage/upper,workdir=/run/stage/work $guest
for folder in "$@"; do
    [ "$(stat -c %d "$folder")" = "$(stat -c %d /)" ] || mount --rbind "$folder" "$guest$folder"
done
cp -a "$tools/." $guest/
number=990
for name in systemd-network messagebus; do # accounts that installing the programs would have made
    number=$((number + 1))
    chroot $guest getent group $name > /dev/null || echo "$name:x:$number:" >> $guest/etc/group
    chroot $guest getent passwd $name > /dev/null || echo "$name:x:$number:$number::/:/bin/false" >> $guest/etc/passwd
done
for name in run sys; do
    mount -t tmpfs $name $guest/$name
done
mount -t proc proc $guest/proc
mount --rbind /dev $guest/dev

ip netns add vm
ip -n vm link set lo up
number=0
for subnet in 10.0.0 10.0.1; do
    ip link add fab$number type veth peer name eth$number netns vm
    ip addr add $subnet.1/24 dev fab$number
    ip link set fab$number up
    ip -n vm link set eth$number address 00:0d:3a:5e:7b:2$((number + 1))
    "$python" "$here/dhcp_server.py" fab$number $subnet.1 $subnet.4 > /dev/null &
    number=$((number + 1))
done
ip -n vm link add twin address 00:0d:3a:5e:7b:21 type ifb

net=$guest/sys/class/net
for name in eth0 eth1; do
    mkdir -p $net/$name/device
    echo 7 > $net/$name/ifindex
    ip -n vm -o link show $name | sed 's/.*link.ether \([^ ]*\).*/\1/' > $net/$name/address
    ln -s /sys/bus/drivers/veth $net/$name/device/driver
done
mkdir -p $guest/sys/bus/drivers/veth $guest/sys/class/dmi/id $guest/sys/firmware/efi $guest/run/systemd $guest/run/dbus
echo 7783-7084-3265-9085-8269-3286-77 > $guest/sys/class/dmi/id/chassis_asset_tag
echo 2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4 > $guest/sys/class/dmi/id/product_uuid

{
    echo 'real_sys() { unshare --mount sh -c "umount /sys; mount -t sysfs -o ro sys /sys; exec \"\$@\"" sh "$@"; }'
    cat
} > $guest/run/script
ip netns exec vm unshare --mount chroot $guest sh -eu /run/script
