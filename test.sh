#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly ROOT=$PWD
readonly ALL_PARTS=(lint sanity unit integration real molecule service kill upgrade docker e2e)

usage() {
    cat <<'END'
Usage: ./test.sh [--fail-fast] [--jobs N] [part ...]

Runs the tests of the collection, all of them or the named parts. What they need is installed
from the package registries on the first run and kept outside of this directory.

Parts, in the order they run:
  lint         ruff, mypy, shellcheck, ansible-lint (production), changelog; the collection builds and installs
  sanity       ansible-test sanity, every test, nothing ignored
  unit         the core, without any tool                             (tests/unit)
  integration  each module: check, run, check again, run again        (tests/integration/targets)
  real         the core on real LLaMA-Factory, llama.cpp and Ollama   (tests/real)
  molecule     the roles on systemd hosts, with Docker in them        (molecule)
  service      the training service and what faces its users          (service/tests)
  kill         killed at random moments, then run again               (tests/kill)
  upgrade      a store that an earlier version wrote is applied       (tests/upgrade)
  docker       jobs in containers, on a real Docker Engine            (tests/docker, tests/stack)
  e2e          the quickstart in a clean clone                        (tests/e2e)

  tools        only installs what the parts from integration on need
  bench        the benchmarks; not among "all": IA_BENCHMARK="no_change hosts" ./test.sh bench   (benchmarks)

Options:
  --jobs N     so many parts at a time; the output of each comes when it has ended
               (one; where there is more than one processor and no part is named: two)
  --fail-fast  begin no other part after one has failed
  --help       this text

Environment:
  IA_HOMELAB_CACHE      what is slow to install or build (~/.cache/ia-homelab-llamafactory)
  IA_HOMELAB_ARTIFACTS  logs and reports of this run (<cache>/artifacts/<time>)
  IA_DEEPSPEED          anything, to train with DeepSpeed as well (real; it compiles for minutes)
  IA_MOLECULE           the scenarios of molecule to run, "provision" for example (all but ubuntu)
  IA_HOMELAB_PYTHON     the Python to use, 3.11 or newer (the first found that works)
  PYTEST_ADDOPTS        more arguments for pytest, such as "-x -k 'resume and not merge'"
END
}

say() { printf '\n== %s\n' "$*"; }
die() { printf 'test.sh: %s\n' "$*" >&2; exit 2; }

# shellcheck source=tests/environments.sh
. tests/environments.sh

