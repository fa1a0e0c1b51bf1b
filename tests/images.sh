#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'END'
Usage: images.sh            the engine has the images that jobs run in: prints IA_LF_IMAGE=…, IA_LLAMA_CPP_IMAGE=… and
                            IA_BASE_IMAGE=…
       images.sh base       it has the image they are made from, Debian 13 from its own packages: prints its name
       images.sh archive    prints the file that holds both images of jobs, for `docker load` into another engine
       images.sh cuda       makes them for hosts with a GPU, on what stands in for LLaMA-Factory's official image where that
                            cannot be pulled, sees that bitsandbytes was missing and is there now, and prints
                            IA_LF_IMAGE=… and IA_LLAMA_CPP_IMAGE=…. By hand: 5 to 20 minutes, 15 GB of the engine's disk

They are made from the Dockerfiles of the role llamafactory, from packages alone: no registry of images is asked.
What was made is kept under IA_HOMELAB_CACHE/images, by what it was made of.

Environment:
  IA_HOMELAB_CACHE    (~/.cache/ia-homelab-llamafactory)
  IA_LLAMA_CPP_DIR    llama.cpp as the role has built it; without it, it is compiled for the image
END
}

say() { printf 'images.sh: %s\n' "$*" >&2; }

readonly FILES=$ROOT/roles/llamafactory/files
readonly MODULES=$ROOT/plugins/module_utils
readonly CERTIFICATES=/usr/local/share/ca-certificates
readonly PACKAGES=ca-certificates,python3,python3-venv
CACHE=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}/images
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# digest FILE ...   of what the files hold, and of what comes in
digest() { cat "$@" - | sha256sum | cut -c1-12; }

there() { docker image inspect "$1" >/dev/null 2>&1; }

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null && return
    say "installing $2"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "$2" >&2
}

# only PREFIX KEPT   of what is kept under a prefix, only the newest: it is large
only() { find "$CACHE" -maxdepth 1 -name "$1-*" ! -name "$(basename "$2")" -delete; }

certificates() { find "$CERTIFICATES" -name '*.crt' 2>/dev/null | sort; }

# The index that this machine's pip asks, for the build inside.
index_url() { echo "${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}"; }

