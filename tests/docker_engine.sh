#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail

usage() {
    cat <<'END'
Usage: docker_engine.sh start DIRECTORY    make sure that a Docker Engine runs, with Compose and buildx; install and start
                                           it if necessary. DIRECTORY then contains its log and its process id.
       docker_engine.sh stop DIRECTORY     stop the engine if `start` has started it
END
}

die() { printf 'docker_engine.sh: %s\n' "$*" >&2; exit 1; }

is_installed() {
    command -v dockerd >/dev/null && command -v containerd >/dev/null &&
        docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1
}

answers() { docker info >/dev/null 2>&1; }

# shellcheck disable=SC1091  # of the machine
from_os_release() { (. /etc/os-release && printf '%s' "${!1:-}"); }

# Engine 26 or newer: older ones do not start privileged containers if the machine itself lacks a capability.
# Debian 12 has 20.10 and no Compose v2, so the packages of Debian 13 are used (they need no newer libc).
install_packages() {
    [[ $(id -u) == 0 ]] || die "Docker Engine with Compose and buildx is not installed; installing it needs root."
    command -v apt-get >/dev/null || die "Docker Engine with Compose and buildx is not installed; please install it."
    export DEBIAN_FRONTEND=noninteractive
    case $(from_os_release ID):$(from_os_release VERSION_ID) in
        debian:12)
            apt-get update -qq
            apt-get install -yqq --no-install-recommends iptables
            "$(dirname "${BASH_SOURCE[0]}")/from_suite.sh" trixie docker.io docker-cli docker-compose docker-buildx containerd
            ;;
        ubuntu:*)
            apt-get update -qq
            apt-get install -yqq --no-install-recommends docker.io docker-compose-v2 docker-buildx containerd iptables
            ;;
        *)
            apt-get update -qq
            apt-get install -yqq --no-install-recommends docker.io docker-cli docker-compose docker-buildx containerd \
                iptables
            ;;
    esac
}

start() {
    local record=$1 waited
    mkdir -p "$record"
    exec 8>"${TMPDIR:-/tmp}/ia-homelab-docker-engine.lock"
    flock 8
    # The output of apt is shown only if it fails.
    if ! is_installed; then
        set +e
        (set -e; install_packages) >"$record/install.log" 2>&1 8>&-
        set -e
        is_installed || { cat "$record/install.log" >&2; die "Docker Engine, Compose or buildx could not be installed."; }
    fi
    answers && return
    [[ $(id -u) == 0 ]] || die "No Docker Engine runs; starting one needs root."
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker
    else
        setsid dockerd >"$record/dockerd.log" 2>&1 8>&- </dev/null &
        echo $! >"$record/dockerd.pid"
    fi
    for ((waited = 0; waited < 120; waited++)); do
        answers && return
        sleep 0.5
    done
    tail -n 20 "$record/dockerd.log" >&2 || true
    die "The engine did not answer within a minute."
}

stop() {
    local record=$1 pid waited
    [[ -s $record/dockerd.pid ]] || return 0
    pid=$(<"$record/dockerd.pid")
    # The process id may belong to another process by now.
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] || return 0
    kill "$pid"
    for ((waited = 0; waited < 120; waited++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    rm -f "$record/dockerd.pid"
}

case ${1:-}:${2:-} in
    start:?*) start "$2" ;;
    stop:?*) stop "$2" ;;
    *) usage >&2; exit 2 ;;
esac
