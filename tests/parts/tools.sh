# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The tools that the parts from integration on need, and the benchmarks, which need them too.

# The real tools, installed by the roles as a user would, but into the cache. Says in tools.env where they are.
# Ollama is compiled faster than a user has it, who wants it to answer fast, and both versions share what is compiled of Go.
part_tools() {
    GOCACHE=$WORK/go CGO_CFLAGS=-O1 CGO_CXXFLAGS=-O1 ANSIBLE_NOCOLOR=1 ANSIBLE_DISPLAY_SKIPPED_HOSTS=false \
        ansible-playbook -i localhost, tests/tools.yml -e llamafactory_tools_dir="$CACHE/tools" \
        -e tests_tools_env="$WORK/tools.env"
    tiny_base >>"$WORK/tools.env"
    cat "$WORK/tools.env"
    tally 1 0
}

# The base model that most tests train, made once: prints IA_TINY_BASE=…. A test that changes it works on a copy.
tiny_base() {
    tools_env
    local files=playbooks/files base
    base=$CACHE/tiny-base/$(cat $files/{make_tiny_base.py,homelab_prompts.json} - <<<"$IA_LF_VENV" | sha256sum | cut -c1-16)
    if [[ ! -e $base ]]; then
        mkdir -p "$CACHE/tiny-base"
        find "$CACHE/tiny-base" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + 2>/dev/null || true
        OMP_NUM_THREADS=1 "$IA_LF_VENV/bin/python" $files/make_tiny_base.py --prompts $files/homelab_prompts.json \
            --output "$base" >&2
    fi
    printf 'IA_TINY_BASE=%q\n' "$base"
}

tools_env() {
    [[ -e $WORK/tools.env ]] || { echo "The tools are missing: see the part tools."; return 1; }
    # shellcheck disable=SC1091  # written by tests/tools.yml
    set -a && . "$WORK/tools.env" && set +a
}

# By hand: what is measured on a machine that does something else means nothing.
part_bench() {
    tools_env
    local name
    for name in ${IA_BENCHMARK:-no_change pipeline hosts}; do
        say "$name"
        if [[ $name == service ]]; then
            service_venv
            PATH=$SERVICE_VENV/bin:$PATH python "benchmarks/$name.py"
        else
            python "benchmarks/$name.py"
        fi
        tally 1 0
    done
}
