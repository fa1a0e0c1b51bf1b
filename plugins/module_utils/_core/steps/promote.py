# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step promote: evaluates the registered and the served model at the gate, and moves the user-facing tags on a pass.

It is a separate step so that a changed gate only repeats the evaluation, without a training or a registration.
"""

from __future__ import annotations

import os
import typing as t

from ..errors import JobError
from ..messages.message import Message
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
from .step import DRIFT_TIMEOUT, Step
from .worker_command import worker_command

REPORT = "gate.json"
#: Targets of the tags before they were moved; on disk, so that a kill does not lose them.
_RECORD = "promotion.json"


class PromoteStep(Step):
    """Promotes ``upstream["register"]`` when it passes the gate.

    Settings: ``gate``. Options: ``name``, ``quantization``, ``aliases`` (tags to move), ``formerly`` (full tags of
    earlier registrations of the same version).

    ``results``: ``tag``, ``digest``, ``aliases``, ``previous`` (as those of a registration), ``held`` (the version that
    a rollback holds in place; empty when none), ``asked`` (number of questions), ``met`` (answers that were as
    expected), ``met_before`` (the same for the model that was served; None when there was none).
    """

    kind = "promote"
    exclusive = False
    uses_ollama = True

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        for alias in _aliases(ctx):
            check_name(alias)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        ollama = Ollama(ctx.toolchain.ollama_address)
        tag, aliases = _tag(ctx), _aliases(ctx)
        releases = _releases(ctx)
        releases.declare(tag, aliases)

        def report_progress(count: int, total: int) -> None:
            write_json(ctx.progress_file, Progress(count, total, "answer", note=Message("steps.asking")).as_dict())

        report = evaluate(ollama, Gate.from_settings(ctx.spec.settings["gate"]), tag, aliases[0], report_progress)
        write_json(os.path.join(ctx.work, REPORT), report)
        report_path = releases.record_gate(tag, ctx.spec.fingerprint, report)
        log_line("\n".join(str(line) for line in [summary(report), *failure_lines(report)]))
        if not report["passed"]:
            served = ollama.digest(aliases[0])
            raise JobError(
                "steps.gate_shut",
                summary=summary(report),
                consequence=Message("steps.alias_stays" if served else "steps.nothing_served", alias=aliases[0]),
                failures=failure_lines(report),
                details={"gate": report, "report": report_path},
            )
        change = releases.promote(ollama, tag, aliases, _write_ahead(ctx), _formerly(ctx))
        for alias in change.moved:
            log_line(f"{alias} is now {change.tag}")

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        ollama, releases = Ollama(ctx.toolchain.ollama_address), _releases(ctx)
        tag, aliases = _tag(ctx), _aliases(ctx)
        report = read_json(os.path.join(ctx.work, REPORT)) or {}
        if not report.get("passed"):
            raise JobError("steps.gate_interrupted")
        models = ollama.tags()
        problems = releases.misplaced(models, tag, aliases, _formerly(ctx))
        if problems:
            raise JobError("steps.changed_meanwhile", problems=list(problems))
        hold = releases.blocking_hold(tag, _formerly(ctx))
        return {
            "tag": tag,
            "digest": report["candidate"]["digest"],
            "aliases": aliases,
            "previous": read_json(os.path.join(ctx.work, _RECORD), {}),
            "held": hold.tag if hold else "",
            "asked": report["asked"],
            "met": report["candidate"]["met"],
            "met_before": report["served"]["met"] if report["served"] else None,
        }

    def drift(self, ctx: StepContext) -> list[Message]:
        models = Ollama(ctx.toolchain.ollama_address, timeout=DRIFT_TIMEOUT).tags()
        return _releases(ctx).misplaced(models, _tag(ctx), _aliases(ctx), _formerly(ctx))


def _releases(ctx: StepContext) -> Releases:
    return Releases(ctx.layout, str(ctx.spec.options["name"]))


def _tag(ctx: StepContext) -> str:
    options = ctx.spec.options
    return content_tag(str(options["name"]), ctx.spec.upstream["register"], str(options["quantization"]))


def _formerly(ctx: StepContext) -> list[str]:
    """Full tags of the registrations of the same version by earlier recipes."""
    return [str(tag) for tag in ctx.spec.options.get("formerly") or []]


def _aliases(ctx: StepContext) -> list[str]:
    return [f"{ctx.spec.options['name']}:{alias}" for alias in ctx.spec.options["aliases"]]


def _write_ahead(ctx: StepContext) -> BeforeMove:
    path = os.path.join(ctx.work, _RECORD)

    def record_previous(alias: str, previous: dict[str, str] | None) -> None:
        write_json(path, {**read_json(path, {}), alias: previous})

    return record_previous
