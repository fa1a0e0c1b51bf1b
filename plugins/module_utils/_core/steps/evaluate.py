# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step evaluate: asks registered models, and those that they are compared with, the same questions.

It decides nothing: the step promote compares the report with what is required, so that a changed requirement asks
nothing again.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..artifacts.layout import Layout
from ..datasets.evaluation_items import each_item
from ..errors import JobError
from ..evaluations import judge as judges
from ..evaluations import requirements
from ..evaluations.asking import Limits
from ..evaluations.declaration import place_of
from ..evaluations.evaluation import Answers, Subject, evaluate, is_complete, read_report
from ..evaluations.items import Item
from ..evaluations.judging import judge_texts
from ..evaluations.quantizations import likelihood_of
from ..evaluations.report import BASE, SERVED
from ..evaluations.texts import measure_texts
from ..messages.message import Message
from ..ollama.client import Ollama
from ..releases import lineage
from ..releases.promotion import content_tag, digest_of
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..runs.spec import StepSpec
from ..system.files import read_json, write_json
from ..system.log import log_line
from .step import DRIFT_TIMEOUT, Step
from .worker_command import worker_command

#: The latest evaluations of the same model whose answers are looked at.
_EARLIER = 5
#: Seconds between two reports of the progress.
_REPORT_INTERVAL = 0.5


class EvaluateStep(Step):
    """Asks the models of ``settings["candidates"]``.

    Settings: ``candidates`` (fingerprints of registrations by quantization), ``against`` (``served``, ``base``),
    ``base`` (fingerprint of the registration of the base model), and what is asked
    (:func:`.datasets.evaluation_items.each_item`). Options: ``name``, ``aliases``, ``declared`` (the quantization
    declared first), ``quantizations`` (all that are asked, in declared order), ``base`` (``name`` and ``quantization``
    of its registration), and, for the report only, ``require`` and ``choose``.

    ``results``: ``items``, ``parts``, ``digests`` (of the models by label), ``passed`` (by label), ``chosen``,
    ``seconds``, ``seconds_per_answer`` (the mean of the models), ``server_version``.
    """

    kind = "evaluate"
    exclusive = False
    uses_ollama = True
    limits = Limits()

    def inputs(self, layout: Layout, spec: StepSpec) -> list[tuple[str, str]]:
        """It asks several registered models."""
        asked = [*(spec.settings.get("candidates") or {}).values(), spec.settings.get("base")]
        required = [*super().inputs(layout, spec), *(("register", str(each)) for each in asked if each)]
        return list(dict.fromkeys(required))

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        ollama = Ollama(ctx.toolchain.ollama_address)
        run(ctx, ollama, ctx.work, subject_of(ctx), ctx.spec.settings, self.limits)

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        report = read_report(ctx.work)
        if report is None or not is_complete(ctx.work):
            raise JobError("steps.evaluation_interrupted")
        return {
            "items": report["items"],
            "parts": report["parts"],
            "digests": report["digests"],
            "passed": report["passed"],
            "chosen": report["chosen"],
            "seconds": report["seconds"],
            "seconds_per_answer": sum(each["seconds_per_answer"] for each in report["models"]) / len(report["models"]),
            "server_version": report["server_version"],
        }

    def drift(self, ctx: StepContext) -> list[Message]:
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        asked = dict((receipt.get("results") or {}).get("digests") or {})
        reasons = []
        candidates = set()
        for label, registration in (ctx.spec.settings.get("candidates") or {}).items():
            digest = str(_results(ctx.layout, registration).get("digest") or "")
            candidates.add(digest)
            if digest != asked.get(label):
                reasons.append(Message("steps.evaluated_other_candidate", quantization=label))
        if "served" not in (ctx.spec.settings.get("against") or ()):
            return reasons
        alias = _alias(ctx)
        served = digest_of(Ollama(ctx.toolchain.ollama_address, timeout=DRIFT_TIMEOUT).tags(), alias)
        if served and served not in candidates and served != asked.get("served"):
            reasons.append(Message("steps.evaluated_other_served", alias=alias))
        return reasons


