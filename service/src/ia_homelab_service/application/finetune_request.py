# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for a fine-tune: all accepted spellings, validation of every field, and one schema for all interfaces.

The options themselves, with their bounds and defaults, are defined in tables of the core and not repeated here.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing as t

from ia_homelab_core.datasets import registry
from ia_homelab_core.errors import InputError
from ia_homelab_core.ollama import syntax
from ia_homelab_core.planning import declaration as planning_declaration
from ia_homelab_core.planning.pipeline import Goal
from ia_homelab_core.planning.request import Request
from ia_homelab_core.runs.names import FINETUNE_NAME, slug
from ia_homelab_core.training import hyperparameters as training_hyperparameters

from .errors import FieldError, FieldErrors

#: train: up to the trained adapter. model: up to the model that answers in Ollama.
GOALS = ("train", "model")

#: Other spellings of keys that are not hyperparameters (the core's table has the spellings of those).
ALIASES = {"model_name": "base_model", "model": "base_model", "dataset_path": "dataset", "revision": "base_revision"}

_DESCRIPTIONS = {
    "name": "Name of the fine-tune and of its model in Ollama; by default derived from base model and dataset.",
    "base_model": "An Ollama-style name, a Hugging Face id, or a directory on the host.",
    "base_revision": "Branch, tag or commit on the hub.",
    "dataset": "Name of a dataset; /app/data/NAME.json means NAME.",
    "system": "System prompt of the served model; by default that of the data.",
    "parameters": "Parameters of the served model, such as temperature.",
    "aliases": "Tags that the served model gets.",
    "register": "Whether the model is registered in Ollama.",
    "memory_check": "How to handle a training that does not fit: enforce refuses it, warn tries it.",
    "gate": "Questions, with expectations that the answers must meet before the tags are moved to the model.",
    "export": "merged: one file with all weights. adapter: a file with the adapter, used with that of the base model.",
    "regenerate": "When to retrain: on_change, never or always.",
    "regenerate_on": "The inputs that count: dataset, hyperparameters, base.",
    "keep": "Number of versions of the model to keep; by default all.",
    "keep_intermediates": "Whether to keep merged weights and 16-bit files after the model is registered.",
}
#: Only available in an inventory: a host cannot start trainings on other hosts.
_INVENTORY_ONLY = ("nodes",)
_TYPES = {"str": "string", "bool": "boolean", "dict": "object", "list": "array", "int": "integer", "float": "number"}
_TYPE_PHRASES = {"str": "text", "bool": "true or false", "dict": "an object", "list": "a list", "int": "a whole number"}
_NAME = f"^{FINETUNE_NAME}$"


@dataclasses.dataclass(frozen=True)
class FinetuneRequest:
    """A validated request for a fine-tune.

    :param declaration: the equivalent entry of ``finetunes``, with the core's names.
    :param goal: one of :data:`GOALS`.
    :param checked: the core's request, from which the run is planned.
    """

    declaration: dict[str, t.Any]
    goal: str
    checked: Request


def _hyperparameter_options() -> dict[str, dict[str, t.Any]]:
    return training_hyperparameters.argument_spec()


def known_fields() -> dict[str, str]:
    """Return every accepted spelling of every field, with the name it stands for."""
    fields = {"goal": "goal", **{name: name for name in planning_declaration.OPTIONS}, **ALIASES}
    for name, option in _hyperparameter_options().items():
        fields.update(dict.fromkeys((name, *option.get("aliases", ())), name))
    return fields


def normalize_key(key: str) -> str:
    """Return a key in the form that is used for comparison."""
    return re.sub(r"[\s-]+", "_", key.strip().lower())


def unknown_field(key: str, known: t.Iterable[str]) -> FieldError:
    """Return the error for an unknown field, which suggests the most similar known one."""
    near = difflib.get_close_matches(normalize_key(key), list(known), 1, 0.6)
    return FieldError(key, f"There is no field {key!r}.", f"Did you mean {near[0]}?" if near else "")


def parse_request(raw: t.Mapping[str, t.Any], goal: str = "train") -> FinetuneRequest:
    """Validate a request for a fine-tune.

    :param goal: the goal if the request has none.
    :raises FieldErrors: with every invalid field.
    """
    fields = known_fields()
    hyperparameters = _hyperparameter_options()
    values: dict[str, t.Any] = {}
    spellings_used: dict[str, str] = {}
    errors: list[FieldError] = []
    for key, value in raw.items():
        name = fields.get(normalize_key(str(key)))
        if name is None:
            errors.append(unknown_field(str(key), fields))
            continue
        if name in spellings_used:
            errors.append(FieldError(str(key), f"{name} is given twice: as {spellings_used[name]} and as {key}."))
            continue
        spellings_used[name] = str(key)
        if value is None:
            continue
        try:
            values[name] = _checked_value(name, value, hyperparameters)
        except InputError as error:
            errors.append(FieldError(str(key), error.message, error.hint))
    for name, option in planning_declaration.OPTIONS.items():
        if option.get("required") and name not in spellings_used and name != "name":
            errors.append(FieldError(name, f"{name} is missing."))
    for name in ("base_model", "dataset"):
        if name in spellings_used and raw[spellings_used[name]] is None:
            errors.append(FieldError(spellings_used[name], f"{name} is missing."))
    if values.get("base_model") is None or values.get("dataset") is None:
        raise FieldErrors(errors)
    checked_goal = str(values.pop("goal", goal))
    values.setdefault("name", default_name(str(values["base_model"]), str(values["dataset"])))
    typed = {name: value for name, value in values.items() if name in hyperparameters and not errors}
    checked, more_errors = _core_request(values, typed, Goal(checked_goal), spellings_used)
    errors += more_errors
    if errors or checked is None:
        raise FieldErrors(errors)
    return FinetuneRequest(values, checked_goal, checked)


