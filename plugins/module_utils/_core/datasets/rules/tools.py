# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A list of tools, in a row or in a file of its own: what is invalid in it."""

from __future__ import annotations

import typing as t

from ...chat_formats.json_schema import schema_faults
from ...messages.message import Message
from ..problems import kind_of
from .base import Fault


def tools_faults(tools: t.Sequence[t.Any], path: str) -> list[Fault]:
    """The faults of tools and of their schemas.

    :param path: how the list is called in the faults, such as ``tools``; may be empty.
    """
    faults = [fault for number, tool in enumerate(tools) for fault in _tool_faults(tool, f"{path}[{number}]")]
    names: list[str] = []
    for number, tool in enumerate(tools):
        function, _where = function_of(tool)
        name = function.get("name") if isinstance(function, t.Mapping) else None
        if not isinstance(name, str):
            continue
        if name and name in names:
            faults.append((f"{path}[{number}]", Message("datasets.tool_twice", name=name)))
        names.append(name)
    return faults


def function_of(tool: t.Any, path: str = "") -> tuple[t.Any, str]:
    """The function of a tool, which may stand alone or in ``{"type": "function", "function": …}``, and its path.

    :param path: the path of the tool.
    """
    if isinstance(tool, t.Mapping) and tool.get("type") == "function":
        return tool.get("function"), f"{path}.function"
    return tool, path


def parameters_of(function: t.Mapping[str, t.Any]) -> t.Any:
    """The schema of the parameters of a function; ``{}`` if it names none, which is a function without parameters."""
    parameters = function.get("parameters")
    return {} if parameters is None else parameters


def _tool_faults(tool: t.Any, path: str) -> list[Fault]:
    tool, path = function_of(tool, path)
    if not isinstance(tool, t.Mapping):
        return [(path, Message("datasets.tool_no_object", kind=kind_of(tool)))]
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        return [(f"{path}.name", Message("datasets.tool_without_name", kind=kind_of(tool.get("name"))))]
    description = tool.get("description")
    if description is not None and not isinstance(description, str):
        return [(f"{path}.description", Message("datasets.not_text", kind=kind_of(description)))]
    parameters, path = parameters_of(tool), f"{path}.parameters"
    if not isinstance(parameters, t.Mapping) or (parameters and not ({"type", "properties"} & parameters.keys())):
        return [(path, Message("datasets.tool_without_schema"))]
    kinds = parameters.get("type", "object")
    faults = schema_faults(parameters, path)
    if not faults and "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        return [(path, Message("datasets.tool_without_schema"))]
    return faults
