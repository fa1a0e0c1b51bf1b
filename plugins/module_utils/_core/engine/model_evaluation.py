# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluation of any model in Ollama, whether a fine-tune or not, in this process and not in a run.

With a data directory it is kept as the step ``evaluate`` keeps its own. What was asked of the same model, by its
digest, is not asked again; after a kill, what has no answer yet.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.layout import RECEIPT, Layout
from ..datasets import registry
from ..datasets.evaluation_items import each_item
from ..errors import InputError
from ..evaluations import chrf, requirements
from ..evaluations import guard as guard_set
from ..evaluations import judge as judges
from ..evaluations.asking import Limits
from ..evaluations.declaration import GENERAL
from ..evaluations.evaluation import Answers, Measure, Subject, evaluate, is_complete, models_of, read_report
from ..evaluations.gate_items import asked_settings
from ..evaluations.items import Item
from ..evaluations.judge import Judge
from ..evaluations.judging import judge_texts
from ..evaluations.report import CANDIDATE, SERVED, choose
from ..evaluations.store import KIND, Evaluations
from ..evaluations.texts import measure_texts
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..ollama.client import Ollama
from ..planning.evaluating import Evaluating, check_questions
from ..releases import lineage
from ..releases.gate import Gate
from ..runs.spec import Toolchain
from ..system.clock import utc_now
from ..system.files import discard, list_files, make_dirs, publish_dir, remove_tree, sha256_file, write_json
from ..system.locks import FileLock
from ..version import VERSION

#: The latest evaluations whose answers of the same models are taken over.
_EARLIER = 5
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """An evaluation, or what one would be.

    :param fingerprint: empty without a data directory.
    :param directory: with questions, answers and report.
    :param report: None if the questions were not asked, because they only would be.
    :param changed: whether something was asked, or would be, that is kept.
    """

    fingerprint: str
    directory: str
    report: dict[str, t.Any] | None
    changed: bool


def settings_of(
    layout: Layout | None, gate: Gate | None, rows: str = "", guard: str = "", judge: Judge | None = None
) -> dict[str, t.Any]:
    """The settings of the questions (:func:`.datasets.evaluation_items.each_item`).

    :param layout: None without a data directory.
    :param rows: name of a published dataset; empty for none.
    :param guard: ``general`` for the shipped set, the name of a published dataset, or empty.
    :raises InputError: if nothing is asked, or a dataset does not exist.
    """
    asked: dict[str, t.Any] = {}
    if gate is not None:
        asked["gate"] = asked_settings(gate.as_settings())
    if rows:
        asked["rows"] = {"dataset": _dataset(layout, "rows", rows)}
    if guard == GENERAL:
        asked["guard"] = {"digest": guard_set.DIGEST}
    elif guard:
        asked["guard"] = {"dataset": _dataset(layout, "guard", guard)}
    if not asked:
        raise InputError("modules.nothing_to_evaluate")
    if judge is not None:
        asked["judge"] = judge.as_settings()
    return asked


def evaluate_model(
    layout: Layout,
    ollama: Ollama,
    subject: Subject,
    asked: t.Mapping[str, t.Any],
    tools: Toolchain,
    check: bool = False,
) -> Evaluated:
    """Evaluate a model and keep the evaluation, or return the one that is kept.

    :param subject: with one candidate, labelled ``candidate``.
    :param asked: :func:`settings_of`.
    :param tools: where chrF is computed, if its environment is on this host.
    :param check: whether nothing is asked.
    :raises InputError: for a requirement that cannot be met.
    :raises LockedError: if the same evaluation is at work.
    """
    check_questions(layout, Evaluating(asked, require=subject.required), tools)
    models = models_of(ollama, subject)
    settings: dict[str, t.Any] = {**asked, "models": {model.label: model.digest for model in models}}
    if chrf.unavailable(tools) is None:
        settings["measures"] = ["text"]
    upstream = _registration(layout, settings["models"][CANDIDATE])
    name = fingerprint(KIND, settings, upstream)
    final = layout.artifact(KIND, name)
    if layout.receipt(KIND, name) is not None and is_complete(final):
        report = read_report(final) or {}
        return Evaluated(name, final, with_requirements(report, subject), False)
    if check:
        return Evaluated(name, final, None, True)
    work = layout.work(KIND, name)
    make_dirs(work)
    with FileLock(os.path.join(work, _LOCK), timeout=0.0):
        started_at = utc_now()
        notes: list[Message] = []
        items = each_item(layout, asked, notes)
        earlier = [evaluation.path for evaluation in Evaluations(layout).all[:_EARLIER]]
        measure = _measure(ollama, work, subject, asked, tools, earlier)
        report = evaluate(ollama, work, items, subject, earlier=earlier, notes=notes, measure=measure)
        if len(report["models"]) < len(models):
            # a model to compare with did not answer: the next attempt asks it alone
            return Evaluated(name, work, report, False)
        discard(os.path.join(work, _LOCK))
        receipt = {
            "schema": 1,
            "kind": KIND,
            "fingerprint": name,
            "settings": settings,
            "upstream": upstream,
            "options": {"name": subject.name.partition(":")[0]},
            "results": {key: report[key] for key in ("items", "parts", "passed", "seconds", "server_version")},
            "files": _files(work),
            "command": [],
            "started_at": started_at,
            "finished_at": utc_now(),
            "core_version": VERSION,
        }
        write_json(os.path.join(work, RECEIPT), receipt)
        if os.path.lexists(final):  # its questions and answers were removed
            remove_tree(final)
        publish_dir(work, final)
    return Evaluated(name, final, report, True)


