# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hyperparameters: typed values of a declaration, the settings of its fingerprint, and LLaMA-Factory's arguments."""

from __future__ import annotations

import dataclasses
import typing as t

from ..chat_formats.thinking import keeps_prompt_open
from ..errors import InputError
from ..messages.message import Message
from .known_names import NEED_IMATRIX, QUANTIZATIONS, WITHOUT_IMATRIX
from .option import ADAPTERS, AUTOMATIC_METHODS, Option
from .option_values import Checked, Problem, check_options, raise_problems
from .options import BY_NAME, DECLARATION_OPTIONS, DEFAULTS, OPTIONS

#: Options of the evaluation, and the argument of LLaMA-Factory in ``extra`` of the same meaning.
_EVALUATION_ARGUMENTS = {"early_stopping": "early_stopping_steps", "best_checkpoint": "load_best_model_at_end"}
_NO_EVALUATION: dict[str, t.Any] = {"other": "eval_strategy", "value": "no", "allowed": ["epoch", "steps"]}
#: Maximum length of a setting in a description, in characters.
_MAX_DESCRIPTION = 60


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The options of a fine-tune, typed and checked against their bounds, with defaults filled in.

    :param values: option name → value.
    :param contents: argument in ``extra`` → content of the files that it names (:mod:`training.extra_files`); it stands
        in the settings in place of the path.
    """

    values: dict[str, t.Any]
    contents: dict[str, str] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> t.Any:
        return self.values[name]

    @property
    def method(self) -> str:
        """``lora``, ``qlora``, ``full``, ``freeze`` or ``auto``."""
        return str(self.values["method"])

    @property
    def quantizations(self) -> list[str]:
        """GGUF types to create, in declared order."""
        return list(self.values["quantizations"])

    @property
    def extra(self) -> dict[str, t.Any]:
        """Additional arguments of LLaMA-Factory."""
        return dict(self.values["extra"])

    def with_method(self, method: str) -> Hyperparameters:
        """A copy with another method (the one that ``auto`` resolves to)."""
        return dataclasses.replace(self, values={**self.values, "method": method})

    def with_extra(self, extra: t.Mapping[str, t.Any]) -> Hyperparameters:
        """A copy with other ``extra`` arguments (checked against the installed LLaMA-Factory)."""
        return dataclasses.replace(self, values={**self.values, "extra": dict(extra)})

    def with_held_out(self, share: float | None) -> Hyperparameters:
        """A copy whose training holds out a share of the questions, as an evaluation declares it.

        :param share: None if the evaluation declares none; what ``held_out`` declares then stays.
        :raises InputError: if ``held_out`` declares another share, or the stage has no answers to measure.
        """
        if not share:
            return self
        if self.values["held_out"] not in (0.0, share):
            raise InputError("training.held_out_twice", share=share, other=self.values["held_out"])
        option = BY_NAME["held_out"]
        if self.values["stage"] not in option.stages:
            names = list(option.stages)
            raise InputError(
                "training.option_of_other_stage", option="evaluation.held_out", stage=self.values["stage"], stages=names
            )
        return dataclasses.replace(self, values={**self.values, "held_out": share})

    def with_contents(self, contents: t.Mapping[str, str]) -> Hyperparameters:
        """A copy with the content of the files that ``extra`` names."""
        return dataclasses.replace(self, contents=dict(contents))


def normalise(declared: t.Mapping[str, t.Any]) -> Hyperparameters:
    """Convert a declaration to typed values; options that are not declared get their default.

    :param declared: option name or alias → value, as for :func:`training.option_values.check_options`.
    :raises InputError: with everything that is wrong: unknown options (with the closest match), wrong types, values out
        of bounds, an unsupported method or stage.
    """
    checked = check_options(OPTIONS, declared)
    raise_problems(
        [*checked.problems, *ineffective_options(checked), *gpu_problems(checked), *imatrix_problems(checked)]
    )
    return complete(checked.values)


def complete(values: t.Mapping[str, t.Any]) -> Hyperparameters:
    """The hyperparameters with these typed values, and defaults for all others. Ignores other options."""
    result = {option.name: values.get(option.name, option.copy_default()) for option in OPTIONS}
    if result["lora_alpha"] == 2 * result["lora_rank"]:
        result["lora_alpha"] = None
    return Hyperparameters(result)


def ineffective_options(checked: Checked) -> list[Problem]:
    """Options without effect: those of another stage or method.

    They would be ignored: ``pref_loss: orpo`` without ``stage: dpo`` is no ORPO, and ``quantization_bit: 8`` with
    ``method: lora`` is QLoRA in LLaMA-Factory, but not here. A value that is the default has no other effect.
    """
    defects = ((option, _defect_of_context(option, checked)) for option in OPTIONS if option.name in checked.values)
    found = [Problem(checked.written[option.name], defect) for option, defect in defects if defect]
    return found + _evaluation_problems(checked)


def _evaluation_problems(checked: Checked) -> list[Problem]:
    """What ``extra`` says against ``early_stopping`` and ``best_checkpoint``: the same, or to evaluate nothing."""
    extra = checked.values.get("extra") or {}
    problems = []
    for option, argument in _EVALUATION_ARGUMENTS.items():
        if not checked.values.get(option):
            continue
        if argument in extra:
            content = Message("training.extra_is_option", name=argument, option=option)
            problems.append(Problem(checked.written["extra"], content))
        elif extra.get("eval_strategy") in ("no", False):  # YAML reads no as false
            content = Message("training.option_of_other_value", option=option, **_NO_EVALUATION)
            problems.append(Problem(checked.written[option], content))
    return problems


def _defect_of_context(option: Option, checked: Checked) -> Message | None:
    """The defect of a declared option that other options leave without effect; None if it has one."""
    values = {**DEFAULTS, **checked.values}
    wrong = {problem.option for problem in checked.problems}
    valid = {name for name in values if checked.written.get(name) not in wrong}
    stage, method = values["stage"], values["method"]
    has_default = checked.values[option.name] == option.copy_default()
    if option.methods and (not has_default or option.decides_method) and "method" in valid:
        possible = AUTOMATIC_METHODS if method == "auto" else (method,)
        if not set(possible) & set(option.methods):
            names = list(option.methods)
            return Message("training.option_of_other_method", option=option.name, method=method, methods=names)
    if has_default:
        return None
    if option.requires in valid and values[option.requires] == BY_NAME[option.requires].copy_default():
        return Message("training.option_requires", option=option.name, other=option.requires)
    if option.stages and stage not in option.stages and "stage" in valid:
        names = list(option.stages)
        return Message("training.option_of_other_stage", option=option.name, stage=stage, stages=names)
    return None


def idle_options(values: t.Mapping[str, t.Any]) -> list[Message]:
    """Warnings about options that the value of another option leaves without effect.

    They are part of the fingerprint: refusing them would repeat the trainings that have been made with them.

    :param values: all hyperparameters.
    """
    found = []
    for option in OPTIONS:
        # zero is what comes of it anyway: no warm-up, no margin
        if values[option.name] not in (0, option.default) and not option.is_effective(values):
            found.append(_of_other_value(option, values))
    return found


def options_of_other_methods(values: t.Mapping[str, t.Any]) -> list[Message]:
    """Warnings about options that do not apply to the method that ``auto`` was resolved to.

    :param values: all hyperparameters, with the resolved method.
    """
    method = str(values["method"])
    return [
        Message("training.option_idle_with_auto", option=option.name, method=method, methods=list(option.methods))
        for option in OPTIONS
        if option.methods and method not in option.methods and values[option.name] not in (None, option.copy_default())
    ]


def idle_problems(checked: Checked) -> list[Problem]:
    """Options that are no hyperparameters and that the value of another option leaves without effect."""
    found = []
    for option in DECLARATION_OPTIONS:
        values = {name: checked.values.get(name, BY_NAME[name].default) for name in option.needs[:1]}
        declared = checked.values.get(option.name, option.copy_default())
        if declared != option.copy_default() and not option.is_effective(values):
            found.append(Problem(checked.written[option.name], _of_other_value(option, values)))
    return found


def _of_other_value(option: Option, values: t.Mapping[str, t.Any]) -> Message:
    other, allowed = option.needs or ("", ())
    return Message(
        "training.option_of_other_value",
        option=option.name,
        other=other,
        value=describe_settings(values[other]),
        allowed=[describe_settings(value) for value in allowed],
    )


def gpu_problems(checked: Checked) -> list[Problem]:
    """A number of GPUs that the batches of an optimizer step cannot be divided among."""
    gpus = checked.values.get("gpus", 1)
    batches = checked.values.get("gradient_accumulation", BY_NAME["gradient_accumulation"].default)
    if batches % gpus == 0 or "gradient_accumulation" in [problem.option for problem in checked.problems]:
        return []
    content = Message(
        "training.batches_not_divisible",
        gradient_accumulation=batches,
        gpus=gpus,
        nearest=max(1, round(batches / gpus)) * gpus,
    )
    return [Problem(checked.written["gpus"], content)]


def imatrix_problems(checked: Checked) -> list[Problem]:
    """Types that cannot be made without an importance matrix, and a matrix that no declared type uses."""
    wrong = [problem.option for problem in checked.problems]
    if any(checked.written.get(name) in wrong for name in ("quantizations", "imatrix")):
        return []
    types = checked.values.get("quantizations", BY_NAME["quantizations"].copy_default())
    if not checked.values.get("imatrix"):
        needing = [name for name in types if name in NEED_IMATRIX]
        content = Message("training.imatrix_needed", types=needing)
        return [Problem(checked.written["quantizations"], content)] if needing else []
    if all(name in WITHOUT_IMATRIX for name in types):
        return [Problem(checked.written["imatrix"], Message("training.imatrix_unused", types=list(types)))]
    return []


def _require_method(method: str) -> None:
    if method == "auto":
        raise InputError("training.method_unresolved")


def settings(hyperparameters: Hyperparameters) -> dict[str, t.Any]:
    """Settings that enter the fingerprint of a training: options that change the result and differ from their default.

    An option that does not apply to the method (``lora_rank`` for ``full``) or to the stage is omitted, whatever its
    value.

    :raises InputError: when the method is still ``auto``.
    """
    values, method = hyperparameters.values, hyperparameters.method
    if hyperparameters.contents:
        values = {**values, "extra": {**values["extra"], **hyperparameters.contents}}
    _require_method(method)
    return {
        option.name: values[option.name]
        for option in OPTIONS
        if option.step == "train"
        and option.changes_result
        and option.applies(method, values["stage"])
        and values[option.name] != option.copy_default()
    }


def describe_settings(value: t.Any) -> str:
    """Human-readable text of a setting, on one line."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(describe_settings(item) for item in value) or "none"
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_DESCRIPTION else text[: _MAX_DESCRIPTION - 1] + "…"


