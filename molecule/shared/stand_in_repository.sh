#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: stand_in_repository.sh
# Prints a directory that stands in for https://download.docker.com/linux, where that cannot be reached: laid out and
# signed as Docker's is, with its names of packages. What is in the packages is the engine of Debian 13's own archive,
# which runs on Debian 12 (with Debian 12's runc). Every description of a package says so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
key=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)
made=$cache/stand-in-docker-$key

if [[ ! -e $made/linux/debian/gpg ]]; then
    image=$("$here/host_image.sh" debian13)
    mkdir -p "$made.new"
    docker run --rm --interactive --label ia_homelab.test=molecule --volume "$made.new:/out" "$image" bash -s >&2 <<'INSIDE'
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -yqq --no-install-recommends apt-utils gpg gpg-agent >/dev/null
rm -rf /out/linux
root=/out/linux/debian
pool=$root/pool/stable
mkdir -p "$pool" "$root/dists"
cd "$(mktemp -d)"
chmod 777 .

# repackage NAME OF_DOCKER   a package of Debian under the name that Docker gives it
repackage() {
    apt-get download -qq "$1"
    dpkg-deb -R "$1"_*.deb tree
    sed -i -E -e "s/^Package: .*/Package: $2/" -e '/^(Conflicts|Breaks|Replaces|Recommends|Suggests|Source):/d' \
        -e '/^Depends:/{s/containerd \(/containerd.io (/; s/runc \([^)]*\)/runc/}' \
        -e 's/^Description: .*/Description: stand-in, for tests, made of the package of Debian 13/' tree/DEBIAN/control
    [[ $2 != docker-ce ]] || sed -i 's/^Depends: /&docker-ce-cli, /' tree/DEBIAN/control
    dpkg-deb --root-owner-group -Zgzip -z1 -b tree "$pool" >/dev/null
    rm -rf tree ./*.deb
}
repackage docker.io docker-ce
repackage docker-cli docker-ce-cli
repackage containerd containerd.io
repackage docker-compose docker-compose-plugin
repackage docker-buildx docker-buildx-plugin

export GNUPGHOME=$PWD/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'stand-in for Docker, for tests' default sign never
cd "$root"
for suite in bookworm trixie; do
    packages=dists/$suite/stable/binary-$(dpkg --print-architecture)
    mkdir -p "$packages"
    apt-ftparchive packages pool >"$packages/Packages"
    apt-ftparchive -o APT::FTPArchive::Release::Origin=stand-in -o APT::FTPArchive::Release::Suite="$suite" \
        -o APT::FTPArchive::Release::Codename="$suite" -o APT::FTPArchive::Release::Components=stable \
        -o APT::FTPArchive::Release::Architectures="$(dpkg --print-architecture)" release "dists/$suite" >Release
    mv Release "dists/$suite/"
    gpg --batch --clearsign --output "dists/$suite/InRelease" "dists/$suite/Release"
done
# Last: without it the directory is not whole.
gpg --batch --armor --export >gpg.new
mv gpg.new gpg
chmod -R a+rX /out
INSIDE
    rm -rf "$made"
    mv "$made.new" "$made"
fi
echo "$made"
