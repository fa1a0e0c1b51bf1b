# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of requests for a model: those that Ollama supports are passed, those that it calls otherwise are translated.

Ollama ignores fields that it does not know, so all others are refused by their names, unless the value given is what
happens anyway. ``tests/test_openai_fields.py`` compares the table with the servers.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ia_homelab_core.messages.message import Message

from ..application.errors import FieldError, FieldErrors
from ..application.finetune_request import unknown_field

Body = t.Mapping[str, t.Any]

_SAMPLING = frozenset(
    {"model", "stream", "stream_options", "max_tokens", "seed", "stop", "temperature", "top_p", "frequency_penalty",
     "presence_penalty", "logprobs"}
)  # fmt: skip
#: Fields that name who asks, or group requests. They have no effect on an answer, with OpenAI neither.
_LABELS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a kind of request.

    :param passed: those that Ollama supports.
    :param renamed: those that Ollama names otherwise.
    :param neutral: others, with the values that ask for what Ollama does anyway. Null always does.
    """

    passed: frozenset[str]
    renamed: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    neutral: t.Mapping[str, tuple[t.Any, ...]] = dataclasses.field(default_factory=dict)


CHAT = Fields(
    _SAMPLING | {"messages", "tools", "response_format", "reasoning", "reasoning_effort", "top_logprobs"},
    {"max_completion_tokens": "max_tokens"},
    {
        "n": (1,),
        "logit_bias": ({},),
        "parallel_tool_calls": (True,),
        "tool_choice": ("auto",),
        "store": (False,),
        "service_tier": ("auto", "default"),
        "modalities": (["text"],),
        "verbosity": ("medium",),
        "audio": (),
        "prediction": (),
        "web_search_options": (),
        "functions": (),
        "function_call": (),
    },
)
COMPLETIONS = Fields(
    _SAMPLING | {"prompt", "suffix"}, {}, {"n": (1,), "best_of": (1,), "echo": (False,), "logit_bias": ({},)}
)
EMBEDDINGS = Fields(frozenset({"model", "input", "dimensions", "encoding_format"}))

#: Fields of a message that Ollama supports, and those of an answer that is sent back, which hold nothing here.
_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning"})
_RENAMED_IN_MESSAGE = {"reasoning_content": "reasoning"}
_EMPTY_IN_MESSAGE = frozenset({"refusal", "annotations", "audio", "function_call"})
#: Options of Ollama's own interface: its interface for OpenAI's clients ignores them.
_OWN_OPTIONS = ("options", "keep_alive", "think", "num_ctx", "top_k", "min_p", "repeat_penalty")


def translate(fields: Fields, body: Body) -> dict[str, t.Any]:
    """Return the body for Ollama.

    :raises FieldErrors: with every field that it has no counterpart for.
    """
    translated: dict[str, t.Any] = {}
    errors: list[FieldError] = []
    for key, value in body.items():
        if key in fields.passed:
            translated[key] = value
        elif key in fields.renamed or key in _LABELS or value is None and key in fields.neutral:
            continue
        elif key == "tool_choice" and value == "none" and key in fields.neutral:
            continue  # below
        elif key in fields.neutral:
            if not any(_same(value, neutral) for neutral in fields.neutral[key]):
                errors.append(_without_effect(key, value, fields.neutral[key]))
        elif key in _OWN_OPTIONS:
            errors.append(FieldError(key, Message("service.option_of_ollama", field=key)))
        else:
            errors.append(unknown_field(key, [*sorted(fields.passed), *fields.renamed, *fields.neutral]))
    for key, name in fields.renamed.items():
        value = body.get(key)
        if value is None:
            continue
        if body.get(name) not in (None, value):
            errors.append(FieldError(key, Message("service.field_given_twice", field=key, other=name)))
        translated[name] = value
    if body.get("tool_choice") == "none" and "tool_choice" in fields.neutral:
        translated.pop("tools", None)  # a model calls no tool that it is not told of
    if isinstance(translated.get("messages"), list):
        translated["messages"] = [
            _message(f"messages.{number}", message, errors) for number, message in enumerate(translated["messages"])
        ]
    if errors:
        raise FieldErrors(errors)
    return translated


def _message(place: str, message: t.Any, errors: list[FieldError]) -> t.Any:
    if not isinstance(message, dict):
        return message  # Ollama reports it
    translated: dict[str, t.Any] = {}
    for key, value in message.items():
        if key in _MESSAGE:
            translated[key] = value
        elif key in _RENAMED_IN_MESSAGE:
            if value:
                translated.setdefault(_RENAMED_IN_MESSAGE[key], value)
        elif key in _EMPTY_IN_MESSAGE:
            if value:
                errors.append(_without_effect(f"{place}.{key}", value, ()))
        else:
            errors.append(unknown_field(f"{place}.{key}", [f"{place}.{known}" for known in sorted(_MESSAGE)]))
    if translated.get("role") == "developer":
        translated["role"] = "system"  # the newer name; templates know only the older one
    return translated


def _without_effect(field: str, value: t.Any, neutral: t.Sequence[t.Any]) -> FieldError:
    if not neutral:
        return FieldError(field, Message("service.field_not_supported", field=field))
    return FieldError(
        field, Message("service.field_value_not_supported", field=field, value=value, known=list(neutral))
    )


def _same(value: t.Any, neutral: t.Any) -> bool:
    """Whether values are equal and of one type: 1 is no boolean."""
    return type(value) is type(neutral) and bool(value == neutral)
