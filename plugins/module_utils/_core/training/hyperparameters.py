# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was declared of a fine-tune to typed values, the settings of its fingerprint, LLaMA-Factory's arguments."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing as t

from ..errors import InputError
from .options import ADAPTERS, METHODS, OPTIONS, OURS, QUANTIZATION_ALIASES, QUANTIZATIONS, REFUSED_METHODS, Option

_BY_NAME = {option.name: option for option in OPTIONS}
_CANONICAL = {alias: option.name for option in OPTIONS for alias in (option.name, *option.aliases)}
#: YAML 1.1 reads these as text.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+\Z")
#: Letters of a setting that people are shown.
_WIDTH = 60
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The options of a fine-tune, each with its type and within its bounds; defaults filled in.

    :param values: by the option's name.
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
        """Types of the GGUF files, in declared order."""
        return list(self.values["quantizations"])

    @property
    def extra(self) -> dict[str, t.Any]:
        """More arguments of LLaMA-Factory."""
        return dict(self.values["extra"])

    def with_method(self, method: str) -> Hyperparameters:
        """The same with another method (what ``auto`` was resolved to)."""
        return Hyperparameters({**self.values, "method": method})

    def with_extra(self, extra: t.Mapping[str, t.Any]) -> Hyperparameters:
        """The same with other arguments of LLaMA-Factory (checked against the installed version)."""
        return Hyperparameters({**self.values, "extra": dict(extra)})


def normalise(declared: t.Mapping[str, t.Any]) -> Hyperparameters:
    """Typed values of what was declared; the rest at its default.

    Numbers may come as text (YAML reads ``2e-4`` so, templates make everything text); names and choices may be in
    any case.

    :raises InputError: for an unknown option (with the nearest one), a wrong type, a value out of bounds, a method
        or stage that cannot be.
    """
    values: dict[str, t.Any] = {option.name: _copy(option.default) for option in OPTIONS}
    given: dict[str, str] = {}
    for key, value in declared.items():
        name = _CANONICAL.get(_fold(str(key)))
        if name is None:
            raise InputError(f"There is no option {key!r} of a fine-tune.", _unknown_hint(str(key)))
        if name in given:
            raise InputError(f"{name} was declared twice: as {given[name]} and as {key}.")
        given[name] = str(key)
        if value is not None:
            values[name] = _checked(_BY_NAME[name], value)
    if values["lora_alpha"] == 2 * values["lora_rank"]:
        values["lora_alpha"] = None
    _check_stage(values)
    return Hyperparameters(values)


def _check_stage(values: t.Mapping[str, t.Any]) -> None:
    """An option of another stage would be passed over: ``pref_loss: orpo`` without ``stage: dpo`` trains no ORPO."""
    for option in OPTIONS:
        if option.stages and values["stage"] not in option.stages and values[option.name] != option.default:
            raise InputError(
                f"{option.name} means nothing for the stage {values['stage']}.",
                f"Declare stage: {' or '.join(option.stages)}, or leave {option.name} out.",
            )


def _copy(default: t.Any) -> t.Any:
    if isinstance(default, tuple):
        return list(default)
    return dict(default) if isinstance(default, dict) else default


