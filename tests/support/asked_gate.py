# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate asked of models as the step evaluate does, without a run."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.asking import Limits, OnAnswer
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import (
    Subject,
    answers_of,
    evaluate,
    read_questions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.failures import (
    failure_lines,
    summary,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.gate_items import (
    gate_items,
    with_conditions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import Requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import Gate, read_gate

#: The label of the model that is asked.
NEW = "q4_K_M"


@dataclasses.dataclass
class AskedGate:
    """The result.

    :ivar report: the report.
    :ivar directory: of the evaluation.
    """

    report: dict[str, t.Any]
    directory: str

    @property
    def passed(self) -> bool:
        """Whether the model may be promoted."""
        return bool(self.report["chosen"])

    def met(self, label: str = NEW) -> int | None:
        """The number of answers as expected; None for a model that was not asked."""
        found = [model for model in self.report["models"] if model["label"] == label]
        return int(found[0]["measures"]["gate"]["met"]) if found else None

    def lines(self, **limits: int) -> list[str]:
        """What is said of the answers that are not as expected."""
        return [str(line) for line in failure_lines(self.directory, self.report, NEW, **limits)]

    def summary(self) -> str:
        """The sentence about the result."""
        return str(summary(self.report, NEW))

    def unmet(self, label: str = NEW) -> list[list[str]]:
        """What each answer does not meet, in the order of the questions."""
        answers = answers_of(self.directory, self.report)[label]
        lines = [answers[item.id] for item in read_questions(self.directory)]
        return [[str(Message.from_stored(each)) for each in line["unmet"]] for line in lines]


def ask_gate(
    ollama: Ollama,
    directory: Path,
    gate: t.Any,
    candidate: str,
    served: str = "",
    on_answer: OnAnswer | None = None,
) -> AskedGate:
    """Ask a gate.

    :param directory: exists, or is created.
    :param gate: as it is declared, or read.
    """
    declared = gate if isinstance(gate, Gate) else read_gate(gate)
    assert declared is not None
    directory.mkdir(parents=True, exist_ok=True)
    required = with_conditions(Requirements(), declared)
    subject = Subject("m", {NEW: candidate}, NEW, served, required=required)
    limits = Limits(pause=0.01, away=1.0)
    report = evaluate(ollama, str(directory), gate_items(declared), subject, on_answer=on_answer, limits=limits)
    return AskedGate(report, str(directory))