def evaluate_once(
    directory: str, ollama: Ollama, subject: Subject, asked: t.Mapping[str, t.Any], tools: Toolchain
) -> Evaluated:
    """Evaluate a model in a directory of the caller's, which keeps it or not.

    :param asked: :func:`settings_of` without a data directory.
    """
    layout = Layout(os.path.abspath(directory))
    check_questions(layout, Evaluating(asked, require=subject.required), tools)
    notes: list[Message] = []
    items = each_item(layout, asked, notes)
    measure = _measure(ollama, directory, subject, asked, tools)
    report = evaluate(ollama, directory, items, subject, notes=notes, measure=measure)
    return Evaluated("", directory, report, False)


def with_requirements(report: t.Mapping[str, t.Any], subject: Subject) -> dict[str, t.Any]:
    """A report that was kept, with what is required now: requirements ask nothing again."""
    entries = requirements.check(subject.required, report)
    candidates = [model["label"] for model in report["models"] if model["role"] == CANDIDATE]
    checked = {**report, "requirements": entries, "passed": requirements.passed(entries, candidates)}
    return {**checked, "chosen": choose(checked, subject.rule)}


def _measure(
    ollama: Ollama,
    directory: str,
    subject: Subject,
    asked: t.Mapping[str, t.Any],
    tools: Toolchain,
    earlier: t.Sequence[str] = (),
) -> Measure:
    """What is measured once all answers are there: chrF, and the verdicts of a judge.

    :param earlier: directories of evaluations whose judgements are taken over.
    :raises NotReadyError: if the judge is not in Ollama.
    """
    judge = judges.read(asked.get("judge"), Message("evaluations.place"))
    if judge is not None:
        judges.require(ollama, judge)

    def measure(questions: t.Callable[[], t.Iterable[Item]], answers: Answers) -> t.Mapping[str, t.Any]:
        found = measure_texts(tools, directory, questions, answers)
        if judge is None:
            return found
        pairs = [(label, SERVED) for label in subject.candidates if SERVED in answers]
        judged = judge_texts(
            ollama, directory, judge, questions, answers, labels=pairs, limits=Limits(), earlier=earlier
        )
        return {**found, **judged, "notes": [*found.get("notes", ()), *judged["notes"]]}

    return measure


def _dataset(layout: Layout | None, option: str, name: str) -> str:
    if layout is None:
        raise InputError("modules.rows_without_data_dir", option=option, name=name)
    return registry.load(layout, name).fingerprint


def _registration(layout: Layout, digest: str) -> dict[str, str]:
    """The registration of the model as an input, if a run has registered it: both are removed together."""
    for receipt in lineage.registrations(layout):
        if (receipt.get("results") or {}).get("digest") == digest:
            return {"register": str(receipt["fingerprint"])}
    return {}


def _files(directory: str) -> dict[str, dict[str, t.Any]]:
    files = {}
    for name in list_files(directory, skip=(RECEIPT,)):
        path = os.path.join(directory, name)
        status = os.stat(path)
        files[name] = {"bytes": status.st_size, "sha256": sha256_file(path), "mtime_ns": status.st_mtime_ns}
    return files
