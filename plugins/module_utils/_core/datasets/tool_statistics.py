# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of a dataset do with tools, and what of it a server does not give the model again."""

from __future__ import annotations

import os
import typing as t

from ..chat_formats.canonical import CHANGED, Finding, canonical_arguments, canonical_tools
from ..errors import InputError
from ..json_text import parse_json
from ..messages.message import Message
from .output_formats import CALL, DATA_FILE, Sample
from .problems import Problem
from .published_rows import may_use_tools
from .rules.calls import Unreadable, read_text

#: Findings that are kept with their text; further ones are only counted.
SHOWN = 5
#: Distinct tools of rows whose findings are remembered.
_TOOL_SETS = 100


class ToolStatistics:
    """Counts rows with tools while a dataset is rendered, and collects what no server gives the model again."""

    def __init__(self) -> None:
        self._counts = {"rows": 0, "calls": 0, "several": 0, "beside": 0}
        self._undeclared = 0
        self._lost = 0
        self._examples: list[dict[str, t.Any]] = []
        self._known: dict[str, list[Finding]] = {}

    def add(self, sample: Sample, file: str = "", row: int | None = None) -> None:
        """Add a row.

        :param file: its source; :param row: its number there, from 1. Findings name them.
        """
        turns = [turn for turn in (*sample.turns, sample.chosen, sample.rejected) if turn is not None]
        texts = [text for role, text in turns if role == CALL]
        if not texts and not sample.tools:
            return
        self._counts["rows"] += 1
        self._counts["calls"] += bool(texts)
        self._undeclared += bool(texts) and not sample.tools
        findings = list(self._findings_of(sample.tools)) if sample.tools else []
        several = beside = False
        for text in texts:
            try:
                read = read_text(text, "")
                for call in read.calls:
                    findings += canonical_arguments(call.arguments, f"{call.name}.arguments")[1]
            except (Unreadable, InputError):
                continue  # checked before; a published row of an older version may hold it
            several |= len(read.calls) > 1
            # a thought before calls is written like a text there
            beside |= bool(read.before.strip())
        self._counts["several"] += several
        self._counts["beside"] += beside
        lost = [finding for finding in findings if finding.kind != CHANGED]
        self._lost += bool(lost)
        for finding in lost[: SHOWN - len(self._examples)]:
            self._examples.append(Problem(file, row, None, finding.path, finding.content).as_dict())

    def _findings_of(self, tools: str) -> list[Finding]:
        if tools not in self._known:
            if len(self._known) >= _TOOL_SETS:
                self._known.clear()
            try:
                value = parse_json(tools)
                self._known[tools] = canonical_tools(value if isinstance(value, list) else [value])[1]
            except (ValueError, InputError):
                self._known[tools] = []
        return self._known[tools]

    def results(self) -> dict[str, t.Any]:
        """The counts, and, where there are some, ``undeclared`` (rows with calls and no tools), ``lost`` (rows with
        something that no server gives the model) and ``examples`` of it.
        """
        more = {"undeclared": self._undeclared, "lost": self._lost, "examples": self._examples}
        return {**self._counts, **{name: value for name, value in more.items() if value}}


def tool_use(results: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """The results of a dataset with what its rows do with tools, which receipts of earlier versions do not have.

    :param results: results in its receipt; :param directory: of the version, whose rows are read if necessary.
    """
    path = os.path.join(directory, DATA_FILE)
    if "tools" in results or results.get("formatting") == "alpaca" or not os.path.isfile(path):
        return dict(results)
    statistics = ToolStatistics()
    try:
        with open(path, "rb") as stream:
            for line in stream:
                if may_use_tools(line):
                    statistics.add(_sample(parse_json(line)))
    except (OSError, ValueError, KeyError, TypeError):
        return dict(results)  # the training reports a file that is damaged
    return {**results, "tools": statistics.results()}


def _sample(row: t.Mapping[str, t.Any]) -> Sample:
    """The turns and tools of a published row."""
    turns = [(str(turn["from"]), str(turn["value"])) for turn in row.get("conversations") or []]
    answers = [row[name] for name in ("chosen", "rejected") if isinstance(row.get(name), dict)]
    turns += [(str(answer["from"]), str(answer["value"])) for answer in answers]
    return Sample(turns, "", str(row.get("tools") or ""))


def warnings(name: str, results: t.Mapping[str, t.Any]) -> list[Message]:
    """Warnings about the tools of a dataset.

    :param name: name of the dataset; :param results: its statistics.
    """
    found = results.get("tools") or {}
    messages = []
    if found.get("lost"):
        examples = [
            Message(
                "datasets.tool_value_lost", file=each["file"], row=each["row"], field=each["field"], what=each["what"]
            )
            for each in found.get("examples") or []
        ]
        messages.append(Message("datasets.tools_not_given", name=name, count=found["lost"], examples=examples[:3]))
    if found.get("undeclared"):
        messages.append(Message("datasets.calls_without_tools", name=name, count=found["undeclared"]))
    return messages
