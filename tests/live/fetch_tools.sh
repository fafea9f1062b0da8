#!/bin/sh
# Fetches the programs that read what the handler `network` writes (systemd-networkd, netplan, NetworkManager,
# ifupdown, and the bus that the first ones talk by) into a folder, unpacked and not installed: this machine's own network never meets them.
#
#     tests/live/fetch_tools.sh [FOLDER]
#
# For Debian and its kin, as root (apt keeps a lock). A second run with the same versions on offer does nothing.
# tests/live/test_network_live.py looks into the folder that is the default here.
set -eu
folder=${1:-/var/cache/azurelite-test-tools}
packages="systemd libsystemd-shared netplan.io network-manager ifupdown dbus dbus-daemon dbus-system-bus-common"

apt-get update -q
offered=$(apt-cache policy $packages | grep -E '^[^ ]|Candidate' | tr -d '\n')
if [ -f "$folder/versions" ] && [ "$(cat "$folder/versions")" = "$offered" ]; then
    exit 0
fi

fresh="$folder.new"
rm -rf "$fresh"
mkdir -p "$fresh/archives/partial" "$fresh/tree"
apt-get install -q -y --download-only --reinstall --no-install-recommends \
    -o Dir::Cache::archives="$fresh/archives" -o APT::Sandbox::User=root $packages
for archive in "$fresh"/archives/*.deb; do
    dpkg-deb -x "$archive" "$fresh/tree"
done
# /lib and its like are links on the machine that the tree will be laid over: one real folder there would hide it all.
for old in bin sbin lib lib64; do
    if [ -d "$fresh/tree/$old" ] && [ ! -L "$fresh/tree/$old" ]; then
        mkdir -p "$fresh/tree/usr/$old"
        cp -a "$fresh/tree/$old/." "$fresh/tree/usr/$old/"
        rm -rf "${fresh:?}/tree/$old"
    fi
done
rm -rf "$fresh/archives"
echo "$offered" > "$fresh/versions"
rm -rf "$folder"
mv "$fresh" "$folder"
