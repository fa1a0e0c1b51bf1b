# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a conversation uses its tools as they are declared: names and arguments of calls, and results of calls."""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ...chat_formats.json_schema import value_faults
from ...messages.message import Message
from ...messages.suggestions import nearest
from .calls import Call

_Fault = tuple[str, Message]


@dataclasses.dataclass(frozen=True)
class ToolResult:
    """The result of a call.

    :param text: its text.
    :param id: id of the call; empty if the row names none.
    :param name: name of the tool; empty if the row names none.
    :param location: where the turn stands in the row.
    """

    text: str
    id: str = ""
    name: str = ""
    location: str = ""


def call_faults(calls: t.Iterable[Call], tools: t.Mapping[str, t.Any]) -> list[_Fault]:
    """Calls of tools that are not declared, and arguments that are not as the schema of their tool says.

    :param tools: the schema of the parameters by name of the tool.
    """
    faults: list[_Fault] = []
    for call in calls:
        if call.name in tools:
            faults += value_faults(call.arguments, tools[call.name], call.location)
        elif tools:
            names = {"name": call.name, "suggestion": nearest(call.name, tools), "tools": list(tools)}
            faults.append((call.location.rpartition(".")[0], Message("datasets.call_of_unknown_tool", **names)))
    return faults


def result_faults(results: t.Sequence[ToolResult], calls: t.Sequence[Call]) -> list[_Fault]:
    """Results that belong to no call, and calls without a result where results have ids.

    :param results: the results after a turn with calls; :param calls: the calls.
    """
    ids = [call.id for call in calls if call.id]
    if len(set(ids)) != len(ids):
        twice = collections.Counter(ids).most_common(1)[0][0]
        return [(calls[0].location, Message("datasets.call_id_twice", id=twice))]
    faults: list[_Fault] = []
    for number, result in enumerate(results):
        if result.id and result.id not in ids:
            known = {"id": result.id, "ids": ids, "suggestion": nearest(result.id, ids)}
            code = "datasets.result_of_no_call" if ids else "datasets.call_without_id"
            faults.append((f"{result.location}.tool_call_id", Message(code, **known)))
        elif result.id and result.id in [other.id for other in results[:number]]:
            faults.append((f"{result.location}.tool_call_id", Message("datasets.result_twice", id=result.id)))
        elif number >= len(calls):
            faults.append((result.location, Message("datasets.results_too_many", calls=len(calls))))
    if faults:
        return faults
    given = [result.id for result in results if result.id]
    if given and len(given) != len(results):
        without = next(result for result in results if not result.id)
        return [(f"{without.location}.tool_call_id", Message("datasets.result_without_id"))]
    for call in calls if given else ():
        if call.id not in given:
            faults.append((call.location, Message("datasets.call_misses_result", name=call.name, id=call.id)))
    if not faults:
        for result, call in zip(in_order(results, calls), calls):
            if result.name and result.name != call.name:
                names = {"name": result.name, "called": call.name}
                faults.append((f"{result.location}.name", Message("datasets.result_of_other_tool", **names)))
    return faults


def in_order(results: t.Sequence[ToolResult], calls: t.Sequence[Call]) -> list[ToolResult]:
    """The results in the order of their calls; those of a row without ids are in order already."""
    by_id = {result.id: result for result in results}
    if len(by_id) != len(results) or any(call.id not in by_id for call in calls):
        return list(results)
    return [by_id[call.id] for call in calls]
