# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``datasets`` about tools, calls and results."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "datasets.tools_of_conversations": Text(
        "the format {format} has no tools, they would be lost",
        "Write these rows as conversations (sharegpt) or messages (openai), which have tools.",
    ),
    "datasets.call_before": "{role!r} with a call comes before it",
    "datasets.result_without_call": Text(
        "it is {role!r}, a result, and {expected:join| or } is expected: {explanation}",
        "Write the call in front of it, or leave the row out.",
    ),
    "datasets.call_without_result": Text(
        "it is {role!r}, and {expected:join| or } is expected: {explanation}",
        "Write the result of the call in front of it, or leave the row out.",
    ),
    "datasets.tools_no_json": Text(
        "it is not JSON ({reason})",
        "Write a list of tools: name, description, parameters.",
    ),
    "datasets.tools_no_list": Text("it is {kind}, not a list", "Write a list of tools: name, description, parameters."),
    "datasets.tool_no_object": Text("it is {kind}, not an object", "Write a tool as an object."),
    "datasets.tool_without_name": Text("it is {kind}", "Give the tool a name."),
    "datasets.tool_without_schema": Text(
        "it is no JSON schema of an object",
        'Write {{"type": "object", "properties": {{…}}}}; the properties may be empty.',
    ),
    "datasets.tool_name_invalid": Text(
        "{name!r} is not a valid name of a function", "Use at most 128 letters, digits and . _ -."
    ),
    "datasets.schema_too_large": Text(
        "it has more than {schemas} schemas once its references are replaced", "Simplify the arguments."
    ),
    "datasets.schema_too_deep": Text(
        "schemas stand in each other more than {levels} levels deep once the references are replaced",
        "Write a flatter schema.",
    ),
    "datasets.schema_circle": Text(
        "it refers to itself: {circle}", "Write the levels that are needed: a prompt cannot be endless."
    ),
    "datasets.tools_undeclared": Text(
        "no tools are declared as {name!r}",
        "{suggestion} Declare them in finetune_tools, or write the list of tools here. Declared: {sets}.",
    ),
    "datasets.tools_name_invalid": Text(
        "{name!r} is not a valid name of tools.", "Use letters, digits and . _ -, beginning with a letter or digit."
    ),
    "datasets.tools_too_large": "The tools in {label} are larger than {limit} bytes.",
    "datasets.tools_file_no_json": Text(
        "The tools in {label} are not JSON: {reason}.", "Write a list of tools, or fetch it with playbooks/tools.yml."
    ),
    "datasets.tools_file_no_list": Text(
        "The tools in {label} are {kind}, not a list.", "Write a list of tools: name, description, parameters."
    ),
    "datasets.tools_file_empty": Text("{label} has no tools.", "Write a list of tools, or remove the declaration."),
    "datasets.tools_refused": Text(
        "The tools in {label} are refused, {count} {count:fault|faults}: {problems!s:join| }", "Nothing was changed."
    ),
    "datasets.tools_added": "added {names}",
    "datasets.tools_removed": "removed {names}",
    "datasets.tools_changed": "changed {names}",
    "datasets.mcp_tool_invalid": Text(
        "Tool {number} of {label} is no tool: it has no name.", "Correct the MCP server. The file was not changed."
    ),
    "datasets.mcp_schema_missing": Text(
        "The tool {name} of {label} has no inputSchema of type object.",
        "Correct the MCP server, or leave the tool out with include. The file was not changed.",
    ),
    "datasets.mcp_schema_invalid": Text(
        "The schema of a tool of {label} is invalid at {path}: {defect}.",
        "Correct the MCP server, or leave the tool out with include. The file was not changed.",
    ),
    "datasets.mcp_tool_missing": Text(
        "{label} has no tool {name!r} (include). {suggestion}", "It has {names}. The file was not changed."
    ),
    "datasets.call_no_json": Text(
        "a call is JSON, and this is not ({reason})",
        'Write {{"name": …, "arguments": {{…}}}}, or a list of such.',
    ),
    "datasets.call_incomplete": Text(
        "the name or the arguments of the call are missing",
        'Write {{"name": …, "arguments": {{…}}}}, or a list of such.',
    ),
    "datasets.no_call": Text("it contains no call", 'Write {{"name": …, "arguments": {{…}}}}, or a list of such.'),
    "datasets.text_after_call": Text(
        "there is a text after a call, and training would move it before the call",
        "Write the text before <tool_call>, or as an answer of its own after the result.",
    ),
    "datasets.call_not_closed": Text("a call does not end with {end}", "Write {end} after each call."),
    "datasets.call_of_unknown_tool": Text(
        "the row has no tool {name!r}", "{suggestion} Its tools are {tools}. Add the tool, or correct the call."
    ),
    "datasets.call_id_twice": Text("two calls have the id {id!r}", "Give each call an id of its own."),
    "datasets.call_without_id": Text(
        "the calls before it have no id, and this names {id!r}", "Give the call this id, or leave tool_call_id out."
    ),
    "datasets.call_misses_result": Text(
        "the call {id!r} of {name} has no result, and others have one", "Add a turn of role tool for it."
    ),
    "datasets.result_of_no_call": Text(
        "no call before it has the id {id!r}", "{suggestion} The calls have the ids {ids:join|, | and }."
    ),
    "datasets.result_twice": Text("the call {id!r} has a result already", "Keep one result for each call."),
    "datasets.result_without_id": Text(
        "it does not say which call it is the result of, and the others do", "Write the id of its call."
    ),
    "datasets.results_too_many": Text(
        "there are more results than the {calls} {calls:call|calls} before them", "Keep one result for each call."
    ),
    "datasets.result_of_other_tool": Text(
        "it is the result of {called}, and names {name}", "Write the name of the tool that was called, or none."
    ),
    "datasets.tool_twice": Text("there is a tool {name!r} already", "Give each tool a name of its own."),
    "datasets.calls_no_list": Text(
        "it is {kind}, not a list",
        'Write [{{"type": "function", "function": {{"name": …, "arguments": "{{…}}"}}}}].',
    ),
    "datasets.function_without_name": Text(
        "it has no name",
        'Write [{{"type": "function", "function": {{"name": …, "arguments": "{{…}}"}}}}].',
    ),
    "datasets.arguments_no_json": Text(
        "it is not JSON ({reason})",
        'Write [{{"type": "function", "function": {{"name": …, "arguments": "{{…}}"}}}}].',
    ),
    "datasets.arguments_no_object": Text(
        "it is {kind}, not an object",
        'Write [{{"type": "function", "function": {{"name": …, "arguments": "{{…}}"}}}}].',
    ),
    "datasets.tools_not_given": (
        "{name}: {count} {count:row has|rows have} tools or calls with parts that no server passes on to the model, so "
        "the training leaves them out or may write them differently: {examples:join|; }."
    ),
    "datasets.two_thoughts": Text("the answer has two thoughts, in {fields:join| and }", "Leave one of them out."),
    "datasets.thought_with_marker": Text(
        "the thought has {marker} in it, which marks where thoughts begin and end",
        "Remove the marker from the thought.",
    ),
    "datasets.tool_value_lost": "{file} row {row}, {field}: {what}",
    "datasets.calls_without_tools": (
        "{name}: {count} {count:row calls|rows call} tools and {count:has|have} none: the model would learn to call "
        "tools that it is not shown. Add the tools to the row."
    ),
}
