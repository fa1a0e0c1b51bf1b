# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is declared to a run: names become identities, settings become fingerprints.

Here the core looks things up (what a base name is on the hub, what a dataset holds); how the
steps hang together is decided in ``_chain``, which looks at nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing as t

from . import (
    _chain,
    _dataset,
    _export,
    _gate,
    _hub,
    _hyperparameters,
    _image_arguments,
    _lf_arguments,
    _models,
    _regenerate,
    _sizing,
    _stages,
    _templates,
    _truncation,
)
from ._chain import Identity
from ._errors import InputError
from ._hyperparameters import Hyperparameters
from ._layout import Layout
from ._release import Releases, content_tag, hold_warning
from ._retention import Policy
from ._run import Run, RunStep
from ._steps import Toolchain

#: Keys of a declared fine-tune beside the hyperparameters. Held equal to the role's argument_specs by a test.
OPTIONS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "base_model": {"type": "str", "required": True},
    "base_revision": {"type": "str", "default": "main"},
    "dataset": {"type": "str", "required": True},
    "system": {"type": "str"},
    "parameters": {"type": "dict", "default": {}},
    "aliases": {"type": "list", "elements": "str", "default": ["latest"]},
    "register": {"type": "bool", "default": True},
    "memory_check": {"type": "str", "default": "enforce", "choices": list(_sizing.CHECKS)},
    "gate": {"type": "dict", "default": {}},
    "export": {"type": "str", "default": "merged", "choices": list(_export.EXPORTS)},
    "regenerate": {"type": "str", "default": "on_change", "choices": list(_regenerate.POLICIES)},
    "regenerate_on": {
        "type": "list",
        "elements": "str",
        "default": list(_regenerate.INPUTS),
        "choices": list(_regenerate.INPUTS),
    },
    "keep": {"type": "int"},
    "keep_intermediates": {"type": "bool", "default": True},
    "nodes": {"type": "list", "elements": "str"},
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")


@dataclasses.dataclass(frozen=True)
class Declared:
    """A declared fine-tune, checked."""

    name: str
    base_model: str
    base_revision: str
    dataset: str
    system: str | None
    parameters: dict[str, t.Any]
    aliases: tuple[str, ...]
    register: bool
    memory_check: str
    gate: dict[str, t.Any] | None
    export: str
    counts: tuple[str, ...]
    always: bool
    keep: dict[str, t.Any]
    nodes: tuple[str, ...]
    hyper: Hyperparameters


def read_declaration(raw: t.Mapping[str, t.Any]) -> Declared:
    """Check one entry of ``finetunes``.

    :raises InputError: naming the key that is wrong.
    """
    who = str(raw.get("name") or "a fine-tune")
    for key in raw:
        if key not in OPTIONS and difflib.get_close_matches(str(key), list(OPTIONS), 1, 0.85):
            meant = difflib.get_close_matches(str(key), list(OPTIONS), 1, 0.85)[0]
            raise InputError(f"{who}: there is no option {key!r}.", f"Did you mean {meant}?")
    values: dict[str, t.Any] = {name: raw.get(name) for name in OPTIONS}
    for name, option in OPTIONS.items():
        if values[name] is None:
            if option.get("required"):
                raise InputError(f"{who}: {name} is missing.")
            values[name] = option.get("default")
        elif option["type"] != "list" and values[name] not in option.get("choices", (values[name],)):
            raise InputError(f"{who}: {name} must be one of {', '.join(option['choices'])}, not {values[name]!r}.")
    name = str(values["name"])
    if not _NAME.match(name):
        raise InputError(
            f"{name!r} is not a name for a model.", "Use letters, digits, '.', '_' and '-', at most 80, a letter first."
        )
    try:
        gate = read_gate(values["gate"], values["aliases"])
        hyper = _hyperparameters.normalise({key: raw[key] for key in raw if key not in OPTIONS})
        register = _stages.registers(hyper["stage"], raw.get("register"))
    except InputError as error:
        raise InputError(f"{who}: {error.message}", error.hint, error.details) from error
    return Declared(
        name=name,
        base_model=str(values["base_model"]),
        base_revision=str(values["base_revision"]),
        dataset=_dataset.dataset_name(str(values["dataset"])),
        system=values["system"],
        parameters=dict(values["parameters"]),
        aliases=tuple(values["aliases"]),
        register=register,
        memory_check=str(values["memory_check"]),
        gate=gate,
        export=str(values["export"]),
        counts=_regenerate.inputs_that_count(who, str(values["regenerate"]), values["regenerate_on"]),
        always=values["regenerate"] == "always",
        keep=_read_policy(who, values["keep"], bool(values["keep_intermediates"])),
        nodes=tuple(map(str, [values["nodes"]] if isinstance(values["nodes"], str) else values["nodes"] or [])),
        hyper=hyper,
    )