def _fold(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def _unknown_hint(key: str) -> str:
    near = difflib.get_close_matches(_fold(key), _CANONICAL, n=1, cutoff=0.7)
    if near:
        return f"Did you mean {_CANONICAL[near[0]]}?"
    return "Arguments of LLaMA-Factory itself go under extra. Options: " + ", ".join(_BY_NAME) + "."


def _checked(option: Option, value: t.Any) -> t.Any:
    if option.name == "method":
        return _method(value)
    if option.name == "stage":
        return _stage(value)
    if option.name == "quantizations":
        return _quantizations(value)
    if option.name == "extra":
        return _extra(value)
    typed = _typed(option, value)
    if option.choices and typed not in option.choices:
        near = difflib.get_close_matches(str(typed), map(str, option.choices), n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        raise InputError(f"{option.name} must be one of {_words(option.choices)}, not {value!r}.", hint)
    if option.type in ("int", "float"):
        _check_bounds(option, typed)
    return typed


def _words(choices: t.Iterable[t.Any]) -> str:
    return ", ".join(map(str, choices))


def _check_bounds(option: Option, value: float) -> None:
    low = (option.minimum is not None and value < option.minimum) or (
        option.above is not None and value <= option.above
    )
    if not low and (option.maximum is None or value <= option.maximum):
        return
    parts = []
    if option.above is not None:
        parts.append(f"above {option.above:g}")
    if option.minimum is not None:
        parts.append(f"at least {option.minimum:.10g}")
    if option.maximum is not None:
        parts.append(f"at most {option.maximum:.10g}")
    raise InputError(f"{option.name} must be {' and '.join(parts)}, not {value!r}.")


def _typed(option: Option, value: t.Any) -> t.Any:
    wrong = InputError(f"{option.name} must be {_TYPE_WORDS[option.type]}, not {value!r}.")
    if option.type == "bool":
        word = str(value).strip().lower()
        if word not in _TRUE + _FALSE:
            raise wrong
        return word in _TRUE
    if option.type == "list":
        return _typed_list(option, value, wrong)
    if option.type == "str":
        if not isinstance(value, str) or not value.strip():
            raise wrong
        return value.strip().lower()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong
    if option.type == "int" and isinstance(value, int):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if not math.isfinite(number) or (option.type == "int" and number != int(number)):
        raise wrong
    return int(number) if option.type == "int" else number


_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
    "bool": "true or false",
    "list": "a list of words",
    "dict": "a mapping",
}


def _typed_list(option: Option, value: t.Any, wrong: InputError) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise wrong
    # module names of a model are told apart by case, and their order means nothing
    found = sorted({item.strip() for item in items if item.strip()})
    if not found:
        raise wrong
    return ["all"] if "all" in found else found


def _method(value: t.Any) -> str:
    name = _fold(str(value))
    if name in REFUSED_METHODS:
        reason, instead = REFUSED_METHODS[name]
        raise InputError(f"The method {str(value)!r} cannot be: {reason}", instead)
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        raise InputError(f"method must be one of {_words(METHODS)}, not {value!r}.", hint)
    return name


def _stage(value: t.Any) -> str:
    option = _BY_NAME["stage"]
    name = _fold(str(value))
    if name not in option.choices:
        hint = f"Declare stage: dpo and pref_loss: {name}." if name in _BY_NAME["pref_loss"].choices else ""
        if name == "ppo":
            hint = "Its rewards come while it trains, from a second model; dpo and kto learn from preferences as well."
        raise InputError(f"stage must be one of {_words(option.choices)}, not {value!r}.", hint)
    return name


def _quantizations(value: t.Any) -> list[str]:
    """GGUF types in their one spelling (``Q4_k_m`` → ``q4_K_M``), in declared order, each once."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise InputError(f"quantizations must be a list of GGUF types, not {value!r}.")
    known = {name.lower(): name for name in QUANTIZATIONS}
    known.update(QUANTIZATION_ALIASES)
    found = []
    for item in items:
        name = known.get(_fold(str(item)))
        if name is None:
            near = difflib.get_close_matches(_fold(str(item)), known, n=1)
            hint = f"Did you mean {known[near[0]]}? " if near else ""
            raise InputError(f"There is no GGUF type {item!r}.", f"{hint}Known: {_words(QUANTIZATIONS)}.")
        found.append(name)
    return list(dict.fromkeys(found))


def _extra(value: t.Any) -> dict[str, t.Any]:
    """Arguments of LLaMA-Factory that this program does not set itself.

    Whether the installed version has them is not known here: see ``training.llamafactory_arguments``.
    """
    if not isinstance(value, t.Mapping):
        raise InputError(f"extra must be a mapping of LLaMA-Factory's arguments, not {value!r}.")
    by_argument = {option.lf_argument: option.name for option in OPTIONS if option.lf_argument}
    found: dict[str, t.Any] = {}
    for key, item in value.items():
        name = str(key).strip().lstrip("-").replace("-", "_")
        instead = by_argument.get(name, OURS.get(name))
        if instead is not None:
            hint = f"Use {instead} instead." if instead else "Leave it out."
            raise InputError(f"extra.{name} is set by this program itself.", hint)
        if item is not None:
            found[name] = _number_if_one(item)
    return found


def _number_if_one(value: t.Any) -> t.Any:
    return float(value) if isinstance(value, str) and _EXPONENT.match(value.strip()) else value


def _require_method(method: str) -> None:
    if method == "auto":
        raise InputError("method: auto has to be resolved for a host first.")


def settings(hyperparameters: Hyperparameters) -> dict[str, t.Any]:
    """What the fingerprint of a training is made from: what changes the result and is not at its default.

    An option that means nothing for the method (``lora_rank`` for ``full``) or the stage is left out, whatever its
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
        and values[option.name] != _copy(option.default)
    }


