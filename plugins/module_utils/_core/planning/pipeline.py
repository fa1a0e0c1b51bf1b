# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered steps of a run: the chain from wherever it starts to its goal. Pure functions without input or output."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

from ..fingerprint import digest, fingerprint
from ..releases.promotion import former_tags
from ..releases.recipes import earlier_fingerprints
from ..runs.names import slug
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec, Toolchain
from ..training.known_names import DIRECT_QUANTIZATIONS, WITHOUT_IMATRIX
from ..training.one_pass import declared_obstacle
from .evaluating import Evaluating, of_gate


class Goal(str, enum.Enum):
    """The last result that a run makes."""

    BASE = "base"
    TRAIN = "train"
    MERGE = "merge"
    GGUF = "gguf"
    MODEL = "model"


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


@dataclasses.dataclass(frozen=True)
class Imatrix:
    """The importance matrix of a fine-tune.

    :param dataset: fingerprint of the dataset whose rows it is made from.
    :param settings: how it is made.
    :param options: what it takes of the host.
    """

    dataset: str
    settings: t.Mapping[str, t.Any]
    options: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """The comparison of the quantized files of a fine-tune with the 16-bit one.

    :param dataset: fingerprint of the dataset whose rows they read.
    :param settings: how many tokens they read, and of which rows.
    :param options: what it takes of the host.
    """

    dataset: str
    settings: t.Mapping[str, t.Any]
    options: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


def wants_weights(options: t.Mapping[str, t.Any]) -> bool:
    """Whether a fine-tune has its merged weights written: they are declared, or the conversion cannot do without.

    :param options: options of its training.
    """
    resolved = options.get("resolved") or {}
    return bool(resolved.get("keep_merged")) or declared_obstacle(resolved) is not None


def gguf_steps(
    weights: str,
    quantizations: t.Sequence[str],
    options: t.Mapping[str, t.Any],
    source: str = "merge",
    imatrix: Imatrix | None = None,
) -> list[RunStep]:
    """Return the conversion, and a quantization from f16 for each type that needs one.

    :param weights: fingerprint of the merged weights or of the base.
    :param source: kind of the weights: ``merge`` or ``base``.
    :param imatrix: the importance matrix by which they are quantized; None for none.
    """
    upstream = {source: weights}
    f16 = make_step("gguf", {"quantization": "f16"}, upstream, {**options, "quantization": "f16"}, "gguf-f16")
    steps = [f16] if any(name not in DIRECT_QUANTIZATIONS or name == "f16" for name in quantizations) else []
    matrix = None
    if imatrix is not None:
        inputs = {"gguf": f16.spec.fingerprint, "dataset": imatrix.dataset}
        matrix = make_step("imatrix", imatrix.settings, inputs, {**options, **imatrix.options})
        steps.append(matrix)
    for name in quantizations:
        if name != "f16":
            gguf_options, inputs = {**options, "quantization": name}, upstream
            if name not in DIRECT_QUANTIZATIONS:
                gguf_options["f16"] = f16.spec.fingerprint
            if matrix is not None and name not in WITHOUT_IMATRIX:
                inputs = {**upstream, "imatrix": matrix.spec.fingerprint}
            steps.append(make_step("gguf", {"quantization": name}, inputs, gguf_options, f"gguf-{name}"))
    return steps


def likelihood_step(files: t.Sequence[RunStep], likelihood: Likelihood) -> RunStep | None:
    """Return the step that compares quantized files with the 16-bit one; None if there is none to compare.

    :param files: the steps of :func:`gguf_steps`.
    """
    by_name = {step.spec.options["quantization"]: step.spec for step in files if step.spec.kind == "gguf"}
    half = by_name.pop("f16", None)
    if half is None or not by_name:
        return None
    candidates = {name: spec.fingerprint for name, spec in by_name.items()}
    upstream = {"gguf": half.fingerprint, "dataset": likelihood.dataset}
    options = {"name": half.options["name"], **likelihood.options}
    return make_step("likelihood", {**likelihood.settings, "candidates": candidates}, upstream, options)