base() {
    local packages mirror trusted=()
    packages=$CACHE/base-debian13-$(digest <<<"$PACKAGES").tar
    mapfile -t trusted < <(certificates)
    BASE=ia-homelab-test/base:debian13-$(digest "${trusted[@]}" <<<"$PACKAGES")
    if there "$BASE"; then return; fi
    if [[ ! -e $packages ]]; then
        need mmdebstrap mmdebstrap
        say "making Debian 13 from its packages (half a minute)"
        mirror=$("$ROOT/tests/mirror.sh" Debian) # without one of this machine's, mmdebstrap takes Debian's own
        # In a session of its own: when it fails it hangs up its whole process group.
        setsid -w mmdebstrap --quiet --variant=minbase --include="$PACKAGES" \
            trixie "$packages.new.tar" ${mirror:+"$mirror"} >&2
        mv "$packages.new.tar" "$packages"
        only base-debian13 "$packages"
    fi
    docker import "$packages" "$BASE-packages" >/dev/null
    mkdir "$WORK/base"
    : >"$WORK/base/none"
    ((${#trusted[@]} == 0)) || cp "${trusted[@]}" "$WORK/base"
    # The certificates this machine trusts are trusted inside as well: pip and apt work there with no more said.
    cat >"$WORK/Dockerfile" <<END
FROM $BASE-packages
COPY . $CERTIFICATES/
RUN rm $CERTIFICATES/none && update-ca-certificates >/dev/null 2>&1
END
    docker build --quiet --tag "$BASE" --file "$WORK/Dockerfile" "$WORK/base" >/dev/null
}

# The build context, as the role copies it to a host: the lock files, and the modules that build llama.cpp.
context() {
    mkdir -p "$WORK/context/module_utils/_provisioning" "$WORK/context/module_utils/_core"
    cp "$FILES"/requirements-* "$WORK/context"
    cp -r "$MODULES"/_core/{errors.py,messages} "$WORK/context/module_utils/_core"
    cp "$MODULES"/_provisioning/*.py "$WORK/context/module_utils/_provisioning"
}

# build DOCKERFILE NAME ARGUMENT ...
build() {
    local dockerfile=$1 name=$2
    shift 2
    say "building $name (some minutes)"
    context
    docker build --progress plain --network host --file "$FILES/images/$dockerfile/Dockerfile" \
        --build-arg INDEX_URL="$(index_url)" "$@" --tag "$name" "$WORK/context" >"$WORK/build.log" 2>&1 ||
        { tail -n 60 "$WORK/build.log" >&2; say "building $name failed"; return 1; }
}

jobs_images() {
    local built=() key compiled=("$MODULES"/_provisioning/*.py)
    base
    # built already: its directory is named after all that it was made of
    [[ -z ${IA_LLAMA_CPP_DIR:-} ]] || compiled=()
    key=$(digest "$FILES"/images/{cpu,llama-cpp}/Dockerfile "$FILES"/requirements-* "${compiled[@]}" \
        <<<"$BASE $(basename "${IA_LLAMA_CPP_DIR:-}")")
    LF_IMAGE=ia-homelab-test/llamafactory:cpu-$key
    LLAMA_CPP_IMAGE=ia-homelab-test/llama-cpp:cpu-$key
    ARCHIVE=$CACHE/jobs-$key.tar.zst
    if ! there "$LF_IMAGE" || ! there "$LLAMA_CPP_IMAGE"; then
        need zstd zstd
        if [[ -e $ARCHIVE ]]; then
            say "loading the images of jobs (a minute)"
            zstd -dcq "$ARCHIVE" | docker load --quiet >&2
        else
            [[ -z ${IA_LLAMA_CPP_DIR:-} ]] || built=(--build-context "built=$IA_LLAMA_CPP_DIR")
            build cpu "$LF_IMAGE" --build-arg BASE_IMAGE="$BASE"
            build llama-cpp "$LLAMA_CPP_IMAGE" --build-arg BASE_IMAGE="$LF_IMAGE" --build-arg BUILD_IMAGE="$BASE" \
                "${built[@]}"
        fi
    fi
    if [[ ! -e $ARCHIVE ]]; then
        need zstd zstd
        say "keeping them in $ARCHIVE"
        docker save "$LF_IMAGE" "$LLAMA_CPP_IMAGE" | zstd -1 -T0 -q -f -o "$ARCHIVE.new"
        mv "$ARCHIVE.new" "$ARCHIVE"
        only jobs "$ARCHIVE"
    fi
}

# Debian 12 with the Python, PyTorch and LLaMA-Factory of the official image, in the places where it has them: from
# docker/docker-cuda/Dockerfile of LLaMA-Factory 0.9.5 and its base's, PyTorch 2.6.0 for CUDA 12.4 (as PyPI's is) in
# /opt/conda, the sources in /app, installed in place with the extra "metrics".
cuda_images() {
    local system official=ia-homelab-test/official:stand-in built=()
    LF_IMAGE=ia-homelab-test/llamafactory:cuda
    LLAMA_CPP_IMAGE=ia-homelab-test/llama-cpp:cuda
    system=$("$ROOT/molecule/shared/host_image.sh" debian12)
    mkdir "$WORK/official"
    cat >"$WORK/official/Dockerfile" <<'END'
ARG BASE
FROM ${BASE}
ARG INDEX_URL=""
RUN apt-get update -q && apt-get install -yq --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/conda/bin:$PATH
# Of the pips, only newer ones trust what the system trusts.
RUN if [ -n "$INDEX_URL" ]; then export PIP_INDEX_URL="$INDEX_URL"; fi; \
    python3 -m venv /opt/conda && PIP_CERT=/etc/ssl/certs/ca-certificates.crt pip install -q --no-cache-dir --upgrade pip \
    && pip install -q --no-cache-dir torch==2.6.0 torchvision==0.21.0 torchaudio==2.6.0
RUN if [ -n "$INDEX_URL" ]; then export PIP_INDEX_URL="$INDEX_URL"; fi; \
    mkdir /app && pip download -q --no-deps --no-binary :all: -d /tmp llamafactory==0.9.5 \
    && tar -xf /tmp/llamafactory-0.9.5.tar.gz --strip-components 1 -C /app && rm /tmp/llamafactory-0.9.5.tar.gz \
    && pip install -q --no-cache-dir -e '/app[metrics]'
WORKDIR /app
CMD ["/bin/bash"]
END
    say "making the stand-in of the official image (some minutes)"
    docker build --quiet --network host --build-arg BASE="$system" --build-arg INDEX_URL="$(index_url)" \
        --tag "$official" "$WORK/official" >&2
    if docker run --rm "$official" python -c 'import bitsandbytes' >/dev/null 2>&1; then
        say "bitsandbytes is in the stand-in already, which shows nothing"
        return 1
    fi
    build cuda "$LF_IMAGE" --build-arg BASE_IMAGE="$official"
    docker run --rm "$LF_IMAGE" python -c '
import os, bitsandbytes, torch
library = f"libbitsandbytes_cuda{torch.version.cuda.replace(chr(46), str())}.so"
assert os.path.exists(os.path.join(os.path.dirname(bitsandbytes.__file__), library)), f"{library} is missing"
print(f"bitsandbytes {bitsandbytes.__version__} with {library}, PyTorch {torch.__version__}")' >&2
    [[ -z ${IA_LLAMA_CPP_DIR:-} ]] || built=(--build-context "built=$IA_LLAMA_CPP_DIR")
    build llama-cpp "$LLAMA_CPP_IMAGE" --build-arg BASE_IMAGE="$LF_IMAGE" --build-arg BUILD_IMAGE="$system" "${built[@]}"
}

what=${1:-jobs}
case $what in
    base | jobs | archive | cuda) ;;
    *) usage >&2; exit 2 ;;
esac
mkdir -p "$CACHE"
exec 7>"$CACHE/images.lock"
flock 7
if [[ $what == base ]]; then
    base
    echo "$BASE"
elif [[ $what == cuda ]]; then
    cuda_images
    printf 'IA_LF_IMAGE=%s\nIA_LLAMA_CPP_IMAGE=%s\n' "$LF_IMAGE" "$LLAMA_CPP_IMAGE"
else
    jobs_images
    if [[ $what == archive ]]; then
        echo "$ARCHIVE"
    else
        printf 'IA_BASE_IMAGE=%s\nIA_LF_IMAGE=%s\nIA_LLAMA_CPP_IMAGE=%s\n' "$BASE" "$LF_IMAGE" "$LLAMA_CPP_IMAGE"
    fi
fi