def differences(before: t.Mapping[str, t.Any], now: t.Mapping[str, t.Any], auto: t.Container[str] = ()) -> list[str]:
    """Describe how the settings of two trainings differ: ``learning_rate 0.0001 → 0.0002``.

    :param before: earlier result of :func:`settings`.
    :param now: current result of :func:`settings`.
    :param auto: options to ignore, because they are not declared but determined from the host or the base.
    """
    descriptions = []
    for option in OPTIONS:
        old, new = (source.get(option.name, option.copy_default()) for source in (before, now))
        pairs = [(option.name, describe_settings(old), describe_settings(new))]
        if option.type == "dict":
            pairs = [
                (f"{option.name}.{key}", describe_settings(old.get(key)), describe_settings(new.get(key)))
                for key in {**old, **new}
            ]
        descriptions += [
            f"{name} {a} → {b}" for name, a, b in pairs if option.name not in auto and a.lower() != b.lower()
        ]
    return descriptions


def resolved(hyperparameters: Hyperparameters) -> dict[str, t.Any]:
    """All applicable options with their effective values, for the step to run with and for display."""
    values = {**hyperparameters.values}
    if values["lora_alpha"] is None:
        values["lora_alpha"] = 2 * values["lora_rank"]
    stage = values["stage"]
    return {option.name: values[option.name] for option in OPTIONS if option.applies(hyperparameters.method, stage)}


