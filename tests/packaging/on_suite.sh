#!/bin/sh
# Runs the tests on the Python of a Debian suite, in a small root of that suite: for interpreters that this machine lacks.
#
#     tests/packaging/on_suite.sh forky [ARGUMENTS OF pytest]
#
# Needs root, mmdebstrap, a Debian mirror and PyPI; some 2 minutes on two cores. bullseye has Python 3.9, bookworm 3.11,
# trixie 3.13, forky 3.14. Nothing is left behind. Tests of tools that such a root lacks are skipped there.
set -eu
suite=${1:?a Debian suite, as forky}
shift
sources=$(cd "$(dirname "$0")/../.." && pwd)
if [ "${AZURELITE_INSIDE:-}" != yes ]; then # namespaces of its own: what is mounted and started ends with them
    export AZURELITE_INSIDE=yes
    exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$suite" "$@"
fi

mount --make-rprivate /
work=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)")
root=$work/root
trap 'umount -R "$root/proc" "$root/dev" 2>/dev/null; rm -rf "$work"' EXIT

# A suite that is no longer renewed, or not yet released, has dates that this machine's clock may not like.
mmdebstrap --variant=minbase --dpkgopt=force-unsafe-io --aptopt='Acquire::Check-Valid-Until "false"' --quiet \
    --include=python3,python3-venv,ca-certificates,passwd,procps,busybox,openssl,openssh-client,sudo,iproute2,e2fsprogs \
    "$suite" "$root" http://deb.debian.org/debian
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# Where this machine has authorities of its own, pip inside has to know them as well.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir "$root/root/azurelite"
tar -C "$sources" --exclude=./.git --exclude=./.tox --exclude=__pycache__ -cf - . | tar -C "$root/root/azurelite" -xf -

# The versions of the tools are in tox.ini alone.
tools=$(grep -oE '^ +(jsonschema|pytest|pytest-cov|pytest-xdist)==[0-9.]+' "$sources/tox.ini" | tr -d '\n')
cat >"$root/root/run.sh" <<END
set -e
cd /root
python3 --version
python3 -m venv tools
tools/bin/pip install -q $tools ./azurelite
cd azurelite
exec /root/tools/bin/python -m pytest -q -n auto -p no:cacheprovider -m "not namespaces" "\$@"
END
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    chroot "$root" sh /root/run.sh "$@"