def register_steps(
    ggufs: t.Mapping[str, str],
    settings: t.Mapping[str, t.Any],
    aliases: t.Sequence[str],
    options: t.Mapping[str, t.Any],
    beside: t.Mapping[str, str] | None = None,
) -> list[RunStep]:
    """Return a registration for each quantization; the first declared one gets the aliases.

    :param ggufs: fingerprint of each quantized file by quantization, in declared order.
    :param beside: fingerprints of what each is registered with, by kind: the GGUF adapter that is applied to it, the
        image encoder.
    """
    steps = []
    for index, (name, gguf) in enumerate(ggufs.items()):
        upstream = {"gguf": gguf, **(beside or {})}
        register_options = {**options, "quantization": name, "aliases": list(aliases) if index == 0 else []}
        steps.append(make_step("register", settings, upstream, register_options, f"register-{name}"))
    return steps


def evaluate_step(registers: t.Sequence[RunStep], evaluating: Evaluating, base: RunStep | None = None) -> RunStep:
    """Return the step that asks the registered models, and those that they are compared with.

    :param registers: the registrations; the first one is that of the quantization declared first.
    :param base: the registration of the base model, if it is asked.
    """
    first = registers[0].spec
    candidates = {str(step.spec.options["quantization"]): step.spec.fingerprint for step in registers}
    quantization = str(first.options["quantization"])
    if not evaluating.every:
        candidates = {quantization: first.fingerprint}
    settings = {**evaluating.asked, "candidates": candidates, "against": list(evaluating.against)}
    options: dict[str, t.Any] = {
        "name": first.settings["name"],
        "aliases": list(first.options["aliases"]),
        "declared": quantization,
        "quantizations": list(candidates),
        "require": evaluating.require.as_settings(),
        "choose": evaluating.choose,
        "questions": evaluating.questions,
    }
    if base is not None:
        settings["base"] = base.spec.fingerprint
        options["base"] = {"name": base.spec.settings["name"], "quantization": base.spec.options["quantization"]}
    return make_step("evaluate", settings, {"register": first.fingerprint}, options)


def promote_step(
    registered: RunStep, gate: t.Mapping[str, t.Any] | None, evaluating: Evaluating, evaluation: RunStep
) -> RunStep:
    """Return the step that promotes a registered model once it has passed its evaluation.

    The evaluation is no input of its fingerprint: a version that was promoted needs none.

    :param gate: settings of the gate; None for none.
    :param evaluation: the step that asks the models.
    """
    spec = registered.spec
    options = {name: spec.options[name] for name in ("quantization", "aliases")}
    options["name"] = spec.settings["name"]
    formerly = former_tags(str(options["name"]), spec.settings, spec.upstream, str(options["quantization"]))
    if formerly:
        options["formerly"] = list(formerly)
    options["evaluation"] = evaluation.spec.fingerprint
    options["candidates"] = dict(evaluation.spec.settings["candidates"])
    settings = {**({"gate": gate} if gate else {}), **evaluating.promotion}
    promoted_before = [
        fingerprint("promote", settings, {"register": each})
        for each in earlier_fingerprints(spec.settings, spec.upstream)
    ]
    if promoted_before:
        options["promoted_before"] = promoted_before
    return make_step("promote", settings, {"register": spec.fingerprint}, options)


def with_promotion(
    registers: t.Sequence[RunStep],
    gate: t.Mapping[str, t.Any] | None,
    evaluating: Evaluating | None = None,
    base: RunStep | None = None,
) -> list[RunStep]:
    """Return the registrations; with a gate or an evaluation they do not promote, and the steps that do follow them.

    :param registers: registration steps; the first one gets the aliases.
    :param base: the registration of the base model, if it is asked.
    """
    if evaluating is None and gate:
        evaluating = of_gate(gate)
    if evaluating is None:
        return list(registers)
    unpromoted = [
        dataclasses.replace(step, spec=dataclasses.replace(step.spec, options={**step.spec.options, "promote": False}))
        for step in registers
    ]
    evaluation = evaluate_step(unpromoted, evaluating, base)
    return [*unpromoted, evaluation, promote_step(unpromoted[0], gate, evaluating, evaluation)]


