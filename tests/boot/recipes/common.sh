# What every root has. Run with sh -eu inside of it, as the scripts of its client and its init are after this one.
echo image > /etc/hostname
printf '127.0.0.1\tlocalhost\n127.0.1.1\timage\n' > /etc/hosts
: > /etc/fstab
: > /etc/machine-id
rm -f /etc/resolv.conf
: > /etc/resolv.conf
