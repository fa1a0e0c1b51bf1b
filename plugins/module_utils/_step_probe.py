# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step that runs any command: it lets the engine be tried on a host without LLaMA-Factory, model or GPU.

Its artifact is kept beside the adapters; no declaration leads here.
"""

from __future__ import annotations

import os
import typing as t

from ._errors import JobError
from ._files import read_json
from ._progress import Progress
from ._steps import Command, Step, StepContext


class ProbeStep(Step):
    """Runs ``options["argv"]`` in its work directory and expects the files ``options["expects"]`` there."""

    kind = "probe"
    heavy = True

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        env = {"PATH": os.environ.get("PATH", os.defpath), "JOB_DIR": ctx.job_dir, "WORK": ctx.work}
        return Command([str(part) for part in ctx.spec.options["argv"]], env, ctx.work)

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(os.path.join(ctx.work, "progress.json"))
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        for name in ctx.spec.options.get("expects", []):
            if not os.path.exists(os.path.join(ctx.work, name)):
                raise JobError(f"The command left no {name}.")
        return {}