def base_registration(
    base: Identity, serving: Serving, quantization: str, beside: t.Mapping[str, str]
) -> list[RunStep]:
    """Return the steps that convert the base model and register it as it is served after its training.

    It gets a name of its own, without aliases.

    :param quantization: GGUF type, the first of those of the model.
    :param beside: as for :func:`register_steps`.
    """
    hub = base.settings.get("hub", "base").rpartition("/")[2]
    files = [
        dataclasses.replace(step, label=step.label.replace("gguf-", "gguf-base-", 1))
        for step in gguf_steps(base.fingerprint, [quantization], {"name": hub, "base": base.fingerprint}, "base")
    ]
    name = serving.settings["name"]
    settings = {**serving.settings, "name": f"{name}-base"}
    encoder = {kind: value for kind, value in beside.items() if kind == "projector"}
    options = {key: value for key, value in serving.options.items() if key not in ("warning", "warnings")}
    options["base_of"] = name
    (registered,) = register_steps({quantization: files[-1].spec.fingerprint}, settings, (), options, encoder)
    return [*files, dataclasses.replace(registered, label="register-base")]


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


@dataclasses.dataclass(frozen=True)
class Training:
    """The step that trains.

    :param settings: settings that differ from their default.
    :param options: all hyperparameters with defaults, and other values the training needs.
    """

    settings: t.Mapping[str, t.Any]
    options: t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Serving:
    """The steps that serve a model.

    :param settings: settings of the registration.
    :param options: other values the registration needs.
    :param aliases: tags that the first quantization gets.
    :param gate: settings of the gate the model must pass; None for none.
    :param evaluating: the declared evaluation that it must pass, which asks the questions of the gate as well; or None.
    :param keep: settings of the retention policy for old versions; empty for none.
    :param held: the step that registers the version that a rollback pins by the current recipe; None for none.
    """

    settings: t.Mapping[str, t.Any]
    options: t.Mapping[str, t.Any]
    aliases: t.Sequence[str] = ("latest",)
    gate: t.Mapping[str, t.Any] | None = None
    keep: t.Mapping[str, t.Any] | None = None
    held: RunStep | None = None
    evaluating: Evaluating | None = None


@dataclasses.dataclass(frozen=True)
class Chain:
    """The inputs of a chain of steps: the results from which it starts, and the values of the steps up to its goal.

    :param results: fingerprints of the results that no step of the run makes, by kind.
    :param base: base model, if the run provides it; or if it converts it, for ``export: adapter``.
    :param provides_base: whether the run has a step for the base.
    :param training: the training, if the run trains.
    :param options: options of the steps that merge and convert, as the training recorded them.
    :param quantizations: GGUF types to create, in declared order.
    :param export: ``merged`` or ``adapter`` (see ``training.adapter_export``).
    :param ggufs: fingerprints of existing GGUF files by quantization, if the run only serves them.
    :param projector: the step that converts the image encoder, with which the model is served; None for none.
    :param imatrix: the importance matrix by which the GGUF files are quantized; None for none.
    :param likelihood: how the quantized files are compared with the 16-bit one; None for not at all.
    :param serving: how the model is served; None for other goals.
    """

    results: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    base: Identity | None = None
    provides_base: bool = False
    training: Training | None = None
    options: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    quantizations: t.Sequence[str] = ()
    export: str = "merged"
    ggufs: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    projector: RunStep | None = None
    imatrix: Imatrix | None = None
    likelihood: Likelihood | None = None
    serving: Serving | None = None


