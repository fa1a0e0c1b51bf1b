# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that are declared once under a name: their file, and their use in rows and in a gate.

A file holds a JSON list of tools as OpenAI's API has them. It is the only thing that plans and trainings read; what a
live MCP server offers is converted to the same spelling, to write the file or to compare with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

from ..chat_formats.canonical import CHANGED, Finding, canonical_tools
from ..chat_formats.json_schema import Fault, schema_faults
from ..errors import InputError
from ..json_text import parse_strict_json
from ..messages.message import Message
from ..messages.suggestions import nearest
from .problems import Problem, kind_of
from .rules.tools import function_of, parameters_of, tools_faults
from .tool_schemas import Irreplaceable, without_references

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
#: Names of functions that OpenAI's API and every chat template accept.
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
#: Bytes of a file of tools; a model reads all of them in front of every question.
MAX_BYTES = 4 * 1024 * 1024
_SHOWN = 5

Tool = dict[str, t.Any]
#: Tools by the name that they are declared under.
ToolSets = t.Mapping[str, t.Sequence[Tool]]


def check_set_name(name: t.Any) -> str:
    """The name of a set, if it is valid.

    :raises InputError: if it is not.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise InputError("datasets.tools_name_invalid", name=name)
    return name


def read_tools(raw: bytes, label: str) -> list[Tool]:
    """The tools of a file, as they stand there.

    :param label: the name the user gave the file; part of every message.
    :raises InputError: if it is no JSON list of tools, or a schema is invalid; with the path of each fault.
    """
    if len(raw) > MAX_BYTES:
        raise InputError("datasets.tools_too_large", label=label, limit=MAX_BYTES)
    try:
        tools = parse_strict_json(raw.decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise InputError("datasets.tools_file_no_json", label=label, reason=error) from error
    check_tools(tools, label)
    return t.cast("list[Tool]", tools)


def check_tools(tools: t.Any, label: str) -> None:
    """Check a list of tools and the schemas in it.

    :raises InputError: with the faults and their paths.
    """
    if not isinstance(tools, list):
        raise InputError("datasets.tools_file_no_list", label=label, kind=kind_of(tools))
    if not tools:
        raise InputError("datasets.tools_file_empty", label=label)
    faults = [*tools_faults(tools, ""), *_name_faults(tools)]
    if not faults:
        faults = _reference_faults(tools)
    if faults:
        problems = [Problem(label, None, None, path, defect) for path, defect in faults]
        raise InputError(
            "datasets.tools_refused",
            label=label,
            count=len(faults),
            problems=[problem.content for problem in problems[:_SHOWN]],
            details={"problems": [problem.as_dict() for problem in problems], "problems_total": len(problems)},
        )


def _name_faults(tools: t.Sequence[t.Any]) -> t.Iterator[Fault]:
    for number, tool in enumerate(tools):
        function, path = function_of(tool, f"[{number}]")
        name = function.get("name") if isinstance(function, t.Mapping) else None
        if isinstance(name, str) and name and not _FUNCTION_NAME.match(name):
            yield f"{path}.name", Message("datasets.tool_name_invalid", name=name)


def _reference_faults(tools: t.Sequence[Tool]) -> list[Fault]:
    faults: list[Fault] = []
    for number, tool in enumerate(tools):
        function, path = function_of(tool, f"[{number}]")
        try:
            without_references(parameters_of(function), f"{path}.parameters")
        except Irreplaceable as error:
            faults.append(error.fault)
    return faults


def from_mcp(tools: t.Sequence[t.Any], label: str, include: t.Sequence[str] = ()) -> tuple[list[Tool], list[str]]:
    """The tools that an MCP server lists, as the file has them: sorted by name, with references replaced.

    :param tools: items of ``tools/list``: ``name``, ``description``, ``inputSchema``.
    :param label: URL of the server, for messages.
    :param include: names of the tools to take; all if there are none.
    :returns: the tools, and what no server of models receives and is therefore left out: place and reason.
    :raises InputError: if a tool or a schema is invalid.
    """
    for number, tool in enumerate(tools, 1):
        if not isinstance(tool, t.Mapping) or not isinstance(tool.get("name"), str) or not tool["name"]:
            raise InputError("datasets.mcp_tool_invalid", label=label, number=number)
    names = [str(tool["name"]) for tool in tools]
    for name in include:
        if name not in names:
            raise InputError(
                "datasets.mcp_tool_missing", label=label, name=name, suggestion=nearest(name, names), names=names
            )
    converted: list[Tool] = []
    for tool in tools:
        if include and tool["name"] not in include:
            continue
        schema, where = tool.get("inputSchema"), f"{tool['name']}.inputSchema"
        if not isinstance(schema, t.Mapping) or schema.get("type") != "object":
            raise InputError("datasets.mcp_schema_missing", label=label, name=tool["name"])
        schema = _without_true(schema)
        faults = schema_faults(schema, where)
        if not faults:
            try:
                schema = without_references(schema, where)
            except Irreplaceable as error:
                faults = [error.fault]
        if faults:
            path, defect = faults[0]
            raise InputError("datasets.mcp_schema_invalid", label=label, path=path, defect=defect)
        function = {"name": tool["name"], "description": tool.get("description") or "", "parameters": schema}
        converted.append({"type": "function", "function": function})
    converted.sort(key=lambda tool: str(tool["function"]["name"]))
    made, findings = canonical_tools(converted, "")
    if made:
        check_tools(made, label)
    lost = [finding for finding in findings if finding.kind != CHANGED and not _is_title(finding)]
    return made, [f"{_place(finding.path, made)}: {finding.content}" for finding in lost]


def _without_true(schema: t.Any) -> t.Any:
    """A schema in which a property that may be anything (true) is an empty schema, as servers of models expect it."""
    if not isinstance(schema, t.Mapping):
        return schema
    properties = schema.get("properties")
    if not isinstance(properties, t.Mapping):
        return dict(schema)
    return {**schema, "properties": {n: {} if each is True else _without_true(each) for n, each in properties.items()}}


def _place(path: str, tools: t.Sequence[Tool]) -> str:
    """A path in a list of tools with the name of the tool: ``request_media.year.default``."""
    for number, tool in enumerate(tools):
        start = f"[{number}].function"
        if path.startswith(start):
            return f"{tool['function']['name']}{path[len(start) :].replace('.parameters.properties', '', 1)}"
    return path


def _is_title(finding: Finding) -> bool:
    """Whether only a title is left out, which Python's MCP servers derive from the name of an argument."""
    return finding.path.endswith((".title", ".$schema"))


