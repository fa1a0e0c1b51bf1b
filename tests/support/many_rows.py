# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of the step evaluate in a process of its own, whose memory can be measured.

Arguments: a directory, the URL of a stand-in for Ollama, and a number of rows, each of four kilobytes. Prints the full
names of the models to have, waits for a line on standard input, and prints the peak of its resident memory in
kilobytes, before and after.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.evaluate import EvaluateStep
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_lab import EvaluationLab


class Remote:
    """What the lab needs of the stand-in, which runs in the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.models: dict[str, str] = {"m:latest": "1" * 64}
        self.sizes: dict[str, int] = {}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(root: str, url: str, count: str) -> None:
    """Ask, and print."""
    server: t.Any = Remote(url)
    lab = EvaluationLab(Path(root), server)
    file = Path(root, "rows.jsonl")
    with file.open("w", encoding="utf-8") as stream:
        for number in range(int(count)):
            row = {"instruction": f"Question {number} ? {'a' * 2000}", "output": f"Réponse {number} {'b' * 2000}"}
            stream.write(json.dumps(row) + "\n")
    declared = registry.Declaration("tests")
    dataset = registry.apply(lab.layout, declared, [registry.Source("rows.jsonl", path=str(file))]).dataset
    assert dataset is not None
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], None, {"rows": dataset.fingerprint})
    evaluate.spec.settings["rows"].pop("trained_on")
    print(json.dumps(server.models), flush=True)
    sys.stdin.readline()
    step, ctx = EvaluateStep(), lab.context(evaluate)
    before = peak()
    step.command(ctx)
    step.perform(ctx)
    results = step.finish(ctx)
    sys.stdout.flush()
    print(json.dumps({"before": before, "after": peak(), "items": results["items"]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
