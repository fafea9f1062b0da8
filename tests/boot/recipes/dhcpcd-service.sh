# Without udev dhcpcd would wait for it to know the card.
sed -i '1i nodev' /etc/dhcpcd.conf
systemctl enable dhcpcd.service
