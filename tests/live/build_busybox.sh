#!/bin/sh
# Builds a BusyBox with adduser, addgroup and chpasswd, which Debian leaves out of its own, from Debian's source.
#
#     tests/live/build_busybox.sh [FOLDER]
#
# For Debian and its kin, with gcc and make; takes some 20 s. A second run does nothing. Nothing is installed:
# tests/live/test_accounts_live.py looks into the folder that is the default here.
set -eu
folder=${1:-/var/cache/azurelite-busybox}
if "$folder/busybox" --list 2>/dev/null | grep -qx adduser; then
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. /etc/os-release
mkdir -p "$work/lists/partial"
echo "deb-src http://deb.debian.org/debian ${VERSION_CODENAME:-sid} main" > "$work/sources.list"
apt() {
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User=root "$@"
}
cd "$work"
apt update
apt source --download-only busybox
tar xf busybox_*.orig.tar.*
cd busybox-*/
make allnoconfig > /dev/null
for option in STATIC LONG_OPTS BUSYBOX SHOW_USAGE FEATURE_INSTALLER ADDUSER ADDGROUP FEATURE_ADDUSER_TO_GROUP \
    FEATURE_CHECK_NAMES CHPASSWD FEATURE_SHADOWPASSWDS USE_BB_PWD_GRP USE_BB_SHADOW USE_BB_CRYPT USE_BB_CRYPT_SHA; do
    sed -i "s/^# CONFIG_$option is not set$/CONFIG_$option=y/" .config
done
yes "" | make oldconfig > /dev/null
for number in FIRST_SYSTEM_ID=100 LAST_SYSTEM_ID=999 LAST_ID=60000; do  # its defaults, which "no" to all sets to 0
    sed -i "s/^CONFIG_${number%=*}=.*/CONFIG_$number/" .config
done
make -j"$(nproc)" > /dev/null
mkdir -p "$folder"
install -m 755 busybox "$folder/busybox"
