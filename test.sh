#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly ROOT=$PWD
readonly ALL_PARTS=(lint sanity unit integration real kill service e2e)

usage() {
    cat <<'END'
Usage: ./test.sh [--fail-fast] [part ...]

Runs the tests of the collection, all of them or the named parts. What they need is installed
from the package registries on the first run and kept outside of this directory.

Parts, in the order they run:
  lint         ruff, mypy, shellcheck, ansible-lint (production), changelog; the collection builds and installs
  sanity       ansible-test sanity, every test, nothing ignored
  unit         the core, without any tool                             (tests/unit)
  integration  each module: check, run, check again, run again        (tests/integration/targets)
  real         the core on real LLaMA-Factory, llama.cpp and Ollama   (tests/real)
  kill         killed at random moments, then run again               (tests/kill)
  service      the training service and what faces its users          (tests/service)
  e2e          the quickstart in a clean clone                        (tests/e2e)

  tools        only installs what integration, real, kill, service and e2e need
  docker       jobs in containers, on a real Docker Engine; not among "all"  (tests/docker, tests/stack)
  bench        the benchmarks; not among "all": IA_BENCHMARK="no_change hosts" ./test.sh bench   (benchmarks)

Options:
  --fail-fast  stop after the first part that fails
  --help       this text

Environment:
  IA_HOMELAB_CACHE      what is slow to install or build (~/.cache/ia-homelab-llamafactory)
  IA_HOMELAB_ARTIFACTS  logs and reports of this run (<cache>/artifacts/<time>)
  IA_HOMELAB_PYTHON     the Python to use, 3.11 or newer (the first found that works)
  PYTEST_ADDOPTS        more arguments for pytest, such as "-x -k 'resume and not merge'"
END
}

say() { printf '\n== %s\n' "$*"; }
die() { printf 'test.sh: %s\n' "$*" >&2; exit 2; }

# ---------------------------------------------------------------- what the tests need

# install PACKAGE ...   as root, else names the command that would
install() {
    command -v apt-get >/dev/null || die "not found: $*. Please install it."
    [[ $(id -u) == 0 ]] || die "not found: $*. Please run: sudo apt-get install -y $*"
    say "Installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
}

