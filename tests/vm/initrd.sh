#!/bin/busybox sh
# The first process of a machine: loads the few drivers that lead to its disk, says when that was, and makes way.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs -o mode=755 run /run
while read -r module; do
    $b insmod "/modules/$module"
done </modules/list
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do
    $b sleep .05
    tries=$((tries + 1))
done
$b mount -t ext4 -o rw,noatime /dev/vda /mnt
# Who listens on the serial line knows by this when the kernel began.
$b cut -d' ' -f1 /proc/uptime | $b sed 's/^/vm: up /' >/dev/console
for folder in proc sys dev run; do
    $b mount --move /$folder /mnt/$folder
done
exec $b switch_root /mnt /sbin/init
