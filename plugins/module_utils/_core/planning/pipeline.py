# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered list of steps of a declaration. Pure functions without input or output."""

from __future__ import annotations

import dataclasses
import typing as t

from ..fingerprint import digest, fingerprint
from ..runs.names import slug
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec, Toolchain
from ..training.options import DIRECT_QUANTIZATIONS


@dataclasses.dataclass(frozen=True)
class Identity:
    """Identity of an upstream result.

    :param fingerprint: fingerprint of the base or the dataset.
    :param settings: inputs of the fingerprint.
    :param options: other values that the step needs.
    """

    fingerprint: str
    settings: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)


def make_step(
    kind: str,
    settings: t.Mapping[str, t.Any],
    upstream: t.Mapping[str, str],
    options: t.Mapping[str, t.Any] | None = None,
    label: str = "",
) -> RunStep:
    """Create a step and compute its fingerprint. The label defaults to the kind."""
    spec = StepSpec(kind, fingerprint(kind, settings, upstream), dict(settings), dict(upstream), dict(options or {}))
    return RunStep(label or kind, spec)


def base_step(base: Identity) -> RunStep:
    """Return the step that downloads or refers to the base model."""
    return make_step("base", base.settings, {}, base.options)


def gguf_steps(
    weights: str, quantizations: t.Sequence[str], options: t.Mapping[str, t.Any], source: str = "merge"
) -> list[RunStep]:
    """Return the conversion, and a quantization from f16 for each type that needs one.

    :param weights: fingerprint of the merged weights or of the base.
    :param source: kind of the weights: ``merge`` or ``base``.
    """
    upstream = {source: weights}
    f16 = make_step("gguf", {"quantization": "f16"}, upstream, {**options, "quantization": "f16"}, "gguf-f16")
    steps = [f16] if any(name not in DIRECT_QUANTIZATIONS or name == "f16" for name in quantizations) else []
    for name in quantizations:
        if name != "f16":
            gguf_options = {**options, "quantization": name}
            if name not in DIRECT_QUANTIZATIONS:
                gguf_options["f16"] = f16.spec.fingerprint
            steps.append(make_step("gguf", {"quantization": name}, upstream, gguf_options, f"gguf-{name}"))
    return steps


def register_steps(
    ggufs: t.Mapping[str, str],
    settings: t.Mapping[str, t.Any],
    aliases: t.Sequence[str],
    options: t.Mapping[str, t.Any],
    adapter: str = "",
) -> list[RunStep]:
    """Return a registration for each quantization; the first declared one gets the aliases.

    :param ggufs: fingerprint of each quantized file by quantization, in declared order.
    :param adapter: fingerprint of the GGUF adapter to apply to them; empty for none.
    """
    adapter_upstream = {"gguf_adapter": adapter} if adapter else {}
    steps = []
    for index, (name, gguf) in enumerate(ggufs.items()):
        upstream = {"gguf": gguf, **adapter_upstream}
        register_options = {**options, "quantization": name, "aliases": list(aliases) if index == 0 else []}
        steps.append(make_step("register", settings, upstream, register_options, f"register-{name}"))
    return steps


def promote_step(registered: RunStep, gate: t.Mapping[str, t.Any]) -> RunStep:
    """Return the step that promotes a registered model once it has passed a gate.

    :param gate: settings of the gate.
    """
    spec = registered.spec
    options = {name: spec.options[name] for name in ("quantization", "aliases")}
    options["name"] = spec.settings["name"]
    return make_step("promote", {"gate": gate}, {"register": spec.fingerprint}, options)


def with_gate(registers: t.Sequence[RunStep], gate: t.Mapping[str, t.Any] | None) -> list[RunStep]:
    """Return the registrations; with a gate they do not promote, and a promotion step follows them.

    :param registers: registration steps; the first one gets the aliases.
    """
    if not gate:
        return list(registers)
    unpromoted = [
        dataclasses.replace(step, spec=dataclasses.replace(step.spec, options={**step.spec.options, "promote": False}))
        for step in registers
    ]
    return [*unpromoted, promote_step(unpromoted[0], gate)]


def retain_step(registered: RunStep, policy: t.Mapping[str, t.Any]) -> RunStep:
    """Return the step that removes old versions after a registration.

    :param policy: settings of the retention policy.
    """
    return make_step(
        "retain", policy, {"register": registered.spec.fingerprint}, {"name": registered.spec.settings["name"]}
    )


