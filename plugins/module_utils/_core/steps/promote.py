# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step promote: compares the report of an evaluation with what is required, and moves the user-facing tags on a pass.

It is a separate step so that a changed requirement only repeats the comparison, without a question to a model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ..artifacts.layout import Layout
from ..errors import JobError, RemoteError
from ..evaluations import requirements
from ..evaluations.asking import Limits
from ..evaluations.declaration import Evaluation
from ..evaluations.evaluation import Subject, read_report
from ..evaluations.failures import failure_lines, met_of, summary, unmet_requirements
from ..evaluations.gate_items import asked_settings, with_conditions
from ..evaluations.quantizations import likelihood_of, section
from ..evaluations.report import SERVED, choose
from ..evaluations.requirements import Requirements
from ..evaluations.store import model_of
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.syntax import check_name
from ..releases.gate import Gate
from ..releases.promotion import BeforeMove, Releases, content_tag
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..runs.spec import StepSpec
from ..system.clock import utc_now
from ..system.files import make_dirs, read_json, write_json
from ..system.log import log_line
from . import evaluate
from .step import DRIFT_TIMEOUT, Step
from .worker_command import worker_command

#: The decision, in the work directory.
_DECISION = "decision.json"
#: Targets of the tags before they were moved; on disk, so that a kill does not lose them.
_RECORD = "promotion.json"
#: Directory of an evaluation that the step makes itself, in the work directory.
_OWN = "evaluation"


@dataclasses.dataclass(frozen=True)
class Judged:
    """A report, compared with what is required.

    :param report: the report of the evaluation, with ``requirements``, ``passed`` and ``chosen`` as required now.
    :param directory: of the evaluation.
    :param label: the candidate that is promoted, or that would have been.
    """

    report: dict[str, t.Any]
    directory: str
    label: str

    @property
    def is_passed(self) -> bool:
        """Whether a candidate may be promoted."""
        return bool(self.report["chosen"])


class PromoteStep(Step):
    """Promotes ``upstream["register"]``, or another quantization of it, when it meets what is required.

    Settings: ``gate`` and ``evaluation``, as declared. Options: ``name``, ``quantization``, ``aliases`` (tags to move),
    ``formerly`` (full tags of earlier registrations of the same version), ``evaluation`` (fingerprint of the step
    evaluate; without it, in a run that an earlier version of the collection has planned, this step asks the gate
    itself), ``candidates`` (fingerprints of the registrations that were asked, by quantization), ``promoted_before``
    (fingerprints that the same promotion had by earlier recipes: if one of them was made, nothing is asked).

    ``results``: ``tag``, ``digest``, ``aliases``, ``previous`` (as those of a registration), ``held`` (the version that
    a rollback holds in place; empty when none), ``quantization``, ``evaluation`` (fingerprint; empty if nothing was
    asked), ``asked`` (number of questions), ``met`` (answers that were as expected), ``met_before`` (the same for the
    model that was served; None when there was none).
    """

    kind = "promote"
    exclusive = False
    uses_ollama = True
    limits = Limits()

    def inputs(self, layout: Layout, spec: StepSpec) -> list[tuple[str, str]]:
        """It needs the evaluation, unless the same version was promoted under the same conditions when it was
        registered by an earlier recipe.
        """
        required = super().inputs(layout, spec)
        evaluation, before = spec.options.get("evaluation"), spec.options.get("promoted_before") or ()
        if evaluation and not any(layout.receipt("promote", str(each)) for each in before):
            required.append(("evaluate", str(evaluation)))
        return required

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
        decision = self._promoted_before(ctx)
        if decision is None:
            judged = self._judge(ctx, ollama)
            tag, decision = _tag(ctx, judged.label), _decision(ctx, judged)
            path = releases.record_gate(tag, ctx.spec.fingerprint, _entry(judged), judged.report)
            if not judged.is_passed:
                _refuse(ollama, judged, tag, aliases[0], path)
        write_json(os.path.join(ctx.work, _DECISION), decision)
        change = releases.promote(ollama, tag, aliases, _write_ahead(ctx), _formerly(ctx))
        for alias in change.moved:
            log_line(f"{alias} is now {change.tag}")

    def _promoted_before(self, ctx: StepContext) -> dict[str, t.Any] | None:
        """The decision about the same version when it was registered by an earlier recipe; None if there was none."""
        for each in ctx.spec.options.get("promoted_before") or ():
            results = (ctx.layout.receipt(self.kind, str(each)) or {}).get("results")
            if results:
                counts = {name: results.get(name) for name in ("asked", "met", "met_before")}
                return {**counts, "quantization": str(ctx.spec.options["quantization"]), "evaluation": ""}
        return None

    def _judge(self, ctx: StepContext, ollama: Ollama) -> Judged:
        """Compare the report with what is required now.

        :raises JobError: if there is no report.
        """
        gate = Gate.from_settings(ctx.spec.settings["gate"]) if ctx.spec.settings.get("gate") else None
        declared = Evaluation.from_settings(ctx.spec.settings.get("evaluation") or {})
        required = with_conditions(declared.require, gate)
        quantization = str(ctx.spec.options["quantization"])
        fingerprint = str(ctx.spec.options.get("evaluation") or "")
        if fingerprint:
            directory = ctx.layout.artifact("evaluate", fingerprint)
        else:
            directory = os.path.join(ctx.work, _OWN)
            self._ask(ctx, ollama, directory, required)
        report = read_report(directory)
        if report is None:
            raise JobError("steps.evaluation_gone", directory=directory)
        report["requirements"] = requirements.check(required, report)
        candidates = [model["label"] for model in report["models"] if model["role"] == "candidate"]
        report["passed"] = requirements.passed(report["requirements"], candidates)
        report["declared"] = quantization
        report["chosen"] = choose(report, declared.choose)
        report["quantizations"] = section(report, likelihood_of(ctx.layout, ctx.spec.options.get("candidates") or {}))
        return Judged(report, directory, report["chosen"] or quantization)

    def _ask(self, ctx: StepContext, ollama: Ollama, directory: str, required: Requirements) -> None:
        make_dirs(directory)
        quantization = str(ctx.spec.options["quantization"])
        subject = Subject(
            str(ctx.spec.options["name"]), {quantization: _tag(ctx)}, quantization, _aliases(ctx)[0], required=required
        )
        asked = {"gate": asked_settings(ctx.spec.settings["gate"])}
        evaluate.run(ctx, ollama, directory, subject, asked, self.limits)

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        ollama, releases = Ollama(ctx.toolchain.ollama_address), _releases(ctx)
        aliases = _aliases(ctx)
        decision = read_json(os.path.join(ctx.work, _DECISION)) or {}
        if not decision:
            raise JobError("steps.gate_interrupted")
        tag = _tag(ctx, decision["quantization"])
        models = ollama.tags()
        problems = releases.misplaced(models, tag, aliases, _formerly(ctx))
        if problems:
            raise JobError("steps.changed_meanwhile", problems=list(problems))
        hold = releases.blocking_hold(tag, _formerly(ctx))
        return {
            "tag": tag,
            "digest": ollama.digest(tag),
            "aliases": aliases,
            "previous": read_json(os.path.join(ctx.work, _RECORD), {}),
            "held": hold.tag if hold else "",
            **decision,
        }

    def drift(self, ctx: StepContext) -> list[Message]:
        models = Ollama(ctx.toolchain.ollama_address, timeout=DRIFT_TIMEOUT).tags()
        results = (ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}).get("results") or {}
        tag = str(results.get("tag") or _tag(ctx))
        return _releases(ctx).misplaced(models, tag, _aliases(ctx), _formerly(ctx))


