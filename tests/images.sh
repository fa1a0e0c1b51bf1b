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

They are made from the Dockerfiles of the role llamafactory, from packages alone: no registry of images is asked.
What was made is kept under IA_HOMELAB_CACHE/images, by what it was made of.

Environment:
  IA_HOMELAB_CACHE    (~/.cache/ia-homelab-llamafactory)
  IA_LLAMA_CPP_DIR    llama.cpp as the role has built it; without it, it is compiled for the image
END
}

say() { printf 'images.sh: %s\n' "$*" >&2; }

readonly FILES=$ROOT/roles/llamafactory/files
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

# build DOCKERFILE NAME ARGUMENT ...
build() {
    local dockerfile=$1 name=$2
    shift 2
    say "building $name (some minutes)"
    docker build --progress plain --network host --file "$FILES/images/$dockerfile/Dockerfile" \
        --build-arg INDEX_URL="$(index_url)" "$@" --tag "$name" "$FILES" >"$WORK/build.log" 2>&1 ||
        { tail -n 60 "$WORK/build.log" >&2; say "building $name failed"; return 1; }
}

jobs_images() {
    local built=() key compiled=("$FILES"/installer/*.py)
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

what=${1:-jobs}
case $what in
    base | jobs | archive) ;;
    *) usage >&2; exit 2 ;;
esac
mkdir -p "$CACHE"
exec 7>"$CACHE/images.lock"
flock 7
if [[ $what == base ]]; then
    base
    echo "$BASE"
else
    jobs_images
    if [[ $what == archive ]]; then
        echo "$ARCHIVE"
    else
        printf 'IA_BASE_IMAGE=%s\nIA_LF_IMAGE=%s\nIA_LLAMA_CPP_IMAGE=%s\n' "$BASE" "$LF_IMAGE" "$LLAMA_CPP_IMAGE"
    fi
fi
