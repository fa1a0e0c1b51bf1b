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
PAGE_PORT=8000
VERBOSE=false
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
  --page            run, leave the server running, and start the page on http://127.0.0.1:$PAGE_PORT: it shows,
                    trains and asks models; prints a link that signs a browser in
  --page-port PORT  port of the page ($PAGE_PORT)
  --stop            stop the Ollama server and the page
  --clean           remove everything that the quickstart installed and made
  --verbose         show all tasks, as ansible-playbook does; otherwise they are in DIR/quickstart.log
  --help            show this text
END
}

die() { printf 'quickstart: %s\n' "$*" >&2; exit 2; }
say() { printf '\n==> %s\n' "$*" >&2; }

ACTION=run
while (($#)); do
    case $1 in
    --model | --data-dir | --tools-dir | --port | --page-port) [[ $# -ge 2 ]] || die "$1 needs a value." ;;&
    --model) MODEL=$2; shift ;;
    --data-dir) HOME_DIR=$(realpath -m "$2"); shift ;;
    --tools-dir) TOOLS_DIR=$(realpath -m "$2"); shift ;;
    --port | --page-port)
        [[ $2 =~ ^[1-9][0-9]{0,4}$ && $2 -le 65535 ]] || die "$1 $2: a port is a number from 1 to 65535."
        if [[ $1 == --port ]]; then PORT=$2; else PAGE_PORT=$2; fi
        shift
        ;;
    --serve) ACTION=serve ;;
    --page) ACTION=page ;;
    --verbose | -v) VERBOSE=true ;;
    --stop) ACTION=stop ;;
    --clean) ACTION=clean ;;
    --help | -h) usage; exit 0 ;;
    --) shift; MORE=("$@"); break ;;
    *) die "unknown option $1. ./quickstart.sh --help lists the options." ;;
    esac
    shift
done
[[ $HOME_DIR != *[[:space:]]* ]] || die "the data directory '$HOME_DIR' contains white space, which LLaMA-Factory does not support. Choose another one: --data-dir DIR"
[[ $ACTION != page || $PORT != "$PAGE_PORT" ]] || die "the Ollama server and the page need different ports: --port $PORT and --page-port $PAGE_PORT are the same."
[[ -n $TOOLS_DIR ]] || TOOLS_DIR=$HOME_DIR/tools
LOG=$HOME_DIR/quickstart.log

# shellcheck source=playbooks/files/controller.sh
. playbooks/files/controller.sh

# play PLAYBOOK [OPTION ...]   one line for each thing done, and the complete output in the log; --verbose shows that one
play() {
    local callback=(ANSIBLE_STDOUT_CALLBACK=ia_homelab.llamafactory.milestones "ANSIBLE_LOG_PATH=$LOG")
    [[ $VERBOSE == false ]] || callback=(ANSIBLE_CALLBACKS_ENABLED=ia_homelab.llamafactory.durations)
    env "${callback[@]}" \
        ANSIBLE_CONFIG="$PWD/ansible.cfg" \
        ANSIBLE_COLLECTIONS_PATH="$PWD/playbooks/collections" \
        ANSIBLE_LOCALHOST_WARNING=false \
        PYTHONDONTWRITEBYTECODE=1 \
        PYTHONUNBUFFERED='' \
        "$VENV/bin/ansible-playbook" -i inventory/quickstart "$@" \
        -e "llamafactory_data_dir=$HOME_DIR" -e "llamafactory_tools_dir=$TOOLS_DIR" \
        -e "ollama_port=$PORT" -e "quickstart_model=$MODEL" -e "quickstart_page_port=$PAGE_PORT" ${MORE[@]+"${MORE[@]}"}
}

# Ends with the message of the play, which is on the terminal, and where the rest is.
failed() {
    local log="its complete output is in $LOG"
    [[ $VERBOSE == false ]] || log="see above"
    printf '\nquickstart: %s: %s. Correct the cause and run this again; finished results are kept.\n' "$1" "$log" >&2
    exit 2
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
    play playbooks/quickstart-stop.yml -e quickstart_jobs=cancelled || failed "the servers were not stopped"
    say "Removing $HOME_DIR"
    rm -rf "$HOME_DIR"
    ;;
stop)
    have_python
    have_ansible
    play playbooks/quickstart-stop.yml || failed "the servers were not stopped"
    ;;
run | serve | page)
    have_python
    have_ansible
    mkdir -p "$HOME_DIR"
    say "Making a fine-tuned model from the prompts (complete output: ${LOG/#"$HOME"/\~})"
    SERVE=true
    [[ $ACTION != run ]] || SERVE=false
    if ! play playbooks/quickstart.yml -e "quickstart_serve=$SERVE"; then
        play playbooks/quickstart-stop.yml >/dev/null 2>&1 || true
        failed "the run failed"
    fi
    if [[ $ACTION == page ]]; then
        say "Starting the page"
        play playbooks/quickstart-page.yml || failed "the page did not start"
        # printed here: the log keeps no link
        link=$("$HOME_DIR/page/page.sh" link) || failed "there is no sign-in link"
        say "The page, for a browser on this machine, once and within five minutes: $link"
        printf '    %s\n' "another link: $HOME_DIR/page/page.sh link" >&2
    fi
    if [[ $SERVE == true ]]; then
        say "To stop what runs: ./quickstart.sh --stop. For a PC with a GPU: README.md, \"A real PC IA\""
    else
        say "Done. To ask more: ./quickstart.sh --serve. To see it in a browser: ./quickstart.sh --page. For a PC with a GPU: README.md"
    fi
    ;;
esac
