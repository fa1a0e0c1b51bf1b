#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# from_suite.sh SUITE PACKAGE ...   installs packages of another suite of Debian than this machine's own, and what they
# need of its own where that will do. Through an apt state of its own: the machine's sources stay as they are.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=$1
shift
export DEBIAN_FRONTEND=noninteractive
[[ -n $("$here/mirror.sh" Debian) ]] || apt-get update -qq
mirror=$("$here/mirror.sh" Debian)
[[ -n $mirror ]] || { echo "from_suite.sh: apt knows no Debian mirror." >&2; exit 1; }
# shellcheck disable=SC1091  # of the machine
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
chmod 755 "$state"
mkdir -p "$state/lists/partial"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "$mirror" "$codename" "$mirror" "$suite" >"$state/sources.list"
printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$suite" >"$state/preferences"
cat >"$state/apt.conf" <<END
Dir::State::lists "$state/lists";
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$state/preferences";
END
APT_CONFIG=$state/apt.conf apt-get update -qq
APT_CONFIG=$state/apt.conf apt-get install -yqq --no-install-recommends "${@/%//$suite}"
