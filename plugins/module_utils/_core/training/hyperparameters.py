# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hyperparameters: typed values of a declaration, the settings of its fingerprint, and LLaMA-Factory's arguments."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing as t

from ..errors import InputError
from .options import (
    ADAPTERS,
    MANAGED_ARGUMENTS,
    METHODS,
    OPTIONS,
    QUANTIZATION_ALIASES,
    QUANTIZATIONS,
    REFUSED_METHODS,
    Option,
)

_OPTIONS_BY_NAME = {option.name: option for option in OPTIONS}
_CANONICAL = {alias: option.name for option in OPTIONS for alias in (option.name, *option.aliases)}
#: Exponent notation; YAML 1.1 reads some of these numbers (``2e-4``) as text.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+\Z")
#: Maximum length of a setting in a description, in characters.
_MAX_DESCRIPTION = 60
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The options of a fine-tune, typed and checked against their bounds, with defaults filled in.

    :param values: option name → value.
    """

    values: dict[str, t.Any]

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
        return Hyperparameters({**self.values, "method": method})

    def with_extra(self, extra: t.Mapping[str, t.Any]) -> Hyperparameters:
        """A copy with other ``extra`` arguments (checked against the installed LLaMA-Factory)."""
        return Hyperparameters({**self.values, "extra": dict(extra)})


def normalise(declared: t.Mapping[str, t.Any]) -> Hyperparameters:
    """Convert a declaration to typed values; options that are not declared get their default.

    Numbers may be text (YAML reads ``2e-4`` as text, and templates render everything as text). Names and choices are
    case-insensitive.

    :param declared: option name or alias → value.
    :raises InputError: for an unknown option (with the closest match), a wrong type, a value out of bounds, or an
        unsupported method or stage.
    """
    checked: dict[str, t.Any] = {}
    declared_as: dict[str, str] = {}
    for key, value in declared.items():
        name = _CANONICAL.get(_normalise_name(str(key)))
        if name is None:
            raise InputError(f"There is no option {key!r} of a fine-tune.", _unknown_hint(str(key)))
        if name in declared_as:
            raise InputError(f"{name} was declared twice: as {declared_as[name]} and as {key}.")
        declared_as[name] = str(key)
        if value is not None:
            checked[name] = check_value(name, value)
    return with_defaults(checked)


def check_value(name: str, value: t.Any) -> t.Any:
    """Return the typed value of one option, such as a number for the text ``2e-4``.

    :param name: name of the option.
    :raises InputError: for a wrong type, a value out of bounds, or an unsupported method or stage.
    """
    return _check_value(_OPTIONS_BY_NAME[name], value)


def with_defaults(checked: t.Mapping[str, t.Any]) -> Hyperparameters:
    """Return all options from those that were declared.

    :param checked: results of :func:`check_value`, by name of the option.
    :raises InputError: for an option of another stage.
    """
    values = {**{option.name: _copy_default(option.default) for option in OPTIONS}, **checked}
    if values["lora_alpha"] == 2 * values["lora_rank"]:
        values["lora_alpha"] = None
    _check_stage(values)
    return Hyperparameters(values)


def _check_stage(values: t.Mapping[str, t.Any]) -> None:
    """Reject options of another stage. They would be ignored: ``pref_loss: orpo`` without ``stage: dpo`` is no ORPO."""
    for option in OPTIONS:
        if option.stages and values["stage"] not in option.stages and values[option.name] != option.default:
            raise InputError(
                f"{option.name} means nothing for the stage {values['stage']}.",
                f"Declare stage: {' or '.join(option.stages)}, or leave {option.name} out.",
            )


def _copy_default(default: t.Any) -> t.Any:
    if isinstance(default, tuple):
        return list(default)
    return dict(default) if isinstance(default, dict) else default


def _normalise_name(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def _unknown_hint(key: str) -> str:
    candidates = difflib.get_close_matches(_normalise_name(key), _CANONICAL, n=1, cutoff=0.7)
    if candidates:
        return f"Did you mean {_CANONICAL[candidates[0]]}?"
    return "Arguments of LLaMA-Factory itself go under extra. Options: " + ", ".join(_OPTIONS_BY_NAME) + "."


def _check_value(option: Option, value: t.Any) -> t.Any:
    if option.name == "method":
        return _check_method(value)
    if option.name == "stage":
        return _check_stage_name(value)
    if option.name == "quantizations":
        return _check_quantizations(value)
    if option.name == "extra":
        return _check_extra(value)
    typed = _convert(option, value)
    if option.choices and typed not in option.choices:
        candidates = difflib.get_close_matches(str(typed), map(str, option.choices), n=1)
        hint = f"Did you mean {candidates[0]}?" if candidates else ""
        raise InputError(f"{option.name} must be one of {_join(option.choices)}, not {value!r}.", hint)
    if option.type in ("int", "float"):
        _check_bounds(option, typed)
    return typed


def _join(choices: t.Iterable[t.Any]) -> str:
    return ", ".join(map(str, choices))


def _check_bounds(option: Option, value: float) -> None:
    too_low = (option.minimum is not None and value < option.minimum) or (
        option.exclusive_minimum is not None and value <= option.exclusive_minimum
    )
    if not too_low and (option.maximum is None or value <= option.maximum):
        return
    bounds = []
    if option.exclusive_minimum is not None:
        bounds.append(f"above {option.exclusive_minimum:g}")
    if option.minimum is not None:
        bounds.append(f"at least {option.minimum:.10g}")
    if option.maximum is not None:
        bounds.append(f"at most {option.maximum:.10g}")
    raise InputError(f"{option.name} must be {' and '.join(bounds)}, not {value!r}.")


def _convert(option: Option, value: t.Any) -> t.Any:
    error = InputError(f"{option.name} must be {_TYPE_DESCRIPTIONS[option.type]}, not {value!r}.")
    if option.type == "bool":
        text = str(value).strip().lower()
        if text not in _TRUE + _FALSE:
            raise error
        return text in _TRUE
    if option.type == "list":
        return _convert_list(option, value, error)
    if option.type == "str":
        if not isinstance(value, str) or not value.strip():
            raise error
        return value.strip().lower()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise error
    if option.type == "int" and isinstance(value, int):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise error from None
    if not math.isfinite(number) or (option.type == "int" and number != int(number)):
        raise error
    return int(number) if option.type == "int" else number


_TYPE_DESCRIPTIONS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
    "bool": "true or false",
    "list": "a list of words",
    "dict": "a mapping",
}


def _convert_list(option: Option, value: t.Any, error: InputError) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise error
    # module names are case-sensitive, and their order has no effect
    names = sorted({item.strip() for item in items if item.strip()})
    if not names:
        raise error
    return ["all"] if "all" in names else names


def _check_method(value: t.Any) -> str:
    name = _normalise_name(str(value))
    if name in REFUSED_METHODS:
        reason, alternative = REFUSED_METHODS[name]
        raise InputError(f"The method {str(value)!r} cannot be: {reason}", alternative)
    if name not in METHODS:
        candidates = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {candidates[0]}?" if candidates else ""
        raise InputError(f"method must be one of {_join(METHODS)}, not {value!r}.", hint)
    return name


def _check_stage_name(value: t.Any) -> str:
    option = _OPTIONS_BY_NAME["stage"]
    name = _normalise_name(str(value))
    if name not in option.choices:
        hint = f"Declare stage: dpo and pref_loss: {name}." if name in _OPTIONS_BY_NAME["pref_loss"].choices else ""
        if name == "ppo":
            hint = "Its rewards come while it trains, from a second model; dpo and kto learn from preferences as well."
        raise InputError(f"stage must be one of {_join(option.choices)}, not {value!r}.", hint)
    return name


def _check_quantizations(value: t.Any) -> list[str]:
    """GGUF types in canonical spelling (``Q4_k_m`` → ``q4_K_M``), in declared order, without duplicates."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise InputError(f"quantizations must be a list of GGUF types, not {value!r}.")
    spellings = {name.lower(): name for name in QUANTIZATIONS}
    spellings.update(QUANTIZATION_ALIASES)
    names = []
    for item in items:
        name = spellings.get(_normalise_name(str(item)))
        if name is None:
            candidates = difflib.get_close_matches(_normalise_name(str(item)), spellings, n=1)
            hint = f"Did you mean {spellings[candidates[0]]}? " if candidates else ""
            raise InputError(f"There is no GGUF type {item!r}.", f"{hint}Known: {_join(QUANTIZATIONS)}.")
        names.append(name)
    return list(dict.fromkeys(names))


