# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of the steps of a run: names are resolved to identities, declared values to settings.

This module performs the lookups: the base model on the hub, the content of a dataset, the memory of this host.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.layout import Layout
from ..base_models import names, resolution
from ..chat_formats import exactness, text_arguments, tool_choice
from ..chat_formats.facts import facts_of
from ..chat_formats.house_format import AUTO, HOUSE, TEMPLATE
from ..chat_formats.tool_formats import unread_calls
from ..datasets import registry, tool_statistics, truncation
from ..estimates import host
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..releases.recipes import RECIPE
from ..runs.spec import Toolchain
from ..training import hyperparameters, image_arguments, llamafactory_arguments, stages
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
        directory = layout.artifact("dataset", str(facts["fingerprint"]))
        results = tool_statistics.tool_use(dict(facts.get("outcome") or {}), directory)
        sources = list(facts.get("sources") or results.get("sources") or [])
        return ResolvedDataset(str(facts["fingerprint"]), results, sources)
    info = registry.load(layout, name)
    return ResolvedDataset(info.fingerprint, tool_statistics.tool_use(info.results, info.path), info.sources)


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
    choice = tool_choice.choose(
        str(hyper["tool_format"]), str(hyper["template"]), tool_choice.ToolUse.from_results(subject.dataset_results)
    )
    # the format of the template is the default of a fingerprint: it is what trainings before this option have
    hyper = Hyperparameters({**hyper.values, "tool_format": HOUSE if choice.format == HOUSE else AUTO})
    options: dict[str, t.Any] = {
        "resolved": {**hyperparameters.resolved(hyper), "tool_format": choice.format},
        "accelerator": machine.accelerator,
        "name": name,
        "method_reason": str(reason or ""),
    }
    if reason is not None:
        options["method_cause"] = reason.as_dict()
    if choice.reason is not None:
        options["tool_format_cause"] = choice.reason.as_dict()
    estimate = host.estimate_resources(hyper, subject, machine)
    if estimate is not None:
        options["estimate"] = estimate.as_dict()
    warnings = [
        host.check(layout, hyper, subject, machine, name, memory_check, estimate),
        *stages.warnings_for(hyper.values),
        truncation.warning(hyper.values, subject.dataset_results),
        text_arguments.warning(hyper.values),
        choice.warning,
    ]
    return hyperparameters.settings(hyper), add_warnings(options, warnings)


def keep_tool_format(
    layout: Layout,
    declared: Hyperparameters,
    settings: dict[str, t.Any],
    upstream: t.Mapping[str, str],
    options: dict[str, t.Any],
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return settings and options of a training; in the format of its template where it was trained or begun in it.

    Trainings of versions without ``tool_format`` are in the format of the template, and an upgrade repeats none.

    :param declared: declared hyperparameters; :param settings: settings of the training, with its tool format.
    :param upstream: fingerprints of base and dataset.
    """
    if declared["tool_format"] != AUTO or settings.get("tool_format") != HOUSE:
        return settings, options
    before = {name: value for name, value in settings.items() if name != "tool_format"}
    earlier = fingerprint("train", before, upstream)
    if layout.receipt("train", earlier) is None and not os.path.isdir(layout.work("train", earlier)):
        return settings, options
    template = str(options["resolved"]["template"])
    kept = {**options, "resolved": {**options["resolved"], "tool_format": TEMPLATE}}
    kept["tool_format_cause"] = Message("chat_formats.tools_trained_before", template=template).as_dict()
    unread = unread_calls(facts_of(template))
    warning = Message("chat_formats.calls_unread_before", template=template, unread=unread) if unread else None
    return before, add_warnings(kept, [warning])


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
    if training.get("tool_format") == HOUSE:
        settings["tool_format"] = HOUSE
    return settings, warning
