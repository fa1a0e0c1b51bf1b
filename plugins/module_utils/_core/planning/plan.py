# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a fine-tune: the steps that would run, the reasons and their requirements. Read-only.

A plan consists of plain values. A saved plan contains the fingerprints at the time it was made; when it is applied
later, it is compared with a new plan and refused if they differ.
"""

from __future__ import annotations

import datetime
import typing as t

from ..artifacts import kinds
from ..artifacts.integrity import step_defect
from ..artifacts.layout import Layout
from ..errors import InputError
from ..estimates import duration
from ..estimates.host import Machine
from ..messages.message import Message
from ..releases import lineage
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec
from ..runs.status import RunView
from ..system.disk import free_bytes
from ..training import adapter_export
from ..training.one_pass import declared_obstacle
from ..training.options import DEFAULTS
from .changes import Change, PreviousResult, changes, describe_base
from .readiness import disk_of, training_options

SCHEMA = 1

#: Bytes of disk from which a plan names what would save them.
_MUCH_DISK = 1_000_000_000

#: Inputs that are steps themselves: their changes follow from those of their own inputs.
DERIVED_INPUTS = tuple(kind.name for kind in kinds.TABLE if kind.derived)


def make_plan(
    layout: Layout,
    run: Run,
    view: RunView,
    machine: Machine,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    cores: int = 1,
) -> dict[str, t.Any]:
    """Make the plan of a run.

    :param view: state of the run if it were submitted now (:meth:`engine.engine.Engine.preview`).
    :param provisional: facts about datasets that are not published yet, by fingerprint (see
        :func:`planning.changes.changes`).
    :param cores: number of processors available to a training on a CPU.
    """
    facts = {**(provisional or {}), **bases(run)}
    pending = set(view.pending)
    previous = PreviousResult(layout, run.name) if pending else None
    state_of = {step.label: step for step in view.steps}
    options = training_options(run)
    steps = []
    for step in run.steps:
        step_view = state_of[step.label]
        entry: dict[str, t.Any] = {
            "label": step.label,
            "kind": step.spec.kind,
            "fingerprint": step.spec.fingerprint,
            "state": step_view.state.value,
            "runs": step.label in pending,
            "settings": step.spec.settings,
            "upstream": step.spec.upstream,
            "why": [],
            "causes": [],
            "changes": [],
        }
        if step.label in pending:
            # in check mode the preview may only report the missing dataset, so inspect the artifact itself first
            reason = step_defect(layout, step.spec.kind, step.spec.fingerprint, step.spec.options)
            # a version that exists is not made again: only what is wrong in Ollama is corrected
            exists = reason is None and step.spec.kind == "register" and bool(step_view.cause)
            if reason is None and step_view.cause:
                reason = Message.from_stored(step_view.cause)
            changed, why = ([], [reason]) if exists and reason else _reasons(layout, step, reason, previous, facts)
            entry["changes"] = [change.as_dict() for change in changed]
            entry["why"] = [cause.text for cause in why]
            entry["causes"] = [cause.as_dict() for cause in why]
            if step.spec.kind == "merge":
                entry["note"] = _way_of_merging(layout, run.name, step.spec).as_dict()
            entry["takes"] = _requirements(
                layout, run, step, options, machine=machine, provisional=facts, cores=cores, previous=previous
            )
        elif step.label in view.unchecked:
            entry["unchecked"] = view.unchecked[step.label]
            entry["unchecked_message"] = view.unchecked_messages[step.label]
        steps.append(entry)
    training = next((step for step in run.steps if step.spec.kind == "train"), None)
    base_unchecked = _base_unchecked(options) if training is not None and training.label in pending else None
    plan = {
        "schema": SCHEMA,
        "name": run.name,
        "run": run.id,
        "state": view.state.value,
        "changed": bool(pending),
        "steps": steps,
        "pending": [step.label for step in run.steps if step.label in pending],
        "previous": previous.finished_at if previous is not None else "",
        "method": str((options.get("resolved") or {}).get("method") or ""),
        "method_reason": str(options.get("method_reason") or ""),
        "method_cause": dict(options.get("method_cause") or {}),
        "base_unchecked": str(base_unchecked) if base_unchecked is not None else "",
        "base_unchecked_message": base_unchecked.as_dict() if base_unchecked is not None else {},
        "tool_format": str((options.get("resolved") or {}).get("tool_format") or ""),
        "tool_format_cause": dict(options.get("tool_format_cause") or {}),
        "thinking": str((options.get("resolved") or {}).get("thinking") or ""),
        "thinking_cause": dict(options.get("thinking_cause") or {}),
        "aliases": aliases(run),
        "needs": _needs(steps),
        "host": _host(layout, machine, int((options.get("resolved") or {}).get("gpus") or 1)),
        "warnings": [],
        "warning_messages": [],
    }
    return add_warnings(plan, _warnings(plan, training is not None and training.label in pending))


def add_warnings(plan: t.Mapping[str, t.Any], warnings: t.Iterable[Message]) -> dict[str, t.Any]:
    """Return a plan with warnings before those that it has."""
    added = list(warnings)
    return {
        **plan,
        "warnings": [*map(str, added), *plan["warnings"]],
        "warning_messages": [*(warning.as_dict() for warning in added), *plan["warning_messages"]],
    }


def _base_unchecked(options: t.Mapping[str, t.Any]) -> Message | None:
    """Why the files of the base were not checked; None if they were."""
    stored = options.get("base_unchecked")
    return Message.from_stored(stored) if stored else None


def bases(run: Run) -> dict[str, dict[str, t.Any]]:
    """Return the description of a run's base by fingerprint: the base may not have been downloaded yet."""
    return {
        step.spec.fingerprint: {"description": describe_base(step.spec.settings, step.spec.fingerprint)}
        for step in run.steps
        if step.spec.kind == "base"
    }