def describe_settings(value: t.Any) -> str:
    """A setting for people to read, on one line."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(describe_settings(item) for item in value) or "none"
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def differences(before: t.Mapping[str, t.Any], now: t.Mapping[str, t.Any], auto: t.Container[str] = ()) -> list[str]:
    """What differs between the settings of two trainings, in words: ``learning_rate 0.0001 → 0.0002``.

    :param before: what :func:`settings` gave, once.
    :param now: what it gives.
    :param auto: options that are not declared, but found out for a host or a base: they are not looked at.
    """
    found = []
    for option in OPTIONS:
        was, is_now = (each.get(option.name, _copy(option.default)) for each in (before, now))
        pairs = [(option.name, describe_settings(was), describe_settings(is_now))]
        if option.type == "dict":
            pairs = [
                (f"{option.name}.{key}", describe_settings(was.get(key)), describe_settings(is_now.get(key)))
                for key in {**was, **is_now}
            ]
        found += [f"{name} {a} → {b}" for name, a, b in pairs if option.name not in auto and a.lower() != b.lower()]
    return found


def resolved(hyperparameters: Hyperparameters) -> dict[str, t.Any]:
    """All options with what they come to, for the step to run with and for people to read."""
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

    :param values: what :func:`resolved` gave, ``template`` filled in.
    :param base: directory of the base model.
    :param dataset: name of the dataset in ``dataset_dir``'s ``dataset_info.json``.
    :param output_dir: where checkpoints and the result go.
    :param accelerator: ``cuda`` or ``cpu``.
    :param eval_dataset: name of the dataset to validate on after each epoch (``extra`` may say otherwise); none when
        empty.
    :raises InputError: for what cannot be trained like that.
    """
    method = str(values["method"])
    _require_method(method)
    if not values.get("template"):
        raise InputError("Nothing tells which chat template the base model was made for.", "Declare template.")
    if method == "qlora" and accelerator == "cpu":
        raise InputError("qlora needs a GPU: weights in 4 bits cannot be computed with on a CPU.", "Use method: lora.")
    found: dict[str, t.Any] = {
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
            found[option.lf_argument] = values.get(option.name)
    found["finetuning_type"] = "lora" if method in ADAPTERS else method
    if method in ADAPTERS:
        found["lora_target"] = ",".join(values["lora_target"])
    numbers = precision(values, accelerator)
    if numbers != "fp32":
        found[numbers] = True
    # DeepSpeed finds the CPU itself, and with use_cpu the Trainer would not begin its ZeRO 3
    if accelerator == "cpu" and not (values.get("extra") or {}).get("deepspeed"):
        found["use_cpu"] = True
    if not values["gradient_checkpointing"]:
        found["disable_gradient_checkpointing"] = True
    if eval_dataset:
        found.update(eval_dataset=eval_dataset, eval_strategy="epoch", per_device_eval_batch_size=values["batch_size"])
    found.update(values.get("extra") or {})
    return {key: value for key, value in found.items() if value is not None}


def precision(values: t.Mapping[str, t.Any], accelerator: str) -> str:
    """The numbers a training computes with: ``bf16``, ``fp16`` or ``fp32``.

    :raises InputError: for what the accelerator cannot do.
    """
    declared = str(values["precision"])
    if declared == "auto":
        return "fp32" if accelerator == "cpu" else "bf16"
    if declared == "fp16" and accelerator == "cpu":
        raise InputError("fp16 needs a GPU.", "Leave precision out, or declare fp32.")
    return declared


def option_names(step: str | None = None) -> list[str]:
    """Names of the options, of one step or of all."""
    return [option.name for option in OPTIONS if step in (None, option.step)]


def argument_spec(step: str | None = None) -> dict[str, dict[str, t.Any]]:
    """The options as an Ansible argument spec.

    Without choices for those options whose wrong values are refused with a reason (method, stage, quantizations).
    """
    spec: dict[str, dict[str, t.Any]] = {}
    for option in OPTIONS:
        if step not in (None, option.step):
            continue
        entry: dict[str, t.Any] = {"type": option.type}
        if option.default is not None:
            entry["default"] = _copy(option.default)
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
        entry: dict[str, t.Any] = {"type": types[option.type], "description": option.meaning}
        if option.default is not None:
            entry["default"] = _copy(option.default)
        if option.type == "list":
            entry["items"] = {"type": "string"}
        if option.choices:
            entry["enum"] = list(option.choices)
        if option.name == "quantizations":
            entry["items"] = {"type": "string", "enum": list(QUANTIZATIONS)}
        for key, bound in (
            ("minimum", option.minimum),
            ("maximum", option.maximum),
            ("exclusiveMinimum", option.above),
        ):
            if bound is not None:
                entry[key] = bound
        properties[option.name] = entry
    return {"type": "object", "properties": properties, "additionalProperties": False}