def _decision(ctx: StepContext, judged: Judged) -> dict[str, t.Any]:
    met, asked = met_of(model_of(judged.report, judged.label) or {})
    served = model_of(judged.report, SERVED)
    return {
        "quantization": judged.label,
        "evaluation": str(ctx.spec.options.get("evaluation") or ""),
        "asked": asked,
        "met": met,
        "met_before": met_of(served)[0] if served else None,
    }


def _entry(judged: Judged) -> dict[str, t.Any]:
    """What the ledger keeps of the result."""
    met, asked = met_of(model_of(judged.report, judged.label) or {})
    return {"passed": judged.is_passed, "at": utc_now(), "met": met, "asked": asked}


def _refuse(ollama: Ollama, judged: Judged, tag: str, alias: str, path: str) -> t.NoReturn:
    """Fail with what is not met, and the worst answers.

    :param alias: full name of the first tag, which stays as it is.
    :param path: of the report.
    """
    report = judged.report
    lines = failure_lines(judged.directory, report, judged.label)
    lacking = unmet_requirements(report["requirements"], judged.label)
    log_line("\n".join(str(line) for line in [summary(report, judged.label), *lacking, *lines]))
    served = ollama.digest(alias)
    if served and served != ollama.digest(tag):
        # free the memory for the model that stays in use
        with contextlib.suppress(RemoteError):
            ollama.unload(tag)
    is_gate = {entry["name"] for entry in report["requirements"]} <= {"allowed_failures", "no_regression"}
    facts = {
        "summary": summary(report, judged.label),
        "consequence": Message("steps.alias_stays" if served else "steps.nothing_served", alias=alias),
        "failures": lines,
    }
    details = {"evaluation": report, "report": path}
    if is_gate:
        raise JobError("steps.gate_shut", **facts, details=details)
    raise JobError("steps.requirements_unmet", **facts, lacking=lacking, details=details)


def _releases(ctx: StepContext) -> Releases:
    return Releases(ctx.layout, str(ctx.spec.options["name"]))


def _tag(ctx: StepContext, quantization: str = "") -> str:
    """Full tag of the registration of a quantization; by default, of the one declared first."""
    options = ctx.spec.options
    declared = str(options["quantization"])
    candidates = {**(options.get("candidates") or {}), declared: ctx.spec.upstream["register"]}
    label = quantization or declared
    return content_tag(str(options["name"]), candidates[label], label)


def _formerly(ctx: StepContext) -> list[str]:
    """Full tags of other registrations of the same version: by earlier recipes, and of the other quantizations."""
    earlier = [str(tag) for tag in ctx.spec.options.get("formerly") or []]
    return [*earlier, *(_tag(ctx, label) for label in ctx.spec.options.get("candidates") or ())]


def _aliases(ctx: StepContext) -> list[str]:
    return [f"{ctx.spec.options['name']}:{alias}" for alias in ctx.spec.options["aliases"]]


def _write_ahead(ctx: StepContext) -> BeforeMove:
    path = os.path.join(ctx.work, _RECORD)

    def record_previous(alias: str, previous: dict[str, str] | None) -> None:
        write_json(path, {**read_json(path, {}), alias: previous})

    return record_previous
