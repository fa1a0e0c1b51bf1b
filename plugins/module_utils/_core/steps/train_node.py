# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step train_node: takes part in the training of another host, with the same command under another rank."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.layout import WORK_PREFIX
from ..distributed.node_link import Link, Member
from ..distributed.nodes import Nodes, read_agreement
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..runs.spec import StepSpec, Toolchain
from ..system.files import remove_tree
from ..training import checkpoints
from .step import Step
from .tool_environment import remove_scratch
from .train import TrainStep, explain_restart, resumable_steps


class TrainNodeStep(Step):
    """Takes part in one attempt of a distributed training.

    ``settings``: ``training`` (its fingerprint), ``session`` (the attempt), ``rank``. ``options`` are those of the
    training, with the rank of this host in ``nodes``. Checkpoints are stored in the work directory of the training,
    as on the leading host, so that the next attempt finds them. The artifact is a receipt only; the result stays on
    the leading host.
    """

    kind = "train_node"
    exclusive = True

    def __init__(self) -> None:
        self._train = TrainStep()

    @staticmethod
    def _training(ctx: StepContext) -> StepContext:
        """The training as a step of this host."""
        spec = ctx.spec
        training = str(spec.settings["training"])
        inner = StepSpec("train", training, {}, spec.upstream, spec.options)
        return dataclasses.replace(ctx, spec=inner, work=ctx.layout.work("train", training))

    def on_gpu(self, ctx: StepContext) -> bool:
        return self._train.on_gpu(ctx)

    def image(self, toolchain: Toolchain) -> str:
        return self._train.image(toolchain)

    def link(self, ctx: StepContext, session: str) -> Link | None:
        del session
        nodes = dataclasses.replace(
            Nodes.from_dict(ctx.spec.options["nodes"]), session=str(ctx.spec.settings["session"])
        )
        inner = self._training(ctx)
        return Member(
            nodes, inner.spec.fingerprint, ctx.job_dir, resumable_steps(inner), consequence=explain_restart(inner)
        )

    def command(self, ctx: StepContext) -> Command | None:
        if read_agreement(ctx.job_dir).trained:
            return None
        inner = self._training(ctx)
        os.makedirs(inner.work, exist_ok=True)
        if checkpoints.finished(inner.work):
            remove_tree(inner.work)  # finished by an attempt whose result was never published on the leading host
        return self._train.command(inner)

    def progress(self, ctx: StepContext) -> Progress | None:
        return self._train.progress(self._training(ctx))

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        inner = self._training(ctx)
        nodes = Nodes.from_dict(ctx.spec.options["nodes"])
        results: dict[str, t.Any] = {
            "node": nodes.own_name,
            "nodes": list(nodes.names),
            "training": inner.spec.fingerprint,
        }
        # the leading host, where the result is saved, checks that all steps were done and that it is complete
        progress = self._train.progress(inner)
        if progress is not None:
            results["steps"] = int(progress.current)
        remove_tree(inner.work)
        remove_scratch(ctx)
        for name in os.listdir(os.path.dirname(ctx.work)):
            path = os.path.join(os.path.dirname(ctx.work), name)
            if name.startswith(WORK_PREFIX) and path != ctx.work:
                remove_tree(path)  # of a failed attempt; there is never more than one attempt at a time
        return results

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        return self._train.stop(ctx, send)

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return self._train.explain(log_tail)