# ansible-test wants the path …/ansible_collections/<namespace>/<name>, and what git would not commit left out.
# The link of the collection to itself is no part of it (see build_ignore in galaxy.yml).
export_tree() {
    COLLECTIONS=$WORK/$PART.tree
    EXPORT=$COLLECTIONS/ansible_collections/ia_homelab/llamafactory
    rm -rf "$EXPORT"
    mkdir -p "$EXPORT"
    git -c safe.directory="$ROOT" ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do
            [[ $file == playbooks/collections/* || ! -e $file ]] || printf '%s\0' "$file"
        done | tar -c --null --no-recursion -T - | tar -x -C "$EXPORT"
}

# ansible-test gives its children neither pip's variables nor anything but HOME to find settings in, and fetches
# pip's bootstrap script from a site of its own: so it gets a home with both. Its environments are kept there too.
ansible_test() {
    local home=$CACHE/ansible-test
    mkdir -p "$home/.ansible/test/cache" "$home/.config/pip"
    "$VENV/bin/python" "$ROOT/tests/ansible_test_home.py" "$home" || return
    HOME=$home "$VENV/bin/ansible-test" "$@"
}

# ---------------------------------------------------------------- counting

# tally PASSED FAILED
tally() { echo "$1 $2" >>"$WORK/tally.$PART"; }

# check NAME COMMAND...   one check of its own: goes on when it fails
check() {
    local name=$1 start=$SECONDS status
    shift
    set +e # and not "if": under one of those, set -e has no effect in anything called
    (set -e; "$@") >"$WORK/check.$PART.log" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        printf '  ok      %-28s %4ds\n' "$name" $((SECONDS - start))
        tally 1 0
    else
        printf '  FAILED  %-28s %4ds\n' "$name" $((SECONDS - start))
        sed 's/^/          /' "$WORK/check.$PART.log"
        tally 0 1
    fi
}

# run_pytest DIRECTORY [ARGUMENT...]   a skipped test proves nothing: it counts as failed
run_pytest() {
    local directory=$1 report=$ARTIFACTS/$PART.xml without=() status=0
    shift
    nvidia-smi >/dev/null 2>&1 || without+=(gpu)
    [[ ${IA_DEEPSPEED:-} ]] || without+=(deepspeed)
    local mark select=''
    for mark in "${without[@]}"; do
        select+=${select:+ and }"not $mark"
        grep -rqs "pytest.mark.$mark" "$directory" && echo "Tests marked $mark are left out (markers in pyproject.toml)."
    done
    python -m pytest "$directory" -p no:cacheprovider -rfEs --durations=5 --durations-min=5 --timeout=900 \
        --junit-xml="$report" -m "$select" "$@" || status=$?
    [[ -e $report ]] && python - "$report" <<'END' >>"$WORK/tally.$PART"
import sys, xml.etree.ElementTree as tree
count = lambda name: sum(int(suite.get(name, 0)) for suite in tree.parse(sys.argv[1]).iter("testsuite"))
failed = count("failures") + count("errors") + count("skipped")
print(count("tests") - failed, failed)
END
    return $status
}

# ---------------------------------------------------------------- the parts

part_lint() {
    export_tree
    local scripts=()
    mapfile -t scripts < <(cd "$EXPORT" && grep -rlE '^#!.*\b(ba)?sh\b' . | sort)
    check "ruff check" ruff check --no-cache .
    check "ruff format" ruff format --no-cache --check .
    check "options of a fine-tune" python tests/option_docs.py --check
    check "README of the roles" python tests/role_readmes.py --check
    check "list of the core" python tests/core_bundle.py --check
    check "mypy" mypy --cache-dir "$CACHE/mypy"
    check "layers of the core" env PYTHONPATH=playbooks/collections lint-imports --no-cache
    (cd service && check "layers of the service" env PYTHONPATH=src lint-imports --no-cache)
    (cd "$EXPORT" && check "shellcheck" shellcheck -x "${scripts[@]}")
    (cd "$EXPORT" && check "ansible-lint" env ANSIBLE_COLLECTIONS_PATH="$COLLECTIONS" \
        ANSIBLE_HOME="$WORK/ansible-home" ansible-lint --offline --nocolor -q)
    (cd "$EXPORT" && check "changelog" antsibull-changelog lint)
    check "collection builds" collection_builds
}

# The artifact holds what it should, is small, and once installed Ansible finds the modules and playbooks in it.
collection_builds() {
    local out=$WORK/build
    mkdir -p "$out"
    ansible-galaxy collection build --output-path "$out" "$EXPORT"
    [[ $(stat -c %s "$out"/*.tar.gz) -lt 2000000 ]] || { ls -l "$out"; return 1; }
    if tar -tzf "$out"/*.tar.gz | grep -E '^(tests|service/tests|playbooks/collections|\.git|\.ci)(/|$)'; then return 1; fi
    local file
    for file in service/{pyproject.toml,requirements.txt,src/ia_homelab_service/{__main__.py,web/style.css}}; do
        tar -tzf "$out"/*.tar.gz "$file" >/dev/null || return
    done
    ANSIBLE_COLLECTIONS_PATH=$out ansible-galaxy collection install --offline --no-cache -p "$out" "$out"/*.tar.gz
    ANSIBLE_COLLECTIONS_PATH=$out ansible-doc --list ia_homelab.llamafactory >"$out/modules"
    local module
    while read -r module; do
        module=$(basename "$module" .py)
        grep -q "^ia_homelab.llamafactory.$module " "$out/modules" || { echo "not found: $module"; return 1; }
    done < <(find plugins/modules -name '*.py')
    (cd "$out" && ANSIBLE_COLLECTIONS_PATH=$out ansible-playbook -i localhost, --syntax-check \
        ia_homelab.llamafactory.finetune)
}

part_sanity() {
    export_tree
    cd "$EXPORT"
    local status=0 old
    ansible_test sanity --python "$PYTHON_MINOR" --color no --junit || status=$?
    if old=$(find_old_python); then
        mkdir -p "$WORK/old"
        ln -sf "$old" "$WORK/old/python3.9"
        PATH=$PATH:$WORK/old ansible_test sanity --python 3.9 --color no --junit \
            --test compile --test import || status=$?
    else
        echo "No Python 3.9 here: compile and import were tested with $PYTHON_MINOR alone."
    fi
    mkdir -p "$ARTIFACTS/sanity"
    cp -r tests/output/junit/. "$ARTIFACTS/sanity/"
    local failed passed
    failed=$({ grep -rlE '<(failure|error)' "$ARTIFACTS/sanity" || true; } | wc -l)
    passed=$(find "$ARTIFACTS/sanity" -name '*.xml' | wc -l)
    tally $((passed - failed)) "$failed"
    return $status
}

part_unit() { run_pytest tests/unit; }

part_real() { tools_env && run_pytest tests/real; }
part_kill() { tools_env && run_pytest tests/kill; }
part_upgrade() { tools_env && run_pytest tests/upgrade; }
part_docker() {
    tools_env
    local status=0
    tests/images.sh >"$WORK/images.env"
    # shellcheck disable=SC1091  # written just now
    set -a && . "$WORK/images.env" && set +a
    # apart: those of the stack load Ansible's own finder of collections, which knows nothing of a checkout
    run_pytest tests/docker || status=$?
    run_pytest tests/stack || status=$?
    return $status
}
# On the interpreter and the packages the role gives the service; Ansible comes from the tests' own environment.
part_service() {
    tools_env
    service_venv
    mcp1_venv
    export IA_HOMELAB_ARTIFACTS=$ARTIFACTS
    export PATH=$SERVICE_VENV/bin:$PATH PYTHONPATH=$ROOT/service/src
    MYPYPATH=$PYTHONPATH check mypy mypy --strict --cache-dir "$CACHE/mypy-service" -p ia_homelab_service
    run_pytest service/tests "$@"
}

part_e2e() { tools_env && run_pytest tests/e2e; }

# Every scenario but Ubuntu's, whose archive cannot be reached everywhere.
part_molecule() {
    tools_env
    local scenario log status=0 start
    export NO_COLOR=1
    mkdir -p "$ARTIFACTS/molecule"
    for scenario in ${IA_MOLECULE:-$(cd molecule && printf '%s\n' */molecule.yml | sed 's#/.*##' | grep -v '^ubuntu$')}; do
        start=$SECONDS log=$ARTIFACTS/molecule/$scenario.log
        export MOLECULE_EPHEMERAL_DIRECTORY=$WORK/molecule/$scenario
        mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
        if timeout -k 60 1800 molecule --base-config molecule/base.yml test --scenario-name "$scenario" \
            --destroy never </dev/null >"$log" 2>&1 && ! grep 'Missing playbook' "$log"; then
            printf '  ok      %-28s %4ds\n' "$scenario" $((SECONDS - start))
            tally 1 0
        else
            printf '  FAILED  %-28s %4ds\n' "$scenario" $((SECONDS - start))
            molecule_journals >>"$log" 2>&1
            tail -n 150 "$log" | sed 's/^/          /'
            tally 0 1
            status=1
        fi
        molecule --base-config molecule/base.yml destroy --scenario-name "$scenario" </dev/null >>"$log" 2>&1 || status=1
    done
    return $status
}

