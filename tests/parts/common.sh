# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What several parts use: counting of results, pytest, the export of the checkout.

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

# keep_modules   the plays of this part, and of others that call this, share the modules that Ansible packs: see the plugin
keep_modules() {
    mkdir -p "$WORK/modules"
    export IA_MODULE_CACHE=$WORK/modules ANSIBLE_CALLBACKS_ENABLED=module_cache
    export ANSIBLE_CALLBACK_PLUGINS=$ROOT/tests/support/callbacks
}

# How pytest is started.
PYTEST=(python -m pytest)

# run_pytest DIRECTORY [ARGUMENT...]   a skipped test proves nothing: it counts as failed. Tests whose marker says that
# they need what is not here, or that they take too long for every change, are left out, and that is printed.
run_pytest() {
    local directory=$1 report=$ARTIFACTS/$PART.xml without=() status=0
    [[ ! -e $report ]] || report=$ARTIFACTS/$PART-${directory##*/}.xml # of a part with several directories
    shift
    nvidia-smi >/dev/null 2>&1 || without+=(gpu)
    [[ ${IA_DEEPSPEED:-} ]] || without+=(deepspeed)
    [[ ${IA_FULL:-} ]] || without+=(full)
    [[ ${IA_OPEN_WEBUI_PYTHON:-} ]] || without+=(open_webui)
    local mark select=''
    for mark in "${without[@]}"; do
        select+=${select:+ and }"not $mark"
        grep -rqs "pytest.mark.$mark" "$directory" && echo "Tests marked $mark are left out (markers in pyproject.toml)."
    done
    "${PYTEST[@]}" "$directory" -p no:cacheprovider -rfEs --durations=5 --durations-min=5 --timeout=900 \
        --junit-xml="$report" -m "$select" "$@" || status=$?
    [[ -e $report ]] && python - "$report" <<'END' >>"$WORK/tally.$PART"
import sys, xml.etree.ElementTree as tree
count = lambda name: sum(int(suite.get(name, 0)) for suite in tree.parse(sys.argv[1]).iter("testsuite"))
failed = count("failures") + count("errors") + count("skipped")
print(count("tests") - failed, failed)
END
    return $status
}

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