def adapter_steps(
    base: Identity, train: str, options: t.Mapping[str, t.Any], quantizations: t.Sequence[str]
) -> tuple[RunStep, list[RunStep]]:
    """Return the step that converts an adapter to GGUF, and those for its base, to which it is applied when loaded.

    :param train: fingerprint of the training that produced the adapter.
    :param options: options of the training.
    """
    # the files of the base are named after the base alone, because all its fine-tunes share them
    label = base.settings.get("hub", "base").rpartition("/")[2]
    ggufs = gguf_steps(base.fingerprint, quantizations, {"name": label, "base": base.fingerprint}, "base")
    upstream = {"base": base.fingerprint, "train": train}
    return make_step("gguf_adapter", {}, upstream, options, "gguf-adapter"), ggufs


def finetune_steps(
    base: Identity,
    dataset: Identity,
    train: t.Mapping[str, t.Any],
    train_options: t.Mapping[str, t.Any],
    quantizations: t.Sequence[str],
    register: t.Mapping[str, t.Any] | None,
    aliases: t.Sequence[str] = ("latest",),
    register_options: t.Mapping[str, t.Any] | None = None,
    gate: t.Mapping[str, t.Any] | None = None,
    export: str = "merged",
    keep: t.Mapping[str, t.Any] | None = None,
) -> tuple[list[RunStep], list[str]]:
    """Return all steps of a fine-tune, and the labels of its goals.

    :param train: settings of the training that differ from their default.
    :param train_options: all hyperparameters with defaults, and other values the training needs.
    :param register: settings of the registration; None stops after the GGUF files.
    :param gate: settings of the gate the model must pass; None for none.
    :param export: ``merged`` or ``adapter`` (see ``training.adapter_export``).
    :param keep: settings of the retention policy for old versions; empty for none.
    """
    steps = [base_step(base)]
    trained = make_step("train", train, {"base": base.fingerprint, "dataset": dataset.fingerprint}, train_options)
    upstream = {"base": base.fingerprint, "train": trained.spec.fingerprint}
    adapter = ""
    if export == "adapter":
        adapter_step, ggufs = adapter_steps(base, trained.spec.fingerprint, train_options, quantizations)
        adapter = adapter_step.spec.fingerprint
        steps += [trained, adapter_step, *ggufs]
    else:
        merged = make_step("merge", {}, upstream, train_options)
        step_options = {"name": train_options.get("name", ""), "dataset": dataset.fingerprint, "base": base.fingerprint}
        ggufs = gguf_steps(merged.spec.fingerprint, quantizations, step_options)
        steps += [trained, merged, *ggufs]
    by_name = {step.spec.options["quantization"]: step.spec.fingerprint for step in ggufs}
    goal_ggufs = {name: by_name[name] for name in quantizations}
    if register is None:
        return steps, [*(["gguf-adapter"] if adapter else []), *(f"gguf-{name}" for name in goal_ggufs)]
    step_options = {"name": train_options.get("name", ""), **(register_options or {})}
    registrations = with_gate(register_steps(goal_ggufs, register, aliases, step_options, adapter), gate)
    if keep:
        registrations.append(retain_step(registrations[0], keep))
    return steps + registrations, [step.label for step in registrations]


def run_id(name: str, goals: t.Iterable[RunStep]) -> str:
    """Return the id of a run: readable, and equal for equal requests."""
    parts = [[goal.label, goal.spec.fingerprint, goal.spec.options.get("aliases")] for goal in goals]
    return f"{(slug(name) or 'run')[:60]}-{digest([name, parts])[:12]}"


def make_run(
    name: str,
    steps: t.Sequence[RunStep],
    goals: t.Sequence[str],
    toolchain: Toolchain,
    declaration: t.Mapping[str, t.Any] | None = None,
    submitted_by: str = "ansible",
) -> Run:
    """Create a run that is not in the store yet; its jobs run in containers if the tools come from images."""
    goal_steps = [step for step in steps if step.label in goals]
    return Run(
        id=run_id(name, goal_steps),
        name=name,
        steps=tuple(steps),
        goals=tuple(goals),
        toolchain=toolchain,
        runner=toolchain.runner,
        declaration=dict(declaration or {}),
        submitted_by=submitted_by,
    )
