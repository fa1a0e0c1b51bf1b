# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of options: conversion to their types, checks, and messages that name what was written. No side effects."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing as t

from ..errors import InputError
from .known_names import MANAGED_ARGUMENTS, QUANTIZATION_ALIASES, QUANTIZATIONS, REFUSED_METHODS
from .option import METHODS, Option
from .options import BY_NAME, OPTIONS

#: Exponent notation; YAML 1.1 reads some of these numbers (``2e-4``) as text.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+\Z")
#: Maximum length of a wrong value in a message, in characters.
_MAX_SHOWN = 80
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_TYPE_DESCRIPTIONS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
    "text": "text",
    "bool": "true or false",
    "list": "a list of words",
    "dict": "a mapping",
}
#: Checks a declared value, and returns it as it is used.
ValueCheck = t.Callable[[t.Any], t.Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A declared option that is wrong.

    :param option: its name, as it was written.
    :param message: what is wrong with it.
    :param hint: what to write instead; empty when that is clear.
    """

    option: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclasses.dataclass(frozen=True)
class Checked:
    """The options of a declaration.

    :param values: typed value by name, of the options that have a valid one.
    :param written: name as it was written, by name.
    :param problems: everything that is wrong, in declared order.
    """

    values: dict[str, t.Any]
    written: dict[str, str]
    problems: list[Problem]


def raise_problems(problems: t.Sequence[Problem], label: str = "") -> None:
    """Raise one error with all problems.

    :param label: name of the fine-tune, for the message.
    :raises InputError: if there is a problem.
    """
    if not problems:
        return
    details = {"problems": [dataclasses.asdict(problem) for problem in problems]}
    prefix = f"{label}: " if label else ""
    if len(problems) == 1:
        raise InputError(f"{prefix}{problems[0].message}", problems[0].hint, details)
    lines = [f"{prefix}{len(problems)} options are wrong.", *(f"- {problem}" for problem in problems)]
    raise InputError("\n".join(lines), "", details)


def normalize_name(text: str) -> str:
    """A name in the form in which it is compared: small letters, ``_`` for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def check_options(
    options: t.Sequence[Option],
    declared: t.Mapping[t.Any, t.Any],
    checks: t.Mapping[str, ValueCheck] | None = None,
) -> Checked:
    """Check every declared option. Null is as good as not declared.

    Numbers may be text (YAML reads ``2e-4`` as text, and templates render everything as text). Names and choices are
    case-insensitive.

    :param options: the options that there are.
    :param declared: option name or alias → value.
    :param checks: checks of single options after the conversion to their type, by name; ``InputError`` is a problem.
    """
    by_name = {name: option for option in options for name in option.names}
    checked = Checked({}, {}, [])
    for key, value in declared.items():
        option = by_name.get(normalize_name(str(key)))
        if option is None:
            checked.problems.append(_unknown(str(key), by_name))
            continue
        if option.name in checked.written:
            message = f"{option.name} was declared twice: as {checked.written[option.name]} and as {key}."
            checked.problems.append(Problem(str(key), message))
            continue
        checked.written[option.name] = str(key)
        if value is None:
            continue
        try:
            typed = check_value(option, value)
            check = (checks or {}).get(option.name)
            checked.values[option.name] = check(typed) if check else typed
        except InputError as error:
            renamed = "" if normalize_name(str(key)) == option.name else f"{key}: "
            checked.problems.append(Problem(str(key), f"{renamed}{error.message}", error.hint))
    return checked


def _unknown(key: str, by_name: t.Mapping[str, Option]) -> Problem:
    """An option that does not exist: the one of that name in LLaMA-Factory, or the most similar one."""
    name = normalize_name(key.strip().lstrip("-"))
    message = f"There is no option {key!r} of a fine-tune."
    equivalent = next((option.name for option in OPTIONS if option.lf_argument == name), MANAGED_ARGUMENTS.get(name))
    if equivalent in by_name:
        return Problem(key, message, f"LLaMA-Factory's {name} is {equivalent} here.")
    if equivalent is not None:
        use = f"Use {equivalent} of the modules." if equivalent else "Leave it out."
        return Problem(key, message, f"LLaMA-Factory's {name} is set by this program itself. {use}")
    candidates = difflib.get_close_matches(name, by_name, n=1, cutoff=0.7)
    if candidates:
        return Problem(key, message, f"Did you mean {by_name[candidates[0]].name}?")
    hint = "Arguments of LLaMA-Factory itself go under extra; the README of the role finetune lists the options."
    return Problem(key, message, hint)


def shown(value: t.Any) -> str:
    """A wrong value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def check_value(option: Option, value: t.Any) -> t.Any:
    """The value of an option, converted to its type.

    :raises InputError: for a wrong type, a value out of bounds, or one that is none of its choices.
    """
    if option.name == "method":
        return _check_method(value)
    if option.name == "stage":
        return _check_stage_name(value)
    if option.name == "quantizations":
        return _check_quantizations(value)
    if option.name == "extra":
        return _check_extra(value)
    if option.name == "gate":
        return value  # a mapping, or only the list of its prompts: planning.declaration reads it
    typed = _convert(option, value)
    if option.choices:
        for item in typed if option.type == "list" else [typed]:
            if item not in option.choices:
                candidates = difflib.get_close_matches(str(item), map(str, option.choices), n=1)
                hint = f"Did you mean {candidates[0]}?" if candidates else ""
                wrong = shown(item if option.type == "list" else value)
                raise InputError(f"{option.name} must be one of {_join(option.choices)}, not {wrong}.", hint)
    if option.type in ("int", "float"):
        _check_bounds(option, typed, value)
    return typed


def _join(choices: t.Iterable[t.Any]) -> str:
    return ", ".join(map(str, choices))


def _check_bounds(option: Option, value: float, written: t.Any) -> None:
    too_low = (option.minimum is not None and value < option.minimum) or (
        option.exclusive_minimum is not None and value <= option.exclusive_minimum
    )
    if not too_low and (option.maximum is None or value <= option.maximum):
        return
    raise InputError(f"{option.name} must be {' and '.join(option.bounds())}, not {shown(written)}.")


def _convert(option: Option, value: t.Any) -> t.Any:
    error = InputError(f"{option.name} must be {_TYPE_DESCRIPTIONS[option.type]}, not {shown(value)}.")
    if option.type == "bool":
        text = str(value).strip().lower()
        if text not in _TRUE + _FALSE:
            raise error
        return text in _TRUE
    if option.type == "list":
        return _convert_list(option, value, error)
    if option.type == "dict":
        if not isinstance(value, t.Mapping):
            raise error
        return dict(value)
    if option.type == "text":
        # YAML reads some names (20240131, 1.5) as numbers
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise error
        return str(value)
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


def _convert_list(option: Option, value: t.Any, error: InputError) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise error
    if option.name != "lora_target":
        if any(isinstance(item, bool) or not isinstance(item, (str, int, float)) for item in items):
            raise error
        names = [str(item).strip() for item in items]
        return [name.lower() for name in names if name] if option.choices else [name for name in names if name]
    if not all(isinstance(item, str) for item in items):
        raise error
    # module names are case-sensitive, and their order has no effect
    modules = sorted({item.strip() for item in items if item.strip()})
    if not modules:
        raise error
    return ["all"] if "all" in modules else modules


def _check_method(value: t.Any) -> str:
    name = normalize_name(str(value))
    if name in REFUSED_METHODS:
        reason, alternative = REFUSED_METHODS[name]
        raise InputError(f"The method {str(value)!r} cannot be: {reason}", alternative)
    if name not in METHODS:
        candidates = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {candidates[0]}?" if candidates else ""
        raise InputError(f"method must be one of {_join(METHODS)}, not {shown(value)}.", hint)
    return name


def _check_stage_name(value: t.Any) -> str:
    option = BY_NAME["stage"]
    name = normalize_name(str(value))
    if name not in option.choices:
        hint = f"Declare stage: dpo and pref_loss: {name}." if name in BY_NAME["pref_loss"].choices else ""
        if name == "ppo":
            hint = "Its rewards come while it trains, from a second model; dpo and kto learn from preferences as well."
        raise InputError(f"stage must be one of {_join(option.choices)}, not {shown(value)}.", hint)
    return name


def _check_quantizations(value: t.Any) -> list[str]:
    """GGUF types in canonical spelling (``Q4_k_m`` → ``q4_K_M``), in declared order, without duplicates."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise InputError(f"quantizations must be a list of GGUF types, not {shown(value)}.")
    spellings = {name.lower(): name for name in QUANTIZATIONS}
    spellings.update(QUANTIZATION_ALIASES)
    names = []
    for item in items:
        name = spellings.get(normalize_name(str(item)))
        if name is None:
            candidates = difflib.get_close_matches(normalize_name(str(item)), spellings, n=1)
            hint = f"Did you mean {spellings[candidates[0]]}? " if candidates else ""
            raise InputError(f"There is no GGUF type {item!r}.", f"{hint}Known: {_join(QUANTIZATIONS)}.")
        names.append(name)
    return list(dict.fromkeys(names))


def _check_extra(value: t.Any) -> dict[str, t.Any]:
    """Arguments of LLaMA-Factory that this program does not set itself.

    Whether the installed version supports them is checked in ``training.llamafactory_arguments``.
    """
    if not isinstance(value, t.Mapping):
        raise InputError(f"extra must be a mapping of LLaMA-Factory's arguments, not {shown(value)}.")
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
