# What a root needs as the disk of a machine, beside what it has as a container. Run with sh -eu inside of it, last.
printf '/dev/vda / ext4 defaults,noatime 0 0\n' > /etc/fstab
rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key*
