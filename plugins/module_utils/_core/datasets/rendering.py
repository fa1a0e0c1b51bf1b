# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources to rows as LLaMA-Factory shall read them: checked, written in one form, digested; in one pass."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import typing as t

from ..fingerprint import fingerprint
from ..system.disk import disk_error
from .json_reader import strictly
from .output_formats import BY_KIND, KTO, PIECE, AlpacaOutput, OutputFormat, SampleOutput
from .problems import Problem, Problems, TooManyProblems
from .readers import read
from .rules.alpaca import AlpacaRules
from .rules.base import Fault, Made, Rules
from .rules.registry import make_rules
from .source_text import CHUNK, ROW_LIMIT
from .sources import Source
from .statistics import Lengths, Repeats

#: Raised when the same sources are rendered otherwise than before: what was rendered is then looked at anew.
RENDERER = 1

#: Different system prompts that are counted apart, and characters of them that are kept.
_SYSTEMS = 1000
_SYSTEM_CHARACTERS = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Rendered:
    """What came out.

    :param form: name of the form the rows were written in.
    :param sha256: of the rows as written; :param size: bytes of them.
    :param results: what was found out about the rows, for the receipt.
    """

    form: str
    sha256: str
    size: int
    results: dict[str, t.Any]

    @property
    def settings(self) -> dict[str, str]:
        """What the fingerprint is made from."""
        return {"format": self.form, "content": self.sha256}

    @property
    def fingerprint(self) -> str:
        """The name of this version of the data: of its content alone, wherever it came from."""
        return fingerprint("dataset", self.settings, {})


class Watcher(t.Protocol):
    """Looks at every line that is written (to tell what changed)."""

    def begin(self) -> None:
        """The lines come anew, from the first."""

    def see(self, line: str) -> None:
        """One line."""


class _OtherFormat(Exception):
    """The rows do not fit the form they are being written in: all of them are written as messages."""


def _noted(seen: list[str], names: t.Sequence[str]) -> bool:
    seen.extend(names)
    return True


def _first_row(sources: t.Sequence[Source]) -> t.Any:
    """The first row of the first source that has one; None when what comes first is no row."""
    for source in sources:
        seen: list[str] = []

        rows = read(source, Problems(), functools.partial(_noted, seen))
        with contextlib.closing(t.cast("t.Generator[t.Any, None, None]", rows)):
            for row in rows:
                return row[2]
        if seen:
            return dict.fromkeys(seen, "")
    return None