def aliases(run: Run) -> list[str]:
    """Return the tags that a run moves."""
    return next((list(step.spec.options["aliases"]) for step in run.steps if step.spec.options.get("aliases")), [])


# -- reasons -----------------------------------------------------------------------------------------------------------


def _reasons(
    layout: Layout,
    step: RunStep,
    reason: Message | None,
    previous: PreviousResult | None,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]],
) -> tuple[list[Change], list[Message]]:
    """Return the changed inputs of a step, and the reasons why it would run."""
    before = previous.receipt_for(step.spec) if previous else None
    if before is None:
        if reason is None or reason.code == "artifacts.not_made":
            reason = Message("planning.new_step" if previous else "planning.new_finetune")
        return [], [reason]
    changed = changes(layout, before, step.spec, provisional)
    if not changed:
        return [], [reason or Message("planning.asked_again")]
    inputs = [change for change in changed if change.input not in DERIVED_INPUTS]
    if inputs:
        return changed, [change.content() for change in inputs]
    return changed, [Message("planning.made_from_another", inputs=[change.input for change in changed])]


def _way_of_merging(layout: Layout, name: str, merge: StepSpec) -> Message:
    """Return whether merged weights are written, and why; and what would be saved by not merging at all."""
    options = merge.options
    if not options.get("weights", True):
        return _shared_base(layout, name, merge) or Message("planning.merge_on_the_way")
    obstacle = declared_obstacle(options.get("resolved") or {})
    return Message("planning.merge_needs_weights", reason=obstacle) if obstacle else Message("planning.merge_kept")


def _shared_base(layout: Layout, name: str, merge: StepSpec) -> Message | None:
    """Return that other fine-tunes share the base, so that ``export: adapter`` would save disk; else None."""
    disk = (merge.options.get("estimate") or {}).get("disk") or {}
    merged = sum(size for label, size in disk.items() if label.startswith("gguf-"))
    try:
        adapter_export.check_exportable(name, merge.options["resolved"])
    except (InputError, KeyError):
        return None
    if merged - disk.get("gguf_adapter", 0) < _MUCH_DISK:
        return None
    others = sorted(lineage.fine_tunes_of(layout, merge.upstream["base"]) - {name})
    sizes = {"adapter": disk.get("gguf_adapter", 0), "merged": merged}
    return Message("planning.merge_of_shared_base", others=others, **sizes) if others else None