def subject_of(ctx: StepContext) -> Subject:
    """What an evaluation is about, from its settings and options."""
    settings, options = ctx.spec.settings, ctx.spec.options
    name = str(options["name"])
    base = options.get("base") or {}
    return Subject(
        name,
        # a stored run has the keys of its settings in the order of the alphabet
        {label: content_tag(name, settings["candidates"][label], label) for label in options["quantizations"]},
        str(options["declared"]),
        _alias(ctx) if "served" in settings["against"] else "",
        content_tag(str(base["name"]), str(settings["base"]), str(base["quantization"])) if base else "",
        requirements.read(options.get("require"), place_of("require")),
        str(options.get("choose") or "declared"),
    )


def run(
    ctx: StepContext,
    ollama: Ollama,
    directory: str,
    subject: Subject,
    asked: t.Mapping[str, t.Any],
    limits: Limits,
) -> dict[str, t.Any]:
    """Evaluate into a directory, report the progress, and return the report.

    :param asked: settings of the questions.
    """
    notes: list[Message] = []
    items = each_item(ctx.layout, asked, notes)
    report_progress = _ProgressReport(ctx.progress_file)
    earlier = _earlier(ctx.layout, subject.name)
    judge = judges.read(asked.get("judge"), Message("evaluations.place"))

    def measure(questions: t.Callable[[], t.Iterable[Item]], answers: Answers) -> dict[str, t.Any]:
        found = measure_texts(ctx.toolchain, directory, questions, answers)
        found["likelihood"] = likelihood_of(ctx.layout, asked.get("candidates") or {})
        if judge is not None:
            others = [label for label in (SERVED, BASE) if label in answers]
            pairs = [(label, other) for label in subject.candidates for other in others]
            judged = judge_texts(
                ollama,
                directory,
                judge,
                questions,
                answers,
                labels=pairs,
                limits=limits,
                on_answer=report_progress,
                earlier=earlier,
            )
            found = {**found, **judged, "notes": [*found.get("notes", ()), *judged["notes"]]}
        return found

    if judge is not None:
        judges.require(ollama, judge)  # before hundreds of answers, and not after them
    report = evaluate(
        ollama,
        directory,
        items,
        subject,
        earlier=earlier,
        notes=notes,
        measure=measure,
        on_answer=report_progress,
        limits=limits,
    )
    log_line(f"{report['items']} questions, {len(report['models'])} models, {report['seconds']} s")
    return report


def _alias(ctx: StepContext) -> str:
    """Full name of the first tag, under which the served model is found; empty if there is none."""
    aliases = ctx.spec.options.get("aliases") or ()
    return f"{ctx.spec.options['name']}:{aliases[0]}" if aliases else ""


def _results(layout: Layout, registration: str) -> dict[str, t.Any]:
    return dict((layout.receipt("register", str(registration)) or {}).get("results") or {})


def _earlier(layout: Layout, name: str) -> list[str]:
    """Directories of the latest evaluations of a model, whose answers are taken over."""
    found = lineage.receipts_of(layout, "evaluate")
    own = [receipt for receipt in found if (receipt.get("options") or {}).get("name") == name]
    own.sort(key=lambda receipt: str(receipt.get("finished_at") or ""), reverse=True)
    return [layout.artifact("evaluate", str(receipt["fingerprint"])) for receipt in own[:_EARLIER]]


class _ProgressReport:
    """Writes the progress, at most twice per second; what was answered before does not count for the time left."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written_at = 0.0
        self._started = (0.0, 0)
        self._total = -1

    def __call__(self, count: int, total: int, label: str) -> None:
        now = time.monotonic()
        if total != self._total:  # the answers of the models, or after them those of the judge
            self._started, self._total = (now, count), total
        if count < total and now - self._written_at < _REPORT_INTERVAL:
            return
        self._written_at = now
        began, before = self._started
        done = count - before
        eta = (now - began) * (total - count) / done if done > 0 and count < total else None
        note = Message("steps.asking_model", model=label)
        write_json(self._path, Progress(count, total, "answer", eta_seconds=eta, note=note).as_dict())
