#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# mirror.sh DISTRIBUTION   the mirror of Debian or Ubuntu that this machine's apt uses; nothing where it has none
set -euo pipefail
# shellcheck disable=SC2016  # apt's variable
{ apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Origin: $1" 2>/dev/null || true; } | sed -n 1p
