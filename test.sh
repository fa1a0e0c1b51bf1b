#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2034  # variables that are used in tests/parts, which is not read where this file is checked alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly ROOT=$PWD
readonly ALL_PARTS=(lint sanity unit integration real molecule service kill upgrade docker e2e)
readonly MORE_PARTS=(other_core tools bench)

usage() {
    cat <<'END'
Usage: ./test.sh [--fail-fast] [--jobs N] [full | part ...]

Runs the tests of the collection: those of every change (at most 40 minutes from a bare machine with two processors),
with "full" also those that take hours, or the named parts. What they need is installed from the package registries on
the first run and kept outside of this directory.

Parts, in the order they run:
  lint         ruff, mypy, shellcheck, ansible-lint (production), changelog; the collection builds and installs
  sanity       ansible-test sanity, every test, nothing ignored
  unit         the core, without any tool; prints its coverage        (tests/unit)
  integration  each module: check, run, check again, run again        (tests/integration/targets)
  real         the core on real LLaMA-Factory, llama.cpp and Ollama   (tests/real)
  molecule     the roles on systemd hosts, with Docker in them        (molecule)
  service      the training service and what faces its users          (service/tests)
  kill         killed at random moments, then run again               (tests/kill)
  upgrade      a store that an earlier version wrote is applied       (tests/upgrade)
  docker       jobs in containers, on a real Docker Engine            (tests/docker, tests/stack)
  e2e          the quickstart in a clean clone                        (tests/e2e)

Only in "full", or by name:
  other_core   sanity, unit, integration and what plays print on the other ansible-core (2.21; it needs Python 3.12)
  and in the parts above: tests marked full or deepspeed, thousands of kills, molecule's scenarios hosts and ubuntu

Only by name:
  tools        only installs what the parts from integration on need
  bench        the benchmarks: IA_BENCHMARK="no_change hosts" ./test.sh bench   (benchmarks)

Options:
  --jobs N     so many parts at a time; the output of each comes when it has ended
               (one; where there is more than one processor and no part is named: three)
  --fail-fast  begin no other part after one has failed
  --help       this text

Environment:
  IA_ANSIBLE_CORE       2.19 or 2.21: the ansible-core to test on (2.19, where its Python allows that)
  IA_HOMELAB_CACHE      what is slow to install or build (~/.cache/ia-homelab-llamafactory)
  IA_HOMELAB_ARTIFACTS  logs and reports of this run (<cache>/artifacts/<time>)
  IA_HOMELAB_PYTHON     the Python to use, 3.11 or newer (the first found that works)
  IA_MOLECULE           the scenarios of molecule to run, "provision" for example (all but hosts and ubuntu)
  PYTEST_ADDOPTS        more arguments for pytest, such as "-x -k 'resume and not merge'"
  What "full" sets, where it is not set:
    IA_FULL             anything, to run the tests marked full (pyproject.toml)
    IA_DEEPSPEED        anything, to train with DeepSpeed as well (real; it compiles for minutes)
    IA_KILL_COUNT       kills of the engine (kill: 60; full: 3000)
    IA_KILL_EVERY       one of so many changes of the engine is a kill (kill: 6; full: 1)
    IA_KILL_REAL_COUNT  kills of the real tools (kill: 12; full: 60)
    IA_UPGRADE_EVERY    one of so many changes is a kill (upgrade: 5; full: 1)
    IA_CHECK_EXAMPLES   random histories of check mode (unit: 8; full: 100)
END
}

say() { printf '\n== %s\n' "$*"; }
die() { printf 'test.sh: %s\n' "$*" >&2; exit 2; }

# shellcheck source=tests/environments.sh
. tests/environments.sh
# shellcheck source=tests/parts/common.sh
. tests/parts/common.sh
# shellcheck source=tests/parts/lint.sh
. tests/parts/lint.sh
# shellcheck source=tests/parts/sanity.sh
. tests/parts/sanity.sh
# shellcheck source=tests/parts/ansible.sh
. tests/parts/ansible.sh
# shellcheck source=tests/parts/pytest.sh
. tests/parts/pytest.sh
# shellcheck source=tests/parts/tools.sh
. tests/parts/tools.sh
# shellcheck source=tests/parts/schedule.sh
. tests/parts/schedule.sh

