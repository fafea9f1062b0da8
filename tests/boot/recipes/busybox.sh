# BusyBox has only what its inittab says.
ln -sf /bin/busybox /sbin/init
cat > /etc/inittab <<'TABLE'
::sysinit:/etc/rc.sh
::respawn:/usr/sbin/sshd -D
::ctrlaltdel:/bin/busybox reboot
TABLE
cat > /etc/rc.sh <<'START'
#!/bin/sh
mkdir -p /run/sshd
hostname -F /etc/hostname
exec /etc/network.sh
START
chmod 755 /etc/rc.sh
