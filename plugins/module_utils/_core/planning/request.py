# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is requested to make: checked once, by the constructors of :class:`Request`, for every interface.

An option that has no effect on what is requested is refused by name.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..runs.spec import Toolchain
from ..training import hyperparameters, options, stages
from ..training.option_values import Checked
from . import declaration as planning_declaration
from .declaration import Declared
from .entries import entries
from .pipeline import Goal

#: Options that have an effect on a served model only. The service keeps those of ``EXPORTED`` for a later export.
_SERVED = ("system", "parameters", "aliases", "gate", "evaluation", "keep", "keep_intermediates")
_EXPORTED = ("system", "parameters", "quantizations", "imatrix")


@dataclasses.dataclass(frozen=True)
class Host:
    """The host for which a run is planned, and by whom.

    :param toolchain: locations of its tools.
    :param accelerator: auto, cuda or cpu.
    :param datasets: facts about datasets that are not published yet (check mode), by name: ``fingerprint``,
        ``outcome``.
    :param write: whether the resolution of a base name, and that of ``method: auto``, may be recorded.
    :param submitted_by: ansible, rest, openai or mcp.
    :param nodes: the hosts that train together, as stored by :class:`distributed.nodes.Nodes`.
    :param lead: facts of the host that leads them (:func:`node_training.lead`); None if this one does.
    """

    toolchain: Toolchain
    accelerator: str = "auto"
    datasets: t.Mapping[str, t.Mapping[str, t.Any]] = dataclasses.field(default_factory=dict)
    write: bool = True
    submitted_by: str = "ansible"
    nodes: t.Mapping[str, t.Any] | None = None
    lead: t.Mapping[str, t.Any] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """A published artifact from which a run continues."""

    kind: str
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A base model by name, and its revision on the hub."""

    name: str
    revision: str = "main"


@dataclasses.dataclass(frozen=True)
class Registration:
    """How a GGUF file is registered.

    :param name: name of the model.
    :param template: chat template; None for that of the training.
    :param system: system prompt; None for that of the training data.
    :param gate: settings of the gate; None for none.
    :param adapter: fingerprint of the GGUF file of an adapter that is applied to the file of its base; empty for none.
    """

    name: str
    template: str | None = None
    system: str | None = None
    parameters: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    aliases: tuple[str, ...] = ("latest",)
    gate: t.Mapping[str, t.Any] | None = None
    adapter: str = ""


@dataclasses.dataclass(frozen=True)
class Request:
    """A checked request for a run.

    :param goal: the last result.
    :param declared: the fine-tune, if it is one.
    :param declaration: the declared values, stored for human readers.
    :param start: the published artifact from which the run continues; None for a run from the base model on.
    :param base: the base model, for the goal ``base``.
    :param quantizations: GGUF types, for the goal ``gguf`` of a result.
    :param registration: how the result is registered, for the goal ``model`` of a GGUF file.
    """

    goal: Goal
    declared: Declared | None = None
    declaration: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    start: Result | None = None
    base: BaseModel | None = None
    quantizations: tuple[str, ...] = ()
    registration: Registration | None = None

    @classmethod
    def finetune(
        cls,
        raw: t.Mapping[str, t.Any],
        goal: Goal = Goal.MODEL,
        checked: Checked | None = None,
    ) -> Request:
        """Request a fine-tune.

        :param raw: one entry of ``finetunes``.
        :param goal: ``model``, which ends earlier where the declaration says so, or ``train``.
        :param checked: result of :func:`declaration.check_declaration` for ``raw``, if it has been checked already.
        :raises InputError: for an invalid option, or one without effect.
        """
        declared = planning_declaration.read_declaration(raw, checked)
        reached, reason = _goal_of(declared, goal)
        _refuse_unused(declared, reached, goal, reason)
        return cls(reached, declared=declared, declaration=_stored_declaration(raw, declared))

    @classmethod
    def export(cls, raw: t.Mapping[str, t.Any], training: str) -> Request:
        """Request the model of a training that is published: a further run of the same fine-tune.

        :param raw: the declaration of the fine-tune.
        :param training: fingerprint of the training.
        :raises InputError: for an invalid option, one without effect, or a training whose result cannot be served.
        """
        request = cls.finetune(raw)
        if request.declared is not None:
            stages.require_generative(str(request.declared.hyper["stage"]), "training.reward_model_not_exported")
        return dataclasses.replace(request, start=Result("train", training))

    @classmethod
    def base_model(cls, name: str, revision: str = "main") -> Request:
        """Request a base model on the host."""
        return cls(Goal.BASE, base=BaseModel(name, revision))

    @classmethod
    def merge(cls, training: str) -> Request:
        """Request the merged weights of a training.

        :param training: fingerprint of the training.
        """
        return cls(Goal.MERGE, start=Result("train", training))

    @classmethod
    def gguf(cls, start: Result, quantizations: t.Any) -> Request:
        """Request the GGUF files of merged weights; or of an adapter and its base, if it starts at a training.

        :raises InputError: for an unknown type.
        """
        types = hyperparameters.normalise({"quantizations": quantizations}).quantizations
        return cls(Goal.GGUF, start=start, quantizations=tuple(types))

    @classmethod
    def register(
        cls,
        gguf: str,
        name: str,
        *,
        template: str | None = None,
        system: str | None = None,
        parameters: t.Mapping[str, t.Any] | None = None,
        aliases: t.Sequence[str] = ("latest",),
        gate: t.Any = None,
        adapter: str | None = None,
    ) -> Request:
        """Request the registration of a GGUF file in Ollama.

        :param gguf: fingerprint of the file.
        :raises InputError: for an invalid name, alias, parameter or gate.
        """
        registration = Registration(
            name,
            template,
            system,
            planning_declaration.check_parameters(dict(parameters or {})),
            tuple(planning_declaration.check_aliases(list(aliases), name)),
            planning_declaration.read_gate(gate, aliases),
            adapter or "",
        )
        return cls(Goal.MODEL, start=Result("gguf", gguf), registration=registration)


def _stored_declaration(raw: t.Mapping[str, t.Any], declared: Declared) -> dict[str, t.Any]:
    """Return the declared values as a run stores them: the dataset by its name, however it was declared."""
    (entry,) = entries([raw])
    return {**entry, "dataset": declared.dataset}


def declared_problems(declared: t.Any) -> list[str]:
    """Return what is wrong in the declared fine-tunes: one message for each fine-tune that cannot be requested."""
    messages = []
    try:
        listed = entries(declared)
    except InputError as error:
        return [str(error)]
    for entry in listed:
        try:
            Request.finetune(entry)
        except InputError as error:
            messages.append(str(error))
    return messages


def _goal_of(declared: Declared, goal: Goal) -> tuple[Goal, str]:
    """Return the goal that a declaration reaches, and the reason if it is not ``model``."""
    stage = str(declared.hyper["stage"])
    if not stages.STAGES[stage].generates:
        return Goal.TRAIN, f"stage: {stage}"
    if goal is Goal.TRAIN:
        return goal, "goal: train"
    return (Goal.MODEL, "") if declared.register else (Goal.GGUF, "register: false")


def _refuse_unused(declared: Declared, reached: Goal, goal: Goal, reason: str) -> None:
    """Refuse options without effect; their defaults are no such options.

    :param reached: the goal that the run has.
    :param goal: the goal that was requested.
    """
    if reached is Goal.MODEL:
        return
    given = {
        "system": declared.system is not None,
        "parameters": bool(declared.parameters),
        "aliases": declared.aliases != options.BY_NAME["aliases"].default,
        "gate": declared.gate is not None,
        "evaluation": declared.evaluation is not None,
        "keep": "keep" in declared.keep,
        "keep_intermediates": "intermediates" in declared.keep,
        "keep_merged": bool(declared.hyper["keep_merged"]),
        "export": declared.export != options.BY_NAME["export"].default,
        "register": goal is Goal.TRAIN and not declared.register and stages.STAGES[declared.hyper["stage"]].generates,
        "quantizations": declared.hyper.quantizations != options.BY_NAME["quantizations"].copy_default(),
        "imatrix": declared.hyper["imatrix"] is not None,
    }
    of_files = ("export", "register", "quantizations", "imatrix", "keep_merged")
    unused = [*_SERVED, *(of_files if reached is Goal.TRAIN else ())]
    is_exported_later = goal is Goal.TRAIN and stages.STAGES[declared.hyper["stage"]].generates
    if is_exported_later:
        unused = [option for option in unused if option not in _EXPORTED]
    names = [option for option in unused if given[option]]
    if not names:
        return
    result = Message("planning.ends_with_adapter" if reached is Goal.TRAIN else "planning.ends_with_gguf")
    alternative = None
    if is_exported_later:
        alternative = Message("planning.request_model")
    elif reached is Goal.GGUF:
        alternative = Message("planning.declare_register")
    problem = Message(
        "planning.no_effect",
        options=names,
        count=len(names),
        cause=reason,
        result=result,
        alternative=alternative,
    )
    raise InputError("training.of_finetune", name=declared.name, problem=problem, details={"options": names})