def _read_policy(who: str, keep: t.Any, intermediates: bool) -> dict[str, t.Any]:
    if keep is not None and (not str(keep).isdigit() or int(keep) < 1):
        raise InputError(f"{who}: keep is a number of versions, at least 1, not {keep!r}.")
    return Policy(int(keep) if keep is not None else None, intermediates).as_settings()


def read_gate(raw: t.Any, aliases: t.Sequence[str]) -> dict[str, t.Any] | None:
    """Settings of a declared gate; None when none is declared.

    :raises InputError: for a gate that cannot be, or that stands before nothing.
    """
    gate = _gate.read_gate(raw)
    if gate is not None and not aliases:
        raise InputError("A gate is declared, and no aliases that stand behind it.", "Give aliases, such as [latest].")
    return gate.as_settings() if gate else None


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
    """The run that makes one declared fine-tune true.

    :param raw: one entry of ``finetunes``.
    :param datasets: what is known of datasets that are not published yet (check mode): ``fingerprint``, ``outcome``.
    :param accelerator: auto, cuda or cpu.
    :param write: whether what a base name was resolved to may be written down.
    :param nodes: the hosts that train it together, this one first, as :class:`_nodes.Nodes` has them.
    :raises InputError: when the declaration cannot be.
    """
    del bases
    declared = read_declaration(raw)
    if len(declared.nodes) > 1 and write and nodes is None:
        raise InputError(
            f"{declared.name}: several hosts shall train it together, and only one of them is asked.",
            "Ask for it with the role ia_homelab.llamafactory.finetune (playbooks/finetune.yml), or leave out nodes.",
        )
    kept = _regenerate.Kept(layout, declared.name, declared.counts)
    base = kept.base(resolve_base(layout, declared.base_model, declared.base_revision, toolchain, write))
    known = resolve_dataset(layout, declared.dataset, datasets or {})
    dataset, found_out = kept.dataset(known.fingerprint, known.results)
    _stages.check_dataset(declared.hyper.values, declared.dataset, found_out)
    subject = subject_of(declared.base_model, base, dataset, found_out)

    def read() -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        settings, options = read_training(
            layout, declared.hyper, base, subject, toolchain, accelerator, declared.name, declared.memory_check, write
        )
        # rows are divided among the hosts, so a step sees more of them: another result
        return ({**settings, "nodes": len(declared.nodes)} if len(declared.nodes) > 1 else settings), options

    settings, options = kept.training(declared.hyper, read)
    if nodes is not None:
        options["nodes"] = dict(nodes)
    if dataset == known.fingerprint:
        options["sources"] = known.sources
    if kept.notes and not (declared.register and _stages.STAGES[declared.hyper["stage"]].answers):
        # said at the registration, which is always asked for; without one, at the training
        options["warning"] = " ".join(filter(None, [str(options.get("warning") or ""), *kept.notes]))
    if not _stages.STAGES[declared.hyper["stage"]].answers:
        steps = _train_steps(base, dataset, settings, options)
        return _chain.make_run(declared.name, steps, ["train"], toolchain, dict(raw), submitted_by)
    if declared.export == "adapter":
        _export.check_exportable(declared.name, options["resolved"])
    register, warning = None, ""
    if declared.register:
        register, warning = register_settings(
            declared.name, options["resolved"], found_out, declared.system, declared.parameters
        )

    def plan(attempt: int) -> tuple[list[RunStep], list[str]]:
        return _chain.finetune_steps(
            Identity(base.fingerprint, base.settings, kept.base_options(base)),
            Identity(dataset),
            {**settings, "attempt": attempt} if attempt > 1 else settings,
            options,
            declared.hyper.quantizations,
            register,
            declared.aliases,
            {"warning": " ".join([*filter(None, [warning]), *kept.notes])},
            declared.gate,
            declared.export,
            declared.keep,
        )

    steps, goals = _regenerate.next_attempt(layout, plan) if declared.always else plan(1)
    return _chain.make_run(declared.name, steps, goals, toolchain, dict(raw), submitted_by)


def resolve_base(
    layout: Layout, name: str, revision: str, toolchain: Toolchain, write: bool = True
) -> _hub.BaseIdentity:
    """What a declared base model is, exactly."""
    return _hub.resolve_base(layout, _models.resolve(name), revision, toolchain.token_file, write=write)


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """What is known of a dataset.

    :param results: what was found out about it.
    :param sources: the files it was declared from, with their commits.
    """

    fingerprint: str
    results: dict[str, t.Any]
    sources: list[dict[str, t.Any]]


def resolve_dataset(layout: Layout, name: str, known: t.Mapping[str, t.Mapping[str, t.Any]]) -> _Dataset:
    """What a declared dataset is, exactly.

    :param known: what is known of datasets that are not published yet.
    """
    told = known.get(name) or {}
    if told.get("fingerprint"):
        results = dict(told.get("outcome") or {})
        return _Dataset(str(told["fingerprint"]), results, list(told.get("sources") or results.get("sources") or []))
    info = _dataset.load(layout, name)
    return _Dataset(info.fingerprint, info.results, info.sources)