def _check_extra(value: t.Any) -> dict[str, t.Any]:
    """Arguments of LLaMA-Factory that this program does not set itself.

    Whether the installed version supports them is checked in ``training.llamafactory_arguments``.
    """
    if not isinstance(value, t.Mapping):
        raise InputError(f"extra must be a mapping of LLaMA-Factory's arguments, not {value!r}.")
    by_argument = {option.lf_argument: option.name for option in OPTIONS if option.lf_argument}
    arguments: dict[str, t.Any] = {}
    for key, item in value.items():
        name = str(key).strip().lstrip("-").replace("-", "_")
        replacement = by_argument.get(name, MANAGED_ARGUMENTS.get(name))
        if replacement is not None:
            hint = f"Use {replacement} instead." if replacement else "Leave it out."
            raise InputError(f"extra.{name} is set by this program itself.", hint)
        if item is not None:
            arguments[name] = _parse_exponent(item)
    return arguments


def _parse_exponent(value: t.Any) -> t.Any:
    return float(value) if isinstance(value, str) and _EXPONENT.match(value.strip()) else value


def _require_method(method: str) -> None:
    if method == "auto":
        raise InputError("method: auto has to be resolved for a host first.")


def settings(hyperparameters: Hyperparameters) -> dict[str, t.Any]:
    """Settings that enter the fingerprint of a training: options that change the result and differ from their default.

    An option that does not apply to the method (``lora_rank`` for ``full``) or to the stage is omitted, whatever its
    value.

    :raises InputError: when the method is still ``auto``.
    """
    values, method = hyperparameters.values, hyperparameters.method
    _require_method(method)
    return {
        option.name: values[option.name]
        for option in OPTIONS
        if option.step == "train"
        and option.changes_result
        and option.applies(method, values["stage"])
        and values[option.name] != _copy_default(option.default)
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
        old, new = (source.get(option.name, _copy_default(option.default)) for source in (before, now))
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
        raise InputError("The chat template of the base model is unknown.", "Declare template.")
    if method == "qlora" and accelerator == "cpu":
        raise InputError("qlora needs a GPU: weights in 4 bits cannot be computed with on a CPU.", "Use method: lora.")
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
    arguments.update(values.get("extra") or {})
    return {key: value for key, value in arguments.items() if value is not None}


def precision(values: t.Mapping[str, t.Any], accelerator: str) -> str:
    """Number format that a training computes with: ``bf16``, ``fp16`` or ``fp32``.

    :raises InputError: when the accelerator does not support it.
    """
    declared = str(values["precision"])
    if declared == "auto":
        return "fp32" if accelerator == "cpu" else "bf16"
    if declared == "fp16" and accelerator == "cpu":
        raise InputError("fp16 needs a GPU.", "Leave precision out, or declare fp32.")
    return declared


def option_names(step: str | None = None) -> list[str]:
    """Names of the options of one step, or of all when ``step`` is None."""
    return [option.name for option in OPTIONS if step in (None, option.step)]


def argument_spec(step: str | None = None) -> dict[str, dict[str, t.Any]]:
    """The options as an Ansible argument spec.

    Omits the choices of method, stage and quantizations: :func:`normalise` rejects their wrong values with a reason.
    """
    spec: dict[str, dict[str, t.Any]] = {}
    for option in OPTIONS:
        if step not in (None, option.step):
            continue
        entry: dict[str, t.Any] = {"type": option.type}
        if option.default is not None:
            entry["default"] = _copy_default(option.default)
        if option.type == "list":
            entry["elements"] = "str"
        if option.choices and option.name not in ("method", "stage"):
            entry["choices"] = list(option.choices)
        if option.aliases:
            entry["aliases"] = list(option.aliases)
        spec[option.name] = entry
    return spec


def schema(step: str | None = None) -> dict[str, t.Any]:
    """The options as a JSON schema (draft 2020-12), for REST and MCP."""
    types = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "list": "array", "dict": "object"}
    properties: dict[str, t.Any] = {}
    for option in OPTIONS:
        if step not in (None, option.step):
            continue
        entry: dict[str, t.Any] = {"type": types[option.type], "description": option.description}
        if option.default is not None:
            entry["default"] = _copy_default(option.default)
        if option.type == "list":
            entry["items"] = {"type": "string"}
        if option.choices:
            entry["enum"] = list(option.choices)
        if option.name == "quantizations":
            entry["items"] = {"type": "string", "enum": list(QUANTIZATIONS)}
        for key, bound in (
            ("minimum", option.minimum),
            ("maximum", option.maximum),
            ("exclusiveMinimum", option.exclusive_minimum),
        ):
            if bound is not None:
                entry[key] = bound
        properties[option.name] = entry
    return {"type": "object", "properties": properties, "additionalProperties": False}
