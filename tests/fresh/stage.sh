#!/bin/sh
# Runs a script in a new Debian machine, as a container would: a root of its own in memory, /proc, /dev, /tmp, and the
# host's network. Run inside fresh mount, PID, UTS and IPC namespaces; nothing of it is left when the script ends.
#
#     stage.sh PLACE LOWER SEED BINDS USER COMMAND...
#
# PLACE is an empty folder, LOWER the root, SEED a tree to copy into it, BINDS a file of host folders to show read-only
# at the same path, USER a name from the root's /etc/passwd.
set -eu
place=$1 lower=$2 seed=$3 binds=$4 user=$5
shift 5
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=75% work "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay root -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" "$place/root"
cd "$place/root"
cp -R --preserve=mode "$seed/." .
while read -r folder; do
    mkdir -p "./$folder"
    mount --rbind -o ro "$folder" "./$folder"
done <"$binds"
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t tmpfs -o mode=0755 dev dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 pts dev/pts
mount -t tmpfs -o mode=1777,size=64m shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
hostname pristine
if [ "$user" != root ]; then
    chroot . useradd -m "$user"
fi
home=$(chroot . sh -c 'eval echo ~"$1"' sh "$user")
chroot . chown -R "$user:" "$home"
umask 022
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" \
    chroot --userspec="$user" . "$@"
