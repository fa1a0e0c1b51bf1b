# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of options: conversion to their types, checks, and messages that name what was written. No side effects."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from .extra_arguments import EXTRA_ARGUMENTS
from .known_names import DECLARED_INSTEAD, MANAGED_ARGUMENTS, QUANTIZATION_ALIASES, QUANTIZATIONS, REFUSED_METHODS
from .option import METHODS, Option
from .options import BY_NAME, OPTIONS

#: Exponent notation; YAML 1.1 reads some of these numbers (``2e-4``) as text.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+\Z")
#: Maximum length of a wrong value in a message, in characters.
_MAX_SHOWN = 80
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
#: Code of the message for a value of another type.
_WRONG_TYPE = {
    "int": "training.option_no_integer",
    "float": "training.option_no_number",
    "str": "training.option_no_word",
    "text": "training.option_no_text",
    "bool": "training.option_no_boolean",
    "list": "training.option_no_list",
    "dict": "training.option_no_mapping",
}
#: Checks a declared value, and returns it as it is used.
ValueCheck = t.Callable[[t.Any], t.Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A declared option that is wrong.

    :param option: its name, as it was written.
    :param content: what is wrong with it; its hint is what to write instead, and empty when that is clear.
    """

    option: str
    content: Message

    def __str__(self) -> str:
        return str(self.content)

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values: ``option``, ``message`` and ``hint`` in English, ``code`` and ``parameters``."""
        stored = self.content.as_dict()
        texts = {"message": stored.pop("text"), "hint": stored.pop("hint", "")}
        return {"option": self.option, **texts, **stored}

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Problem:
        """Create a problem from the result of :meth:`as_dict`."""
        return cls(str(value.get("option") or ""), Message.from_stored(value))


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
    details = {"problems": [problem.as_dict() for problem in problems]}
    if len(problems) == 1:
        content = problems[0].content
    else:
        content = Message("training.options_wrong", count=len(problems), problems=[each.content for each in problems])
    if label:
        content = Message("training.of_finetune", name=label, problem=content)
    raise InputError(content, details=details)


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
            checked.problems.append(_unknown(str(key), value, by_name))
            continue
        if option.name in checked.written:
            first = checked.written[option.name]
            twice = Message("training.declared_twice", option=option.name, first=first, second=str(key))
            checked.problems.append(Problem(str(key), twice))
            continue
        checked.written[option.name] = str(key)
        if value is None:
            continue
        try:
            typed = check_value(option, value)
            check = (checks or {}).get(option.name)
            checked.values[option.name] = check(typed) if check else typed
        except InputError as error:
            content = error.content
            if normalize_name(str(key)) != option.name:
                content = Message("training.written_as", key=str(key), problem=content)
            checked.problems.append(Problem(str(key), content))
    return checked


def _unknown(key: str, value: t.Any, by_name: t.Mapping[str, Option]) -> Problem:
    """An option that does not exist: what does the same as this argument of LLaMA-Factory, or the most similar."""
    name = normalize_name(key.strip().lstrip("-"))
    equivalent = next((option.name for option in OPTIONS if option.lf_argument == name), MANAGED_ARGUMENTS.get(name))
    if equivalent in by_name:
        declaration = declaration_instead(name, str(equivalent), value)
        return Problem(key, Message("training.argument_is_option", argument=key, declaration=declaration))
    if equivalent:
        return Problem(key, Message("training.argument_of_modules", argument=key, option=equivalent))
    if equivalent is not None:
        return Problem(key, Message("training.argument_managed", argument=key))
    if name in EXTRA_ARGUMENTS:
        declaration = f"extra: {{{name}: {_as_declared(value)}}}"
        return Problem(key, Message("training.argument_is_option", argument=key, declaration=declaration))
    candidates = difflib.get_close_matches(name, [*by_name, *EXTRA_ARGUMENTS], n=1, cutoff=0.7)
    if not candidates:
        advice: Message | None = Message("training.see_options")
    elif candidates[0] in by_name:
        advice = did_you_mean([by_name[candidates[0]].name])
    else:
        advice = did_you_mean([f"extra: {{{candidates[0]}: {_as_declared(value)}}}"])
    return Problem(key, Message("training.option_unknown", option=key, advice=advice))


def declaration_instead(argument: str, option: str, value: t.Any) -> str:
    """What is declared instead of an argument of LLaMA-Factory.

    :param option: the option of that meaning; :param value: the value of the argument.
    """
    switched_on = str(value).strip().lower() in _TRUE
    declared = DECLARED_INSTEAD.get(argument, "")
    return declared if declared and switched_on else option


def _as_declared(value: t.Any) -> str:
    """A value as it is written in a declaration; an ellipsis for one that is long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else "…"


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
                wrong = shown(item if option.type == "list" else value)
                raise _not_a_choice(option.name, option.choices, wrong, did_you_mean(candidates))
    if option.type in ("int", "float"):
        _check_bounds(option, typed, value)
    return typed


def _not_a_choice(option: str, choices: t.Iterable[t.Any], value: str, advice: Message | None) -> InputError:
    return InputError("training.option_choice", option=option, choices=list(choices), value=value, advice=advice)


def _check_bounds(option: Option, value: float, written: t.Any) -> None:
    too_low = (option.minimum is not None and value < option.minimum) or (
        option.exclusive_minimum is not None and value <= option.exclusive_minimum
    )
    if not too_low and (option.maximum is None or value <= option.maximum):
        return
    raise InputError("training.option_bounds", option=option.name, bounds=list(option.bounds()), value=shown(written))


def _convert(option: Option, value: t.Any) -> t.Any:
    error = InputError(_WRONG_TYPE[option.type], option=option.name, value=shown(value))
    if option.type == "str" and option.choices:
        error = _not_a_choice(option.name, option.choices, shown(value), None)
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
        if value is False and "off" in option.choices:
            value = "off"  # YAML reads the word as a boolean
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
        raise InputError("training.no_prompt_tuning", method=str(value))
    if name not in METHODS:
        candidates = difflib.get_close_matches(name, METHODS, n=1)
        raise _not_a_choice("method", METHODS, shown(value), did_you_mean(candidates))
    return name


def _check_stage_name(value: t.Any) -> str:
    option = BY_NAME["stage"]
    name = normalize_name(str(value))
    if name not in option.choices:
        advice = Message("training.is_pref_loss", loss=name) if name in BY_NAME["pref_loss"].choices else None
        if name == "ppo":
            advice = Message("training.no_ppo")
        raise _not_a_choice("stage", option.choices, shown(value), advice)
    return name


def _check_quantizations(value: t.Any) -> list[str]:
    """GGUF types in canonical spelling (``Q4_k_m`` → ``q4_K_M``), in declared order, without duplicates."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise InputError("training.quantizations_invalid", value=shown(value))
    spellings = {name.lower(): name for name in QUANTIZATIONS}
    spellings.update(QUANTIZATION_ALIASES)
    names = []
    for item in items:
        name = spellings.get(normalize_name(str(item)))
        if name is None:
            candidates = difflib.get_close_matches(normalize_name(str(item)), spellings, n=1)
            hint = did_you_mean([spellings[each] for each in candidates])
            known = list(QUANTIZATIONS)
            raise InputError("training.quantization_unknown", type=item, suggestion=hint, known=known)
        names.append(name)
    return list(dict.fromkeys(names))


def _check_extra(value: t.Any) -> dict[str, t.Any]:
    """Arguments of LLaMA-Factory that this program does not set itself.

    Whether the installed version supports them is checked in ``training.llamafactory_arguments``.
    """
    if not isinstance(value, t.Mapping):
        raise InputError("training.extra_invalid", value=shown(value))
    by_argument = {option.lf_argument: option.name for option in OPTIONS if option.lf_argument}
    arguments: dict[str, t.Any] = {}
    for key, item in value.items():
        name = str(key).strip().lstrip("-").replace("-", "_")
        replacement = by_argument.get(name, MANAGED_ARGUMENTS.get(name))
        if replacement is not None:
            if replacement in BY_NAME:
                declaration = declaration_instead(name, replacement, item)
                raise InputError("training.extra_is_option", name=name, option=declaration)
            if replacement:
                raise InputError("training.extra_of_modules", name=name, option=replacement)
            raise InputError("training.extra_managed", name=name)
        if item is not None:
            arguments[name] = _parse_exponent(item)
    return arguments


def _parse_exponent(value: t.Any) -> t.Any:
    return float(value) if isinstance(value, str) and _EXPONENT.match(value.strip()) else value
