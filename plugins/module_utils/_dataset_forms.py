# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two forms in which datasets are published for LLaMA-Factory, whatever they were written in.

Read in LLaMA-Factory 0.9.5 (``data/parser.py``, ``data/converter.py``) and ``datasets`` 4.0, which reads the files:

* A key that is left out of ``columns`` or ``tags`` becomes None: an entry is always written whole.
* Every field is text in every row. ``datasets`` takes a column's type from the first 10 MiB; an empty list, or a null,
  there makes a later value fatal. So there is no ``history``: rows that have one are written as messages, which
  LLaMA-Factory turns into the same samples.
* A column that holds nothing but dates in one such piece becomes a timestamp; LLaMA-Factory drops an ``output`` that is
  not text. :attr:`Form.dates` watches for that.
* The ``openai`` formatting adds ``detailed thinking off`` to every system prompt, so nothing is written in it.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from json.encoder import encode_basestring as quote

#: ``chunksize`` of ``datasets.packaged_modules.json``: columns get their types piece by piece.
PIECE = 10 << 20
#: The one entry of the ``dataset_info.json`` that lies beside the rows.
ENTRY = "dataset"
DATA_FILE = "data.jsonl"

HUMAN, ASSISTANT, OBSERVATION, CALL = "human", "gpt", "observation", "function_call"

# what Arrow takes for a timestamp, and a little more
_DATE = re.compile(r"\d{4}-\d\d-\d\d.{0,30}\Z", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one row means.

    :param turns: role (:data:`HUMAN`, :data:`ASSISTANT`, :data:`OBSERVATION`, :data:`CALL`) and text, in order; asked
        and answered by turns, the last one answers.
    :param system: the system prompt; empty when there is none.
    :param tools: the tools as JSON text; empty when there are none.
    """

    turns: t.Sequence[tuple[str, str]]
    system: str = ""
    tools: str = ""


class Form:
    """A form of published rows.

    :cvar name: its name in LLaMA-Factory (``formatting``).
    :cvar fields: fields of a row, in order.
    """

    name: t.ClassVar[str]
    fields: t.ClassVar[tuple[str, ...]]
    #: the places whose text is watched for being dates only
    watched: t.ClassVar[tuple[str, ...]]
    _entry: t.ClassVar[dict[str, t.Any]]

    def __init__(self) -> None:
        #: a bit for each of :attr:`watched` that held only dates in this piece so far; 0 almost always
        self.dates = 0
        self.begin_piece()

    def begin_piece(self) -> None:
        """A new piece of the file begins."""
        self.dates = (1 << len(self.watched)) - 1

    def watch(self, *texts: str) -> None:
        """Look at the texts of a row, in the order of :attr:`watched`."""
        for bit, text in enumerate(texts):
            if self.dates >> bit & 1 and not _DATE.match(text):
                self.dates &= ~(1 << bit)

    def only_dates(self) -> list[str]:
        """The places that held nothing but dates in this piece."""
        return [place for bit, place in enumerate(self.watched) if self.dates >> bit & 1]

    @classmethod
    def entry(cls, file_name: str) -> dict[str, t.Any]:
        """The whole entry for ``dataset_info.json``."""
        return {"file_name": file_name, **cls._entry}


class AlpacaForm(Form):
    """``instruction``, ``input``, ``output``, ``system``."""

    name = "alpaca"
    fields = ("instruction", "input", "output", "system")
    watched = fields
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "alpaca",
        "ranking": False,
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system"},
    }

    def line(self, prompt: str, query: str, response: str, system: str, bare: bool = False) -> str:
        """A row as a line.

        :param bare: none of the texts holds anything that JSON escapes.
        """
        if self.dates:
            self.watch(prompt, query, response, system)
        if bare:
            return f'{{"instruction":"{prompt}","input":"{query}","output":"{response}","system":"{system}"}}\n'
        return (
            f'{{"instruction":{quote(prompt)},"input":{quote(query)},"output":{quote(response)},'
            f'"system":{quote(system)}}}\n'
        )


class MessagesForm(Form):
    """``conversations``, ``system``, ``tools``: what LLaMA-Factory calls sharegpt."""

    name = "sharegpt"
    fields = ("conversations", "system", "tools")
    watched = ("value", "system")
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "sharegpt",
        "ranking": False,
        "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": HUMAN,
            "assistant_tag": ASSISTANT,
            "observation_tag": OBSERVATION,
            "function_tag": CALL,
            "system_tag": "system",
        },
    }

    def line(self, sample: Sample) -> str:
        """A row as a line."""
        if self.dates:
            self._look(sample)
        turns = ",".join([f'{{"from":"{role}","value":{quote(text)}}}' for role, text in sample.turns])
        return f'{{"conversations":[{turns}],"system":{quote(sample.system)},"tools":{quote(sample.tools)}}}\n'

    def _look(self, sample: Sample) -> None:
        for _role, text in sample.turns:
            self.watch(text, sample.system)


FORMS: dict[str, type[Form]] = {form.name: form for form in (AlpacaForm, MessagesForm)}
