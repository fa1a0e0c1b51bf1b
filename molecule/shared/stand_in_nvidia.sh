#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: stand_in_nvidia.sh
# Prints a directory that stands in for NVIDIA's repository of the Container Toolkit, laid out and signed as that one. The
# toolkit is the real one, built from source (it takes Go). Of libnvidia-container, which takes a driver, one package is
# empty, and in the other is a script in place of nvidia-container-cli: it gives a container a device that is none.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
# As in roles/nvidia_docker/defaults/main.yml.
version=$(sed -n 's/^nvidia_docker_toolkit_version: //p' "$here/../../roles/nvidia_docker/defaults/main.yml")
key=$( (cat "${BASH_SOURCE[0]}"; echo "$version") | sha256sum | cut -c1-12)
made=$cache/stand-in-nvidia-$key

if [[ ! -e $made/gpgkey ]]; then
    go=$(PATH=$PATH:/usr/local/go/bin command -v go) || { echo "stand_in_nvidia.sh: it takes Go" >&2; exit 1; }
    image=$("$here/host_image.sh" debian13)
    mkdir -p "$made.new"
    programs=(nvidia-ctk nvidia-container-runtime nvidia-container-runtime-hook)
    programs=("${programs[@]/#/github.com/NVIDIA/nvidia-container-toolkit/cmd/}")
    GOBIN=$made.new CGO_ENABLED=1 "$go" install "${programs[@]/%/@v${version%-*}}" >&2
    docker run --rm --interactive --label ia_homelab.test=molecule --env version="$version" --volume "$made.new:/out" \
        "$image" bash -s >&2 <<'INSIDE'
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -yqq --no-install-recommends apt-utils gpg gpg-agent >/dev/null
architecture=$(dpkg --print-architecture)
repository=/out/deb/$architecture
rm -rf /out/deb
mkdir -p "$repository"
cd "$(mktemp -d)"

# package NAME DEPENDS
package() {
    mkdir -p tree/DEBIAN
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: tests <tests@invalid>\n%sDescription: %s\n' \
        "$1" "$version" "$architecture" "${2:+Depends: $2
}" 'stand-in, for tests' >tree/DEBIAN/control
    dpkg-deb --root-owner-group -Zgzip -z1 -b tree "$repository" >/dev/null
    rm -rf tree
}
package libnvidia-container1 ''
mkdir -p tree/usr/bin
cat >tree/usr/bin/nvidia-container-cli <<'END'
#!/bin/sh
# Stands in for NVIDIA's: as that one it is called while a container is made, with --pid=PROCESS of it and its root last.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
for word; do
    case $word in --pid=*) pid=${word#--pid=} ;; esac
    root=$word
done
nsenter --target "$pid" --mount mknod -m 666 "$root/dev/nvidia0" c 1 3
mkdir -p "$root/usr/bin"
cp /opt/stand-in/nvidia-smi "$root/usr/bin/"
END
chmod 755 tree/usr/bin/nvidia-container-cli
package libnvidia-container-tools "libnvidia-container1 (= $version)"
mkdir -p tree/usr/bin
mv /out/nvidia-ctk /out/nvidia-container-runtime tree/usr/bin/
package nvidia-container-toolkit-base ''
mkdir -p tree/usr/bin
mv /out/nvidia-container-runtime-hook tree/usr/bin/
package nvidia-container-toolkit "nvidia-container-toolkit-base (= $version), libnvidia-container-tools (= $version)"

export GNUPGHOME=$PWD/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'stand-in for NVIDIA, for tests' default sign never
cd "$repository"
apt-ftparchive packages . >Packages
apt-ftparchive -o APT::FTPArchive::Release::Origin=stand-in -o APT::FTPArchive::Release::Architectures="$architecture" \
    release . >Release.new
mv Release.new Release
gpg --batch --clearsign --output InRelease Release
# Last: without it the directory is not whole.
gpg --batch --armor --export >/out/gpgkey.new
mv /out/gpgkey.new /out/gpgkey
chmod -R a+rX /out
INSIDE
    rm -rf "$made"
    mv "$made.new" "$made"
fi
echo "$made"
