# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a fine-tune: which steps would run and why, and what they take. Looks, and changes nothing.

A plan is plain values. Saved, it holds the fingerprints it saw; applied later, it is compared with what would be done
then, and refused when that is something else.
"""

from __future__ import annotations

import datetime
import typing as t

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import Layout
from ..estimates import duration
from ..estimates.host import Machine
from ..runs.run import Run, RunStep
from ..runs.status import RunView
from ..system.disk import free_bytes, gigabytes
from .changes import Change, Earlier, changes, describe_base

SCHEMA = 1

#: Inputs that are steps themselves: that they are others follows from theirs.
FOLLOWS = ("train", "merge", "gguf", "gguf_adapter", "register", "promote", "retain")


def make_plan(
    layout: Layout,
    run: Run,
    view: RunView,
    machine: Machine,
    known: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    cores: int = 1,
) -> dict[str, t.Any]:
    """The plan of a run.

    :param view: the run as asking for it would find it (:meth:`engine.engine.Engine.preview`).
    :param known: what is known of datasets that are not published yet, by fingerprint (see
        :func:`planning.changes.changes`).
    :param cores: processors that a training on a CPU has.
    """
    told = {**(known or {}), **bases(run)}
    pending = set(view.pending)
    earlier = Earlier(layout, run.name) if pending else None
    state_of = {step.label: step for step in view.steps}
    options = _train_options(run)
    steps = []
    for step in run.steps:
        seen = state_of[step.label]
        entry: dict[str, t.Any] = {
            "label": step.label,
            "kind": step.spec.kind,
            "fingerprint": step.spec.fingerprint,
            "state": seen.state,
            "runs": step.label in pending,
            "settings": step.spec.settings,
            "upstream": step.spec.upstream,
            "why": [],
            "changes": [],
        }
        if step.label in pending:
            # what asking would say first may be that the dataset has to be published before: in check mode it is not
            reason = artifact_defect(layout, step.spec.kind, step.spec.fingerprint) or seen.reason
            found, why = _why(layout, step, reason, earlier, told)
            entry["changes"] = [{**vars(change), "words": change.words()} for change in found]
            entry["why"] = why
            entry["takes"] = _takes(layout, run, step, options, machine, told, cores, earlier)
        steps.append(entry)
    training = next((step for step in run.steps if step.spec.kind == "train"), None)
    plan = {
        "schema": SCHEMA,
        "name": run.name,
        "run": run.id,
        "state": view.state,
        "changed": bool(pending),
        "steps": steps,
        "pending": [step.label for step in run.steps if step.label in pending],
        "previous": earlier.finished_at if earlier is not None else "",
        "method": str((options.get("resolved") or {}).get("method") or ""),
        "method_reason": str(options.get("method_reason") or ""),
        "aliases": aliases(run),
        "host": _host(layout, machine),
        "warnings": [],
    }
    plan["warnings"] = _warnings(plan, training is not None and training.label in pending)
    return plan


def _train_options(run: Run) -> dict[str, t.Any]:
    return next((step.spec.options for step in run.steps if step.spec.options.get("resolved")), {})


def bases(run: Run) -> dict[str, dict[str, t.Any]]:
    """The base of a run in words, by its fingerprint: it may not have been fetched yet."""
    return {
        step.spec.fingerprint: {"words": describe_base(step.spec.settings, step.spec.fingerprint)}
        for step in run.steps
        if step.spec.kind == "base"
    }


def aliases(run: Run) -> list[str]:
    """The tags that a run moves."""
    return next((list(step.spec.options["aliases"]) for step in run.steps if step.spec.options.get("aliases")), [])


# -- why ---------------------------------------------------------------------------------------------------------------


def _why(
    layout: Layout,
    step: RunStep,
    reason: str,
    earlier: Earlier | None,
    known: t.Mapping[str, t.Mapping[str, t.Any]],
) -> tuple[list[Change], list[str]]:
    """Which inputs of a step changed, and why it would run, in words."""
    before = earlier.of(step.spec) if earlier else None
    if before is None:
        new = "a new fine-tune" if not earlier else "new in this fine-tune"
        return [], [new if reason == "not made yet" else reason]
    found = changes(layout, before, step.spec, known)
    if not found:
        return [], [reason or "it is asked for again"]
    inputs = [change for change in found if change.input not in FOLLOWS]
    if inputs:
        return found, [change.words() for change in inputs]
    return found, [f"made from another {' and '.join(change.input for change in found)}"]


# -- what it takes -----------------------------------------------------------------------------------------------------


def _takes(
    layout: Layout,
    run: Run,
    step: RunStep,
    options: t.Mapping[str, t.Any],
    machine: Machine,
    known: t.Mapping[str, t.Mapping[str, t.Any]],
    cores: int,
    earlier: Earlier | None,
) -> dict[str, t.Any]:
    """Bytes of GPU memory, RAM and disk, and seconds, as far as they can be told."""
    estimate = options.get("estimate") or {}
    kind = step.spec.kind
    found: dict[str, t.Any] = {}
    disk = (estimate.get("disk") or {}).get(step.label, (estimate.get("disk") or {}).get(kind))
    if kind == "gguf_adapter":
        disk = 2 * int(estimate["trainable"]) if estimate else None  # 16 bits a parameter
    if kind == "base":
        disk = 0 if step.spec.options.get("location") else step.spec.options.get("bytes") or disk
    if disk is not None:
        found["disk_bytes"] = disk
    if (estimate.get("ram") or {}).get(kind):
        found["ram_bytes"] = estimate["ram"][kind]
    if kind == "train" and estimate.get("vram"):
        found["vram_bytes"] = estimate["vram"]["planned"]
    seconds, source = _seconds(layout, step, options, machine, known, cores, earlier, disk or 0)
    if seconds is not None:
        found.update(seconds=round(seconds, 1), seconds_from=source)
    return found


def _seconds(
    layout: Layout,
    step: RunStep,
    options: t.Mapping[str, t.Any],
    machine: Machine,
    known: t.Mapping[str, t.Mapping[str, t.Any]],
    cores: int,
    earlier: Earlier | None,
    disk: int,
) -> tuple[float | None, str]:
    kind = step.spec.kind
    before = earlier.of(step.spec) if earlier else None
    if kind == "train":
        work = _work(layout, step.spec.upstream.get("dataset", ""), options, known)
        results = (before or {}).get("results") or {}
        took = results.get("duration_seconds")
        old_options = (before or {}).get("options") or {}
        if before is not None and took and _alike(before, step, old_options, options):
            old_work = _work(layout, str((before.get("upstream") or {}).get("dataset")), old_options, known)
            if work and old_work:
                # starting, loading and saving take as long whatever the rows; a resumed one tells nothing of them
                beside = 0.0 if results.get("resumed_from") else max(0.0, (_took(before) or 0.0) - float(took))
                return beside + float(took) * work / old_work, "the last time"
        parameters = (options.get("estimate") or {}).get("parameters")
        if not work or not parameters:
            return None, ""
        gpu = machine.gpus[0].name if machine.gpus else ""
        if machine.accelerator == "cuda" and not gpu:
            return None, ""
        method = str(options["resolved"]["method"])
        return duration.training_seconds(parameters, work, method, gpu, cores), "worked out"
    took = _took(before)
    if took is not None and (before or {}).get("settings") == step.spec.settings and kind != "base":
        return took, "the last time"
    return duration.copying_seconds(kind, disk), "worked out"


def _work(
    layout: Layout,
    dataset: str,
    options: t.Mapping[str, t.Any],
    known: t.Mapping[str, t.Mapping[str, t.Any]],
) -> float | None:
    """Tokens a training sees."""
    dataset_results = (known.get(dataset) or {}).get("results")
    if not dataset_results and len(dataset) == 64:
        dataset_results = (layout.receipt("dataset", dataset) or {}).get("results")
    resolved = options.get("resolved") or {}
    if not dataset_results or not resolved:
        return None
    return duration.total_tokens(dataset_results, float(resolved["epochs"]), int(resolved["cutoff_len"]))


def _alike(
    before: t.Mapping[str, t.Any], step: RunStep, old: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any]
) -> bool:
    """Whether two trainings take the same time for a token."""
    same = ("method", "batch_size", "gradient_accumulation", "stage")
    was, now = old.get("resolved") or {}, new.get("resolved") or {}
    return (
        (before.get("upstream") or {}).get("base") == step.spec.upstream.get("base")
        and old.get("accelerator") == new.get("accelerator")
        and all(was.get(name) == now.get(name) for name in same)
    )


def _took(receipt: t.Mapping[str, t.Any] | None) -> float | None:
    try:
        start, end = (
            datetime.datetime.fromisoformat(str((receipt or {})[key]).replace("Z", "+00:00"))
            for key in ("started_at", "finished_at")
        )
    except (KeyError, ValueError):
        return None
    return max(0.0, (end - start).total_seconds())


def _host(layout: Layout, machine: Machine) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {
        "accelerator": machine.accelerator,
        "disk_path": layout.root,
        "disk_free_bytes": free_bytes(layout.root),
    }
    if machine.ram is not None:
        found.update(ram_bytes=machine.ram.total, ram_available_bytes=machine.ram.available)
    if machine.gpus:
        found.update(
            gpus=[gpu.name for gpu in machine.gpus],
            vram_bytes=machine.gpu_total,
            vram_free_bytes=machine.gpu_free,
        )
    return found


def _warnings(plan: t.Mapping[str, t.Any], trains: bool) -> list[str]:
    host = plan["host"]
    found = []
    takes = [step["takes"] for step in plan["steps"] if step["runs"]]
    disk = sum(each.get("disk_bytes", 0) for each in takes)
    if disk > host["disk_free_bytes"]:
        found.append(
            f"{plan['name']}: about {gigabytes(disk)} will be written in all, and {gigabytes(host['disk_free_bytes'])} "
            f"are free at {host['disk_path']}."
        )
    free, vram = host.get("vram_free_bytes"), max((each.get("vram_bytes", 0) for each in takes), default=0)
    if trains and free is not None and free < vram:
        found.append(
            f"{plan['name']}: the training takes about {gigabytes(vram)} of GPU memory, and {gigabytes(free)} are free "
            "now: somebody else is on the GPU (see the module gpu_info)."
        )
    return found
