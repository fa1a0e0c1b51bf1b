# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The part sanity, and the part other_core, which repeats it and others on another ansible-core.

# ansible-test gives its children neither pip's variables nor anything but HOME to find settings in, and fetches
# pip's bootstrap script from a site of its own: so it gets a home with both. Its environments are kept there too.
ansible_test() {
    local home=$CACHE/ansible-test/$ANSIBLE_MINOR # one for each version: they keep files of the same names there
    mkdir -p "$home/.ansible/test/cache" "$home/.config/pip"
    "$VENV/bin/python" "$ROOT/tests/ansible_test_home.py" "$home" || return
    HOME=$home "$VENV/bin/ansible-test" "$@"
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

# What the plays print, which each ansible-core does in its own way. Part of real; alone for the other ansible-core.
part_terminal() { tools_env && run_pytest tests/real/test_terminal_real.py; }

# sanity, unit, integration and what is printed on the other supported ansible-core.
part_other_core() {
    local version=2.21 part ended status=0
    [[ $ANSIBLE_MINOR != "$version" ]] || version=2.19
    # the Python that was named may not be one for this version
    IA_HOMELAB_PYTHON='' use_ansible_core "$version"
    ARTIFACTS=$ARTIFACTS/ansible-core-$version
    mkdir -p "$ARTIFACTS"
    for part in sanity unit integration terminal; do
        say "$part on ansible-core $version"
        set +e # and not "||": see check
        (set -e; "part_$part")
        ended=$?
        set -e
        ((ended == 0)) || status=1
    done
    return $status
}