def file_text(tools: t.Sequence[Tool]) -> str:
    """The content of a file of tools, for git: one key per line."""
    return json.dumps(list(tools), ensure_ascii=False, indent=2) + "\n"


def digest_of(tools: t.Sequence[Tool]) -> str:
    """SHA-256 over the tools as a row has them, so that white space in the file does not count."""
    return hashlib.sha256(json.dumps(list(tools), ensure_ascii=False).encode("utf-8")).hexdigest()


@dataclasses.dataclass(frozen=True)
class Difference:
    """Names of tools that are only in the second of two lists, only in the first, or different."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def parts(self) -> list[Message]:
        """The differences for display."""
        kinds = (
            ("datasets.tools_added", self.added),
            ("datasets.tools_removed", self.removed),
            ("datasets.tools_changed", self.changed),
        )
        return [Message(code, names=names) for code, names in kinds if names]


def difference(before: t.Sequence[Tool], after: t.Sequence[Tool]) -> Difference:
    """Compare two lists of tools, by what a server of models receives of them."""
    old, new = ({str(tool["function"]["name"]): tool for tool in canonical_tools(each)[0]} for each in (before, after))
    return Difference(
        sorted(set(new) - set(old)),
        sorted(set(old) - set(new)),
        sorted(name for name in old if name in new and json.dumps(old[name]) != json.dumps(new[name])),
    )


class NamedTools:
    """Replaces the names of sets in rows, and records which sets were used.

    :param sets: the declared sets.
    :param field: name of the field of a row that holds its tools; empty if the format has none.
    """

    def __init__(self, sets: ToolSets, field: str) -> None:
        self._sets = sets
        self._field = field
        self.used: dict[str, dict[str, t.Any]] = {}

    def resolve(self, row: t.Any) -> tuple[t.Any, Message | None]:
        """The row with its tools in place of their name, and a fault if there is no set of that name."""
        if not self._field or not isinstance(row, t.Mapping):
            return row, None
        name = row.get(self._field)
        if not isinstance(name, str) or not _NAME.match(name):
            return row, None
        if name not in self._sets:
            suggestion = nearest(name, list(self._sets))
            return row, Message("datasets.tools_undeclared", name=name, suggestion=suggestion, sets=list(self._sets))
        tools = list(self._sets[name])
        self.used.setdefault(name, {"sha256": digest_of(tools), "count": len(tools)})
        return {**row, self._field: tools}, None
