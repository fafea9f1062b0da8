# Debian has no s6-linux-init: a first stage of our own, and the services copied to where they are supervised.
cat > /sbin/init <<'START'
#!/bin/sh
mkdir -p /run/sshd
hostname -F /etc/hostname
/etc/network.sh
cp -a /etc/s6/svc /run/service
exec s6-svscan /run/service
START
mkdir -p /etc/s6/svc/sshd
printf '#!/bin/sh\nexec /usr/sbin/sshd -D\n' > /etc/s6/svc/sshd/run
chmod 755 /sbin/init /etc/s6/svc/sshd/run
