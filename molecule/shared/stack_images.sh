#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: stack_images.sh
# Prints, as JSON, the names of the images of a stack without a GPU and the files under IA_HOMELAB_CACHE/images that hold
# them. The images of jobs come from tests/images.sh. Ollama's image is a stand-in: the real Ollama that the role has built
# from source (IA_OLLAMA_BIN) in Debian, with its own entry point. The image of the proxy contains Debian's nginx.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/../../tests/images.sh" >"$work/names"
jobs=$("$here/../../tests/images.sh" archive)
name_of() { sed -n "s/^$1=//p" "$work/names"; }

# make NAME   builds an image from the Dockerfile in the directory of that name; prints the name of the image
make() {
    local key image archive
    key=$( (find "$work/$1" -type f | sort | xargs cat; name_of IA_BASE_IMAGE) | sha256sum | cut -c1-12)
    image=ia-homelab-test/$1:$key archive=$cache/$1-$key.tar
    if [[ ! -e $archive ]]; then
        docker build --quiet --network host --build-arg BASE="$(name_of IA_BASE_IMAGE)" --tag "$image" "$work/$1" >&2
        docker save --output "$archive.new" "$image"
        mv "$archive.new" "$archive"
    fi
    echo "$image"
}

mkdir "$work/ollama" "$work/proxy"
cp -r "$(dirname "$(dirname "$IA_OLLAMA_BIN")")"/{bin,lib} "$work/ollama/"
cat >"$work/ollama/Dockerfile" <<'END_OF_DOCKERFILE'
ARG BASE
FROM ${BASE}
RUN apt-get update -q && apt-get install -yq --no-install-recommends libstdc++6 && rm -rf /var/lib/apt/lists/*
COPY bin/ollama /usr/bin/ollama
COPY lib/ollama /usr/lib/ollama
ENV OLLAMA_HOST=0.0.0.0:11434
ENTRYPOINT ["/usr/bin/ollama"]
CMD ["serve"]
END_OF_DOCKERFILE
cat >"$work/proxy/Dockerfile" <<'END_OF_DOCKERFILE'
ARG BASE
FROM ${BASE}
RUN apt-get update -q && apt-get install -yq --no-install-recommends curl nginx-light && rm -rf /var/lib/apt/lists/* \
    && ln -sf /dev/stderr /var/log/nginx/error.log
END_OF_DOCKERFILE
ollama=$(make ollama)
proxy=$(make proxy)
archive_of() { echo "${1#*/}" | tr : -; }
cat <<END_OF_NAMES
{"cache": "$cache", "key": "$(basename "$jobs" .tar.zst)-${ollama##*:}-${proxy##*:}",
 "archives": ["$(basename "$jobs")", "$(archive_of "$ollama").tar", "$(archive_of "$proxy").tar"],
 "llamafactory": "$(name_of IA_LF_IMAGE)", "llama_cpp": "$(name_of IA_LLAMA_CPP_IMAGE)", "ollama": "$ollama",
 "proxy": "$proxy"}
END_OF_NAMES
