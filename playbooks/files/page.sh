#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Starts and stops the training service of quickstart.sh --page. It is in the directory of the settings, the log and the program.
#   page.sh start PYTHON    start it, and wait until it answers; restart it if it runs with other files
#   page.sh link            print a link that signs a browser in, once and within five minutes
#   page.sh stop            stop it; jobs that it has started continue
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
export PYTHONPATH=$PWD/lib PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
SETTINGS=$PWD/settings.json

# The process of the recorded id, if it is the service: the system may have given the id to another process.
pid_of_service() {
    local pid
    pid=$(cat pid 2>/dev/null) || return 1
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "$SETTINGS" || return 1
    echo "$pid"
}

stop() {
    local pid attempt
    pid=$(pid_of_service) || return 0
    kill "$pid"
    for ((attempt = 0; attempt < 100; attempt++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f pid running
    echo stopped
}

answers() {
    "$1" -I - "$SETTINGS" <<'END' 2>/dev/null
import json, sys, urllib.request
port = json.load(open(sys.argv[1], encoding="utf-8"))["port"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.exit(opener.open(f"http://127.0.0.1:{port}/healthz", timeout=5).status != 200)
END
}

start() {
    local python=$1 pid attempt wanted
    wanted=$(cat "$SETTINGS" tokens.json; echo "$python"; ls -A lib)
    if pid_of_service >/dev/null && [[ $wanted == "$(cat running 2>/dev/null)" ]] && answers "$python"; then
        return
    fi
    stop >/dev/null
    setsid nohup "$python" -m ia_homelab_service "$SETTINGS" </dev/null >log.txt 2>&1 &
    pid=$!
    echo "$pid" >pid
    for ((attempt = 0; attempt < 240; attempt++)); do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f pid
            echo "The training service has ended. Its log, $PWD/log.txt:" >&2
            tail -n 5 log.txt >&2
            exit 1
        fi
        if answers "$python"; then
            printf '%s' "$wanted" >running
            echo started
            return
        fi
        sleep 0.25
    done
    stop >/dev/null
    echo "The training service did not answer within a minute. Its log: $PWD/log.txt" >&2
    exit 1
}

case ${1:-} in
start) start "${2:?}" ;;
stop) stop ;;
link)
    pid=$(pid_of_service) || { echo "The page does not run. Start it: ./quickstart.sh --page" >&2; exit 1; }
    # the link of the path, not the resolved one: a virtual environment is found by where its Python lies
    python=$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)
    "$python" -m ia_homelab_service sign-in-link "$SETTINGS"
    ;;
*) sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
