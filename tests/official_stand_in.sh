#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
Usage: official_stand_in.sh

The image for hosts with a GPU (images/cuda) and llama.cpp's on top of it, made from what stands in for LLaMA-Factory's
official image where that cannot be pulled: Debian 12 with the Python, PyTorch and LLaMA-Factory the official one has, in
the places where it has them. See that bitsandbytes was missing and is there now, with its library for that CUDA. Prints
IA_LF_IMAGE=… and IA_LLAMA_CPP_IMAGE=…, to run the tests of the part docker in them, on the processor.
By hand: 10 to 20 minutes, and 15 GB of the engine's disk. It needs a Docker Engine (tests/docker_engine.sh).
END
}
(($# == 0)) || { usage; exit 0; }

say() { printf '%s\n' "$*" >&2; }
die() { say "official_stand_in.sh: $*"; exit 1; }

readonly FILES=$PWD/roles/llamafactory/files
readonly OFFICIAL=ia-homelab-test/official:stand-in LF=ia-homelab-test/llamafactory:cuda LLAMA_CPP=ia-homelab-test/llama-cpp:cuda
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}

say "Making the stand-in"
system=$(molecule/shared/host_image.sh debian12)
# From docker/docker-cuda/Dockerfile of LLaMA-Factory 0.9.5 and its base's: PyTorch 2.6.0 for CUDA 12.4 in /opt/conda, the
# sources in /app, installed in place with the extra "metrics". PyPI's 2.6.0 is the one for CUDA 12.4.
cat >"$work/Dockerfile" <<'END'
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
docker build --network host --build-arg BASE="$system" --build-arg INDEX_URL="$index" --tag "$OFFICIAL" "$work" >&2

finds() { docker run --rm "$1" python -c 'import bitsandbytes' >/dev/null 2>&1; }
if finds "$OFFICIAL"; then die "bitsandbytes is in the stand-in already, which shows nothing."; fi

say "Making the image with bitsandbytes"
docker build --network host --file "$FILES/images/cuda/Dockerfile" --build-arg BASE_IMAGE="$OFFICIAL" \
    --build-arg INDEX_URL="$index" --tag "$LF" "$FILES" >&2
docker run --rm "$LF" python -c '
import os, bitsandbytes, torch
library = f"libbitsandbytes_cuda{torch.version.cuda.replace(chr(46), str())}.so"
assert os.path.exists(os.path.join(os.path.dirname(bitsandbytes.__file__), library)), library
print(f"bitsandbytes {bitsandbytes.__version__} with {library}, PyTorch {torch.__version__}")' >&2 ||
    die "bitsandbytes lacks the library for this CUDA."

say "Making llama.cpp's image on top"
built=()
[[ -z ${IA_LLAMA_CPP_DIR:-} ]] || built=(--build-context "built=$IA_LLAMA_CPP_DIR")
docker build --network host --file "$FILES/images/llama-cpp/Dockerfile" --build-arg BASE_IMAGE="$LF" \
    --build-arg BUILD_IMAGE="$system" --build-arg INDEX_URL="$index" "${built[@]}" --tag "$LLAMA_CPP" "$FILES" >&2
printf 'IA_LF_IMAGE=%s\nIA_LLAMA_CPP_IMAGE=%s\n' "$LF" "$LLAMA_CPP"