def compose(chain: Chain, goal: Goal) -> tuple[list[RunStep], list[str]]:
    """Return the steps from the start of a chain to its goal, and the labels of the goals."""
    results = dict(chain.results)
    steps: list[RunStep] = []

    def add(step: RunStep) -> None:
        steps.append(step)
        results[step.spec.kind] = step.spec.fingerprint

    if chain.base is not None:
        results["base"] = chain.base.fingerprint
        if chain.provides_base:
            steps.append(base_step(chain.base))
    if chain.projector is not None and goal is Goal.MODEL:
        add(chain.projector)  # before the training, so that a base that cannot be converted costs none
    if chain.training is not None:
        upstream = {"base": results["base"], "dataset": results["dataset"]}
        add(make_step("train", chain.training.settings, upstream, chain.training.options))
    if goal in (Goal.BASE, Goal.TRAIN):
        return steps, [goal.value]
    ggufs = dict(chain.ggufs)
    goals = []
    measured: list[RunStep] = []
    if not ggufs:
        if chain.export == "adapter" and chain.base is not None:
            adapter, files = adapter_steps(chain.base, results["train"], chain.options, chain.quantizations)
            add(adapter)
            goals = [adapter.label]
        else:
            if "merge" not in results:
                options = {**chain.options, "weights": goal is Goal.MERGE or wants_weights(chain.options)}
                add(make_step("merge", {}, {"base": results["base"], "train": results["train"]}, options))
            if goal is Goal.MERGE:
                return steps, [goal.value]
            if (chain.options.get("resolved") or {}).get("keep_merged"):
                goals = ["merge"]
            recorded = {"name": chain.options.get("name", ""), "base": results["base"], "dataset": results["dataset"]}
            files = gguf_steps(results["merge"], chain.quantizations, recorded, imatrix=chain.imatrix)
            likelihood = likelihood_step(files, chain.likelihood) if chain.likelihood else None
            if likelihood is not None:
                measured = [likelihood]
                goals.append(likelihood.label)
        steps += [*files, *measured]
        by_name = {
            step.spec.options["quantization"]: step.spec.fingerprint for step in files if step.spec.kind == "gguf"
        }
        ggufs = {name: by_name[name] for name in chain.quantizations}
    if goal is Goal.GGUF or chain.serving is None:
        return steps, [*goals, *(f"gguf-{name}" for name in ggufs)]
    beside = {kind: results[kind] for kind in ("gguf_adapter", "projector") if results.get(kind)}
    compared: list[RunStep] = []
    if chain.serving.evaluating is not None and chain.serving.evaluating.needs_base and chain.base is not None:
        made = {(step.spec.kind, step.spec.fingerprint) for step in steps}
        compared = [
            step
            for step in base_registration(chain.base, chain.serving, next(iter(ggufs)), beside)
            if (step.spec.kind, step.spec.fingerprint) not in made
        ]
    served = [*compared, *serving_steps(ggufs, chain.serving, beside, compared[-1] if compared else None)]
    kept = [label for label in goals if label in ("merge", "likelihood")]
    wanted = [step for step in served if step not in compared and step.spec.kind != "evaluate"]
    return [*steps, *served], [*kept, *(step.label for step in wanted)]


def serving_steps(
    ggufs: t.Mapping[str, str],
    serving: Serving,
    beside: t.Mapping[str, str] | None = None,
    base: RunStep | None = None,
) -> list[RunStep]:
    """Return the registrations of GGUF files, with evaluation and promotion, and the retention of old versions.

    :param beside: as for :func:`register_steps`.
    :param base: the registration of the base model, if it is asked.
    """
    registered = register_steps(ggufs, serving.settings, serving.aliases, serving.options, beside)
    steps = with_promotion(registered, serving.gate, serving.evaluating, base)
    if serving.keep:
        steps = [*steps, retain_step(steps[0], serving.keep)]
    if serving.held is None or any(step.spec.fingerprint == serving.held.spec.fingerprint for step in steps):
        return steps
    # first, so that what follows finds the version that is pinned
    return [serving.held, *steps]


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
