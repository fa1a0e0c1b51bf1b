# shellcheck shell=bash
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The parts that are pytest on one directory, with and without the real tools.

# With the coverage of what runs on this Python in the tests' own process; supervisors and workers are others.
part_unit() {
    keep_modules
    local status=0
    # shellcheck disable=SC2034  # used in run_pytest
    local PYTEST=(python -m coverage run --data-file "$ARTIFACTS/$PART.coverage" -m pytest)
    # Quicker, where Python has it.
    [[ $PYTHON_MINOR == 3.11 ]] || export COVERAGE_CORE=sysmon
    run_pytest tests/unit || status=$?
    python tests/coverage_table.py "$ARTIFACTS/$PART.coverage" || status=1
    return $status
}
part_real() { tools_env && keep_modules && run_pytest tests/real; }
part_kill() { tools_env && keep_modules && run_pytest tests/kill; }
part_upgrade() { tools_env && keep_modules && run_pytest tests/upgrade; }
# Without keep_modules: as a user runs it.
part_e2e() { tools_env && run_pytest tests/e2e; }

part_docker() {
    tools_env
    keep_modules
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
    keep_modules
    service_venv
    client_venvs
    export IA_HOMELAB_ARTIFACTS=$ARTIFACTS
    export PATH=$SERVICE_VENV/bin:$PATH PYTHONPATH=$ROOT/service/src
    MYPYPATH=$PYTHONPATH check mypy mypy --strict --cache-dir "$CACHE/mypy-service" -p ia_homelab_service
    run_pytest service/tests "$@"
}
