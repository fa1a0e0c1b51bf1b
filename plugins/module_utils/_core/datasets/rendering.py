# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders sources to rows for LLaMA-Factory: one pass checks them, writes an output format and computes the digest."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import typing as t

from ..errors import InputError
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..system.disk import disk_error
from .json_reader import strict_fault
from .output_formats import BY_KIND, KTO, PIECE, PRETRAINING, AlpacaOutput, OutputFormat, SampleOutput
from .problems import Problem, Problems, TooManyProblems
from .readers import read
from .rules.alpaca import AlpacaRules
from .rules.base import Fault, RenderedRow, Rules
from .rules.registry import make_rules
from .source_text import CHUNK, ROW_LIMIT
from .sources import Source
from .statistics import Lengths, Repeats
from .suspect_texts import SuspectTexts
from .thought_statistics import ThoughtStatistics
from .tool_sets import NamedTools, ToolSets
from .tool_statistics import ToolStatistics

#: Increased when the same sources render differently than before: recorded results are then computed again.
RENDERER = 1

#: Maximum number of distinct system prompts to count, and maximum of their characters in memory.
_SYSTEMS = 1000
_SYSTEM_CHARACTERS = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The result of rendering.

    :param output_format: name of the output format of the rows.
    :param sha256: digest of the rows as written; :param size: their size in bytes.
    :param results: statistics of the rows, for the receipt.
    """

    output_format: str
    sha256: str
    size: int
    results: dict[str, t.Any]

    @property
    def settings(self) -> dict[str, str]:
        """The inputs of the fingerprint."""
        return {"format": self.output_format, "content": self.sha256}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of this version. It depends on the content only, not on the sources."""
        return fingerprint("dataset", self.settings, {})


class LineObserver(t.Protocol):
    """Receives every line that is written, to compare versions."""

    def restart(self) -> None:
        """Discard the lines so far: rendering starts again with the first row."""

    def add_line(self, line: str) -> None:
        """Receive one line."""


class _OtherFormat(Exception):
    """The rows do not fit the current output format: all of them are rendered again as messages."""


def _collect_names(header: list[str], names: t.Sequence[str]) -> bool:
    header.extend(names)
    return True


def _first_row(sources: t.Sequence[Source]) -> t.Any:
    """The first row of the first source that has one; None if the first item is not a row."""
    for source in sources:
        header: list[str] = []

        rows = read(source, Problems(), functools.partial(_collect_names, header))
        with contextlib.closing(t.cast("t.Generator[t.Any, None, None]", rows)):
            for row in rows:
                return row[2]
        if header:
            return dict.fromkeys(header, "")
    return None


def _rules_of_sources(
    declared: str, columns: t.Mapping[str, str], ignored: t.Sequence[str], sources: t.Sequence[Source], tools: ToolSets
) -> list[Rules]:
    """The rules of each source.

    With the format ``auto``, a source may be in another format than the first one, if the rows have the same purpose:
    rows with tools are conversations, and may stand beside a file of plain instructions.
    """
    first = make_rules(declared, columns, ignored, _first_row(sources))
    if declared != "auto" or columns:
        return [first] * max(1, len(sources))
    return [_own_rules(first, source, ignored, tools) for source in sources]


def _own_rules(first: Rules, source: Source, ignored: t.Sequence[str], tools: ToolSets) -> Rules:
    row = _first_row([source])
    try:
        own = make_rules("auto", {}, ignored, row)
    except InputError:  # a field of this format is ignored
        return first
    if row is None or own.__class__ is first.__class__ or own.kind != first.kind:
        return first

    def is_valid(rules: Rules) -> bool:
        resolved, fault = NamedTools(tools, rules.field.get("tools", "")).resolve(row)
        return fault is None and not rules.check(resolved)

    return own if is_valid(own) and not is_valid(first) else first


