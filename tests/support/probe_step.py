# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step that runs an arbitrary command, to test the engine without LLaMA-Factory, a model or a GPU.

It is no part of the core that is shipped: ``probe_core`` adds it to the core of the tests.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.command import Command
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import Progress
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.step import DRIFT_TIMEOUT, Step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_environment import container
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, tail_lines


class ProbeStep(Step):
    """Runs a command in its work directory.

    ``options``: ``argv`` of the command (empty: nothing to run), ``expects`` (files it must create), ``drift`` (a
    file outside of the data directory, whose lines are reported as drift), ``grace`` (seconds to stop in),
    ``accelerator`` (``cuda``: it waits for the GPU).
    """

    kind = "probe"
    exclusive = True

    def on_gpu(self, ctx: StepContext) -> bool:
        return ctx.spec.options.get("accelerator") == "cuda"

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llamafactory_image

    def command(self, ctx: StepContext) -> Command | None:
        argv = [str(part) for part in ctx.spec.options.get("argv", [])]
        env = {"PATH": os.environ.get("PATH", os.defpath), "JOB_DIR": ctx.job_dir, "WORK": ctx.work}
        if not argv:
            return None
        isolation = container(ctx, self.image(ctx.toolchain))
        return Command(argv, {**env, **ctx.toolchain.environment}, ctx.work, isolation)

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(os.path.join(ctx.work, "progress.json"))
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        for name in ctx.spec.options.get("expects", []):
            if not os.path.exists(os.path.join(ctx.work, name)):
                raise JobError(f"The command left no {name}.")
        return {}

    def drift(self, ctx: StepContext) -> list[Message]:
        path = ctx.spec.options.get("drift")
        return [Message.from_stored(line) for line in tail_lines(path, 10)] if path else []

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        return float(ctx.spec.options.get("grace", super().stop(ctx, send)))


class LightProbeStep(ProbeStep):
    """The same as a step that is not exclusive."""

    kind = "light_probe"
    exclusive = False


class OllamaProbeStep(LightProbeStep):
    """A step that uses Ollama. Its result has drifted when Ollama has no model ``options["model"]``."""

    kind = "ollama_probe"
    uses_ollama = True

    def drift(self, ctx: StepContext) -> list[str]:
        model = str(ctx.spec.options["model"])
        found = Ollama(ctx.toolchain.ollama_url, timeout=DRIFT_TIMEOUT).digest(model)
        return [] if found else [f"{model} is not in Ollama"]
