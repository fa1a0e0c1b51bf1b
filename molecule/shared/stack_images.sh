#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: stack_images.sh
# Prints, as JSON, the names of the images of a stack without a GPU and the files under IA_HOMELAB_CACHE/images that hold
# them. Those of jobs: tests/images.sh. Ollama's own cannot be pulled everywhere: here it is the real Ollama that the role
# has built from source (IA_OLLAMA_BIN) in Debian, with its own entry point.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/../../tests/images.sh" >"$work/names"
jobs=$("$here/../../tests/images.sh" archive)
name_of() { sed -n "s/^$1=//p" "$work/names"; }

cat >"$work/Dockerfile" <<'END_OF_DOCKERFILE'
ARG BASE
FROM ${BASE}
RUN apt-get update -q && apt-get install -yq --no-install-recommends libstdc++6 && rm -rf /var/lib/apt/lists/*
COPY ollama /usr/bin/ollama
ENV OLLAMA_HOST=0.0.0.0:11434
ENTRYPOINT ["/usr/bin/ollama"]
CMD ["serve"]
END_OF_DOCKERFILE
key=$( (cat "$work/Dockerfile" "$IA_OLLAMA_BIN"; name_of IA_BASE_IMAGE) | sha256sum | cut -c1-12)
ollama=ia-homelab-test/ollama:$key
archive=$cache/ollama-$key.tar
if [[ ! -e $archive ]]; then
    cp "$IA_OLLAMA_BIN" "$work/ollama"
    docker build --quiet --network host --build-arg BASE="$(name_of IA_BASE_IMAGE)" --tag "$ollama" "$work" >&2
    docker save --output "$archive.new" "$ollama"
    mv "$archive.new" "$archive"
fi
cat <<END_OF_NAMES
{"cache": "$cache", "key": "$(basename "$jobs" .tar.zst)-$key",
 "archives": ["$(basename "$jobs")", "$(basename "$archive")"], "llamafactory": "$(name_of IA_LF_IMAGE)",
 "llama_cpp": "$(name_of IA_LLAMA_CPP_IMAGE)", "ollama": "$ollama"}
END_OF_NAMES