# need COMMAND:PACKAGE ...   installs what is missing
need() {
    local pair missing=()
    for pair; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    ((${#missing[@]} == 0)) || install "${missing[@]}"
}

# The first Python that really runs (a version manager's shim may be there and fail) and can make environments.
find_python() {
    local candidate
    for candidate in ${IA_HOMELAB_PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 /usr/bin/python3}; do
        "$candidate" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
import ensurepip, venv
print(sys.executable)' 2>/dev/null && return 0
    done
    return 1
}

# An older Python, for what has to work on managed hosts; where none is installed, that is said.
find_old_python() {
    local candidate
    for candidate in python3.9 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.9.*/bin/python3.9; do
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return 0
    done
    return 1
}

# uv knows none of pip's settings: hand over those that decide where packages come from.
uv_as_pip() {
    local pip=$1 index cert
    index=${PIP_INDEX_URL:-$("$pip" config get global.index-url 2>/dev/null || true)}
    cert=${PIP_CERT:-$("$pip" config get global.cert 2>/dev/null || true)}
    [[ -z $index || -n ${UV_DEFAULT_INDEX:-} ]] || export UV_DEFAULT_INDEX=$index
    [[ -z $cert || -n ${SSL_CERT_FILE:-} ]] || export SSL_CERT_FILE=$cert
}

# The environment with Ansible and the checking tools, named after what is in it.
dev_venv() {
    local key pip
    key=$(cat requirements.txt requirements-dev.txt <("$PYTHON" -VV) <(uname -sm) | sha256sum | cut -c1-16)
    VENV=$CACHE/dev/$key
    mkdir -p "$CACHE/dev"
    exec 9>"$CACHE/dev/lock"
    flock 9
    if [[ ! -e $VENV/.complete ]]; then
        say "Making the environment of the tests ($("$PYTHON" -V))"
        rm -rf "$VENV"
        "$PYTHON" -m venv "$VENV"
        pip=$VENV/bin/pip
        "$pip" install -q --disable-pip-version-check "$(grep -E '^uv==' requirements-dev.txt | cut -d' ' -f1)"
        (
            uv_as_pip "$pip"
            VIRTUAL_ENV=$VENV "$VENV/bin/uv" pip install -q -r requirements-dev.txt
        ) || "$pip" install -q --disable-pip-version-check -r requirements-dev.txt
    fi
    touch "$VENV" "$VENV/.complete"
    exec 9>&-
    export PATH=$VENV/bin:$PATH
    PYTHON_MINOR=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
}

# The environment of the training service, hash for hash as its role makes it, and what its tests need beside.
service_venv() {
    local key locked=roles/training_service/files/requirements-service.txt
    key=$(cat "$locked" tests/service/requirements.txt <("$PYTHON" -VV) <(uname -sm) | sha256sum | cut -c1-16)
    SERVICE_VENV=$CACHE/service/$key
    mkdir -p "$CACHE/service"
    exec 9>"$CACHE/service/lock"
    flock 9
    if [[ ! -e $SERVICE_VENV/.complete ]]; then
        say "Making the environment of the training service"
        rm -rf "$SERVICE_VENV"
        "$PYTHON" -m venv "$SERVICE_VENV"
        (
            uv_as_pip "$SERVICE_VENV/bin/pip"
            export VIRTUAL_ENV=$SERVICE_VENV
            "$VENV/bin/uv" pip install -q --compile-bytecode --require-hashes --no-build -r "$locked"
            "$VENV/bin/uv" pip install -q --compile-bytecode -r tests/service/requirements.txt
        ) || return
    fi
    touch "$SERVICE_VENV" "$SERVICE_VENV/.complete"
    exec 9>&-
}

# An environment with a client of MCP of the generation before, which knows nothing of the service's.
mcp1_venv() {
    local key locked=tests/service/requirements-mcp1.txt
    key=$(cat "$locked" <("$PYTHON" -VV) <(uname -sm) | sha256sum | cut -c1-16)
    export IA_MCP1_PYTHON=$CACHE/service/mcp1-$key/bin/python
    exec 9>"$CACHE/service/lock"
    flock 9
    if [[ ! -e $CACHE/service/mcp1-$key/.complete ]]; then
        rm -rf "$CACHE/service/mcp1-$key"
        "$PYTHON" -m venv "$CACHE/service/mcp1-$key"
        (
            uv_as_pip "$CACHE/service/mcp1-$key/bin/pip"
            "$VENV/bin/uv" pip install -q --compile-bytecode --python "$IA_MCP1_PYTHON" -r "$locked"
        ) || return
    fi
    touch "$CACHE/service/mcp1-$key" "$CACHE/service/mcp1-$key/.complete"
    exec 9>&-
}

# ansible-test wants the path …/ansible_collections/<namespace>/<name>, and what git would not commit left out.
# The link of the collection to itself is no part of it (see build_ignore in galaxy.yml).
export_tree() {
    EXPORT=$WORK/ansible_collections/ia_homelab/llamafactory
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
    (set -e; "$@") >"$WORK/check.log" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        printf '  ok      %-28s %4ds\n' "$name" $((SECONDS - start))
        tally 1 0
    else
        printf '  FAILED  %-28s %4ds\n' "$name" $((SECONDS - start))
        sed 's/^/          /' "$WORK/check.log"
        tally 0 1
    fi
}

# run_pytest DIRECTORY [ARGUMENT...]   a skipped test proves nothing: it counts as failed
run_pytest() {
    local directory=$1 report=$ARTIFACTS/$PART.xml select=() status=0
    shift
    if ! nvidia-smi >/dev/null 2>&1; then
        select=(-m 'not gpu')
        grep -rqs 'pytest.mark.gpu' "$directory" && echo "Tests marked gpu are left out: no GPU works here."
    fi
    python -m pytest "$directory" -p no:cacheprovider -rfEs --durations=5 --durations-min=5 --timeout=900 \
        --junit-xml="$report" "${select[@]}" "$@" || status=$?
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
    check "README of the roles" python tests/role_readmes.py --check
    check "mypy" mypy --cache-dir "$CACHE/mypy"
    (cd "$EXPORT" && check "shellcheck" shellcheck "${scripts[@]}")
    (cd "$EXPORT" && check "ansible-lint" env ANSIBLE_COLLECTIONS_PATH="$WORK" \
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
    if tar -tzf "$out"/*.tar.gz | grep -E '^(tests|playbooks/collections|\.git|\.ci)(/|$)'; then return 1; fi
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
part_docker() {
    tools_env
    local status=0
    tests/docker_engine.sh start "$WORK/docker"
    # apart: those of the stack load Ansible's own finder of collections, which knows nothing of a checkout
    run_pytest tests/docker || status=$?
    run_pytest tests/stack || status=$?
    tests/docker_engine.sh stop "$WORK/docker"
    return $status
}
# On the interpreter and the packages the role gives the service; Ansible comes from the tests' own environment.
part_service() {
    need chromium:chromium
    tools_env
    service_venv
    mcp1_venv
    export IA_HOMELAB_ARTIFACTS=$ARTIFACTS
    export PATH=$SERVICE_VENV/bin:$PATH PYTHONPATH=$ROOT/roles/training_service/files
    MYPYPATH=$PYTHONPATH check mypy mypy --strict --cache-dir "$CACHE/mypy-service" -p ia_homelab_service
    run_pytest tests/service "$@"
}

part_e2e() { tools_env && run_pytest tests/e2e; }

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
part_tools() {
    ANSIBLE_NOCOLOR=1 ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ansible-playbook -i localhost, tests/tools.yml \
        -e llamafactory_tools_dir="$CACHE/tools" -e tests_tools_env="$WORK/tools.env"
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

# run_part NAME   output to the terminal and to a log; leaves in PART_FAILED how many checks failed
run_part() {
    PART=$1
    local status=0 start=$SECONDS pipe=$WORK/pipe tee waited
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
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    SUMMARY+=("$(printf '%-12s %5d passed %4d failed %5ds' "$PART" "$passed" "$failed" $((SECONDS - start)))")
    PART_FAILED=$failed
}

parts=() fail_fast=0
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --fail-fast) fail_fast=1 ;;
        lint | sanity | unit | integration | real | kill | docker | service | e2e | tools | bench) parts+=("$1") ;;
        *) usage >&2; die "unknown: $1" ;;
    esac
    shift
done
((${#parts[@]})) || parts=("${ALL_PARTS[@]}")
case " ${parts[*]} " in
    *" tools "*) ;;
    *" integration "* | *" real "* | *" kill "* | *" docker "* | *" service "* | *" e2e "* | *" bench "*) parts=(tools "${parts[@]}") ;;
esac

# Ansible wants UTF-8; a bare machine has often no locale at all.
export LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1
CACHE=${IA_HOMELAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ia-homelab-llamafactory}
ARTIFACTS=${IA_HOMELAB_ARTIFACTS:-$CACHE/artifacts/$(date +%Y%m%d-%H%M%S)-$$}
mkdir -p "$CACHE" "$ARTIFACTS"
# What nobody used for a month goes.
find "$CACHE/dev" "$CACHE/service" "$CACHE/artifacts" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} + 2>/dev/null || true
WORK=$(mktemp -d "${TMPDIR:-/tmp}/ia-homelab-test.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
export HYPOTHESIS_STORAGE_DIRECTORY=$CACHE/hypothesis

need git:git flock:util-linux
PYTHON=$(find_python) || { install python3-venv && PYTHON=$(find_python); } ||
    die "no Python 3.11 or newer with venv was found; name one in IA_HOMELAB_PYTHON"
dev_venv

PASSED=0 FAILED=0 SUMMARY=() PART='' PART_FAILED=0
for part in "${parts[@]}"; do
    run_part "$part" # by itself: after "if" or before "||", set -e would have no effect in the part
    ((PART_FAILED == 0 || fail_fast == 0)) || break
done

say "Summary (logs in $ARTIFACTS)"
printf '%s\n' "${SUMMARY[@]}"
echo
echo "$PASSED passed, $FAILED failed"
((FAILED == 0))
