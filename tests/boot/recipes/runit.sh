# There are no virtual terminals here.
rm -f /etc/runit/runsvdir/default/getty-*
