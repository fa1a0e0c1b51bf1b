# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declaration of a fine-tune: its options, parsed and validated once."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..datasets import registry
from ..errors import InputError
from ..evaluations import declaration as evaluations_declaration
from ..evaluations.declaration import Evaluation
from ..messages.message import Message
from ..ollama import syntax
from ..releases import gate as releases_gate
from ..releases.gate import Gate
from ..releases.retention import Policy
from ..runs.names import FINETUNE_NAME
from ..training import hyperparameters, options, stages
from ..training.hyperparameters import Hyperparameters
from ..training.option_values import Checked, Problem, check_options, raise_problems
from . import retraining

_NAME = re.compile(rf"{FINETUNE_NAME}\Z")


@dataclasses.dataclass(frozen=True)
class Declared:
    """A validated declaration of a fine-tune."""

    name: str
    base_model: str
    base_revision: str
    dataset: str
    system: str | None
    parameters: dict[str, t.Any]
    aliases: tuple[str, ...]
    register: bool
    memory_check: str
    preflight_check: str
    gate: dict[str, t.Any] | None
    evaluation: Evaluation | None
    export: str
    retraining_inputs: tuple[str, ...]
    always_retrain: bool
    keep: dict[str, t.Any]
    nodes: tuple[str, ...]
    hyper: Hyperparameters


def check_declaration(raw: t.Mapping[t.Any, t.Any], supplied: t.Container[str] = ()) -> Checked:
    """Check all options of one entry of ``finetunes``, each by itself; the gate is read with the declaration.

    :param supplied: required options that the caller adds where they are missing.
    :returns: typed values of the declared options, without defaults, and all problems.
    """
    checked = check_options(options.ALL, raw, _CHECKS)
    wrong = [problem.option for problem in checked.problems]
    for option in options.ALL:
        if option.required and option.name not in checked.values and option.name not in supplied:
            written = checked.written.get(option.name, option.name)
            if written not in wrong:
                checked.problems.append(Problem(written, Message("training.option_missing", option=option.name)))
    checked.problems.extend(hyperparameters.ineffective_options(checked))
    checked.problems.extend(hyperparameters.idle_problems(checked))
    checked.problems.extend(hyperparameters.gpu_problems(checked))
    checked.problems.extend(hyperparameters.imatrix_problems(checked))
    if checked.values.get("imatrix") and checked.values.get("export") == "adapter":
        checked.problems.append(Problem(checked.written["imatrix"], Message("training.imatrix_of_shared_base")))
    return checked


def read_declaration(raw: t.Mapping[str, t.Any], checked: Checked | None = None) -> Declared:
    """Parse and validate one entry of ``finetunes``.

    :param checked: result of :func:`check_declaration` for ``raw``, if it has been checked already.
    :raises InputError: with all that is wrong in it. They are in ``details["problems"]`` too.
    """
    label = str(raw.get("name") or "a fine-tune")
    if checked is None:
        checked = check_declaration(raw)
    values = {
        option.name: checked.values.get(option.name, option.copy_default()) for option in options.DECLARATION_OPTIONS
    }
    hyper = hyperparameters.complete(checked.values)
    problems = list(checked.problems)
    gate, evaluation, register = None, None, values["register"]
    try:
        gate = read_gate(values["gate"], values["aliases"])
    except InputError as error:
        problems.append(Problem(checked.written.get("gate", "gate"), error.content))
    try:
        evaluation = read_evaluation(values["evaluation"], gate, values["aliases"])
    except InputError as error:
        problems.append(Problem(checked.written.get("evaluation", "evaluation"), error.content))
    try:
        hyper = hyper.with_held_out(evaluation.held_out if evaluation is not None else None)
    except InputError as error:
        problems.append(Problem(checked.written.get("evaluation", "evaluation"), error.content))
    try:
        register = stages.is_registered(hyper["stage"], checked.values.get("register"))
    except InputError as error:
        problems.append(Problem(checked.written.get("register", "register"), error.content))
    raise_problems(problems, label)
    return Declared(
        name=values["name"],
        base_model=values["base_model"],
        base_revision=values["base_revision"],
        dataset=values["dataset"],
        system=values["system"],
        parameters=values["parameters"],
        aliases=tuple(values["aliases"]),
        register=register,
        memory_check=values["memory_check"],
        preflight_check=values["preflight_check"],
        gate=gate,
        evaluation=evaluation,
        export=values["export"],
        retraining_inputs=retraining.retraining_inputs(label, values["regenerate"], values["regenerate_on"]),
        always_retrain=values["regenerate"] == "always",
        keep=Policy(values["keep"], values["keep_intermediates"]).as_settings(),
        nodes=tuple(values["nodes"] or ()),
        hyper=hyper,
    )


def read_gate(raw: t.Any, aliases: t.Sequence[str]) -> dict[str, t.Any] | None:
    """Return the settings of a declared gate; None if no gate is declared.

    :raises InputError: for an invalid gate, or a gate without aliases to protect.
    """
    gate = releases_gate.read_gate(raw)
    if gate is not None and not aliases:
        raise InputError("planning.gate_without_aliases")
    return gate.as_settings() if gate else None


def read_evaluation(raw: t.Any, gate: t.Mapping[str, t.Any] | None, aliases: t.Sequence[str]) -> Evaluation | None:
    """Return a declared evaluation; None if none is declared.

    :param gate: settings of the gate, whose conditions become requirements; None for none.
    :raises InputError: for an invalid evaluation, or one without aliases to protect.
    """
    declared_gate = Gate.from_settings(gate) if gate else None
    evaluation = evaluations_declaration.read_evaluation(raw, declared_gate)
    if evaluation is None:
        return None
    if not aliases:
        raise InputError("planning.evaluation_without_aliases")
    if declared_gate is not None and evaluation.require.allowed_failures is not None and declared_gate.allowed_failures:
        raise InputError("planning.allowed_failures_twice")
    return evaluation


def _check_name(name: str) -> str:
    if not _NAME.match(name):
        raise InputError("planning.name_invalid", name=name)
    return name


def _check_base_model(name: str) -> str:
    name = name.strip()
    if not name or any(ord(letter) < 32 for letter in name):
        raise InputError("planning.base_model_invalid", name=name)
    return name


def check_parameters(parameters: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the parameters of a served model as they are declared, if they are valid.

    Not converted to their types: the declared values are part of a fingerprint.

    :raises InputError: if Ollama has no such parameter, or a value has the wrong type.
    """
    syntax.check_parameters(parameters)
    return parameters


def check_aliases(aliases: list[str], model: str = "model") -> list[str]:
    """Return the tags that are moved to a model, if they are valid.

    :param model: name of the model, which is checked, too.
    :raises InputError: for a name that Ollama does not accept.
    """
    syntax.check_name(model)
    for alias in aliases:
        syntax.check_name(f"{model}:{alias}")
    return aliases


#: Checks of options that need more than their row of the table.
_CHECKS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "name": _check_name,
    "base_model": _check_base_model,
    "dataset": registry.dataset_name,
    "parameters": check_parameters,
    "aliases": check_aliases,
}