# What the hosts under test have to say, of those that are still there.
molecule_journals() {
    local host
    for host in $(docker ps --all --quiet --filter label=ia_homelab.test=molecule); do
        printf '\n-- journal of %s\n' "$(docker inspect --format '{{.Name}}' "$host")"
        docker exec "$host" systemctl --failed --no-pager --plain
        docker exec "$host" journalctl --no-pager --lines 100 --output short-precise
    done
}

# Every target in a play of its own, as ansible-test does (setup_* are only there for the others).
part_integration() {
    tools_env
    local target log status=0 start
    mkdir -p "$ARTIFACTS/integration"
    while read -r target; do
        start=$SECONDS log=$ARTIFACTS/integration/$target.log
        mkdir -p "$WORK/output/$target"
        if ANSIBLE_ROLES_PATH=tests/integration/targets timeout -k 30 1200 ansible-playbook -i localhost, \
            tests/integration/run.yml -e target="$target" -e output_dir="$WORK/output/$target" </dev/null >"$log" 2>&1; then
            printf '  ok      %-28s %4ds\n' "$target" $((SECONDS - start))
            tally 1 0
        else
            printf '  FAILED  %-28s %4ds\n' "$target" $((SECONDS - start))
            tail -n 60 "$log" | sed 's/^/          /'
            tally 0 1
            status=1
        fi
    done < <(find tests/integration/targets -mindepth 1 -maxdepth 1 -type d ! -name 'setup_*' -printf '%f\n' | sort)
    [[ -s $WORK/tally.$PART ]] || { echo "There are no targets."; status=1; }
    return $status
}

