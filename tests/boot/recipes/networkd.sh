printf '[Match]\nName=eth*\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n' > /etc/systemd/network/10-eth.network
systemctl enable systemd-networkd.service
# Nothing here may hang on all of the network being up.
systemctl disable systemd-networkd-wait-online.service
