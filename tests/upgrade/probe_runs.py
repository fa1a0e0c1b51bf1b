# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of trivial commands in the recorded store."""

from __future__ import annotations

import typing as t

#: Counts to six with a checkpoint after each number, and stops at three until the file GO exists. Resumes from its
#: checkpoint when it is started again. Records in EVIDENCE what it does (see ``engine_lab.Evidence``).
HELD = r"""
set -e
say() { echo "$1 $STEP ${2:-0} $$ $(date +%s%N)" >> "$EVIDENCE"; }
[ ! -e result ] || exit 0
n=0; [ ! -e checkpoint ] || n=$(cat checkpoint)
say start "$n"
while [ "$n" -lt 6 ]; do
    while [ "$n" = 3 ] && [ ! -e "$GO" ]; do sleep 0.02; done
    n=$((n + 1))
    echo "$n" > .checkpoint; mv .checkpoint checkpoint
    say done "$n"
done
say end "$n"
mv checkpoint result
"""

#: Fails until the file GO exists.
FAILING = """
[ -e "$GO" ] || exit 7
echo 6 > result
"""


def probe_runs(lab: t.Any) -> dict[str, t.Any]:
    """The runs, in the order they were submitted: the same request has the same id in every version.

    :param lab: an ``engine_lab.Lab``.
    """
    return {
        "cancelled": _run(lab, "cancelled", HELD),
        "failed": _run(lab, "failed", FAILING),
        "done": _run(lab, "done", HELD, HELD),
        "interrupted": _run(lab, "interrupted", HELD, HELD),
        "light": _run(lab, "light", HELD, kind="light_probe"),
        "queued": _run(lab, "queued", HELD, HELD),
    }


def _run(lab: t.Any, name: str, *scripts: str, kind: str = "probe") -> t.Any:
    values = {"EVIDENCE": lab.evidence_file, "GO": lab.root / "go"}
    heads = [
        "".join(f"{key}='{value}'\n" for key, value in {**values, "STEP": f"{name}-{index}"}.items())
        for index in range(len(scripts))
    ]
    return lab.run(name, *(head + script for head, script in zip(heads, scripts)), kind=kind, expects=["result"])
