#!/bin/sh
# A machine with two NICs of which only the second one leads to Azure's addresses, for the length of one command.
# Run inside fresh network, mount and PID namespaces: they become the fabric, `vm` the machine, `dead` what lies behind
# its first NIC. $AZL asks from the machine. The scene is the text in $1, run by the shell.
set -eu
mount --make-rprivate /
mount -t tmpfs stage /run
mkdir /run/netns
ip link set lo up
ip netns add vm
ip netns add dead
for folder in /var/lib/dhcp /var/lib/dhcpcd; do # leases that were there before
    [ -d "$folder" ] || continue
    mount -t tmpfs leases "$folder"
    echo old > "$folder/eth0.lease"
    echo old > "$folder/dhclient.leases"
done
ip netns exec vm sh -c 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/default/dad_transmits'
ip link add fab1 type veth peer name eth1 netns vm
ip addr add 10.0.1.1/24 dev fab1
ip addr add 168.63.129.16/32 dev fab1
ip addr add 169.254.169.254/32 dev fab1
ip link set fab1 up
ip -n dead link add fab0 type veth peer name eth0 netns vm
ip -n dead addr add 10.0.0.1/24 dev fab0
ip -n dead link set fab0 up
ip -n vm link set lo up
ip netns exec vm sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 2 > $f; done'
vm() { ip netns exec vm "$@"; }
azl() { vm "$PYTHON" "$DRIVER" "$@"; }
wait_for() { # until the file has the line: a server is ready
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if grep -q "$2" "$1"; then return; fi
        sleep 0.1
    done
    echo "no $2 in $1" >&2
    exit 1
}
settle() { # until IPv6 has made up its mind about its addresses
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        if vm ip -6 addr show dev "$1" scope link | grep -q inet6 && ! vm ip -6 addr | grep -q tentative; then return; fi
        sleep 0.1
    done
}
eval "$1"
