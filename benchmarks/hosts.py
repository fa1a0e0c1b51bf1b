# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``finetune.yml`` on many hosts without changes, compared with as many ``ping`` tasks on the same hosts.

The hosts are data directories on this machine (copies of a real one), with local connections: controller and hosts
share its processors. ``IA_BENCHMARK_HOSTS`` (50), ``IA_BENCHMARK_FORKS`` (10).
"""

from __future__ import annotations

import json
import os
import shutil
import sys

from lab import compare, interleaved, pings, workplace

HOSTS = int(os.environ.get("IA_BENCHMARK_HOSTS", "50"))
FORKS = os.environ.get("IA_BENCHMARK_FORKS", "10")
TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "3"))


def main() -> None:
    """Make the fine-tune on one host, copy it to the others, then measure."""
    with workplace() as lab:
        lab.play().well()
        count = lab.play().well().recap["ok"]
        hosts = {}
        for number in range(1, HOSTS + 1):
            data = lab.root / "hosts" / f"pc-{number:02}"
            shutil.copytree(lab.data, data, symlinks=True, ignore=shutil.ignore_patterns("jobs"))
            hosts[data.name] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "llamafactory_data_dir": str(data),
            }
        del lab.declared["llamafactory_data_dir"]
        lab.inventory.write_text(json.dumps({"pc_ia": {"hosts": hosts}}))
        first = lab.play("-f", FORKS).well()
        assert first.output.count("changed=0") == HOSTS, first.output[-3000:]
        playbook = pings(lab, count)
        what, against = f"{HOSTS} hosts, no change", f"{HOSTS} hosts, {count} pings"
        found = interleaved(
            {
                what: lambda: lab.play("-f", FORKS).well(),
                against: lambda: lab.play("-f", FORKS, playbook=playbook).well(),
            },
            TIMES,
        )
        compare(found, what, against)


if __name__ == "__main__":
    main()
