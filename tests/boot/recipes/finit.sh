# There are no virtual terminals here, and no daemons but sshd.
rm -f /etc/finit.d/getty.conf /etc/finit.d/acpid.conf /etc/finit.d/modules.conf /etc/finit.d/rsyslogd.conf
