systemctl mask getty@tty1.service