# The real tools, installed by the roles as a user would, but into the cache. Says in tools.env where they are.
# Ollama is compiled faster than a user has it, who wants it to answer fast.
part_tools() {
    CGO_CFLAGS=-O1 CGO_CXXFLAGS=-O1 ANSIBLE_NOCOLOR=1 ANSIBLE_DISPLAY_SKIPPED_HOSTS=false \
        ansible-playbook -i localhost, tests/tools.yml -e llamafactory_tools_dir="$CACHE/tools" \
        -e tests_tools_env="$WORK/tools.env"
    cat "$WORK/tools.env"
    tally 1 0
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

tools_env() {
    [[ -e $WORK/tools.env ]] || { echo "The tools are missing: see the part tools."; return 1; }
    # shellcheck disable=SC1091  # written by tests/tools.yml
    set -a && . "$WORK/tools.env" && set +a
}

# ---------------------------------------------------------------- running

# run_part NAME   output to the terminal and to a log; leaves in $WORK/result.NAME: passed, failed, seconds
run_part() {
    PART=$1
    local status=0 start=$SECONDS pipe=$WORK/pipe.$1 tee waited
    say "$PART"
    mkfifo "$pipe"
    tee "$ARTIFACTS/$PART.log" <"$pipe" &
    tee=$!
    set +e
    (set -euo pipefail; "part_$PART") >"$pipe" 2>&1
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
    echo "$passed $failed $((SECONDS - start))" >"$WORK/result.$PART"
}

# add_up NAME   a part has ended: its line in the summary
add_up() {
    local passed=0 failed=1 seconds=0
    [[ ! -e $WORK/result.$1 ]] || read -r passed failed seconds <"$WORK/result.$1"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    SUMMARY+=("$(printf '%-12s %5d passed %4d failed %5ds' "$1" "$passed" "$failed" "$seconds")")
}

# The parts one after the other, seen as they go.
run_in_turn() {
    local part
    for part; do
        run_part "$part" # by itself: after "if" or before "||", set -e would have no effect in the part
        add_up "$part"
        ((FAILED == 0 || fail_fast == 0)) || break
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

# needs_tools NAME
needs_tools() { [[ " lint sanity unit tools " != *" $1 "* ]]; }

# The parts, $jobs at a time, begun in order; what needs the tools waits for them, and what does not goes before it.
# What one prints is shown whole, when it has ended.
run_side_by_side() {
    local part ended i
    local waiting=("$@")
    local -A running=()
    while ((${#waiting[@]} + ${#running[@]})); do
        for i in "${!waiting[@]}"; do
            part=${waiting[i]}
            ((${#running[@]} < jobs)) || break
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
        ((FAILED == 0 || fail_fast == 0)) || waiting=()
    done
}

parts=() fail_fast=0 jobs=''
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --fail-fast) fail_fast=1 ;;
        --jobs)
            [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || die "--jobs wants a number"
            jobs=$2
            shift
            ;;
        lint | sanity | unit | integration | real | kill | upgrade | docker | service | e2e | molecule | tools | bench) parts+=("$1") ;;
        *) usage >&2; die "unknown: $1" ;;
    esac
    shift
done
if ((${#parts[@]} == 0)); then
    parts=("${ALL_PARTS[@]}")
    [[ -n $jobs || $(nproc) -lt 2 ]] || jobs=2
fi
jobs=${jobs:-1}
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
export HYPOTHESIS_STORAGE_DIRECTORY=$CACHE/hypothesis

need git:git flock:util-linux
PYTHON=$(find_python) || { install python3-venv && PYTHON=$(find_python); } ||
    die "no Python 3.11 or newer with venv was found; name one in IA_HOMELAB_PYTHON"
dev_venv

PASSED=0 FAILED=0 SUMMARY=() PART=''
prepare "${parts[@]}"
if ((jobs > 1)); then
    run_side_by_side "${parts[@]}"
else
    run_in_turn "${parts[@]}"
fi

say "Summary (logs in $ARTIFACTS)"
printf '%s\n' "${SUMMARY[@]}"
echo
echo "$PASSED passed, $FAILED failed"
((FAILED == 0))
