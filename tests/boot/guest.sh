#!/bin/sh
# Becomes the first process of a guest: makes the mounts that a hypervisor and a kernel would, then starts its init.
#
# Run in namespaces of its own by tests/boot/stage.py, in the folder of the guest's root, which is a mount. Needs ID (the
# VM's UUID as the firmware shows it), TAG (the chassis asset tag), TTY (the console's terminal), GROUP (the folder of its
# cgroup), INIT (the init with its arguments), WORD (one more word of the kernel's command line), READONLY (folders that
# cannot be written) and OVERLAY (folders over which lies a tmpfs).
set -eu
if [ -n "$GROUP" ]; then
    # The namespace's root is the group that this process is in, and its parent must not be in there as well.
    echo 0 > "$GROUP/cgroup.procs"
    GROUP="" exec unshare --cgroup sh "$0"
fi
mount --make-rprivate /
mount -t proc proc proc -o nosuid,nodev,noexec
mount -t sysfs sys sys -o nosuid,nodev,noexec
mount -t tmpfs run run -o mode=755,nosuid,nodev
mount -t tmpfs tmp tmp -o mode=1777
mount -t tmpfs dev dev -o mode=755,nosuid
for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666,mode=620,gid=5
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
: > dev/console
mount --bind "$TTY" dev/console
mount -t cgroup2 cgroup sys/fs/cgroup

# This machine has firmware and a network card of its own: over /sys/class lies a copy with another dmi and net in it.
mkdir run/class
mount -t tmpfs class run/class -o mode=755
for class in sys/class/*; do
    mkdir "run/class/${class##*/}"
    case ${class##*/} in
    dmi | net) ;;
    *) mount --bind "$class" "run/class/${class##*/}" ;;
    esac
done
mount -t tmpfs firmware sys/firmware -o mode=755
mkdir -p sys/firmware/efi sys/firmware/vmbus/hv_netvsc run/class/net/eth0/device run/class/dmi/id
ln -s ../../devices/virtual/net/lo run/class/net/lo
for attribute in sys/devices/virtual/net/eth0/*; do
    ln -s "/$attribute" "run/class/net/eth0/${attribute##*/}"
done
ln -s /sys/firmware/vmbus/hv_netvsc run/class/net/eth0/device/driver
tell() {
    printf '%s\n' "$2" > "run/class/dmi/id/$1"
    chmod "${3:-444}" "run/class/dmi/id/$1"
}
tell chassis_asset_tag "$TAG"
tell product_uuid "$ID" 400
tell sys_vendor "Microsoft Corporation"
tell product_name "Virtual Machine"
tell board_vendor "Microsoft Corporation"
tell board_name "Virtual Machine"
tell bios_vendor "Microsoft Corporation"
tell bios_version "Hyper-V UEFI Release v4.1"
mount --move run/class sys/class
rmdir run/class
mount -o remount,bind,ro sys

echo "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro console=ttyS0 $WORD" > dev/cmdline
mount --bind dev/cmdline proc/cmdline
for folder in $OVERLAY; do
    mkdir -p "run/overlay/$folder" "run/overlay/$folder.work"
    mount -t overlay "$folder" "./$folder" -o "lowerdir=$folder,upperdir=run/overlay/$folder,workdir=run/overlay/$folder.work"
done
for folder in $READONLY; do
    mount --bind "./$folder" "./$folder"
    mount -o remount,bind,ro "./$folder"
done

mkdir -p mnt
pivot_root . mnt
cd /
umount -l /mnt
echo "(none)" > /proc/sys/kernel/hostname
# shellcheck disable=SC2086,SC2094
exec env -i container=lxc TERM=linux PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    $INIT <dev/console >dev/console 2>&1
