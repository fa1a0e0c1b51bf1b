# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The parts that run playbooks: integration and molecule.

# Every target in a play of its own, as ansible-test does (setup_* are only there for the others).
part_integration() {
    tools_env
    keep_modules
    local target log status=0 start
    mkdir -p "$ARTIFACTS/integration"
    while read -r target; do
        start=$SECONDS log=$ARTIFACTS/integration/$target.log
        mkdir -p "$WORK/$PART.output/$target"
        if ANSIBLE_ROLES_PATH=tests/integration/targets timeout -k 30 1200 ansible-playbook -i localhost, \
            tests/integration/run.yml -e target="$target" -e output_dir="$WORK/$PART.output/$target" </dev/null >"$log" 2>&1; then
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

# scenarios   the scenarios to run: those of IA_MOLECULE, else all but two, which are only tried in "full": that of several
# hosts, of which one fails, and Ubuntu's, whose archive cannot be reached everywhere
scenarios() {
    if [[ ${IA_MOLECULE:-} ]]; then
        printf '%s\n' "$IA_MOLECULE"
        return
    fi
    local left_out=(ubuntu)
    [[ ${IA_FULL:-} ]] || left_out+=(hosts)
    find molecule -mindepth 2 -maxdepth 2 -name molecule.yml -printf '%h\n' | sed 's#.*/##' |
        grep -vxF -f <(printf '%s\n' "${left_out[@]}") | sort
    [[ ${IA_FULL:-} ]] || return 0
    local mirror
    mirror=$(tests/mirror.sh Ubuntu)
    mirror=${mirror:-http://archive.ubuntu.com/ubuntu}
    if python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=20)' \
        "${mirror%/}/dists/noble/Release" 2>/dev/null; then
        echo ubuntu
    else
        echo "The scenario ubuntu is left out: $mirror cannot be reached." >&2
    fi
}

part_molecule() {
    tools_env
    keep_modules
    local scenario log status=0 start
    export NO_COLOR=1
    mkdir -p "$ARTIFACTS/molecule"
    for scenario in $(scenarios); do
        start=$SECONDS log=$ARTIFACTS/molecule/$scenario.log
        export MOLECULE_EPHEMERAL_DIRECTORY=$WORK/molecule/$scenario
        mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
        if timeout -k 60 3600 molecule --base-config molecule/base.yml test --scenario-name "$scenario" \
            --destroy never </dev/null >"$log" 2>&1 && ! grep 'Missing playbook' "$log"; then
            printf '  ok      %-28s %4ds\n' "$scenario" $((SECONDS - start))
            tally 1 0
        else
            printf '  FAILED  %-28s %4ds\n' "$scenario" $((SECONDS - start))
            molecule_journals >>"$log" 2>&1 || true
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