def llamafactory_train_arguments(
    values: t.Mapping[str, t.Any],
    base: str,
    dataset: str,
    dataset_dir: str,
    output_dir: str,
    accelerator: str,
    eval_dataset: str = "",
) -> dict[str, t.Any]:
    """The configuration of ``llamafactory-cli train``.

    :param values: result of :func:`resolved`, with ``template`` filled in.
    :param base: directory of the base model.
    :param dataset: name of the dataset in ``dataset_dir``'s ``dataset_info.json``.
    :param dataset_dir: directory of the dataset.
    :param output_dir: directory for checkpoints and the result.
    :param accelerator: ``cuda`` or ``cpu``.
    :param eval_dataset: name of the dataset to validate on after each epoch (``extra`` may override this); no
        validation when empty.
    :raises InputError: when the method is still ``auto``, the template is unknown, or the accelerator cannot do it.
    """
    method = str(values["method"])
    _require_method(method)
    if not values.get("template"):
        raise InputError("training.template_unknown")
    if method == "qlora" and accelerator == "cpu":
        raise InputError("training.qlora_without_gpu")
    arguments: dict[str, t.Any] = {
        "do_train": True,
        "model_name_or_path": base,
        "dataset": dataset,
        "dataset_dir": dataset_dir,
        "output_dir": output_dir,
        "overwrite_output_dir": False,
        "plot_loss": True,
        "report_to": "none",
        "save_strategy": "steps",
        "save_total_limit": 2,
        "include_num_input_tokens_seen": True,
    }
    for option in OPTIONS:
        if option.lf_argument and option.applies(method, str(values.get("stage") or "sft")):
            arguments[option.lf_argument] = values.get(option.name)
    # each GPU is a process of its own, and accumulates its share
    arguments["gradient_accumulation_steps"] = int(values["gradient_accumulation"]) // int(values.get("gpus") or 1)
    arguments["finetuning_type"] = "lora" if method in ADAPTERS else method
    if method in ADAPTERS:
        arguments["lora_target"] = ",".join(values["lora_target"])
    number_format = precision(values, accelerator)
    if number_format != "fp32":
        arguments[number_format] = True
    # DeepSpeed detects the CPU itself, and with use_cpu the Trainer does not start ZeRO 3
    if accelerator == "cpu" and not (values.get("extra") or {}).get("deepspeed"):
        arguments["use_cpu"] = True
    if not values["gradient_checkpointing"]:
        arguments["disable_gradient_checkpointing"] = True
    if eval_dataset:
        arguments.update(
            eval_dataset=eval_dataset, eval_strategy="epoch", per_device_eval_batch_size=values["batch_size"]
        )
        arguments.update(_evaluation_arguments(values))
    arguments.update(values.get("extra") or {})
    if not keeps_prompt_open(values):
        arguments["enable_thinking"] = False
    return {key: value for key, value in arguments.items() if value is not None}


