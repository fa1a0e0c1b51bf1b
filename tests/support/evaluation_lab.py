# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps evaluate and promote on a stand-in for Ollama, with the settings that the planner makes."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.asking import Limits
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.declaration import (
    read_evaluation,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.evaluating import (
    of_declaration,
    of_gate,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    evaluate_step,
    make_step,
    promote_step,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import content_tag
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.evaluate import EvaluateStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.promote import PromoteStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.step import Step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import DATASET, StepLab


class EvaluationLab:
    """A data directory with registered models.

    :ivar server: stand-in for Ollama.
    """

    def __init__(self, root: Path, server: FakeOllama) -> None:
        self.lab = StepLab(root)
        self.lab.tools = dataclasses.replace(self.lab.tools, ollama_url=server.url)
        self.layout = self.lab.layout
        self.server = server
        EvaluateStep.limits = PromoteStep.limits = Limits(pause=0.01, away=1.0)

    def register(
        self, number: int, quantization: str = "q4_K_M", aliases: t.Sequence[str] = (), name: str = "m", size: int = 100
    ) -> RunStep:
        """A registered model, with a receipt and a digest of that digit."""
        options = {"name": name, "quantization": quantization, "aliases": list(aliases)}
        step = make_step("register", {"name": name, "number": number}, {"gguf": f"{number:x}" * 64}, options)
        tag, digest = self.tag(step), f"{number:x}" * 64
        self.server.models[tag] = digest
        self.server.sizes[tag] = size
        self.receipt(step, {"tag": tag, "digest": digest})
        return step

    def tag(self, step: RunStep) -> str:
        """Full tag of a registration."""
        spec = step.spec
        return content_tag(str(spec.settings["name"]), spec.fingerprint, str(spec.options["quantization"]))

    def receipt(self, step: RunStep, results: t.Mapping[str, t.Any]) -> None:
        """Write the receipt of a step."""
        path = self.layout.artifact(step.spec.kind, step.spec.fingerprint)
        os.makedirs(path, exist_ok=True)
        write_json(os.path.join(path, "receipt.json"), {**step.spec.as_dict(), "files": {}, "results": dict(results)})

    def steps(
        self, registers: t.Sequence[RunStep], gate: t.Any = None, evaluation: t.Any = None, base: RunStep | None = None
    ) -> tuple[RunStep, RunStep]:
        """The steps evaluate and promote, as planned."""
        declared_gate = read_gate(gate)
        settings = declared_gate.as_settings() if declared_gate else None
        declared = read_evaluation(evaluation, declared_gate)
        if declared is None:
            assert settings is not None
            evaluating = of_gate(settings)
        else:
            quantizations = [str(step.spec.options["quantization"]) for step in registers]
            evaluating = of_declaration(declared, settings, DATASET, lambda _option, name: name, quantizations)
        asked = evaluate_step(registers, evaluating, base)
        return asked, promote_step(registers[0], settings, evaluating, asked)

    def context(self, step: RunStep) -> StepContext:
        """A job for a step."""
        job_dir = self.lab.root / "job"
        job_dir.mkdir(exist_ok=True)
        spec = step.spec
        return StepContext(
            self.layout, spec, self.lab.tools, self.layout.work(spec.kind, spec.fingerprint), str(job_dir)
        )

    def run(self, step: RunStep) -> dict[str, t.Any]:
        """Run a step as a supervisor does, and publish what it made; returns its results."""
        runs: Step = EvaluateStep() if step.spec.kind == "evaluate" else PromoteStep()
        ctx = self.context(step)
        runs.command(ctx)
        runs.perform(ctx)
        results = runs.finish(ctx)
        path = self.layout.artifact(step.spec.kind, step.spec.fingerprint)
        os.makedirs(path, exist_ok=True)
        for name in os.listdir(ctx.work):
            os.replace(os.path.join(ctx.work, name), os.path.join(path, name))
        self.receipt(step, results)
        return results

    def report(self, step: RunStep) -> dict[str, t.Any]:
        """The report that the step evaluate has published."""
        path = self.layout.artifact("evaluate", step.spec.fingerprint)
        return dict(read_json(os.path.join(path, "report.json")))
