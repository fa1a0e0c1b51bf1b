# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What the tests need of the machine, and the environments they run in: read by test.sh, which sets CACHE
# and WORK.

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

# The versions of ansible-core that the tests run on (requirements.txt pins them), with the oldest and the newest minor
# version of Python 3 that each supports on the controller.
declare -rA PYTHONS_OF_ANSIBLE=([2.19]='11 13' [2.21]='12 14')

# find_python [OLDEST NEWEST]   the first Python 3 with a minor version in these bounds that really runs (the shim of a
# version manager may exist and fail) and can make environments. The distribution's is compiled with profile-guided
# optimization, one that a version manager has compiled mostly not: plain Python code takes 1.15 to 1.4 times as long.
find_python() {
    local candidate
    for candidate in ${IA_HOMELAB_PYTHON:-/usr/bin/python3 python3.11 python3.12 python3.13 python3.14 python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-9]*/bin/python3}; do
        "$candidate" -c '
import sys
if not int(sys.argv[1]) <= sys.version_info[1] <= int(sys.argv[2]):
    sys.exit(1)
import ensurepip, venv
print(sys.executable)' "${1:-11}" "${2:-99}" 2>/dev/null && return 0
    done
    return 1
}

# requirements_for VERSION   the pinned packages of the tests, with that version of ansible-core ("" for the default one)
requirements_for() {
    if [[ ! $1 ]]; then
        cat requirements-dev.txt
    else
        grep -v '^ansible-core==' requirements-dev.txt
        grep -o "^ansible-core==${1//./\\.}\.[0-9.]*" requirements.txt
    fi
}

# use_ansible_core VERSION   from now on, an environment with that version of ansible-core ("" for the default one) and
# a Python that it supports
use_ansible_core() {
    local bounds=()
    if [[ $1 ]]; then
        read -ra bounds <<<"${PYTHONS_OF_ANSIBLE[$1]}"
    fi
    PYTHON=$(find_python "${bounds[@]}") || {
        echo "No Python 3.${bounds[0]:-11} or newer with venv was found${1:+, as ansible-core $1 needs}." >&2
        return 1
    }
    dev_venv "$1"
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

# dev_venv [VERSION]   the environment with Ansible and the checking tools, named after what is in it
dev_venv() {
    local key pip wanted=$WORK/requirements-dev${1:+-$1}.txt
    requirements_for "${1:-}" >"$wanted"
    key=$(cat requirements.txt "$wanted" <("$PYTHON" -VV) <(uname -sm) <(echo compiled) | sha256sum | cut -c1-16)
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
            # Nothing is compiled later, on no start of Ansible: the tests run with PYTHONDONTWRITEBYTECODE.
            VIRTUAL_ENV=$VENV "$VENV/bin/uv" pip install -q --compile-bytecode -r "$wanted"
        ) || PYTHONDONTWRITEBYTECODE='' "$pip" install -q --disable-pip-version-check -r "$wanted"
    fi
    touch "$VENV" "$VENV/.complete"
    exec 9>&-
    export PATH=$VENV/bin:$PATH
    # shellcheck disable=SC2034  # used in tests/parts/sanity.sh
    read -r PYTHON_MINOR ANSIBLE_MINOR < <("$VENV/bin/python" -c '
import sys
from ansible.release import __version__
print("%d.%d" % sys.version_info[:2], __version__.rpartition(".")[0])')
}

# The environment of the training service, with the same hashes as its role installs, and the dependencies of its tests.
service_venv() {
    local key locked=service/requirements.txt
    key=$(cat "$locked" service/tests/requirements.txt <("$PYTHON" -VV) <(uname -sm) | sha256sum | cut -c1-16)
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
            "$VENV/bin/uv" pip install -q --compile-bytecode -r service/tests/requirements.txt
        ) || return
    fi
    touch "$SERVICE_VENV" "$SERVICE_VENV/.complete"
    exec 9>&-
}

# client_venv NAME VARIABLE [PYTHON]   an environment of service/tests/requirements-NAME.txt; its Python's path goes to
# VARIABLE
client_venv() {
    local key venv locked=service/tests/requirements-$1.txt python=${3:-$PYTHON}
    key=$(cat "$locked" <("$python" -VV) <(uname -sm) | sha256sum | cut -c1-16)
    venv=$CACHE/service/$1-$key
    export "$2=$venv/bin/python"
    exec 9>"$CACHE/service/lock"
    flock 9
    if [[ ! -e $venv/.complete ]]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        (
            uv_as_pip "$venv/bin/pip"
            # What is locked and nothing else: some dependencies are left out on purpose.
            "$VENV/bin/uv" pip install -q --compile-bytecode --no-deps --python "$venv/bin/python" -r "$locked"
        ) || return
    fi
    touch "$venv" "$venv/.complete"
    exec 9>&-
}

# A client of MCP SDK 1.x; in "full" also stock clients of OpenAI's interface, one of which is 1 GB.
client_venvs() {
    client_venv mcp1 IA_MCP1_PYTHON
    [[ ${IA_FULL:-} ]] || return 0
    client_venv clients IA_CLIENTS_PYTHON
    local python
    if python=$(find_python 11 12); then # what Open WebUI supports
        client_venv openwebui IA_OPEN_WEBUI_PYTHON "$python"
    fi
}
