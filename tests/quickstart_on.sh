#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
Usage: quickstart_on.sh debian12|debian13|ubuntu24.04 [root|user]

The quickstart of what is committed, on a system that was installed a moment ago, with nothing of this machine's but its
Go, where it has one: run, run again, removed. An ordinary user is told what to install as root; that is done, and he goes on.
By hand: it compiles Ollama and llama.cpp anew (10 to 25 minutes on two processors), and needs a Docker Engine
(tests/docker_engine.sh). Ubuntu's archive cannot be reached everywhere.
END
}

say() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart_on.sh: %s\n' "$*" >&2; exit 1; }

system=${1:-} who=${2:-root}
[[ $system && ($who == root || $who == user) ]] || { usage >&2; exit 2; }
log=$(mktemp)
image=$(molecule/shared/host_image.sh "$system")
with=()
if go=$(command -v go); then
    go=$(dirname "$(dirname "$(readlink -f "$go")")")
    with+=(--volume "$go:/usr/local/go:ro")
fi
host=$(docker run --detach --privileged --cgroupns=private --tmpfs /run --tmpfs /run/lock \
    --label ia_homelab.test=quickstart "${with[@]}" "$image")
trap 'docker rm --force --volumes "$host" >/dev/null; rm -f "$log"' EXIT

as_root() { docker exec --interactive "$host" "$@"; }
# While booting, systemd empties /tmp, even if it is in use.
as_root systemctl is-system-running --wait >/dev/null || true
name=root home=/root
if [[ $who == user ]]; then
    name=somebody home=/home/somebody
    as_root useradd --create-home --shell /bin/bash "$name"
fi
there() {
    docker exec --user "$name" --env HOME="$home" --workdir "$home/llamafactory" \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin "$host" "$@"
}
git -c safe.directory="$PWD" archive HEAD |
    as_root sh -c "mkdir $home/llamafactory && tar -x -C $home/llamafactory && chown -R $name: $home"

# quickstart WHAT [ARGUMENT ...]
quickstart() {
    local what=$1 status=0 start=$SECONDS
    shift
    say "$system, as $name: $what"
    there ./quickstart.sh "$@" 2>&1 | tee "$log" || status=$?
    printf -- '-- %d s\n' $((SECONDS - start))
    return "$status"
}

# Installs the packages that the messages tell an ordinary user to install, with the commands that they name.
for ((attempt = 0; ; attempt++)); do
    if quickstart "from nothing to an answer"; then break; fi
    command=$(grep -oE 'sudo apt-get install [a-z0-9.+ -]*[a-z0-9+]' "$log" | tail -n 1) || true
    [[ $who == user && $command && $attempt -lt 5 ]] || die "the quickstart failed."
    say "$command"
    as_root sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive ${command#sudo } --yes >/dev/null"
done
grep -qE '^pc-ia +: .*changed=[1-9]' "$log" || die "nothing was changed."
quickstart "second run"
grep -qE '^pc-ia +: .*changed=0 ' "$log" || die "the second run changed something."
quickstart "removed" --clean
there test ! -e "$home/.local/share/ia-homelab" || die "--clean has left files."
say "passed on $system as $name"
