#!/usr/bin/env bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

MODEL=tiny
HOME_DIR=${XDG_DATA_HOME:-$HOME/.local/share}/ia-homelab
TOOLS_DIR=
PORT=11435
MORE=()

usage() {
    cat <<END
Usage: ./quickstart.sh [option ...] [-- ansible-playbook option ...]

Installs LLaMA-Factory, llama.cpp's converter and Ollama on this machine, fine-tunes a model on the
homelab prompts of the project, registers it in Ollama and asks it some of the questions. The last
question needs a tool: the model calls it, gets a recorded result and answers.
A second run changes nothing.

Options:
  --model NAME      base model: tiny (default: two megabytes of random weights, created by the script),
                    or a name such as qwen2.5:0.5b, which is fetched from the Hugging Face hub
  --data-dir DIR    directory of all files ($HOME_DIR)
  --tools-dir DIR   directory of the tools (DIR/tools); --clean does not remove another directory
  --port PORT       port of the Ollama server that is started for the run ($PORT)
  --serve           run, and leave the Ollama server running
  --stop            stop the Ollama server
  --clean           remove everything that the quickstart installed and made
  --help            show this text
END
}

die() { printf 'quickstart: %s\n' "$*" >&2; exit 2; }
say() { printf '\n==> %s\n' "$*" >&2; }

ACTION=run
while (($#)); do
    case $1 in
    --model | --data-dir | --tools-dir | --port) [[ $# -ge 2 ]] || die "$1 needs a value." ;;&
    --model) MODEL=$2; shift ;;
    --data-dir) HOME_DIR=$(realpath -m "$2"); shift ;;
    --tools-dir) TOOLS_DIR=$(realpath -m "$2"); shift ;;
    --port) PORT=$2; shift ;;
    --serve) ACTION=serve ;;
    --stop) ACTION=stop ;;
    --clean) ACTION=clean ;;
    --help | -h) usage; exit 0 ;;
    --) shift; MORE=("$@"); break ;;
    *) die "unknown option $1. ./quickstart.sh --help lists the options." ;;
    esac
    shift
done
[[ $HOME_DIR != *[[:space:]]* ]] || die "the data directory '$HOME_DIR' contains white space, which LLaMA-Factory does not support. Choose another one: --data-dir DIR"
[[ -n $TOOLS_DIR ]] || TOOLS_DIR=$HOME_DIR/tools

# Prints the path of a Python that is new enough and can create virtual environments.
find_python() {
    local candidate
    for candidate in ${IA_HOMELAB_PYTHON:-python3.13 python3.12 python3.11 python3 /usr/bin/python3}; do
        "$candidate" -c 'import sys; assert (3, 11) <= sys.version_info[:2]; import ensurepip, venv' 2>/dev/null &&
            "$candidate" -c 'import sys; print(sys.executable)' && return
    done
    return 1
}

have_python() {
    PYTHON=$(find_python) && return
    # A system without Python usually lacks the compiler too, which is needed later: name both in one command.
    local compiler=' g++'
    if command -v c++ g++ clang++ >/dev/null; then compiler=''; fi
    command -v apt-get >/dev/null || die "Python 3.11 or newer with venv is required. Install it and run this again."
    [[ $(id -u) == 0 ]] || die "Python 3.11 or newer with venv is required. Run: sudo apt-get install -y python3 python3-venv$compiler"
    say "Installing Python"
    DEBIAN_FRONTEND=noninteractive apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends python3 python3-venv
    PYTHON=$(find_python) || die "the Python of this system is older than 3.11. Use Debian 12 or later, or Ubuntu 24.04 or later."
}

# Installs ansible-core into a separate environment, named by its contents; it is complete once the marker exists.
have_ansible() {
    local key
    key=$({ cat requirements.txt; "$PYTHON" -V; } | sha256sum | cut -c1-12)
    VENV=$TOOLS_DIR/controller-$key
    [[ -e $VENV/.complete ]] && return
    say "Setting up Ansible in $VENV"
    local began=$SECONDS
    rm -rf "$VENV"
    mkdir -p "$TOOLS_DIR"
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    touch "$VENV/.complete"
    printf -- '-- Ansible: %d s\n' $((SECONDS - began)) >&2
}

play() {
    ANSIBLE_CONFIG=$PWD/ansible.cfg \
    ANSIBLE_COLLECTIONS_PATH=$PWD/playbooks/collections \
    ANSIBLE_CALLBACKS_ENABLED=ia_homelab.llamafactory.durations \
    ANSIBLE_LOCALHOST_WARNING=false \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED='' \
        "$VENV/bin/ansible-playbook" -i inventory/quickstart "$@" \
        -e "llamafactory_data_dir=$HOME_DIR" -e "llamafactory_tools_dir=$TOOLS_DIR" \
        -e "ollama_port=$PORT" -e "quickstart_model=$MODEL" ${MORE[@]+"${MORE[@]}"}
}

case $ACTION in
clean)
    if [[ ! -e $HOME_DIR ]]; then
        say "There is nothing to remove at $HOME_DIR"
        exit 0
    fi
    [[ -e $HOME_DIR/jobs/schema.json || -e $HOME_DIR/tools ]] || die "$HOME_DIR is not a data directory of this project, so it is not removed."
    have_python
    have_ansible
    play playbooks/quickstart-stop.yml -e quickstart_jobs=cancelled
    say "Removing $HOME_DIR"
    rm -rf "$HOME_DIR"
    ;;
stop) have_python; have_ansible; play playbooks/quickstart-stop.yml ;;
run | serve)
    have_python
    have_ansible
    say "Making a fine-tuned model from the prompts"
    SERVE=false
    [[ $ACTION == run ]] || SERVE=true
    if ! play playbooks/quickstart.yml -e "quickstart_serve=$SERVE"; then
        play playbooks/quickstart-stop.yml >/dev/null 2>&1 || true
        die "the run failed: see above. Correct the cause and run this again; finished results are kept."
    fi
    if [[ $SERVE == true ]]; then
        say "The server keeps running at http://127.0.0.1:$PORT. To ask: curl http://127.0.0.1:$PORT/api/chat -d '{\"model\":\"homelab-model\",\"stream\":false,\"messages\":[{\"role\":\"user\",\"content\":\"...\"}]}'"
    else
        say "Done. To ask more questions: ./quickstart.sh --serve"
    fi
    ;;
esac
