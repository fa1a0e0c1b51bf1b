# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the parts: one after the other or side by side; adds up what they counted.

# run_part NAME   output to the terminal and to a log; leaves in $WORK/result.NAME: passed, failed, seconds, and seconds of
# processor time (of the processes that the part has waited for: not those in containers or that run on as services)
run_part() {
    PART=$1
    local status=0 start=$SECONDS pipe=$WORK/pipe.$1 tee waited
    say "$PART"
    mkfifo "$pipe"
    tee "$ARTIFACTS/$PART.log" <"$pipe" &
    tee=$!
    set +e
    (set -euo pipefail; trap 'times >"$WORK/times.$PART"' EXIT; "part_$PART") >"$pipe" 2>&1
    status=$?
    set -e
    rm "$pipe"
    # Something left running may hold the output open; then tee would not end by itself.
    for ((waited = 0; waited < 20; waited++)); do
        kill -0 "$tee" 2>/dev/null || break
        sleep 0.1
    done
    if kill "$tee" 2>/dev/null; then
        echo "The part left a process behind that holds its output."
        status=1
    fi
    local passed=0 failed=0 p f
    if [[ -e $WORK/tally.$PART ]]; then
        while read -r p f; do
            passed=$((passed + p)) failed=$((failed + f))
        done <"$WORK/tally.$PART"
    fi
    # A part that broke before, or beside, its own counting is a failure too.
    if ((status != 0 && failed == 0)); then failed=1; fi
    echo "$passed $failed $((SECONDS - start)) $(tr ms '  ' <"$WORK/times.$PART" | awk '{
        busy += 60 * ($1 + $3) + $2 + $4
    } END { printf "%d", busy }')" >"$WORK/result.$PART"
}

# add_up NAME   a part has ended: its line in the summary
add_up() {
    local passed=0 failed=1 seconds=0 busy=0
    [[ ! -e $WORK/result.$1 ]] || read -r passed failed seconds busy <"$WORK/result.$1"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    SUMMARY+=("$(printf '%-12s %5d passed %4d failed %5ds (processors %5ds)' "$1" "$passed" "$failed" "$seconds" "$busy")")
}

# The parts one after the other, seen as they go.
run_in_turn() {
    local part
    for part; do
        run_part "$part" # by itself: after "if" or before "||", set -e would have no effect in the part
        add_up "$part"
        ((FAILED == 0 || FAIL_FAST == 0)) || break
    done
}

# What parts need of the machine. Before any begins: apt does one thing at a time, and parts that run side by side
# share one Docker Engine, which is stopped at the end of all.
prepare() {
    local part
    for part; do
        case $part in
            service) need chromium:chromium ;;
            docker | molecule)
                need mmdebstrap:mmdebstrap zstd:zstd ssh:openssh-client
                tests/docker_engine.sh start "$WORK/docker"
                ;;
        esac
    done
}

# processors   seconds that all processors together have been at work, and idle, since the machine was started
processors() {
    awk -v ticks="$(getconf CLK_TCK)" '/^cpu / {
        printf "%d %d\n", ($2 + $3 + $4 + $7 + $8) / ticks, ($5 + $6) / ticks
    }' /proc/stat
}

# needs_tools NAME
needs_tools() { [[ " lint sanity unit tools " != *" $1 "* ]]; }

# longest_first NAME ...   the parts in the order to begin them side by side: so that no long one is left to the end, and
# what needs no tools fills the time in which they are built
longest_first() {
    local part
    for part in tools unit sanity lint molecule real service integration kill upgrade docker e2e other_core bench; do
        [[ " $* " != *" $part "* ]] || echo "$part"
    done
}

# The parts, JOBS at a time, the longest first; what needs the tools waits for them, and what does not goes before it.
# What one prints is shown whole, when it has ended.
run_side_by_side() {
    local part ended i
    local waiting
    mapfile -t waiting < <(longest_first "$@")
    local -A running=()
    while ((${#waiting[@]} + ${#running[@]})); do
        for i in "${!waiting[@]}"; do
            part=${waiting[i]}
            ((${#running[@]} < JOBS)) || break
            if needs_tools "$part" && [[ " ${running[*]} " == *" tools "* ]]; then continue; fi
            say "$part: begun ($((SECONDS / 60)) min)"
            (set +e; run_part "$part") >"$WORK/shown.$part" 2>&1 </dev/null &
            running[$!]=$part
            unset "waiting[i]"
        done
        wait -n -p ended "${!running[@]}" || true
        part=${running[$ended]}
        unset "running[$ended]"
        cat "$WORK/shown.$part"
        add_up "$part"
        ((FAILED == 0 || FAIL_FAST == 0)) || waiting=()
    done
}
