# There are no virtual terminals here.
sed -i '/^[1-6]:/d' /etc/inittab
# It makes the groups of old kernels, in a folder that here is not its own.
rc-update del cgroups sysinit
