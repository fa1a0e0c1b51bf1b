#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: host_image.sh debian12|debian13|ubuntu22.04|ubuntu24.04
# Prints the name of an image of that system with systemd and SSH, and creates it from the distribution's packages if it does
# not exist. The packages are kept as an archive in the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
system=$1
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
packages=systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,iproute2,ca-certificates,procps,iptables,kmod,curl

case $system in
    debian12) suite=bookworm origin=Debian components=main ;;
    debian13) suite=trixie origin=Debian components=main ;;
    ubuntu22.04) suite=jammy origin=Ubuntu components=main,universe ;;
    ubuntu24.04) suite=noble origin=Ubuntu components=main,universe ;;
    *) echo "unknown system: $system" >&2; exit 2 ;;
esac
# On Ubuntu apt is not an essential package.
[[ $origin == Debian ]] || packages+=,apt
# Without a mirror of this machine, mmdebstrap uses the distribution's own, with its updates.
mirror=$("$here/../../tests/mirror.sh" "$origin")
sources=()
if [[ $mirror && $origin == Ubuntu ]]; then
    # In 22.04, Compose v2 is an update.
    for pocket in "" -updates -security; do
        sources+=("deb $mirror $suite$pocket ${components//,/ }")
    done
elif [[ $mirror ]]; then
    sources=("$mirror")
fi

certificates=/usr/local/share/ca-certificates
key=$({ echo "$packages $components $suite"; cat "$here/host.Dockerfile"; cat "$certificates"/*.crt 2>/dev/null || true; } |
    sha256sum | cut -c1-12)
archive=$cache/$system-$(echo "$packages $components" | sha256sum | cut -c1-12).tar
image=ia-homelab-test/$system:$key

mkdir -p "$cache"
exec 7>"$cache/$system.lock"
flock 7
if ! docker image inspect "$image" >/dev/null 2>&1; then
    if [[ ! -e $archive ]]; then
        if [[ $origin == Ubuntu && ! -e /usr/share/keyrings/ubuntu-archive-keyring.gpg ]]; then
            # Debian 12 has none
            "$here/../../tests/from_suite.sh" trixie ubuntu-archive-keyring >&2
        fi
        # In its own session, because it sends SIGHUP to its process group when it fails.
        setsid -w mmdebstrap --quiet --variant=minbase --components="$components" --include="$packages" \
            "$suite" "${archive%.tar}.new.tar" "${sources[@]}" >&2 ||
            { echo "mmdebstrap failed for $system" >&2; exit 1; }
        mv "${archive%.tar}.new.tar" "$archive"
    fi
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    mkdir "$context/certificates"
    cp "$certificates"/*.crt "$context/certificates/" 2>/dev/null || true
    touch "$context/certificates/none"
    docker import "$archive" "ia-homelab-test/$system:packages" >&2
    docker build --quiet --build-arg BASE="ia-homelab-test/$system:packages" --file "$here/host.Dockerfile" \
        --tag "$image" "$context" >&2
fi
echo "$image"
