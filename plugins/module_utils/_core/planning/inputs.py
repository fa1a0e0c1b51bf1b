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

from ..artifacts.integrity import artifact_defect, artifact_path
from ..artifacts.layout import Layout
from ..base_models import base_checks, names, resolution
from ..chat_formats import exactness, text_arguments, thinking, tool_choice
from ..chat_formats.facts import facts_of
from ..chat_formats.facts import names as facts_names
from ..chat_formats.house_format import AUTO, HOUSE, TEMPLATE
from ..chat_formats.tool_formats import unread_calls
from ..datasets import (
    earlier_turns,
    held_out_rows,
    media_markers,
    registry,
    thought_statistics,
    tool_statistics,
    truncation,
    validation_split,
)
from ..errors import InputError
from ..estimates import host, number_format
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..releases.recipes import RECIPE
from ..runs.spec import Toolchain
from ..training import (
    extra_files,
    hyperparameters,
    image_arguments,
    llamafactory_arguments,
    optimizer_steps,
    stages,
    training_check,
)
from ..training.hyperparameters import Hyperparameters
from ..training.options import BY_NAME
from .served_system import system_for
from .step_warnings import add_warnings

#: Stages that train on answers, which may begin with a thought.
_STAGES_OF_ANSWERS = BY_NAME["thinking"].stages


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
    base_model: str,
    base: resolution.BaseIdentity,
    dataset: str,
    dataset_results: t.Mapping[str, t.Any],
    nodes: int = 1,
) -> host.Subject:
    """Return the facts about a training from which its memory is estimated."""
    ollama_name = "" if base.location else names.resolve(base_model).ollama_name
    return host.Subject(base.fingerprint, dataset, base.shape, dataset_results, ollama_name, nodes)