parts=() full='' FAIL_FAST=0 JOBS=''
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --fail-fast) FAIL_FAST=1 ;;
        --jobs)
            [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || die "--jobs wants a number"
            JOBS=$2
            shift
            ;;
        full) full=1 ;;
        *)
            [[ " ${ALL_PARTS[*]} ${MORE_PARTS[*]} " == *" $1 "* ]] || { usage >&2; die "unknown: $1"; }
            parts+=("$1")
            ;;
    esac
    shift
done
if [[ $full ]]; then
    ((${#parts[@]} == 0)) || die "full is all parts; name it alone"
    export IA_FULL=1 IA_DEEPSPEED=${IA_DEEPSPEED:-1} IA_UPGRADE_EVERY=${IA_UPGRADE_EVERY:-1}
    export IA_KILL_EVERY=${IA_KILL_EVERY:-1}
    export IA_KILL_COUNT=${IA_KILL_COUNT:-3000} IA_KILL_REAL_COUNT=${IA_KILL_REAL_COUNT:-60}
    export IA_CHECK_EXAMPLES=${IA_CHECK_EXAMPLES:-100}
fi
if ((${#parts[@]} == 0)); then
    parts=("${ALL_PARTS[@]}" ${full:+other_core})
    # One more than processors: for a third of the time parts wait, for servers and hosts that start or for what times out.
    [[ -n $JOBS || $(nproc) -lt 2 ]] || JOBS=3
fi
JOBS=${JOBS:-1}
[[ ! ${IA_ANSIBLE_CORE:-} || ${PYTHONS_OF_ANSIBLE[$IA_ANSIBLE_CORE]:-} ]] ||
    die "IA_ANSIBLE_CORE is one of: ${!PYTHONS_OF_ANSIBLE[*]}"
for part in "${parts[@]}"; do
    if needs_tools "$part" && [[ " ${parts[*]} " != *" tools "* ]]; then
        parts=(tools "${parts[@]}")
    fi
done

# Ansible wants UTF-8; a bare machine has often no locale at all.
export LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1
# Ansible hands Python a module on standard input, which with this is read one byte at a time: a third of a second each.
unset PYTHONUNBUFFERED
CACHE=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}
ARTIFACTS=${IA_HOMELAB_ARTIFACTS:-$CACHE/artifacts/$(date +%Y%m%d-%H%M%S)-$$}
mkdir -p "$CACHE" "$ARTIFACTS"
# What nobody used for a month goes.
find "$CACHE/dev" "$CACHE/service" "$CACHE/artifacts" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} + 2>/dev/null || true
WORK=$(mktemp -d "${TMPDIR:-/tmp}/ia-homelab-test.XXXXXX")
trap 'tests/docker_engine.sh stop "$WORK/docker"; rm -rf "$WORK"' EXIT
# Of the Ollama servers that plays start: see tests/support/ollama_server.py.
export LLAMA_ARG_THREADS=1
export HYPOTHESIS_STORAGE_DIRECTORY=$CACHE/hypothesis

need git:git flock:util-linux
[[ ${IA_ANSIBLE_CORE:-} ]] || find_python >/dev/null || install python3-venv
use_ansible_core "${IA_ANSIBLE_CORE:-}" || die "name a Python that fits in IA_HOMELAB_PYTHON"

PASSED=0 FAILED=0 SUMMARY=() PART=''
read -r BUSY IDLE < <(processors)
prepare "${parts[@]}"
if ((JOBS > 1)); then
    run_side_by_side "${parts[@]}"
else
    run_in_turn "${parts[@]}"
fi

say "Summary (logs in $ARTIFACTS), after $((SECONDS / 60)) min, on ansible-core $ANSIBLE_MINOR"
printf '%s\n' "${SUMMARY[@]}"
read -r busy idle < <(processors)
echo "The processors of this machine were at work for $((busy - BUSY)) s and idle for $((idle - IDLE)) s."
echo
echo "$PASSED passed, $FAILED failed"
((FAILED == 0))