# -- requirements ------------------------------------------------------------------------------------------------------


def _requirements(
    layout: Layout,
    run: Run,
    step: RunStep,
    options: t.Mapping[str, t.Any],
    *,
    machine: Machine,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]],
    cores: int,
    previous: PreviousResult | None,
) -> dict[str, t.Any]:
    """Return the known requirements of a step: bytes of GPU memory, RAM and disk, optimizer steps, and seconds."""
    estimate = options.get("estimate") or {}
    kind = step.spec.kind
    requirements: dict[str, t.Any] = {}
    disk = disk_of(run, step)
    if disk is not None:
        requirements["disk_bytes"] = disk
    takes = step.spec.options.get("takes") or {}
    ram = takes.get("ram_bytes") or (estimate.get("ram") or {}).get(kind)
    if ram:
        requirements["ram_bytes"] = ram
    if kind == "train" and estimate.get("vram"):
        requirements["vram_bytes"] = estimate["vram"]["planned"]
    if kind == "train" and options.get("optimizer_steps"):
        requirements["optimizer_steps"] = options["optimizer_steps"]
    seconds, source = _seconds(
        layout, step, options, machine, provisional=provisional, cores=cores, previous=previous, disk=disk or 0
    )
    if seconds is not None:
        requirements.update(seconds=round(seconds, 1), seconds_from=source)
    return requirements


def _seconds(
    layout: Layout,
    step: RunStep,
    options: t.Mapping[str, t.Any],
    machine: Machine,
    *,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]],
    cores: int,
    previous: PreviousResult | None,
    disk: int,
) -> tuple[float | None, str]:
    kind = step.spec.kind
    before = previous.receipt_for(step.spec) if previous else None
    if kind == "train":
        tokens = _training_tokens(layout, step.spec.upstream.get("dataset", ""), options, provisional)
        results = (before or {}).get("results") or {}
        training_seconds = results.get("duration_seconds")
        old_options = (before or {}).get("options") or {}
        if before is not None and training_seconds and _is_comparable(before, step, old_options, options):
            old_dataset = str((before.get("upstream") or {}).get("dataset"))
            old_tokens = _training_tokens(layout, old_dataset, old_options, provisional)
            if tokens and old_tokens:
                # start-up, loading and saving do not depend on the rows; a resumed training does not show their time
                overhead = max(0.0, (_duration(before) or 0.0) - float(training_seconds))
                overhead = 0.0 if results.get("resumed_from") else overhead
                return overhead + float(training_seconds) * tokens / old_tokens, "the last time"
        parameters = (options.get("estimate") or {}).get("parameters")
        if not tokens or not parameters:
            return None, ""
        count = int(options["resolved"].get("gpus") or 1)
        gpu = next((gpu.name for gpu in machine.training_gpus(count)), "")
        if machine.accelerator == "cuda" and not gpu:
            return None, ""
        method = str(options["resolved"]["method"])
        return duration.training_seconds(parameters, tokens, method, gpu, cores, count), "worked out"
    if kind == "evaluate":
        return _seconds_of_answers(step.spec, before), "the last time"
    previous_seconds = _duration(before)
    if previous_seconds is not None and (before or {}).get("settings") == step.spec.settings and kind != "base":
        return previous_seconds, "the last time"
    takes = step.spec.options.get("takes")
    if takes:
        return duration.reading_seconds(kind, takes["active_parameters"], takes["tokens"], cores), "worked out"
    return duration.copying_seconds(kind, disk), "worked out"


def _seconds_of_answers(spec: StepSpec, before: t.Mapping[str, t.Any] | None) -> float | None:
    """Seconds of an evaluation in which every model is asked every question; None if none was asked before."""
    each = ((before or {}).get("results") or {}).get("seconds_per_answer")
    questions = spec.options.get("questions")
    if not each or not questions:
        return None
    models = len(spec.settings.get("candidates") or ()) + len(spec.settings.get("against") or ())
    return float(each) * int(questions) * models


