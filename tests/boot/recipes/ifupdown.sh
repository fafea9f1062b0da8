# ifupdown asks whichever DHCP client is installed.
printf 'auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n' > /etc/network/interfaces
# Where dhcpcd is the client: it would look for five seconds whether somebody else has the address.
if [ -e /etc/dhcpcd.conf ]; then
    echo noarp >> /etc/dhcpcd.conf
fi