class _Output:
    """Lines on their way to the file (if there is one) and into the digest."""

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

    def write(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        self.digest.update(data)
        self.size += len(data)
        if self.stream:
            rest = memoryview(data)
            while rest:
                rest = rest[self.stream.write(rest) :]

    def close(self) -> None:
        if self.stream:
            self.stream.close()


def render(
    name: str,
    sources: t.Sequence[Source],
    declared: str = "auto",
    columns: t.Mapping[str, str] | None = None,
    ignored: t.Sequence[str] = (),
    path: str | None = None,
    watcher: Watcher | None = None,
) -> Rendered:
    """Check all rows and write them.

    :param name: name of the dataset, for messages.
    :param path: file to write to; None only looks.
    :raises InputError: when anything is wrong with the rows, with all that is.
    :raises NotReadyError: when the disk is full.
    """
    problems = Problems()
    rules = make_rules(declared, columns or {}, ignored, _first_row(sources))
    form: OutputFormat = AlpacaOutput() if rules.__class__ is AlpacaRules else BY_KIND[rules.kind]()
    try:
        output = _Output(path)
        try:
            while True:
                output.begin()
                if watcher:
                    watcher.begin()
                one_pass = _Pass(rules, form, problems, output, watcher)
                try:
                    one_pass.run(sources)
                    break
                except _OtherFormat:
                    form = BY_KIND[rules.kind]()
                except TooManyProblems:
                    break
        finally:
            output.close()
    except OSError as error:
        raise disk_error(error, path or "") from error
    if problems:
        raise problems.error(name)
    return Rendered(form.name, output.digest.hexdigest(), output.size, one_pass.results(sources, output.size))


class _Pass:
    """One way through all sources."""

    def __init__(
        self, rules: Rules, form: OutputFormat, problems: Problems, output: _Output, watcher: Watcher | None
    ) -> None:
        self.rules = rules
        self.form = form
        self.problems = problems
        self.output = output
        self.watcher = watcher
        self.rows = 0
        self.longest = 0
        self.longest_row: dict[str, t.Any] = {}
        self.systems: dict[str, int] = {}
        self.more_systems = 0
        self._system_characters = 0
        self.repeats = Repeats()
        self.lengths = Lengths()
        self.liked = [0, 0]

    def run(self, sources: t.Sequence[Source]) -> None:
        """:raises _OtherForm: when the rows do not fit the form."""
        self.form.begin_piece()
        position = begin = 0
        for source in sources:
            position, begin = self._source(source, position, begin)
        if not self.rows and not self.problems:
            label = sources[0].label if sources else "(no source)"
            self.problems.add(Problem(label, None, None, "", "it holds no row", "Put at least one row in it."))
        if position > begin:
            self._end_piece(sources[-1], None)

    def _source(self, source: Source, position: int, begin: int) -> tuple[int, int]:
        rules, form, watcher, systems = self.rules, self.form, self.watcher, self.systems
        quick = rules.quick if isinstance(rules, AlpacaRules) == isinstance(form, AlpacaOutput) else None
        pending: list[bytes] = []
        keys: list[tuple[int, int]] = []
        self.repeats.source(source.label, self.rows)
        piece_end = begin + PIECE
        flush_at = min(position + CHUNK, piece_end)

        def header(names: t.Sequence[str]) -> bool:
            faults = rules.header(names)
            self._note(source, None, 1, faults)
            return not faults

        for number, line_number, row, text, start, end in read(source, self.problems, header):
            made = quick(form, row, text, start, end) if quick else None
            if made is None:
                made = self._thoroughly(source, number, line_number, row, text, start)
                if made is None:
                    continue
            line, system, key = made
            try:
                raw = line.encode("utf-8")
            except UnicodeEncodeError:
                self._note(source, number, line_number, rules.check(row))
                continue
            size = len(raw)
            if size > self.longest:
                if size > ROW_LIMIT:
                    what = f"the row is longer than {ROW_LIMIT} bytes"
                    self._note(source, number, line_number, [("", what, "Split it.")])
                    continue
                self.longest = size
                self.longest_row = {"file": source.label, "row": number, "characters": len(line)}
            self.rows += 1
            if system in systems:
                systems[system] += 1
            else:
                self._new_system(system)
            if watcher:
                watcher.see(line)
            pending.append(raw)
            keys.append(key)
            position += size
            if position > flush_at:
                self._flush(pending, keys)
                # 'datasets' reads a piece and the rest of the line it ends in, or one more line where it ends with one
                if position > piece_end:
                    self._end_piece(source, number)
                    begin, piece_end = position, position + PIECE
                flush_at = min(position + CHUNK, piece_end)
        self._flush(pending, keys)
        return position, begin

    def _flush(self, rows: list[bytes], keys: list[tuple[int, int]]) -> None:
        self.output.write(rows)
        self.lengths.see(rows)
        self.repeats.see(keys)
        if self.rules.kind == KTO:
            for _asked, liked in keys:
                self.liked[liked] += 1
        rows.clear()
        keys.clear()

    def _thoroughly(
        self, source: Source, number: int, line_number: int | None, row: t.Any, text: str | None, start: int
    ) -> Made | None:
        """What becomes of a row that needs a second look; None when something is wrong with it."""
        fault = strictly(text, start) if text is not None else None
        faults = [fault] if fault else self.rules.check(row)
        if faults:
            self._note(source, number, line_number, faults)
            return None
        if isinstance(self.form, AlpacaOutput):
            flat = t.cast(AlpacaRules, self.rules).flat(row)
            if flat is None:
                raise _OtherFormat
            return self.form.line(*flat), flat[3], self.rules.sample(row).key
        sample = self.rules.sample(row)
        return t.cast(SampleOutput, self.form).line(sample), sample.system, sample.key

    def _note(self, source: Source, row: int | None, line: int | None, faults: t.Iterable[Fault]) -> None:
        for field, what, fix in faults:
            self.problems.add(Problem(source.label, row, line, field, what, fix))

    def _new_system(self, system: str) -> None:
        self._system_characters += len(system)
        if len(self.systems) < _SYSTEMS and self._system_characters <= _SYSTEM_CHARACTERS:
            self.systems[system] = 1
        else:
            self.more_systems += 1

    def _end_piece(self, source: Source, number: int | None) -> None:
        places = self.form.only_dates()
        if places and isinstance(self.form, AlpacaOutput):
            raise _OtherFormat
        if places:
            what = f"every {places[0]} in the {PIECE >> 20} MiB up to here is a date and nothing else"
            fix = "LLaMA-Factory would read timestamps and drop them: write at least one as part of a sentence."
            self._note(source, number, None, [(places[0], what, fix)])
        self.form.begin_piece()

    def results(self, sources: t.Sequence[Source], size: int) -> dict[str, t.Any]:
        """What was found out."""
        counts = dict(self.systems)
        without = counts.pop("", 0)
        # of several as common the first one met
        common = max(counts, key=lambda text: counts[text], default="")
        return {
            "kind": self.rules.kind,
            "format": self.rules.format,
            "formatting": self.form.name,
            "columns": list(self.form.fields),
            "rows": self.rows,
            "bytes": size,
            "longest_row": self.longest_row,
            "lengths": self.lengths.result(),
            "repeats": self.repeats.result(),
            **({"liked": {"true": self.liked[1], "false": self.liked[0]}} if self.rules.kind == KTO else {}),
            "systems": {
                "most_common": common,
                "rows": counts.get(common, 0),
                "distinct": len(counts) + bool(self.more_systems),
                "exact": not self.more_systems,
                "without": without,
            },
            "sources": [source.as_dict() for source in sources],
        }
