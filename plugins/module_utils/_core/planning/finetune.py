# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning of a run from a declaration: names are resolved to identities, settings to fingerprints.

This module performs the lookups (the base model on the hub, the content of a dataset); ``planning.pipeline`` connects
the steps and performs no input or output.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..base_models import chat_templates, names, resolution
from ..datasets import registry, truncation
from ..errors import InputError
from ..estimates import host
from ..releases.promotion import Releases, content_tag, hold_warning
from ..runs.run import Run, RunStep
from ..runs.spec import Toolchain
from ..training import adapter_export, hyperparameters, image_arguments, llamafactory_arguments, stages
from ..training.hyperparameters import Hyperparameters
from . import pipeline, retraining
from .declaration import read_declaration
from .pipeline import Identity


def plan_run(
    layout: Layout,
    raw: t.Mapping[str, t.Any],
    toolchain: Toolchain,
    bases: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    datasets: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    accelerator: str = "auto",
    write: bool = True,
    submitted_by: str = "ansible",
    nodes: t.Mapping[str, t.Any] | None = None,
) -> Run:
    """Plan the run that applies one declared fine-tune.

    :param raw: one entry of ``finetunes``.
    :param datasets: facts about datasets that are not published yet (check mode): ``fingerprint``, ``outcome``.
    :param accelerator: auto, cuda or cpu.
    :param write: whether the resolution of a base name may be recorded.
    :param nodes: the hosts that train it together, this one first, as stored by :class:`distributed.nodes.Nodes`.
    :raises InputError: if the declaration is invalid or cannot be applied on this host.
    """
    del bases
    declared = read_declaration(raw)
    if len(declared.nodes) > 1 and write and nodes is None:
        raise InputError(
            f"{declared.name}: several hosts must train it together, but it was submitted to only one of them.",
            "Submit it with the role ia_homelab.llamafactory.finetune (playbooks/finetune.yml), or leave out nodes.",
        )
    pinned = retraining.PinnedInputs(layout, declared.name, declared.retraining_inputs)
    base = pinned.base(resolve_base(layout, declared.base_model, declared.base_revision, toolchain, write))
    resolved_dataset = resolve_dataset(layout, declared.dataset, datasets or {})
    dataset, dataset_results = pinned.dataset(resolved_dataset.fingerprint, resolved_dataset.results)
    stages.check_dataset(declared.hyper.values, declared.dataset, dataset_results)
    subject = subject_of(declared.base_model, base, dataset, dataset_results)

    def read() -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        settings, options = training_settings(
            layout, declared.hyper, base, subject, toolchain, accelerator, declared.name, declared.memory_check, write
        )
        # the rows are divided among the hosts, so a step processes more of them and the result differs
        return ({**settings, "nodes": len(declared.nodes)} if len(declared.nodes) > 1 else settings), options

    settings, options = pinned.training(declared.hyper, read)
    if nodes is not None:
        options["nodes"] = dict(nodes)
    if dataset == resolved_dataset.fingerprint:
        options["sources"] = resolved_dataset.sources
    if pinned.notes and not (declared.register and stages.STAGES[declared.hyper["stage"]].generates):
        # the warning belongs to the registration, which is always a goal; without a registration, to the training
        options["warning"] = " ".join(filter(None, [str(options.get("warning") or ""), *pinned.notes]))
    if not stages.STAGES[declared.hyper["stage"]].generates:
        steps = _train_steps(base, dataset, settings, options)
        return pipeline.make_run(declared.name, steps, ["train"], toolchain, dict(raw), submitted_by)
    if declared.export == "adapter":
        adapter_export.check_exportable(declared.name, options["resolved"])
    register, warning = None, ""
    if declared.register:
        register, warning = register_settings(
            declared.name, options["resolved"], dataset_results, declared.system, declared.parameters
        )

    def plan(attempt: int) -> tuple[list[RunStep], list[str]]:
        return pipeline.finetune_steps(
            Identity(base.fingerprint, base.settings, pinned.base_options(base)),
            Identity(dataset),
            {**settings, "attempt": attempt} if attempt > 1 else settings,
            options,
            declared.hyper.quantizations,
            register,
            declared.aliases,
            {"warning": " ".join([*filter(None, [warning]), *pinned.notes])},
            declared.gate,
            declared.export,
            declared.keep,
        )

    steps, goals = retraining.next_attempt(layout, plan) if declared.always_retrain else plan(1)
    return pipeline.make_run(declared.name, steps, goals, toolchain, dict(raw), submitted_by)


def resolve_base(
    layout: Layout, name: str, revision: str, toolchain: Toolchain, write: bool = True
) -> resolution.BaseIdentity:
    """Resolve a declared base model to its identity."""
    return resolution.resolve_base(layout, names.resolve(name), revision, toolchain.token_file, write=write)


@dataclasses.dataclass(frozen=True)
class _ResolvedDataset:
    """A resolved dataset.

    :param fingerprint: fingerprint of the version.
    :param results: results in its receipt.
    :param sources: the files it was declared from, with their commits.
    """

    fingerprint: str
    results: dict[str, t.Any]
    sources: list[dict[str, t.Any]]


def resolve_dataset(layout: Layout, name: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]) -> _ResolvedDataset:
    """Resolve a declared dataset to a version.

    :param provisional: facts about datasets that are not published yet, by name.
    """
    facts = provisional.get(name) or {}
    if facts.get("fingerprint"):
        results = dict(facts.get("outcome") or {})
        sources = list(facts.get("sources") or results.get("sources") or [])
        return _ResolvedDataset(str(facts["fingerprint"]), results, sources)
    info = registry.load(layout, name)
    return _ResolvedDataset(info.fingerprint, info.results, info.sources)


