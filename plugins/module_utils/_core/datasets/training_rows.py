# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with tools or thoughts, spelled for one training as the server spells them.

A published dataset is independent of the chat template, and its rows keep the spelling of the user. LLaMA-Factory
trains on the JSON of tools and calls as it stands in a row; Ollama writes the JSON that it receives in its own order,
without the keys that it does not know (:mod:`..chat_formats.canonical`). Several results of one turn are joined by a
text that depends on the template. A thought stands between the words of the template
(:mod:`..chat_formats.thoughts`), or is left out. So the training reads a copy of such rows. Other rows, and datasets
without such rows, are used as they are.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import typing as t

from ..chat_formats import thoughts
from ..chat_formats.canonical import (
    DEFAULT_TOOLS,
    DROPPED,
    UNCERTAIN,
    CanonicalTools,
    Finding,
    as_plain_text,
    as_text,
    canonical_arguments,
    join_of_results,
)
from ..chat_formats.facts import TemplateFacts, facts_of, names
from ..chat_formats.house_format import HOUSE, TEMPLATE, calls_text, system_with_tools
from ..chat_formats.thinking import FROM_ROWS, KEEP
from ..json_text import parse_json
from ..messages.message import Message
from ..system.disk import disk_error
from ..system.files import read_json, write_json
from .output_formats import ASSISTANT, CALL, DATA_FILE, INFO_FILE, OBSERVATION
from .published_rows import errors_of_row, may_use_tools
from .rules.calls import joined, read_text
from .rules.conversations import TOOL_SEPARATOR

#: Findings that are kept with their text; further ones are only counted.
SHOWN = 5


@dataclasses.dataclass
class Rewritten:
    """What was rewritten.

    :param rows: number of rows of the copy that differ from the dataset.
    :param thoughts: number of those in which a thought was spelled otherwise or left out; :param tools: of those in
        which tools, calls or results were spelled otherwise.
    :param removed: whether thoughts were left out.
    :param counts: number of findings by kind (``dropped``, ``changed``, ``uncertain``).
    :param examples: the first findings that change the meaning of a row, each with its row.
    """

    rows: int = 0
    thoughts: int = 0
    tools: int = 0
    removed: bool = False
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    examples: list[Message] = dataclasses.field(default_factory=list)

    def add(self, row: int, findings: t.Iterable[Finding]) -> None:
        """Add the findings of a row, which is counted from 1."""
        for finding in findings:
            self.counts[finding.kind] += 1
            if finding.kind in (DROPPED, UNCERTAIN) and len(self.examples) < SHOWN:
                example = Message("datasets.row_finding", row=row, path=finding.path, problem=finding.content)
                self.examples.append(example)

    def as_results(self) -> dict[str, t.Any]:
        """Plain values for a receipt."""
        return {
            "rows": self.rows,
            **({"thoughts": self.thoughts} if self.thoughts else {}),
            **dict(self.counts),
            "examples": [str(example) for example in self.examples],
            "example_messages": [example.as_dict() for example in self.examples],
        }

    def describe(self) -> str:
        """One to three sentences for a log."""
        sentences = []
        if self.thoughts:
            rows = "1 row" if self.thoughts == 1 else f"{self.thoughts} rows"
            done = "removed" if self.removed else "spelled as the chat template spells them"
            sentences.append(f"The thoughts of {rows} are {done}.")
        if self.tools:
            rows = "1 row with tools is" if self.tools == 1 else f"{self.tools} rows with tools are"
            sentences.append(f"{rows} spelled as the server spells tools, calls and results.")
        text = " ".join(sentences)
        return f"{text} For example {'; '.join(map(str, self.examples))}." if self.examples else text


def write(
    source: str,
    target: str,
    template: str,
    eos: str = "",
    bos: str = "",
    *,
    tool_format: str = TEMPLATE,
    default_system: str | None = None,
    thinking: str = FROM_ROWS,
    numbers: t.Sequence[int] = (),
) -> Rewritten | None:
    """Write a copy of a dataset with the rows of a training.

    :param source: directory of a published version.
    :param target: directory to write to; created if missing.
    :param template: name of the chat template.
    :param eos: text of the tokenizer's EOS token; :param bos: text of its BOS token.
    :param tool_format: how tools and calls are written: as the template does (:data:`TEMPLATE`), or by this module
        (:data:`HOUSE`), for which LLaMA-Factory sees neither.
    :param default_system: LLaMA-Factory's argument of that name; None keeps the template's own.
    :param thinking: what becomes of thoughts: they are spelled as the template spells them
        (:data:`..chat_formats.thinking.KEEP`), left out (``OFF``), or stay as they are (``FROM_ROWS``).
    :param numbers: the number of each row, for what is said of it; they are counted from 1 if it is empty.
    :returns: what was rewritten; None if every row stays as it is, and then nothing is written.
    :raises InputError: if the tools of a row are no JSON, or no tools.
    :raises NotReadyError: if the disk is full.
    """
    entries = read_json(os.path.join(source, INFO_FILE)) or {}
    name, entry = next(iter(entries.items()))
    with_tools = bool((entry.get("columns") or {}).get("tools"))
    if template not in names() or not with_tools and thinking == FROM_ROWS:
        return None
    facts = facts_of(template)
    join = join_of_results(template, eos, bos)
    if tool_format == HOUSE:
        default = facts.default_system if default_system is None else default_system
        writer: _Writer = _HouseWriter(join, facts, thinking, default)
    else:
        writer = _Writer(join, facts, thinking)
    path = os.path.join(target, DATA_FILE)
    copy: t.BinaryIO | None = None
    same_bytes = 0
    try:
        with contextlib.ExitStack() as stack:
            rows = stack.enter_context(open(os.path.join(source, DATA_FILE), "rb"))
            for number, line in zip(numbers or itertools.count(1), rows):
                spelled = writer.line(line, number, with_tools)
                if copy is None and spelled != line:
                    os.makedirs(target, exist_ok=True)
                    copy = stack.enter_context(open(path, "wb"))
                    _copy_bytes(os.path.join(source, DATA_FILE), copy, same_bytes)
                same_bytes += len(line)
                if copy is not None:
                    copy.write(spelled)
    except OSError as error:
        raise disk_error(error, target) from error
    if copy is None:
        return None
    write_json(os.path.join(target, INFO_FILE), {name: {**entry, "file_name": DATA_FILE}})
    return writer.rewritten


