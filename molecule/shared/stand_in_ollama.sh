#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: stand_in_ollama.sh
# Prints a directory with ollama.tar and its sha256, a stand-in for the archive of a release of Ollama: it has the same layout
# and contains the real Ollama that the role has built from source (IA_OLLAMA_BIN, and the programs in lib/ollama beside bin),
# without libraries for GPUs.
set -euo pipefail
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
tree=$(dirname "$(dirname "$IA_OLLAMA_BIN")")
made=$cache/stand-in-ollama-$(cat "$tree"/bin/ollama "$tree"/lib/ollama/* | sha256sum | cut -c1-12)
if [[ ! -e $made/ollama.tar ]]; then
    mkdir -p "$made"
    tar -C "$tree" --owner 0 --group 0 -cf "$made/ollama.tar.new" bin lib
    sha256sum "$made/ollama.tar.new" | cut -d' ' -f1 >"$made/sha256"
    mv "$made/ollama.tar.new" "$made/ollama.tar"
fi
echo "$made"
