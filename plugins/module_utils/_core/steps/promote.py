# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion behind a gate: ask the registered model and the one now served, and move the tags people use on a pass.

A step of its own, so that another gate asks again and neither trains nor registers anything.
"""

from __future__ import annotations

import os
import typing as t

from ..errors import JobError
from ..ollama.client import Ollama
from ..ollama.syntax import check_name
from ..releases.gate import Gate, failure_lines, summary
from ..releases.gate_evaluation import evaluate
from ..releases.promotion import BeforeMove, Releases, content_tag
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..system.files import read_json, write_json
from ..system.log import log_line
from .step import Step
from .worker_command import worker_command

REPORT = "gate.json"
#: What the tags pointed to before they were moved: outlives a kill.
_RECORD = "promotion.json"


class PromoteStep(Step):
    """Promotes ``upstream["register"]`` when it passes the gate.

    Settings: ``gate``. Options: ``name``, ``quantization``, ``aliases`` (tags to move).

    ``results``: ``tag``, ``digest``, ``aliases``, ``previous`` (as those of a registration), ``held`` (the version that
    a rollback keeps in its place; empty when none), ``asked``, ``met`` (answers that were as expected), ``met_before``
    (those of the model that was served; None where there was none).
    """

    kind = "promote"
    exclusive = False

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        for full in _aliases(ctx):
            check_name(full)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        ollama = Ollama(ctx.toolchain.ollama_url)
        tag, aliases = _tag(ctx), _aliases(ctx)
        releases = _releases(ctx)
        releases.declare(tag, aliases)

        def answered(count: int, total: int) -> None:
            write_json(ctx.progress_file, Progress(count, total, "answer", note="asking").as_dict())

        found = evaluate(ollama, Gate.from_settings(ctx.spec.settings["gate"]), tag, aliases[0], answered)
        write_json(os.path.join(ctx.work, REPORT), found)
        path = releases.record_gate(tag, ctx.spec.fingerprint, found)
        log_line("\n".join([summary(found), *failure_lines(found)]))
        if not found["passed"]:
            served = ollama.digest(aliases[0])
            stays = f"{aliases[0]} stays as it was." if served else f"Nothing is served as {aliases[0]}."
            raise JobError(
                "\n".join([f"The gate is shut: {summary(found)} {stays}", *failure_lines(found)]),
                "Better the prompts or the training, or change the gate: it alone is asked again then.",
                {"gate": found, "report": path},
            )
        change = releases.promote(ollama, tag, aliases, _ahead(ctx))
        for full in change.moved:
            log_line(f"{full} is now {change.tag}")

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        ollama, releases = Ollama(ctx.toolchain.ollama_url), _releases(ctx)
        tag, aliases = _tag(ctx), _aliases(ctx)
        found = read_json(os.path.join(ctx.work, REPORT)) or {}
        if not found.get("passed"):
            raise JobError("The gate was not asked to its end.", "Apply again.")
        models = ollama.tags()
        wrong = releases.misplaced(models, tag, aliases)
        if wrong:
            raise JobError(f"{'; '.join(wrong)}.", "Another program changed it meanwhile: run again.")
        hold = releases.blocking_hold(tag)
        return {
            "tag": tag,
            "digest": found["candidate"]["digest"],
            "aliases": aliases,
            "previous": read_json(os.path.join(ctx.work, _RECORD), {}),
            "held": hold.tag if hold else "",
            "asked": found["asked"],
            "met": found["candidate"]["met"],
            "met_before": found["served"]["met"] if found["served"] else None,
        }

    def drift(self, ctx: StepContext) -> list[str]:
        return _releases(ctx).misplaced(Ollama(ctx.toolchain.ollama_url).tags(), _tag(ctx), _aliases(ctx))


def _releases(ctx: StepContext) -> Releases:
    return Releases(ctx.layout, str(ctx.spec.options["name"]))


def _tag(ctx: StepContext) -> str:
    options = ctx.spec.options
    return content_tag(str(options["name"]), ctx.spec.upstream["register"], str(options["quantization"]))


def _aliases(ctx: StepContext) -> list[str]:
    return [f"{ctx.spec.options['name']}:{alias}" for alias in ctx.spec.options["aliases"]]


def _ahead(ctx: StepContext) -> BeforeMove:
    path = os.path.join(ctx.work, _RECORD)

    def ahead(full: str, previous: dict[str, str] | None) -> None:
        write_json(path, {**read_json(path, {}), full: previous})

    return ahead