def _core_request(
    values: t.Mapping[str, t.Any], typed: t.Mapping[str, t.Any], goal: Goal, spellings: t.Mapping[str, str]
) -> tuple[Request | None, list[FieldError]]:
    """Return the core's request, and every error: what is wrong is left out until the core accepts the remainder.

    :param values: the declaration.
    :param typed: checked hyperparameters.
    :param spellings: names of the fields as given in the request.
    """
    errors: list[FieldError] = []
    remaining = dict(values)
    while True:
        try:
            return Request.finetune(remaining, goal, training_hyperparameters.with_defaults(typed)), errors
        except InputError as error:
            options = [option for option in error.details.get("options") or () if option in remaining]
            message = error.message.removeprefix(f"{remaining['name']}: ")
            errors += [FieldError(spellings.get(option, option), message, error.hint) for option in options or [""]]
            if not options:
                return None, errors
            for option in options:
                del remaining[option]
            remaining.setdefault("name", "finetune")
            typed = {option: value for option, value in typed.items() if option in remaining}


def _checked_value(name: str, value: t.Any, hyperparameters: t.Mapping[str, t.Any]) -> t.Any:
    if name in hyperparameters:
        # text such as "2e-4" is converted to a number, as for YAML
        return training_hyperparameters.check_value(name, value)
    if name == "goal":
        if value not in GOALS:
            raise InputError(f"goal must be one of {', '.join(GOALS)}, not {value!r}.")
        return value
    if name in _INVENTORY_ONLY:
        raise InputError(
            f"{name} is declared in an inventory: several hosts train together only where Ansible asks them all.",
            "Apply it with playbooks/finetune.yml.",
        )
    kind = planning_declaration.OPTIONS[name]["type"]
    expected_type: t.Any = {"str": str, "bool": bool, "dict": dict, "list": list, "int": int}[kind]
    if isinstance(value, expected_type):
        return _checked_option(name, value)
    raise InputError(f"{name} must be {_TYPE_PHRASES[kind]}, not {value!r}.")


def _checked_option(name: str, value: t.Any) -> t.Any:
    """Check what the core takes as it is; it checks choices, the gate and the name itself."""
    if name == "dataset":
        return registry.dataset_name(value)
    if name == "base_model":
        value = value.strip()
        if not value or any(ord(letter) < 32 for letter in value):
            raise InputError(f"{name} must name a model, not {value!r}.")
    elif name == "parameters":
        syntax.check_parameters(value)
    elif name == "aliases":
        for alias in value:
            if not isinstance(alias, str):
                raise InputError(f"aliases must be a list of tags, not {value!r}.")
            syntax.check_name(f"model:{alias}")
    return value


def declared_options(declaration: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options in a run's declaration, without annotations of the service."""
    fields = known_fields()
    return {
        key: value
        for key, value in declaration.items()
        if normalize_key(key) in fields and normalize_key(key) != "goal"
    }


def default_name(base_model: str, dataset: str) -> str:
    """Return the default name of a fine-tune: the same for the same base model and dataset."""
    leaf = base_model.rstrip("/").rpartition("/")[2]
    return slug(f"{leaf}-{dataset}")[:80].rstrip("-._") or "finetune"


def form_schema() -> dict[str, t.Any]:
    """Return the JSON schema (draft 2020-12) of a request, with canonical names: for the page's form and MCP."""
    properties: dict[str, t.Any] = {}
    for name, option in planning_declaration.OPTIONS.items():
        if name in _INVENTORY_ONLY:
            continue
        entry: dict[str, t.Any] = {"type": _TYPES[option["type"]], "description": _DESCRIPTIONS.get(name, "")}
        if option.get("default") is not None:
            entry["default"] = option["default"]
        choices = {"enum": list(option["choices"])} if option.get("choices") else {}
        if option["type"] == "list":
            entry["items"] = {"type": "string", **choices}
        else:
            entry.update(choices)
        if name == "name":
            entry["pattern"] = _NAME
        properties[name] = entry
    properties.update(training_hyperparameters.schema()["properties"])
    properties["goal"] = {
        "type": "string",
        "enum": list(GOALS),
        "default": "train",
        "description": "train: up to the trained adapter. model: up to the model that answers in Ollama.",
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["base_model", "dataset"],
        "additionalProperties": False,
    }


def request_schema() -> dict[str, t.Any]:
    """Return the schema with every accepted spelling, for the OpenAPI document."""
    schema = form_schema()
    properties: dict[str, t.Any] = dict(schema["properties"])
    for spelling, name in known_fields().items():
        if spelling != name:
            properties[spelling] = {**schema["properties"][name], "description": f"The same as {name}."}
            properties[spelling].pop("default", None)
    spellings: dict[str, list[str]] = {}
    for spelling, name in known_fields().items():
        spellings.setdefault(name, []).append(spelling)
    return {
        "type": "object",
        "properties": properties,
        "allOf": [{"anyOf": [{"required": [one]} for one in spellings[name]]} for name in schema["required"]],
        "additionalProperties": False,
        "examples": [
            {
                "model_name": "qwen2.5:7b",
                "dataset": "homelab_prompts",
                "training_method": "lora",
                "lora_rank": 16,
                "num_epochs": 3,
                "learning_rate": 2e-4,
            }
        ],
    }