def _copy_bytes(source: str, copy: t.BinaryIO, size: int) -> None:
    """Append the first bytes of a file to another."""
    with open(source, "rb") as stream:
        while size and (piece := stream.read(min(size, 1 << 20))):
            copy.write(piece)
            size -= len(piece)


class _Writer:
    """Writes rows for the tool format of a template."""

    def __init__(self, join: str, facts: TemplateFacts, thinking: str) -> None:
        self._join = join
        self._facts = facts
        self._words = facts.tool_call_words
        self._plain_tools = facts.tools == DEFAULT_TOOLS
        self._thinking = thinking
        self.rewritten = Rewritten(removed=thinking != KEEP)
        self._tools = CanonicalTools()

    def line(self, line: bytes, number: int, with_tools: bool = True) -> bytes:
        """A row of the copy.

        :param with_tools: whether the rows of the dataset have a field for tools.
        """
        uses_tools = with_tools and may_use_tools(line)
        has_thoughts = self._thinking != FROM_ROWS and thoughts.may_have(line)
        if not uses_tools and not has_thoughts:
            return line
        row = parse_json(line)
        before = json.dumps(row, sort_keys=True)
        respelled = has_thoughts and self._spell_thoughts(row)
        if respelled:
            self.rewritten.thoughts += 1
        spelled = json.dumps(row, sort_keys=True) if respelled else before
        findings: list[Finding] = []
        with errors_of_row(number):
            if row.get("tools"):
                tools, found = self._tools.read(str(row["tools"]))
                findings += found
                self.put_tools(row, tools)
            for name in ("conversations", "chosen", "rejected"):
                turns = row.get(name) or []
                for turn in turns if isinstance(turns, list) else [turns]:
                    findings += self._turn(turn)
        self.rewritten.add(number, findings)
        after = json.dumps(row, sort_keys=True)
        self.rewritten.tools += after != spelled
        if after == before:
            return line
        self.rewritten.rows += 1
        return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8")

    def _turn(self, turn: dict[str, t.Any]) -> list[Finding]:
        """Rewrite the text of a turn."""
        if turn.get("from") == OBSERVATION:
            turn["value"] = str(turn["value"]).replace(TOOL_SEPARATOR, self._join)
        if turn.get("from") != CALL:
            return []
        thought = self._thought_of(str(turn["value"]))
        prefix = thought.source if thought is not None else ""
        read = read_text(turn["value"][len(prefix) :], "value")
        findings: list[Finding] = []
        made = []
        for call in read.calls:
            canonical, found = canonical_arguments(call.arguments, f"{call.name}.arguments")
            findings += found
            made.append({"name": call.name, "arguments": canonical})
        self.put_calls(turn, read.before, made)
        turn["value"] = prefix + turn["value"]
        return findings

    def _thought_of(self, text: str) -> thoughts.Thought | None:
        """The thought of a text whose thoughts are spelled by this module; None for another text."""
        if self._thinking == FROM_ROWS:
            return None
        try:
            return thoughts.read(text)
        except thoughts.Unclear:
            return None  # refused when the run was planned, or meant as text

    def _spell_thoughts(self, row: dict[str, t.Any]) -> bool:
        """Spell or remove the thoughts of a row; returns whether one has changed."""
        changed = False
        turns = [row[name] for name in ("conversations", "chosen", "rejected") if row.get(name)]
        answers = [
            (turn, "value") for each in turns for turn in _as_list(each) if turn.get("from") in (ASSISTANT, CALL)
        ]
        for holder, key in [*answers, *([(row, "output")] if "output" in row else [])]:
            thought = self._thought_of(str(holder[key]))
            if thought is not None and not (self._thinking == KEEP and thought.is_written(self._facts)):
                holder[key] = (thought.written(self._facts) if self._thinking == KEEP else "") + thought.answer
                changed = True
        return changed

    def put_tools(self, row: dict[str, t.Any], tools: list[dict[str, t.Any]]) -> None:
        """Write the tools of a row."""
        row["tools"] = as_text([as_plain_text(tool) for tool in tools] if self._plain_tools else tools)

    def put_calls(self, turn: dict[str, t.Any], before: str, calls: list[dict[str, t.Any]]) -> None:
        """Write the calls of a turn."""
        turn["value"] = joined(before, as_text(calls if len(calls) > 1 else calls[0]), *self._words)


class _HouseWriter(_Writer):
    """Writes rows in the house format: tools in the system prompt, calls as answers."""

    def __init__(self, join: str, facts: TemplateFacts, thinking: str, default_system: str) -> None:
        super().__init__(join, facts, thinking)
        self._default_system = default_system

    def put_tools(self, row: dict[str, t.Any], tools: list[dict[str, t.Any]]) -> None:
        if tools:
            row["system"] = system_with_tools(row.get("system") or self._default_system, tools)
        row["tools"] = ""

    def put_calls(self, turn: dict[str, t.Any], before: str, calls: list[dict[str, t.Any]]) -> None:
        turn.update({"from": ASSISTANT, "value": before + calls_text(calls)})


def _as_list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]
