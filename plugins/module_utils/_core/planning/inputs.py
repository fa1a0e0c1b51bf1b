# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of the steps of a run: names are resolved to identities, declared values to settings.

This module performs the lookups: the base model on the hub, the content of a dataset, the memory of this host.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.integrity import artifact_defect, artifact_path
from ..artifacts.layout import Layout
from ..base_models import names, resolution
from ..chat_formats import exactness, text_arguments
from ..chat_formats.facts import facts_of
from ..datasets import registry, truncation, validation_split
from ..estimates import host
from ..messages.message import Message
from ..releases.recipes import RECIPE
from ..runs.spec import Toolchain
from ..training import hyperparameters, image_arguments, llamafactory_arguments, optimizer_steps, stages, training_check
from ..training.hyperparameters import Hyperparameters
from .served_system import system_for
from .step_warnings import add_warnings


def resolve_base(
    layout: Layout, name: str, revision: str, toolchain: Toolchain, write: bool = True
) -> resolution.BaseIdentity:
    """Resolve a declared base model to its identity."""
    return resolution.resolve_base(layout, names.resolve(name), revision, toolchain.token_file, write=write)


def base_options(options: t.Mapping[str, t.Any], training: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options of the step ``base``: it fetches the code of a repository only where the training runs it.

    :param options: options of the resolved base.
    :param training: resolved hyperparameters of the training.
    """
    kept = {name: value for name, value in options.items() if name != "remote_code"}
    return {**kept, "remote_code": True} if (training.get("extra") or {}).get("trust_remote_code") else kept


@dataclasses.dataclass(frozen=True)
class ResolvedDataset:
    """A resolved dataset.

    :param fingerprint: fingerprint of the version.
    :param results: results in its receipt.
    :param sources: the files it was declared from, with their commits; None for a pinned version, whose training has
        recorded them.
    """

    fingerprint: str
    results: dict[str, t.Any]
    sources: list[dict[str, t.Any]] | None


def resolve_dataset(layout: Layout, name: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]) -> ResolvedDataset:
    """Resolve a declared dataset to a version.

    :param provisional: facts about datasets that are not published yet, by name.
    """
    facts = provisional.get(name) or {}
    if facts.get("fingerprint"):
        results = dict(facts.get("outcome") or {})
        sources = list(facts.get("sources") or results.get("sources") or [])
        return ResolvedDataset(str(facts["fingerprint"]), results, sources)
    info = registry.load(layout, name)
    return ResolvedDataset(info.fingerprint, info.results, info.sources)


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
    nodes: int = 1,
    merges: bool = True,
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return the settings of a training for its fingerprint, and its options.

    :param write: whether the result of ``method: auto`` may be recorded.
    :param nodes: hosts that train together.
    :param merges: whether the result is merged into its base on this host.
    :raises InputError: if a hyperparameter is invalid, or the training does not fit this machine.
    """
    machine = host.inspect_machine(accelerator)
    hyper = Hyperparameters({**hyper.values, "template": base.chat_template(hyper["template"])})
    if hyper.extra:
        hyper = llamafactory_arguments.check(hyper, image_arguments.arguments_source(layout, toolchain, write))
    host.check_gpus(hyper, machine)
    hyper, reason = host.resolve_method(layout, hyper, subject, machine, write)
    options: dict[str, t.Any] = {
        "resolved": hyperparameters.resolved(hyper),
        "accelerator": machine.accelerator,
        "name": name,
        "method_reason": str(reason or ""),
    }
    if reason is not None:
        options["method_cause"] = reason.as_dict()
    estimate = host.estimate_resources(hyper, subject, machine)
    if estimate is not None:
        options["estimate"] = estimate.as_dict()
    counted = optimizer_steps.count(options["resolved"], subject.dataset_results, nodes)
    if counted is not None:
        options["optimizer_steps"] = counted.steps
    steps = ("train", "merge") if merges else ("train",)
    trained = host.is_trained(layout, hyper, subject)
    warnings = [
        host.check(layout, hyper, subject, machine, name, memory_check, estimate, steps),
        *stages.warnings_for(hyper.values),
        truncation.warning(hyper.values, subject.dataset_results),
        text_arguments.warning(hyper.values),
    ]
    if hyper["validation_share"] and not trained:
        validation_split.check_share(layout.artifact("dataset", subject.dataset), hyper["validation_share"])
    if not trained:  # what exists is not made again
        warnings += optimizer_steps.warnings_for(options["resolved"], counted)
        directory = _base_directory(layout, base)
        warnings.append(
            training_check.check(layout, options["resolved"], directory, base.fingerprint, toolchain, write)
        )
    return hyperparameters.settings(hyper), add_warnings(options, warnings)


def _base_directory(layout: Layout, base: resolution.BaseIdentity) -> str:
    """Return the directory of a base model; empty if it is not complete on this host."""
    if base.location:
        return base.location
    defect = artifact_defect(layout, "base", base.fingerprint)
    return artifact_path(layout, "base", base.fingerprint) if defect is None else ""


def register_settings(
    name: str,
    training: t.Mapping[str, t.Any],
    dataset: t.Mapping[str, t.Any],
    system: str | None,
    parameters: t.Mapping[str, t.Any],
) -> tuple[dict[str, t.Any], Message | None]:
    """Return the settings of a registration, and a warning if it cannot serve every row as it was trained.

    :param training: hyperparameters of the training: its template, and what changes the text of it (``extra``).
    :param dataset: results in the receipt of the dataset.
    """
    template, extra = str(training["template"]), training.get("extra") or {}
    exactness.check(template)
    thinking, default_system = extra.get("enable_thinking"), extra.get("default_system")
    warning = None
    if system is None:
        default = facts_of(template).default_system if default_system is None else str(default_system)
        system, warning = system_for(default, dataset)
    settings: dict[str, t.Any] = {
        "name": name,
        "template": template,
        "system": system,
        "parameters": dict(parameters),
        "recipe": RECIPE,
    }
    if thinking is not None:
        settings["enable_thinking"] = bool(thinking)
    if default_system is not None:
        settings["default_system"] = str(default_system)
    return settings, warning