def _training_tokens(
    layout: Layout,
    dataset: str,
    options: t.Mapping[str, t.Any],
    provisional: t.Mapping[str, t.Mapping[str, t.Any]],
) -> float | None:
    """Return the number of tokens that a training processes; None if unknown."""
    dataset_results = (provisional.get(dataset) or {}).get("results")
    if not dataset_results and len(dataset) == 64:
        dataset_results = (layout.receipt("dataset", dataset) or {}).get("results")
    resolved = options.get("resolved") or {}
    if not dataset_results or not resolved:
        return None
    tokens = duration.total_tokens(dataset_results, float(resolved["epochs"]), int(resolved["cutoff_len"]))
    counted = options.get("held_out") or {}
    share = counted["held_out"] / counted["rows"] if counted else float(resolved.get("held_out") or 0.0)
    return None if tokens is None else tokens * (1 - share)


def _is_comparable(
    before: t.Mapping[str, t.Any], step: RunStep, old: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any]
) -> bool:
    """Return whether two trainings take the same time per token."""
    keys = ("method", "batch_size", "gradient_accumulation", "gpus", "stage")
    old_resolved, new_resolved = old.get("resolved") or {}, new.get("resolved") or {}
    return (
        (before.get("upstream") or {}).get("base") == step.spec.upstream.get("base")
        and old.get("accelerator") == new.get("accelerator")
        and all(old_resolved.get(name, DEFAULTS[name]) == new_resolved.get(name, DEFAULTS[name]) for name in keys)
    )


def _duration(receipt: t.Mapping[str, t.Any] | None) -> float | None:
    try:
        start, end = (
            datetime.datetime.fromisoformat(str((receipt or {})[key]).replace("Z", "+00:00"))
            for key in ("started_at", "finished_at")
        )
    except (KeyError, ValueError):
        return None
    return max(0.0, (end - start).total_seconds())


def _host(layout: Layout, machine: Machine, count: int) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = {
        "accelerator": machine.accelerator,
        "disk_path": layout.root,
        "disk_free_bytes": free_bytes(layout.root),
    }
    if machine.ram is not None:
        facts.update(
            ram_bytes=machine.ram.total, ram_available_bytes=machine.ram.available, swap_bytes=machine.ram.swap
        )
    if machine.gpus:
        facts.update(
            gpus=[gpu.name for gpu in machine.gpus],
            vram_bytes=machine.gpu_total(count),
            vram_free_bytes=machine.gpu_free(count),
        )
    return facts


def _needs(steps: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Return what the steps still to be made need together: the sum of disk and time, the peak of the memory."""
    takes = [step["takes"] for step in steps if step["runs"]]

    def values(name: str) -> list[t.Any]:
        return [each[name] for each in takes if each.get(name) is not None]

    needs: dict[str, t.Any] = {"disk_bytes": sum(values("disk_bytes"))}
    for name in ("ram_bytes", "vram_bytes"):
        if values(name):
            needs[name] = max(values(name))
    if values("seconds"):
        needs["seconds"] = round(sum(values("seconds")), 1)
    return needs


def _warnings(plan: t.Mapping[str, t.Any], trains: bool) -> list[Message]:
    host = plan["host"]
    warnings = []
    needs = plan["needs"]
    ram, vram, free = needs.get("ram_bytes", 0), needs.get("vram_bytes", 0), host.get("vram_free_bytes")
    if "ram_bytes" in host and ram > host["ram_bytes"] + host["swap_bytes"]:
        facts = {"needed": ram, "total": host["ram_bytes"], "swap": host["swap_bytes"]}
        warnings.append(Message("planning.ram_short", name=plan["name"], **facts))
    if trains and free is not None and free < vram:
        warnings.append(Message("planning.gpu_short", name=plan["name"], needed=vram, free=free))
    return warnings