def training_settings(
    layout: Layout,
    hyper: Hyperparameters,
    base: resolution.BaseIdentity,
    subject: host.Subject,
    toolchain: Toolchain,
    *,
    accelerator: str,
    name: str,
    memory_check: str = "enforce",
    write: bool = True,
    merges: bool = True,
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return the settings of a training for its fingerprint, and its options.

    :param write: whether the result of ``method: auto`` may be recorded.
    :param merges: whether the result is merged into its base on this host.
    :raises InputError: if a hyperparameter is invalid, the training does not fit this machine, or the GPU does not have
        the number format.
    """
    machine = host.inspect_machine(accelerator)
    kept = base.template_source == resolution.EARLIER and not hyper["template"]
    hyper = dataclasses.replace(hyper, values={**hyper.values, "template": base.chat_template(hyper["template"])})
    if hyper.extra:
        hyper = llamafactory_arguments.check(hyper, image_arguments.arguments_source(layout, toolchain, write))
        if not toolchain.llamafactory_image:  # an image may have files that this host does not have
            extra_files.check(hyper.extra)
        hyper = extra_files.with_contents(layout, hyper, write)
    host.check_gpus(hyper, machine)
    # before all that looks for an existing training: the format is part of its fingerprint
    choice = _choose_tool_format(layout, hyper, subject, machine)
    hyper = _with_tool_format(hyper, choice.format)
    thoughts = _choose_thinking(layout, hyper, subject, machine)
    hyper = _with_thinking(hyper, thoughts.setting)
    is_auto = hyper.method == "auto"
    hyper, reason = host.resolve_method(layout, hyper, subject, machine, write)
    precision, about_precision = number_format.resolve(layout, hyper, subject, machine, name, write)
    options: dict[str, t.Any] = {
        "resolved": {**hyperparameters.resolved(hyper), "precision": precision, "tool_format": choice.format},
        "accelerator": machine.accelerator,
        "name": name,
        "method_reason": str(reason or ""),
    }
    if reason is not None:
        options["method_cause"] = reason.as_dict()
    if hyper["stage"] in _STAGES_OF_ANSWERS:
        options["resolved"]["thinking"] = thoughts.policy
    if thoughts.reason is not None:
        options["thinking_cause"] = thoughts.reason.as_dict()
    if choice.reason is not None:
        options["tool_format_cause"] = choice.reason.as_dict()
    estimate = host.estimate_resources(hyper, subject, machine)
    if estimate is not None:
        options["estimate"] = estimate.as_dict()
    trained = host.is_trained(layout, hyper, subject)
    try:
        results, held_out = _trained_results(layout, hyper, subject, count=not trained)
    except InputError as error:
        raise InputError(
            "training.of_finetune", name=name, problem=error.content, details={"options": ["held_out"], **error.details}
        ) from error
    if held_out is not None:
        options["held_out"] = held_out
    counted = optimizer_steps.count(options["resolved"], results, subject.nodes)
    if counted is not None:
        options["optimizer_steps"] = counted.steps
    steps = host.steps_with_ram(merges)
    warnings = [
        host.check(
            layout, hyper, subject, machine, name=name, memory_check=memory_check, resources=estimate, steps=steps
        ),
        about_precision,
        # nothing is trained with the template otherwise
        Message("planning.template_kept", template=hyper["template"], model=base.description)
        if kept and not trained
        else None,
        *stages.warnings_for(hyper.values),
        *hyperparameters.idle_options(hyper.values),
        *(hyperparameters.options_of_other_methods(hyper.values) if is_auto else ()),
        truncation.warning(hyper.values, results),
        text_arguments.warning(hyper.values),
        choice.warning,
        thoughts.warning,
    ]
    if hyper["validation_share"] and not trained:
        directory = layout.artifact("dataset", subject.dataset)
        sides = held_out_rows.Sides(directory, hyper["held_out"])
        validation_split.check_share(directory, hyper["validation_share"], sides.is_trained)
    if not trained:  # what exists is not made again
        warnings += optimizer_steps.warnings_for(options["resolved"], counted)
        directory = _base_directory(layout, base)
        warnings.append(
            training_check.check(layout, options["resolved"], directory, base.fingerprint, toolchain, write)
        )
    settings = extra_files.settings(layout, hyper, subject.upstream, subject.nodes)
    return settings, add_warnings(options, warnings)


def _trained_results(
    layout: Layout, hyper: Hyperparameters, subject: host.Subject, count: bool
) -> tuple[t.Mapping[str, t.Any], dict[str, t.Any] | None]:
    """Return the statistics of the rows that are trained on, and how many rows are held out if they were counted.

    :param count: whether the rows may be read to count them.
    :raises InputError: if no row is held out, or none is left to train on.
    """
    share = hyper["held_out"]
    if not share or not BY_NAME["held_out"].applies(hyper.method, hyper["stage"]):
        return subject.dataset_results, None
    directory = layout.artifact("dataset", subject.dataset) if count else None
    results, counts = held_out_rows.trained_results(directory, subject.dataset_results, share)
    if counts is None:
        return results, None
    return results, {"held_out": counts.held_out, "asked": counts.asked, "rows": counts.trained + counts.held_out}


def require_held_out(name: str, declared: Hyperparameters, training: t.Mapping[str, t.Any]) -> None:
    """Check that a training holds out the rows that are declared as such, also one that is kept from before.

    A larger share holds out the rows of a smaller one, too.

    :param name: name of the fine-tune.
    :param training: resolved hyperparameters of the training.
    :raises InputError: if it has read some of them.
    """
    share, kept = declared["held_out"], float(training.get("held_out") or 0.0)
    if share <= kept:
        return
    code = "planning.not_held_out" if kept else "planning.nothing_held_out"
    raise InputError(code, name=name, share=share, kept=kept, details={"options": ["held_out"]})


def checked_base(
    layout: Layout,
    base: resolution.BaseIdentity,
    dataset: tuple[str, str],
    settings: t.Mapping[str, t.Any],
    options: dict[str, t.Any],
    toolchain: Toolchain,
    *,
    converted: bool,
    write: bool,
) -> dict[str, t.Any]:
    """Check that a base can be trained so, if something would be trained; return the options with what was found.

    :param dataset: name and fingerprint of the dataset.
    :param settings: settings of the training; :param options: its options.
    :param converted: whether the result is converted to GGUF.
    :param write: whether the check may run; an earlier result is used otherwise.
    :raises InputError: if the base cannot be trained with this template, or a row has the marker of a picture.
    """
    upstream = {"base": base.fingerprint, "dataset": dataset[1]}
    if layout.receipt("train", fingerprint("train", settings, upstream)) is not None:
        return options
    resolved = options["resolved"]
    template = str(resolved.get("template") or "")
    if template not in facts_names():
        return options
    marker = media_markers.first_marker(layout, dataset[1]) if facts_of(template).multimodal else None
    if marker is not None:
        row, text = marker
        raise InputError("base_models.media_in_text", row=row, dataset=dataset[0], marker=text, template=template)
    remote_code = bool((resolved.get("extra") or {}).get("trust_remote_code"))
    subject = base_checks.Subject(base, template, converted, remote_code)
    result = base_checks.check(layout, subject, toolchain, write)
    base_checks.require(result, base)
    if result.unchecked is not None:
        return {**options, "base_unchecked": result.unchecked.as_dict()}
    return add_warnings(options, result.notes)


def check_template(layout: Layout, template: str, dataset: str) -> Message | None:
    """Check that a template can be served as these rows are trained; return a warning if it can for one question only.

    :param dataset: fingerprint of the dataset; empty if it is unknown, which counts as conversations of several turns.
    :raises InputError: if it cannot; the first row with an earlier turn is in the details.
    """
    level = exactness.exactness_of_known(template)
    if level.level != exactness.SINGLE_TURN:
        exactness.check(template)
        return None
    row = earlier_turns.first_row(layout, dataset) if dataset else 0
    try:
        exactness.check(template, several_turns=row is not None)
    except InputError as error:
        error.details.update({"row": row} if row else {})
        raise
    return Message("chat_formats.single_question", template=template, reason=level.reason)


def _base_directory(layout: Layout, base: resolution.BaseIdentity) -> str:
    """Return the directory of a base model; empty if it is not complete on this host."""
    if base.location:
        return base.location
    defect = artifact_defect(layout, "base", base.fingerprint)
    return artifact_path(layout, "base", base.fingerprint) if defect is None else ""


def _with_tool_format(hyper: Hyperparameters, tool_format: str) -> Hyperparameters:
    """The hyperparameters with the tool format as it enters the fingerprint.

    That of the template is the default: trainings of versions without ``tool_format`` have it.
    """
    return dataclasses.replace(hyper, values={**hyper.values, "tool_format": HOUSE if tool_format == HOUSE else AUTO})


def _choose_tool_format(
    layout: Layout, hyper: Hyperparameters, subject: host.Subject, machine: host.Machine
) -> tool_choice.ToolChoice:
    """Choose the tool format of a training: that of its template where it was trained or begun in it.

    Trainings of versions without ``tool_format`` are in the format of the template, and an upgrade repeats none.

    :param hyper: hyperparameters with the declared tool format and a template.
    """
    declared, template = str(hyper["tool_format"]), str(hyper["template"])
    choice = tool_choice.choose(declared, template, tool_choice.ToolUse.from_results(subject.dataset_results))
    if declared != AUTO or choice.format != HOUSE:
        return choice
    before, _reason = host.resolve_method(layout, _with_tool_format(hyper, TEMPLATE), subject, machine, False)
    earlier = host.train_fingerprint(layout, before, subject)
    if layout.receipt("train", earlier) is None and not os.path.isdir(layout.work("train", earlier)):
        return choice
    unread = unread_calls(facts_of(template))
    return tool_choice.ToolChoice(
        TEMPLATE,
        Message("chat_formats.tools_trained_before", template=template),
        Message("chat_formats.calls_unread_before", template=template, unread=unread) if unread else None,
    )


def _with_thinking(hyper: Hyperparameters, setting: str) -> Hyperparameters:
    """The hyperparameters with ``thinking`` as it enters the fingerprint."""
    return dataclasses.replace(hyper, values={**hyper.values, "thinking": setting})


def _choose_thinking(
    layout: Layout, hyper: Hyperparameters, subject: host.Subject, machine: host.Machine
) -> thinking.ThinkingChoice:
    """Choose what becomes of thoughts in a training: nothing where a version without ``thinking`` trained or began it.

    :param hyper: hyperparameters with the declared ``thinking``, a template, and the tool format of the fingerprint.
    """
    if hyper["stage"] not in _STAGES_OF_ANSWERS:
        return thinking.ThinkingChoice(thinking.FROM_ROWS)
    declared, template = str(hyper["thinking"]), str(hyper["template"])

    def exists() -> bool:
        if declared != thinking.FROM_ROWS:
            return False
        before, _reason = host.resolve_method(layout, hyper, subject, machine, False)
        earlier = host.train_fingerprint(layout, before, subject)
        return layout.receipt("train", earlier) is not None or os.path.isdir(layout.work("train", earlier))

    as_before = thinking.ThinkingChoice(
        thinking.FROM_ROWS, reason=Message("chat_formats.thinking_trained_before", template=template)
    )
    results = subject.dataset_results
    if "thoughts" not in results:
        if exists():
            reasoning = template in facts_names() and facts_of(template).reasoning
            return as_before if reasoning else thinking.ThinkingChoice(thinking.FROM_ROWS)
        results = thought_statistics.thought_use(results, layout.artifact("dataset", subject.dataset))
    use = thinking.ThoughtUse.from_results(results)
    try:
        choice = thinking.choose(declared, template, use, hyper.extra.get("enable_thinking"))
    except InputError:
        if exists():
            return as_before
        raise
    return as_before if choice.setting != thinking.FROM_ROWS and exists() else choice


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
    enable_thinking, default_system = extra.get("enable_thinking"), extra.get("default_system")
    if enable_thinking is None and training.get("thinking") == thinking.OFF and facts_of(template).reasoning:
        enable_thinking = False
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
    if enable_thinking is not None:
        settings["enable_thinking"] = bool(enable_thinking)
    if default_system is not None:
        settings["default_system"] = str(default_system)
    if training.get("tool_format") == HOUSE:
        settings["tool_format"] = HOUSE
    return settings, warning