def subject_of(
    base_model: str, base: _hub.BaseIdentity, dataset: str, found_out: t.Mapping[str, t.Any]
) -> _sizing.Subject:
    """What a training is about, for deciding what suits the machine."""
    known = "" if base.location else _models.resolve(base_model).ollama_name
    return _sizing.Subject(base.fingerprint, dataset, base.shape, found_out, known)


def read_training(
    layout: Layout,
    hyper: Hyperparameters,
    base: _hub.BaseIdentity,
    subject: _sizing.Subject,
    toolchain: Toolchain,
    accelerator: str,
    name: str,
    memory_check: str = "enforce",
    write: bool = True,
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Settings of a training for its fingerprint, and its options.

    :param write: whether it may be written down what ``method: auto`` came to.
    :raises InputError: when a hyperparameter cannot be, or the training cannot fit this machine.
    """
    machine = _sizing.look(accelerator)
    hyper = Hyperparameters({**hyper.values, "template": base.chat_template(hyper["template"])})
    if hyper.extra:
        hyper = _lf_arguments.check(hyper, _image_arguments.installed(layout, toolchain, write))
    hyper, reason = _sizing.settle_method(layout, hyper, subject, machine, write)
    options = {
        "resolved": _hyperparameters.resolved(hyper),
        "accelerator": machine.accelerator,
        "name": name,
        "method_reason": reason,
    }
    estimate = _sizing.size(hyper, subject, machine)
    if estimate is not None:
        options["estimate"] = estimate.as_dict()
    warnings = [
        _sizing.check(layout, hyper, subject, machine, name, memory_check),
        *_stages.warnings_for(hyper.values),
        _truncation.warning(hyper.values, subject.found_out),
    ]
    if any(warnings):
        options["warning"] = " ".join(filter(None, warnings))
    return _hyperparameters.settings(hyper), options


def register_settings(
    name: str,
    training: t.Mapping[str, t.Any],
    dataset: t.Mapping[str, t.Any],
    system: str | None,
    parameters: t.Mapping[str, t.Any],
) -> tuple[dict[str, t.Any], str]:
    """Settings of a registration, and a warning where it cannot serve all as it was trained.

    :param training: hyperparameters of the training: its template, and whether thoughts were on.
    :param dataset: what was found out about the dataset.
    """
    thinking = (training.get("extra") or {}).get("enable_thinking")
    template = _templates.template_for(str(training["template"]), True if thinking is None else bool(thinking))
    warning = ""
    if system is None:
        system, warning = _templates.system_for(template, dataset)
    settings: dict[str, t.Any] = {
        "name": name,
        "template": template.name,
        "system": system,
        "parameters": dict(parameters),
    }
    if thinking is not None:
        settings["enable_thinking"] = bool(thinking)
    return settings, warning


# -- the first steps alone (those after them: _finetune_made) ----------------------------------------------------------


def plan_base(layout: Layout, name: str, revision: str, toolchain: Toolchain, write: bool = True) -> Run:
    """The run that has a base model on the host."""
    base = resolve_base(layout, name, revision, toolchain, write)
    step = _chain.base_step(Identity(base.fingerprint, base.settings, base.options))
    return _chain.make_run(f"base-{name.rsplit('/', 1)[-1]}", [step], ["base"], toolchain)


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
    """The run that trains on a dataset, with its base."""
    base = resolve_base(layout, base_model, revision, toolchain, write)
    known = resolve_dataset(layout, dataset, {})
    found = known.fingerprint
    _stages.check_dataset(hyper.values, dataset, known.results)
    subject = subject_of(base_model, base, found, known.results)
    settings, options = read_training(layout, hyper, base, subject, toolchain, accelerator, name, memory_check, write)
    return _chain.make_run(name, _train_steps(base, found, settings, options), ["train"], toolchain)


def _train_steps(
    base: _hub.BaseIdentity, dataset: str, settings: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]
) -> list[RunStep]:
    return [
        _chain.base_step(Identity(base.fingerprint, base.settings, base.options)),
        _chain.make_step("train", settings, {"base": base.fingerprint, "dataset": dataset}, options),
    ]


def warnings_of(run: Run, layout: Layout | None = None) -> list[str]:
    """What the one who declared a run should know, though it can be made.

    :param layout: the data directory, to look for holds in; None leaves that out.
    """
    found = [
        f"{run.name}: {step.spec.options.get('warning')}" for step in run.steps if step.spec.options.get("warning")
    ]
    for step in run.steps if layout is not None else ():
        options = step.spec.options
        if step.spec.kind == "register" and options.get("aliases"):
            name = str(step.spec.settings["name"])
            tag = content_tag(name, step.spec.fingerprint, str(options["quantization"]))
            hold = Releases(layout, name).kept_out(tag) if layout is not None else None
            found += [hold_warning(name, tag, hold)] if hold else []
    return list(dict.fromkeys(found))
