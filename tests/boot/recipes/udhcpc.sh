# BusyBox's own client. Its hook is what a distribution with BusyBox writes for Azure: option 121 overrides the router.
mkdir -p /usr/share/udhcpc
cat > /usr/share/udhcpc/default.script <<'HOOK'
#!/bin/sh
case $1 in
deconfig)
    ip link set "$interface" up
    ip addr flush dev "$interface"
    ;;
bound | renew)
    ip addr replace "$ip/$mask" dev "$interface"
    if [ -n "$staticroutes" ]; then
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            ip route replace "$1" via "$2" dev "$interface" onlink
            shift 2
        done
    else
        ip route replace default via "$router"
    fi
    ;;
esac
HOOK
chmod 755 /usr/share/udhcpc/default.script
cat > /etc/network.sh <<'START'
#!/bin/sh
# The network of a system without network scripts.
busybox ip link set lo up
exec busybox udhcpc -b -i eth0 -O 121 -O 245 -s /usr/share/udhcpc/default.script -F "$(hostname)"
START
chmod 755 /etc/network.sh
