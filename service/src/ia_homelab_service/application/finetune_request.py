# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for a fine-tune: all accepted spellings, validation of every field, and one schema for all interfaces.

The options themselves, with their bounds and defaults, are defined in tables of the core and not repeated here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import typing as t

from ia_homelab_core.errors import InputError
from ia_homelab_core.messages.message import Message
from ia_homelab_core.messages.suggestions import did_you_mean
from ia_homelab_core.planning import declaration as planning_declaration
from ia_homelab_core.planning.pipeline import Goal
from ia_homelab_core.planning.request import Request
from ia_homelab_core.runs.names import FINETUNE_NAME, slug
from ia_homelab_core.training import hyperparameters as training_hyperparameters
from ia_homelab_core.training import option_values, options
from ia_homelab_core.training.option_values import Checked, Problem

from . import extra_arguments
from .errors import FieldError, FieldErrors

#: train: up to the trained adapter. model: up to the model that answers in Ollama.
GOALS = ("train", "model")

#: Required options that a request may leave out: they are derived from the others.
_SUPPLIED = ("name",)


@dataclasses.dataclass(frozen=True)
class FinetuneRequest:
    """A validated request for a fine-tune.

    :param declaration: the equivalent entry of ``finetunes``, with the core's names.
    :param goal: one of :data:`GOALS`.
    :param checked: the core's request, from which the run is planned.
    :param written: names of the fields as given in the request.
    """

    declaration: dict[str, t.Any]
    goal: str
    checked: Request
    written: dict[str, str]


def known_fields() -> dict[str, str]:
    """Return every accepted spelling of every field, with the name it stands for."""
    names = {spelling: option.name for option in options.ALL for spelling in option.names}
    return {"goal": "goal", **names}


def normalize_key(key: str) -> str:
    """Return a key in the form that is used for comparison."""
    return option_values.normalize_name(key)


def unknown_field(key: str, known: t.Iterable[str]) -> FieldError:
    """Return the error for an unknown field, which suggests the most similar known one."""
    near = difflib.get_close_matches(normalize_key(key), list(known), 1, 0.6)
    return FieldError(key, Message("service.field_unknown", field=key, suggestion=did_you_mean(near)))


def parse_request(
    raw: t.Mapping[str, t.Any], goal: str = "train", *, allow_remote_code: bool = False
) -> FinetuneRequest:
    """Validate a request for a fine-tune.

    :param goal: the goal if the request has none.
    :param allow_remote_code: accept every argument of LLaMA-Factory in ``extra``, not only those of
        :data:`extra_arguments.ACCEPTED`.
    :raises FieldErrors: with every invalid field.
    """
    declared = {key: value for key, value in raw.items() if normalize_key(str(key)) != "goal"}
    checked = planning_declaration.check_declaration(declared, supplied=_SUPPLIED)
    errors = [FieldError(problem.option, problem.content) for problem in checked.problems]
    checked_goal, goal_errors = _read_goal(raw, goal)
    errors += goal_errors
    if not allow_remote_code and checked.values.get("extra"):
        errors += extra_arguments.refusals(checked.values["extra"], checked.written["extra"])
    for option in options.ALL:
        if option.inventory_only and option.name in checked.values:
            content = Message("service.inventory_only", option=option.name)
            errors.append(FieldError(checked.written[option.name], content))
    values = dict(checked.values)
    if values.get("base_model") is None or values.get("dataset") is None:
        raise FieldErrors(errors)
    values.setdefault("name", default_name(str(values["base_model"]), str(values["dataset"])))
    # what is wrong with single options has been reported; what does not go together is found among the others
    request, more_errors = _core_request(values, Goal(checked_goal), checked.written)
    errors += more_errors
    if errors or request is None:
        raise FieldErrors(errors)
    return FinetuneRequest(values, checked_goal, request, checked.written)


def _core_request(
    values: t.Mapping[str, t.Any], goal: Goal, written: t.Mapping[str, str]
) -> tuple[Request | None, list[FieldError]]:
    """Return the core's request, and every error: what is wrong is left out until the core accepts the remainder.

    :param values: the options that are valid by themselves, as checked by the core.
    :param written: names of the fields as given in the request.
    """
    errors: list[FieldError] = []
    remaining = dict(values)
    while True:
        try:
            return Request.finetune(remaining, goal, Checked(remaining, {name: name for name in remaining}, [])), errors
        except InputError as error:
            problems = _problems_of(error)
            errors += _field_errors(problems, written)
            wrong = {problem.option for problem in problems if problem.option in remaining}
            if not wrong:
                return None, errors
            remaining = {option: value for option, value in remaining.items() if option not in wrong}


def _problems_of(error: InputError) -> list[Problem]:
    """Return what an error of the core says about each option; about none if it names none."""
    content = error.content
    if content.code == "training.of_finetune":  # the request is about one fine-tune only
        content = content.parameters["problem"]
    problems = [Problem.from_dict(problem) for problem in error.details.get("problems") or ()]
    problems += [Problem(option, content) for option in error.details.get("options") or ()]
    return problems or [Problem("", content)]


def _field_errors(problems: t.Iterable[Problem], written: t.Mapping[str, str]) -> list[FieldError]:
    return [FieldError(written.get(problem.option, problem.option), problem.content) for problem in problems]


@contextlib.contextmanager
def errors_by_field(request: FinetuneRequest) -> t.Iterator[None]:
    """Convert errors of the core that name options of the request to errors of its fields; raise others unchanged.

    :raises FieldErrors: with every invalid field.
    """
    try:
        yield
    except InputError as error:
        errors = _field_errors(_problems_of(error), request.written)
        if not all(each.field for each in errors):
            raise
        raise FieldErrors(errors) from error


def _read_goal(raw: t.Mapping[str, t.Any], default: str) -> tuple[str, list[FieldError]]:
    """Return the goal, and what is wrong with it."""
    keys = [key for key in raw if normalize_key(str(key)) == "goal"]
    if len(keys) > 1:
        return default, [
            FieldError(str(keys[1]), Message("service.goal_twice", first=str(keys[0]), second=str(keys[1])))
        ]
    goal = raw[keys[0]] if keys else None
    if goal is None:
        return default, []
    if goal not in GOALS:
        return default, [FieldError(str(keys[0]), Message("service.goal_unknown", known=list(GOALS), goal=goal))]
    return str(goal), []


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
    properties = {
        option.name: training_hyperparameters.option_schema(option)
        for option in options.ALL
        if not option.inventory_only
    }
    properties["name"]["pattern"] = f"^{FINETUNE_NAME}$"
    description = properties["name"]["description"].rstrip(".")
    properties["name"]["description"] = f"{description}; by default derived from base model and dataset."
    description = properties["extra"]["description"].rstrip(".")
    properties["extra"]["description"] = f"{description}; in a request, those that change how a training computes."
    properties["goal"] = {
        "type": "string",
        "enum": list(GOALS),
        "default": "train",
        "description": "train: up to the trained adapter. model: up to the model that answers in Ollama.",
    }
    return {
        "type": "object",
        "properties": properties,
        "required": [option.name for option in options.ALL if option.required and option.name not in _SUPPLIED],
        "additionalProperties": False,
    }


def request_schema() -> dict[str, t.Any]:
    """Return the schema with every accepted spelling, for the OpenAPI document."""
    schema = form_schema()
    properties: dict[str, t.Any] = dict(schema["properties"])
    for spelling, name in known_fields().items():
        if spelling != name and name in schema["properties"]:
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