def subject_of(
    base_model: str, base: resolution.BaseIdentity, dataset: str, dataset_results: t.Mapping[str, t.Any]
) -> host.Subject:
    """Return the facts about a training from which its memory is estimated."""
    ollama_name = "" if base.location else names.resolve(base_model).ollama_name
    return host.Subject(base.fingerprint, dataset, base.shape, dataset_results, ollama_name)


def training_settings(
    layout: Layout,
    hyper: Hyperparameters,
    base: resolution.BaseIdentity,
    subject: host.Subject,
    toolchain: Toolchain,
    accelerator: str,
    name: str,
    memory_check: str = "enforce",
    write: bool = True,
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return the settings of a training for its fingerprint, and its options.

    :param write: whether the result of ``method: auto`` may be recorded.
    :raises InputError: if a hyperparameter is invalid, or the training does not fit this machine.
    """
    machine = host.inspect_machine(accelerator)
    hyper = Hyperparameters({**hyper.values, "template": base.chat_template(hyper["template"])})
    if hyper.extra:
        hyper = llamafactory_arguments.check(hyper, image_arguments.arguments_source(layout, toolchain, write))
    hyper, reason = host.resolve_method(layout, hyper, subject, machine, write)
    options = {
        "resolved": hyperparameters.resolved(hyper),
        "accelerator": machine.accelerator,
        "name": name,
        "method_reason": reason,
    }
    estimate = host.estimate_resources(hyper, subject, machine)
    if estimate is not None:
        options["estimate"] = estimate.as_dict()
    warnings = [
        host.check(layout, hyper, subject, machine, name, memory_check),
        *stages.warnings_for(hyper.values),
        truncation.warning(hyper.values, subject.dataset_results),
    ]
    if any(warnings):
        options["warning"] = " ".join(filter(None, warnings))
    return hyperparameters.settings(hyper), options


def register_settings(
    name: str,
    training: t.Mapping[str, t.Any],
    dataset: t.Mapping[str, t.Any],
    system: str | None,
    parameters: t.Mapping[str, t.Any],
) -> tuple[dict[str, t.Any], str]:
    """Return the settings of a registration, and a warning if it cannot serve every row as it was trained.

    :param training: hyperparameters of the training: its template, and whether thinking was enabled.
    :param dataset: results in the receipt of the dataset.
    """
    thinking = (training.get("extra") or {}).get("enable_thinking")
    template = chat_templates.template_for(str(training["template"]), True if thinking is None else bool(thinking))
    warning = ""
    if system is None:
        system, warning = chat_templates.system_for(template, dataset)
    settings: dict[str, t.Any] = {
        "name": name,
        "template": template.name,
        "system": system,
        "parameters": dict(parameters),
    }
    if thinking is not None:
        settings["enable_thinking"] = bool(thinking)
    return settings, warning


# -- runs of the first steps only (later steps: single_steps) ----------------------------------------------------------


def plan_base(layout: Layout, name: str, revision: str, toolchain: Toolchain, write: bool = True) -> Run:
    """Plan the run that provides a base model on the host."""
    base = resolve_base(layout, name, revision, toolchain, write)
    step = pipeline.base_step(Identity(base.fingerprint, base.settings, base.options))
    return pipeline.make_run(f"base-{name.rsplit('/', 1)[-1]}", [step], ["base"], toolchain)


def plan_train(
    layout: Layout,
    name: str,
    base_model: str,
    revision: str,
    dataset: str,
    hyper: Hyperparameters,
    toolchain: Toolchain,
    accelerator: str = "auto",
    write: bool = True,
    memory_check: str = "enforce",
) -> Run:
    """Plan the run that trains a base model on a dataset."""
    base = resolve_base(layout, base_model, revision, toolchain, write)
    resolved_dataset = resolve_dataset(layout, dataset, {})
    fingerprint = resolved_dataset.fingerprint
    stages.check_dataset(hyper.values, dataset, resolved_dataset.results)
    subject = subject_of(base_model, base, fingerprint, resolved_dataset.results)
    settings, options = training_settings(
        layout, hyper, base, subject, toolchain, accelerator, name, memory_check, write
    )
    return pipeline.make_run(name, _train_steps(base, fingerprint, settings, options), ["train"], toolchain)


def _train_steps(
    base: resolution.BaseIdentity, dataset: str, settings: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]
) -> list[RunStep]:
    return [
        pipeline.base_step(Identity(base.fingerprint, base.settings, base.options)),
        pipeline.make_step("train", settings, {"base": base.fingerprint, "dataset": dataset}, options),
    ]


def warnings_of(run: Run, layout: Layout | None = None) -> list[str]:
    """Return the warnings about a run that is valid nevertheless.

    :param layout: data directory, to check for holds; None skips that check.
    """
    warnings = [
        f"{run.name}: {step.spec.options.get('warning')}" for step in run.steps if step.spec.options.get("warning")
    ]
    for step in run.steps if layout is not None else ():
        options = step.spec.options
        if step.spec.kind == "register" and options.get("aliases"):
            name = str(step.spec.settings["name"])
            tag = content_tag(name, step.spec.fingerprint, str(options["quantization"]))
            hold = Releases(layout, name).blocking_hold(tag) if layout is not None else None
            warnings += [hold_warning(name, tag, hold)] if hold else []
    return list(dict.fromkeys(warnings))
