# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The part lint.

part_lint() {
    export_tree
    local scripts=()
    mapfile -t scripts < <(cd "$EXPORT" && grep -rlE '^#!.*\b(ba)?sh\b' . | sort)
    check "ruff check" ruff check --no-cache .
    check "ruff format" ruff format --no-cache --check .
    check "options of a fine-tune" python tests/option_docs.py --check
    check "README of the roles" python tests/role_readmes.py --check
    check "table of base models" python tests/catalogue_docs.py --check
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
