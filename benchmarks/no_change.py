# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``finetune.yml`` without changes, compared with a play with as many ``ping`` tasks.

Their number is that of tasks that the recap of the first counts as ``ok``, which excludes skipped tasks.
"""

from __future__ import annotations

import os

from lab import compare, interleaved, pings, workplace

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "7"))


def main() -> None:
    """Make the fine-tune once, then measure."""
    with workplace() as lab:
        lab.play().well()
        recap = lab.play().well().recap
        assert recap["changed"] == 0, recap
        print(f"finetune.yml, no change: {recap}")
        playbook = pings(lab, recap["ok"])
        found = interleaved(
            {
                "finetune.yml, no change": lambda: lab.play().well(),
                f"{recap['ok']} pings": lambda: lab.play(playbook=playbook).well(),
                "finetune.yml --check": lambda: lab.play("--check").well(),
            },
            TIMES,
        )
        compare(found, "finetune.yml, no change", f"{recap['ok']} pings")


if __name__ == "__main__":
    main()
