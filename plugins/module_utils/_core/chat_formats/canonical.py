# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools, arguments of calls and results of tools, spelled as every Ollama can write them again.

LLaMA-Factory trains on the JSON of a row as it stands there. A server receives tools from a client as values and writes
them in its own order, without the keys that its API does not have (``api.ToolProperty`` in Ollama's ``api/types.go``).
Rows in this spelling are rendered by both alike:

* tools: ``type``, ``function`` with ``name``, ``description``, ``parameters`` with ``type``, ``$defs``, ``required``,
  ``properties``; a property: ``anyOf``, ``type``, ``items``, ``description``, ``enum``, ``properties``, ``required``.
  Other keys, and empty values, are left out; properties are sorted by name.
* arguments: keys sorted at every depth, whole numbers without a decimal point.

Everything that is left out, changed or not certain is reported as a :class:`Finding`.
"""

from __future__ import annotations

import dataclasses
import decimal
import json
import math
import typing as t

from ..errors import InputError
from ..json_text import parse_json
from ..messages.message import Message
from .facts import CONTENT, facts_of
from .go_text import MAX_DEPTH

#: Whole numbers beyond this are rounded by a server, which reads numbers as 64-bit floating point.
MAX_INTEGER = 2**53
#: Numbers outside of this range are written with an exponent by Python or by Go, and not by both alike.
_PLAIN_NUMBERS = (1e-4, 1e16)
#: Distinct tools of rows whose canonical spelling is remembered.
_TOOL_SETS = 100
_TOOL_KEYS = ("type", "function")
_FUNCTION_KEYS = ("name", "description", "parameters")
_PARAMETER_KEYS = ("type", "$defs", "required", "properties")
#: Levels that the properties of a tool stand in, where it is written with its type.
_SCHEMA_DEPTH = 4
_PROPERTY_KEYS = ("anyOf", "type", "items", "description", "enum", "properties", "required")

#: LLaMA-Factory's class that writes tools as plain text, for which :func:`as_plain_text` is.
DEFAULT_TOOLS = "DefaultToolUtils"

DROPPED, CHANGED, UNCERTAIN = "dropped", "changed", "uncertain"

#: How a message names a value, by its type.
_KINDS: dict[type, str] = {
    dict: "chat_formats.an_object",
    list: "chat_formats.a_list",
    str: "chat_formats.a_text",
    type(None): "chat_formats.null",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference between a value and its canonical spelling.

    :param path: where, such as ``tools[0].function.strict`` or ``arguments.days``.
    :param kind: ``dropped``, a key or an empty value that no server receives; ``changed``, the same value spelled
        otherwise; ``uncertain``, a value that a server may write differently.
    :param content: what and why, in one sentence without the path.
    """

    path: str
    kind: str
    content: Message

    def __str__(self) -> str:
        return f"{self.path}: {self.content}"


def canonical_tools(tools: t.Sequence[t.Any], path: str = "tools") -> tuple[list[dict[str, t.Any]], list[Finding]]:
    """The tools of a row in the canonical spelling.

    :param tools: functions, alone or as ``{"type": "function", "function": …}``.
    :param path: how the tools are called in findings.
    :returns: the tools, and what is different; none of the values of ``tools`` is changed.
    :raises InputError: if one is no function with a name, or a schema is none.
    """
    findings: list[Finding] = []
    return [_tool(each, f"{path}[{number}]", findings) for number, each in enumerate(tools)], findings


def canonical_arguments(
    arguments: t.Mapping[str, t.Any], path: str = "arguments"
) -> tuple[dict[str, t.Any], list[Finding]]:
    """The arguments of a call in the canonical spelling; result as for :func:`canonical_tools`.

    :raises InputError: if they are no JSON object.
    """
    if not isinstance(arguments, t.Mapping):
        raise InputError("chat_formats.arguments_no_object", path=path, value=_kind(arguments))
    findings: list[Finding] = []
    return _value(arguments, path, findings), findings


def as_text(value: t.Any) -> str:
    """A canonical value as the text that stands in a row."""
    return json.dumps(value, ensure_ascii=False)


def as_plain_text(tool: dict[str, t.Any]) -> dict[str, t.Any]:
    """A canonical tool whose properties LLaMA-Factory's default format can write.

    That format joins the values of ``enum`` as texts, and takes ``items`` for an object. Values of other types are
    written here as a server prints them. What the format does not write at all stays as it is.
    """
    function = tool["function"]
    schema = function["parameters"]
    properties = {}
    for name, each in schema["properties"].items():
        made = dict(each)
        if "enum" in made:
            made["enum"] = [go_printed(value) for value in made["enum"]]
        if "items" in made:
            kind = made["items"].get("type", "") if isinstance(made["items"], dict) else ""
            made["items"] = {"type": kind if isinstance(kind, str) else go_printed(kind)}
        properties[name] = made
    return {**tool, "function": {**function, "parameters": {**schema, "properties": properties}}}


def go_printed(value: t.Any) -> str:
    """A JSON value as Go's templates print it (``{{ . }}``)."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_number(value)
    if isinstance(value, int):
        return _go_number(float(value))
    if isinstance(value, list):
        return f"[{' '.join(go_printed(each) for each in value)}]"
    return f"map[{' '.join(f'{key}:{go_printed(value[key])}' for key in sorted(value, key=str.encode))}]"


def _go_number(value: float) -> str:
    """A number as Go prints it: the shortest digits, with an exponent below 1e-4 and from a million on."""
    digits = repr(value)
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        text = format(decimal.Decimal(digits), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _e, exponent = format(decimal.Decimal(digits), "e").partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}"


def join_of_results(name: str, eos: str = "", bos: str = "") -> str:
    """What stands between two results that one message of calls has asked for.

    LLaMA-Factory has one message for all results of a turn, so a row has to hold this text between them; the server
    writes the same. It closes the result and opens the next one as the template does for a single one.

    :param name: name of the chat template.
    :param eos: text of the EOS token, only used if :attr:`needs_eos` of the facts; :param bos: text of the BOS token.
    :raises InputError: if there is no such template.
    """
    facts = facts_of(name)
    eos = facts.eos_text(eos)
    before, after = facts.observation.around(eos, bos)
    if f"<tool_response>\n{CONTENT}\n</tool_response>" in before + CONTENT + after:
        return "\n</tool_response>\n<tool_response>\n"
    if "[TOOL_RESULTS]" in before:
        return "}[/TOOL_RESULTS]" + before
    for opening in _ANSWER_OPENINGS:
        if opening in after:
            return after[: after.index(opening)] + before
    return "\n"


#: How answers begin in the texts after a result; what stands before it ends the result.
_ANSWER_OPENINGS = (
    "<|im_start|>",
    "<|assistant|>",
    "<|start_header_id|>assistant",
    "<|header_start|>assistant",
    "<start_of_turn>model",
    "<|start_of_role|>assistant",
    "<role>ASSISTANT",
    "<beginning_of_sentence>ai",
    "]~b]ai",
    "<|turn>model",
    "<|Assistant|>",
)


# ---------------------------------------------------------------------- tools


def _tool(tool: t.Any, path: str, findings: list[Finding]) -> dict[str, t.Any]:
    if not isinstance(tool, t.Mapping):
        raise InputError("chat_formats.tool_no_object", path=path, value=_kind(tool))
    function: t.Any = tool
    if tool.get("type") == "function":
        function, inner = tool.get("function"), f"{path}.function"
        _dropped_keys(tool, _TOOL_KEYS, path, findings)
    else:
        inner = path
    if not isinstance(function, t.Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise InputError("chat_formats.function_without_name", path=inner)
    _dropped_keys(function, _FUNCTION_KEYS, inner, findings)
    parameters: t.Any = function.get("parameters") or {}
    where = f"{inner}.parameters"
    if not isinstance(parameters, t.Mapping):
        raise InputError("chat_formats.no_schema", path=where, value=_kind(parameters))
    _dropped_keys(parameters, _PARAMETER_KEYS, where, findings)
    kind = parameters.get("type") or "object"
    if isinstance(kind, list) and "object" in kind:
        found = CHANGED if len(kind) == 1 else DROPPED
        findings.append(Finding(f"{where}.type", found, Message("chat_formats.parameters_are_object")))
        kind = "object"
    if not isinstance(kind, str):
        raise InputError("chat_formats.type_no_name", path=f"{where}.type", value=_kind(kind))
    schema: dict[str, t.Any] = {"type": kind}
    if parameters.get("$defs"):
        schema["$defs"] = _value(parameters["$defs"], f"{where}.$defs", findings, _SCHEMA_DEPTH)
    if parameters.get("required"):
        schema["required"] = _texts(parameters["required"], f"{where}.required")
    schema["properties"] = _properties(
        parameters.get("properties") or {}, f"{where}.properties", findings, _SCHEMA_DEPTH
    )
    made: dict[str, t.Any] = {"name": function["name"]}
    if function.get("description"):
        made["description"] = str(function["description"])
    made["parameters"] = schema
    return {"type": "function", "function": made}


def _properties(properties: t.Any, path: str, findings: list[Finding], depth: int) -> dict[str, t.Any]:
    if not isinstance(properties, t.Mapping):
        raise InputError("chat_formats.properties_no_object", path=path, value=_kind(properties))
    _depth(depth, path, findings)
    names = sorted(properties, key=lambda name: str(name).encode())
    if names != list(properties):
        findings.append(Finding(path, CHANGED, Message("chat_formats.properties_sorted")))
    return {name: _property(properties[name], f"{path}.{name}", findings, depth + 1) for name in names}


def _property(value: t.Any, path: str, findings: list[Finding], depth: int) -> dict[str, t.Any]:
    if isinstance(value, bool):
        findings.append(Finding(path, UNCERTAIN, Message("chat_formats.schema_is_boolean")))
        return {}
    if not isinstance(value, t.Mapping):
        raise InputError("chat_formats.no_schema", path=path, value=_kind(value))
    _depth(depth, path, findings)
    made: dict[str, t.Any] = {}
    kinds = value.get("type")
    if value.get("anyOf"):
        made["anyOf"] = [
            _property(each, f"{path}.anyOf[{number}]", findings, depth + 2)
            for number, each in enumerate(value["anyOf"])
        ]
    if kinds:
        texts = [kinds] if isinstance(kinds, str) else _texts(kinds, f"{path}.type")
        made["type"] = texts[0] if len(texts) == 1 else texts
        if made["type"] != kinds:
            findings.append(Finding(f"{path}.type", CHANGED, Message("chat_formats.single_type")))
    if value.get("items"):
        made["items"] = _value(value["items"], f"{path}.items", findings, depth + 1)
    if value.get("description"):
        made["description"] = str(value["description"])
    if value.get("enum"):
        made["enum"] = _value(value["enum"], f"{path}.enum", findings, depth + 1)
    if value.get("properties") is not None:
        made["properties"] = _properties(value["properties"], f"{path}.properties", findings, depth + 1)
    if value.get("required"):
        made["required"] = _texts(value["required"], f"{path}.required")
    _dropped_keys(value, _PROPERTY_KEYS, path, findings)
    for key in _PROPERTY_KEYS:
        if key in value and key not in made:
            findings.append(Finding(f"{path}.{key}", DROPPED, Message("chat_formats.empty_left_out")))
    return made


def _dropped_keys(value: t.Mapping[str, t.Any], known: t.Sequence[str], path: str, findings: list[Finding]) -> None:
    for key in value:
        if key not in known:
            findings.append(Finding(f"{path}.{key}", DROPPED, Message("chat_formats.key_unknown")))


def _texts(value: t.Any, path: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError("chat_formats.no_list_of_texts", path=path)
    return list(value)


# ---------------------------------------------------------------------- values


def _value(value: t.Any, path: str, findings: list[Finding], depth: int | None = None) -> t.Any:
    """Any JSON value in the canonical spelling.

    :param depth: levels that it stands in, for a value that llama3 and glm4 indent; None for any other.
    """
    if depth is not None:
        _depth(depth, path, findings)
    inner = None if depth is None else depth + 1
    if isinstance(value, t.Mapping):
        keys = sorted(value, key=lambda key: str(key).encode())
        if keys != list(value):
            findings.append(Finding(path, CHANGED, Message("chat_formats.keys_sorted")))
        return {key: _value(value[key], f"{path}.{key}", findings, inner) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_value(each, f"{path}[{number}]", findings, inner) for number, each in enumerate(value)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            findings.append(Finding(path, UNCERTAIN, Message("chat_formats.number_rounded", value=repr(value))))
        return value
    if isinstance(value, float):
        return _number(value, path, findings)
    raise InputError("chat_formats.not_in_json", path=path, value=_kind(value))


def _number(value: float, path: str, findings: list[Finding]) -> t.Any:
    if not math.isfinite(value):
        raise InputError("chat_formats.not_in_json", path=path, value=value)
    low, high = _PLAIN_NUMBERS
    if value.is_integer() and abs(value) < high:
        findings.append(
            Finding(path, CHANGED, Message("chat_formats.written_as_integer", value=repr(value), integer=int(value)))
        )
        if abs(value) > MAX_INTEGER:
            findings.append(Finding(path, UNCERTAIN, Message("chat_formats.number_rounded", value=repr(value))))
        return int(value)
    if not low <= abs(value) < high:
        findings.append(Finding(path, UNCERTAIN, Message("chat_formats.exponent_uncertain", value=repr(value))))
    return value


def _depth(depth: int, path: str, findings: list[Finding]) -> None:
    if depth == MAX_DEPTH + 1:
        findings.append(Finding(path, UNCERTAIN, Message("chat_formats.too_deep", levels=MAX_DEPTH)))


def _kind(value: t.Any) -> Message | str:
    code = _KINDS.get(type(value))
    return Message(code) if code else repr(value)[:60]


class CanonicalTools:
    """Canonical tools by the JSON text of a row. Remembers them, because most rows of a dataset have the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[dict[str, t.Any]], list[Finding]]] = {}

    def read(self, text: str) -> tuple[list[dict[str, t.Any]], list[Finding]]:
        """Return the result of :func:`canonical_tools` for a list, or one tool, as JSON.

        :raises ValueError: if it is not JSON.
        """
        if text not in self._known:
            if len(self._known) >= _TOOL_SETS:
                self._known.clear()
            value = parse_json(text)
            self._known[text] = canonical_tools(value if isinstance(value, list) else [value])
        return self._known[text]