class _Output:
    """Writes lines to the file (if there is one) and updates the digest."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.stream = open(path, "wb", buffering=0) if path else None
        self.begin()

    def begin(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        if self.stream:
            self.stream.seek(0)
            self.stream.truncate()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        if self.stream:
            remaining = memoryview(data)
            while remaining:
                remaining = remaining[self.stream.write(remaining) :]

    def close(self) -> None:
        if self.stream:
            self.stream.close()


def render(
    name: str,
    sources: t.Sequence[Source],
    *,
    declared: str = "auto",
    columns: t.Mapping[str, str] | None = None,
    ignored: t.Sequence[str] = (),
    path: str | None = None,
    observer: LineObserver | None = None,
    tools: ToolSets | None = None,
) -> Rendered:
    """Check all rows and write them.

    :param name: name of the dataset, for messages.
    :param path: file to write to; None only checks.
    :param observer: receives every line.
    :param tools: tools by the name that rows may give instead of them.
    :raises InputError: if any row is invalid, with all problems.
    :raises NotReadyError: if the disk is full.
    """
    problems = Problems()
    rules = _rules_of_sources(declared, columns or {}, ignored, sources, tools or {})
    kind = rules[0].kind
    all_alpaca = all(each.__class__ is AlpacaRules for each in rules)
    output_format: OutputFormat = AlpacaOutput() if all_alpaca else BY_KIND[kind]()
    try:
        output = _Output(path)
        try:
            while True:
                output.begin()
                if observer:
                    observer.restart()
                current_pass = _Pass(rules, tools or {}, output_format, problems, output, observer)
                try:
                    current_pass.run(sources)
                    break
                except _OtherFormat:
                    output_format = BY_KIND[kind]()
                except TooManyProblems:
                    break
        finally:
            output.close()
    except OSError as error:
        raise disk_error(error, path or "") from error
    if problems:
        raise problems.error(name)
    return Rendered(
        output_format.name, output.digest.hexdigest(), output.size, current_pass.results(sources, output.size)
    )


class _Pass:
    """One pass over all sources."""

    def __init__(
        self,
        rules: t.Sequence[Rules],
        tools: ToolSets,
        output_format: OutputFormat,
        problems: Problems,
        output: _Output,
        observer: LineObserver | None,
    ) -> None:
        self._rules_of_sources = rules
        self.rules = rules[0]
        self._tools = {each: NamedTools(tools, each.field.get("tools", "")) for each in rules}
        self.output_format = output_format
        self.problems = problems
        self.output = output
        self.observer = observer
        self.rows = 0
        self.longest = 0
        self.longest_row: dict[str, t.Any] = {}
        self.systems: dict[str, int] = {}
        self.more_systems = 0
        self._system_characters = 0
        self.repeats = Repeats()
        self.lengths = Lengths()
        self.suspects = SuspectTexts(self.rules.kind == PRETRAINING)
        self.liked = [0, 0]
        self.tools = ToolStatistics()
        self.thoughts = ThoughtStatistics()

    def run(self, sources: t.Sequence[Source]) -> None:
        """:raises _OtherFormat: if the rows do not fit the output format."""
        self.output_format.begin_piece()
        position = begin = 0
        for source, rules in zip(sources, self._rules_of_sources):
            self.rules = rules
            position, begin = self._process_source(source, position, begin)
        if not self.rows and not self.problems:
            label = sources[0].label if sources else "(no source)"
            self.problems.add(Problem(label, None, None, "", Message("datasets.no_row")))
        if position > begin:
            self._end_piece(sources[-1], None)

    def _process_source(self, source: Source, position: int, begin: int) -> tuple[int, int]:
        rules, output_format, observer, systems = self.rules, self.output_format, self.observer, self.systems
        render_quickly = (
            rules.quick if isinstance(rules, AlpacaRules) == isinstance(output_format, AlpacaOutput) else None
        )
        pending: list[bytes] = []
        keys: list[tuple[int, int]] = []
        self.repeats.begin_source(source.label, self.rows)
        piece_end = begin + PIECE
        flush_at = min(position + CHUNK, piece_end)

        def check_header(names: t.Sequence[str]) -> bool:
            faults = rules.check_header(names)
            self._report(source, None, 1, faults)
            return not faults

        for number, line_number, row, text, start, end in read(source, self.problems, check_header):
            rendered_row = render_quickly(output_format, row, text, start, end) if render_quickly else None
            if rendered_row is None:
                rendered_row = self._render_checked(source, number, line_number, row, text, start)
                if rendered_row is None:
                    continue
            line, system, key = rendered_row
            try:
                raw = line.encode("utf-8")
            except UnicodeEncodeError:
                self._report(source, number, line_number, rules.check(row))
                continue
            size = len(raw)
            if size > self.longest:
                if size > ROW_LIMIT:
                    defect = Message("datasets.rendered_too_long", limit=ROW_LIMIT)
                    self._report(source, number, line_number, [("", defect)])
                    continue
                self.longest = size
                self.longest_row = {"file": source.label, "row": number, "characters": len(line)}
            self.rows += 1
            if system in systems:
                systems[system] += 1
            else:
                self._new_system(system)
            if observer:
                observer.add_line(line)
            pending.append(raw)
            keys.append(key)
            position += size
            if position > flush_at:
                self._flush(pending, keys)
                # 'datasets' extends a piece to the end of its last line, or by one line if it ends at a line end
                if position > piece_end:
                    self._end_piece(source, number)
                    begin, piece_end = position, position + PIECE
                flush_at = min(position + CHUNK, piece_end)
        self._flush(pending, keys)
        return position, begin

    def _flush(self, rows: list[bytes], keys: list[tuple[int, int]]) -> None:
        data = b"".join(rows)
        self.output.write(data)
        self.suspects.add(data, rows, self.rows - len(rows))
        if self.rules.kind != PRETRAINING:
            self.thoughts.add(data, rows, self.rows - len(rows))
        self.lengths.add(rows)
        self.repeats.add(keys)
        if self.rules.kind == KTO:
            for _asked, liked in keys:
                self.liked[liked] += 1
        rows.clear()
        keys.clear()

    def _render_checked(
        self, source: Source, number: int, line_number: int | None, row: t.Any, text: str | None, start: int
    ) -> RenderedRow | None:
        """Render a row that the quick path does not handle; None if it is invalid, after its problems were recorded."""
        fault = strict_fault(text, start, row, self.rules.ignored) if text is not None else None
        if fault is None:
            row, undeclared = self._tools[self.rules].resolve(row)
            fault = (self.rules.field["tools"], undeclared) if undeclared else None
        faults = [fault] if fault else self.rules.check(row)
        if faults:
            self._report(source, number, line_number, faults)
            return None
        if isinstance(self.output_format, AlpacaOutput):
            fields = t.cast(AlpacaRules, self.rules).flat(row)
            if fields is None:
                raise _OtherFormat
            return self.output_format.line(*fields), fields[3], self.rules.sample(row).key
        sample = self.rules.sample(row)
        self.tools.add(sample, source.label, number)
        return t.cast(SampleOutput, self.output_format).line(sample), sample.system, sample.key

    def _report(self, source: Source, row: int | None, line: int | None, faults: t.Iterable[Fault]) -> None:
        for field, defect in faults:
            self.problems.add(Problem(source.label, row, line, field, defect))

    def _new_system(self, system: str) -> None:
        self._system_characters += len(system)
        if len(self.systems) < _SYSTEMS and self._system_characters <= _SYSTEM_CHARACTERS:
            self.systems[system] = 1
        else:
            self.more_systems += 1

    def _end_piece(self, source: Source, number: int | None) -> None:
        date_fields = self.output_format.only_dates()
        if date_fields and isinstance(self.output_format, AlpacaOutput):
            raise _OtherFormat
        if date_fields:
            defect = Message("datasets.only_dates", field=date_fields[0], mebibytes=PIECE >> 20)
            self._report(source, number, None, [(date_fields[0], defect)])
        self.output_format.begin_piece()

    def results(self, sources: t.Sequence[Source], size: int) -> dict[str, t.Any]:
        """Statistics of the rows."""
        counts = dict(self.systems)
        without = counts.pop("", 0)
        used = {name: facts for named in self._tools.values() for name, facts in named.used.items()}
        # ties: the prompt that occurs first
        most_common = max(counts, key=lambda text: counts[text], default="")
        return {
            "kind": self.rules.kind,
            "format": "+".join(dict.fromkeys(each.format for each in self._rules_of_sources)),
            "formatting": self.output_format.name,
            "columns": list(self.output_format.fields),
            "rows": self.rows,
            "bytes": size,
            "longest_row": self.longest_row,
            "lengths": self.lengths.result(),
            "repeats": self.repeats.result(),
            "suspects": self.suspects.result(self.repeats.place),
            **({"liked": {"true": self.liked[1], "false": self.liked[0]}} if self.rules.kind == KTO else {}),
            **({} if self.rules.kind == PRETRAINING else {"thoughts": self.thoughts.result(self.repeats.place)}),
            **({"tools": self.tools.results()} if "tools" in self.output_format.fields else {}),
            "systems": {
                "most_common": most_common,
                "rows": counts.get(most_common, 0),
                "distinct": len(counts) + bool(self.more_systems),
                "exact": not self.more_systems,
                "without": without,
            },
            **({"tool_sets": used} if used else {}),
            "sources": [source.as_dict() for source in sources],
        }
