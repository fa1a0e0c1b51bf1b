# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The environment of ansible-playbook on this machine: read by quickstart.sh and ia in the root of the repository, which
# set TOOLS_DIR and define say and die.

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

# Installs requirements.txt into a separate environment, named by its contents; it is complete once the marker exists.
have_ansible() {
    local key
    key=$({ cat requirements.txt; "$PYTHON" -V; } | sha256sum | cut -c1-12)
    VENV=$TOOLS_DIR/controller-$key
    [[ -e $VENV/.complete ]] && return
    say "Installing Ansible in $VENV"
    local began=$SECONDS
    rm -rf "$VENV"
    mkdir -p "$TOOLS_DIR"
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    touch "$VENV/.complete"
    printf -- '-- Install Ansible: %d s\n' $((SECONDS - began)) >&2
}
