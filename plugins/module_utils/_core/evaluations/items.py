# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The items of an evaluation: a question each, and what its answer is measured by."""

from __future__ import annotations

import dataclasses
import typing as t
import unicodedata

#: Parts of an evaluation. ``gate``: declared prompts with expectations. ``held_out``: rows that no training reads, with
#: their answers as references. ``guard``: general prompts with expectations, which the model must still meet.
PARTS = ("gate", "held_out", "guard")

#: What answers are measured by. ``gate``, ``guard``: share of the answers that meet expectations. ``calls``: share
#: with the calls of the reference, by name and arguments. ``json``: share that is JSON of the structure of the
#: reference. ``exact``, ``same``: share of the texts that equal the reference, as written and normalised. ``text``:
#: chrF, 0 to 100.
MEASURES = ("gate", "calls", "json", "exact", "same", "text", "guard")


@dataclasses.dataclass(frozen=True)
class Item:
    """One question.

    :param id: digest of what is asked and expected; equal questions have equal ids.
    :param part: one of :data:`PARTS`.
    :param messages: the conversation up to the question, as Ollama takes it.
    :param tools: the tools that the model is offered.
    :param expect: expectations (``releases.gate.EXPECTATIONS``, ``calls``) of a gate's or guard's question.
    :param reference: the answer of a held-out row: ``content``, and ``calls`` (each ``name``, ``arguments``).
    :param options: Ollama options of the request.
    :param row: number of the row in its dataset, counted from 1; None if the question is no row.
    """

    id: str
    part: str
    messages: tuple[dict[str, t.Any], ...]
    tools: tuple[dict[str, t.Any], ...] = ()
    expect: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    reference: t.Mapping[str, t.Any] | None = None
    options: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    row: int | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """JSON values, as in a line of ``questions.jsonl``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any]) -> Item:
        """The item that :meth:`as_dict` returned."""
        values = {field.name: raw[field.name] for field in dataclasses.fields(cls) if field.name in raw}
        return cls(**{**values, "messages": tuple(raw["messages"]), "tools": tuple(raw.get("tools") or ())})


def normalised(text: str) -> str:
    """A text as questions, and answers for the measure ``same``, are compared: in Unicode's NFC form, case folded, each
    white space one blank, none around it. Accents and punctuation stay."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())