def _evaluation_arguments(values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Arguments for ``early_stopping`` and ``best_checkpoint``.

    LLaMA-Factory loads the best checkpoint only if each evaluation is followed by a checkpoint. Without its state, a
    resumed training would count the evaluations from zero.
    """
    arguments: dict[str, t.Any] = {}
    extra = values.get("extra") or {}
    if values.get("early_stopping"):
        arguments.update(
            early_stopping_steps=values["early_stopping"],
            metric_for_best_model="eval_loss",
            restore_callback_states_from_checkpoint=True,
        )
    if values.get("best_checkpoint"):
        strategy = str(extra.get("eval_strategy", "epoch"))
        arguments.update(load_best_model_at_end=True, metric_for_best_model="eval_loss", save_strategy=strategy)
        if strategy == "steps":
            arguments["save_steps"] = extra.get("eval_steps") or values["logging_steps"]
    return arguments


def precision(values: t.Mapping[str, t.Any], accelerator: str) -> str:
    """Number format that a training computes with: ``bf16``, ``fp16`` or ``fp32``.

    :raises InputError: when the accelerator does not support it.
    """
    declared = str(values["precision"])
    if declared == "auto":
        return "fp32" if accelerator == "cpu" else "bf16"
    if declared == "fp16" and accelerator == "cpu":
        raise InputError("training.fp16_without_gpu")
    return declared


def option_names(step: str | None = None) -> list[str]:
    """Names of the options of one step, or of all when ``step`` is None."""
    return [option.name for option in OPTIONS if step in (None, option.step)]


def argument_spec(step: str | None = None) -> dict[str, dict[str, t.Any]]:
    """The options as an Ansible argument spec.

    Omits the choices of method and stage: :func:`normalise` rejects their wrong values with a reason.
    """
    spec: dict[str, dict[str, t.Any]] = {}
    for option in OPTIONS:
        if step not in (None, option.step):
            continue
        entry: dict[str, t.Any] = {"type": option.type}
        # a default that Ansible fills in looks like a declared value
        if option.default is not None and not option.decides_method:
            entry["default"] = option.copy_default()
        if option.type == "list":
            entry["elements"] = "str"
        if option.choices and not option.explained:
            entry["choices"] = list(option.choices)
        if option.aliases:
            entry["aliases"] = list(option.aliases)
        spec[option.name] = entry
    return spec


def schema(step: str | None = None) -> dict[str, t.Any]:
    """The options as a JSON schema (draft 2020-12), for REST and MCP."""
    properties = {option.name: option_schema(option) for option in OPTIONS if step in (None, option.step)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


_JSON_TYPES = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "text": "string",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


def option_schema(option: Option) -> dict[str, t.Any]:
    """One option as a JSON schema."""
    entry: dict[str, t.Any] = {"type": _JSON_TYPES[option.type], "description": option.description}
    if option.default is not None and not option.decides_method:
        entry["default"] = option.copy_default()
    choices = list(QUANTIZATIONS if option.name == "quantizations" else option.choices)
    if option.type == "list":
        entry["items"] = {"type": "string", **({"enum": choices} if choices else {})}
    elif choices:
        entry["enum"] = choices
    for key, bound in (
        ("minimum", option.minimum),
        ("maximum", option.maximum),
        ("exclusiveMinimum", option.exclusive_minimum),
    ):
        if bound is not None:
            entry[key] = bound
    return entry
