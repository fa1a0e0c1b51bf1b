# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration to an ordered list of steps. Pure: looks at nothing, decides everything."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..fingerprint import digest, fingerprint
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec, Toolchain

#: Made straight from the merged weights; everything else is quantized from f16.
DIRECT = ("f16", "bf16", "f32")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What an upstream result is: its fingerprint, and what was found out about it.

    :param fingerprint: of the base or the dataset.
    :param settings: what the fingerprint was made from.
    :param options: what the step needs beyond that.
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
    """A step under its label (its kind unless one is given), with its fingerprint worked out."""
    spec = StepSpec(kind, fingerprint(kind, settings, upstream), dict(settings), dict(upstream), dict(options or {}))
    return RunStep(label or kind, spec)


def base_step(base: Identity) -> RunStep:
    """The step that fetches, or refers to, the base model."""
    return make_step("base", base.settings, {}, base.options)


def gguf_steps(
    weights: str, quantizations: t.Sequence[str], options: t.Mapping[str, t.Any], source: str = "merge"
) -> list[RunStep]:
    """Conversion, and a quantization from f16 for each type that needs one.

    :param weights: fingerprint of the merged weights, or of the base.
    :param source: which of them: ``merge`` or ``base``.
    """
    upstream = {source: weights}
    half = make_step("gguf", {"quantization": "f16"}, upstream, {**options, "quantization": "f16"}, "gguf-f16")
    steps = [half] if any(name not in DIRECT or name == "f16" for name in quantizations) else []
    for name in quantizations:
        if name != "f16":
            more = {**options, "quantization": name}
            if name not in DIRECT:
                more["f16"] = half.spec.fingerprint
            steps.append(make_step("gguf", {"quantization": name}, upstream, more, f"gguf-{name}"))
    return steps


def register_steps(
    ggufs: t.Mapping[str, str],
    settings: t.Mapping[str, t.Any],
    aliases: t.Sequence[str],
    options: t.Mapping[str, t.Any],
    adapter: str = "",
) -> list[RunStep]:
    """A registration for each quantization; the aliases go to the one declared first.

    :param ggufs: fingerprint of each quantized file, by quantization, in declared order.
    :param adapter: fingerprint of the GGUF adapter that is put on them; empty for none.
    """
    more_upstream = {"gguf_adapter": adapter} if adapter else {}
    steps = []
    for index, (name, found) in enumerate(ggufs.items()):
        more = {**options, "quantization": name, "aliases": list(aliases) if index == 0 else []}
        steps.append(make_step("register", settings, {"gguf": found, **more_upstream}, more, f"register-{name}"))
    return steps


def promote_step(registered: RunStep, gate: t.Mapping[str, t.Any]) -> RunStep:
    """The promotion of a registered model behind a gate.

    :param gate: settings of the gate.
    """
    spec = registered.spec
    options = {name: spec.options[name] for name in ("quantization", "aliases")}
    options["name"] = spec.settings["name"]
    return make_step("promote", {"gate": gate}, {"register": spec.fingerprint}, options)


def gated(registers: t.Sequence[RunStep], gate: t.Mapping[str, t.Any] | None) -> list[RunStep]:
    """Registrations, and where there is a gate the promotion behind it in place of their own.

    :param registers: the first is the one that gets the aliases.
    """
    if not gate:
        return list(registers)
    closed = [
        dataclasses.replace(step, spec=dataclasses.replace(step.spec, options={**step.spec.options, "promote": False}))
        for step in registers
    ]
    return [*closed, promote_step(closed[0], gate)]


def retain_step(registered: RunStep, policy: t.Mapping[str, t.Any]) -> RunStep:
    """Removes, after a registration, what is not to be kept.

    :param policy: settings of the policy.
    """
    return make_step(
        "retain", policy, {"register": registered.spec.fingerprint}, {"name": registered.spec.settings["name"]}
    )


def adapter_steps(
    base: Identity, train: str, options: t.Mapping[str, t.Any], quantizations: t.Sequence[str]
) -> tuple[RunStep, list[RunStep]]:
    """An adapter as a GGUF file, and those of its base, which it is put on when it is loaded.

    :param train: fingerprint of the training that made it.
    :param options: of the training.
    """
    # the files of the base are named after it alone, whoever asks for them: all its fine-tunes share them
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
    """All steps of a fine-tune, and the labels of those that are wanted for their own sake.

    :param train: settings of the training that are not at their default.
    :param train_options: the same with the defaults filled in, and what else the training needs.
    :param register: settings of the registration; None leaves it at the GGUF files.
    :param gate: settings of the gate the model has to pass; None for none.
    :param export: ``merged`` or ``adapter`` (see ``training.adapter_export``).
    :param keep: settings of the policy by which old versions are removed; empty for none.
    """
    steps = [base_step(base)]
    trained = make_step("train", train, {"base": base.fingerprint, "dataset": dataset.fingerprint}, train_options)
    upstream = {"base": base.fingerprint, "train": trained.spec.fingerprint}
    adapter = ""
    if export == "adapter":
        small, ggufs = adapter_steps(base, trained.spec.fingerprint, train_options, quantizations)
        adapter = small.spec.fingerprint
        steps += [trained, small, *ggufs]
    else:
        merged = make_step("merge", {}, upstream, train_options)
        more = {"name": train_options.get("name", ""), "dataset": dataset.fingerprint, "base": base.fingerprint}
        ggufs = gguf_steps(merged.spec.fingerprint, quantizations, more)
        steps += [trained, merged, *ggufs]
    by_name = {step.spec.options["quantization"]: step.spec.fingerprint for step in ggufs}
    wanted = {name: by_name[name] for name in quantizations}
    if register is None:
        return steps, [*(["gguf-adapter"] if adapter else []), *(f"gguf-{name}" for name in wanted)]
    more = {"name": train_options.get("name", ""), **(register_options or {})}
    registers = gated(register_steps(wanted, register, aliases, more, adapter), gate)
    if keep:
        registers.append(retain_step(registers[0], keep))
    return steps + registers, [step.label for step in registers]


def run_id(name: str, goals: t.Iterable[RunStep]) -> str:
    """The id of a run: readable, and the same for the same request."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "run"
    parts = [[goal.label, goal.spec.fingerprint, goal.spec.options.get("aliases")] for goal in goals]
    return f"{slug[:60]}-{digest([name, parts])[:12]}"


def make_run(
    name: str,
    steps: t.Sequence[RunStep],
    goals: t.Sequence[str],
    toolchain: Toolchain,
    declaration: t.Mapping[str, t.Any] | None = None,
    submitted_by: str = "ansible",
) -> Run:
    """A run that is not in the store yet; where its tools are in images, its jobs run in containers."""
    wanted = [step for step in steps if step.label in goals]
    return Run(
        id=run_id(name, wanted),
        name=name,
        steps=tuple(steps),
        goals=tuple(goals),
        toolchain=toolchain,
        runner=toolchain.runner,
        declaration=dict(declaration or {}),
        submitted_by=submitted_by,
    )
