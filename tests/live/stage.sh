#!/bin/sh
# A fabric and a virtual machine on one kernel, for the length of one command.
# Run inside fresh network, mount, PID and UTS namespaces: they become the fabric, `vm` the machine. Nothing of it
# is left behind when the command ends.
set -eu
mount --make-rprivate /
mount -t tmpfs stage /run
mkdir /run/netns
ip link set lo up
ip netns add vm
ip link add fab0 type veth peer name eth0 netns vm
ip addr add 10.0.0.1/24 dev fab0
ip addr add 168.63.129.16/32 dev fab0
ip addr add 169.254.169.254/32 dev fab0
ip link set fab0 up
ip -n vm link set lo up
ip -n vm addr add 10.0.0.4/24 dev eth0
ip -n vm link set eth0 up
ip -n vm route add default via 10.0.0.1
exec "$@"
