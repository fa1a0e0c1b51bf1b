# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of plain text, for further pretraining."""

from __future__ import annotations

import typing as t

from ..output_formats import HUMAN, PRETRAINING, Sample, TextOutput
from .base import Fault, RenderedRow, Rules, plain_text

_FIELDS_OF_OTHER_FORMATS = ("instruction", "output", "conversations", "messages", "chosen", "rejected", "kto_tag")


class TextRules(Rules):
    """``text``."""

    format = "text"
    kind = PRETRAINING
    description = "has only C(text), for pretraining (O(ia_homelab.llamafactory.train#module:stage=pt))."
    usual: t.ClassVar[dict[str, str]] = {"prompt": "text"}
    required = ("prompt",)

    @classmethod
    def recognizes(cls, fields: t.Container[t.Any], columns: t.Mapping[str, str]) -> bool:
        return "text" in fields and not columns and not any(field in fields for field in _FIELDS_OF_OTHER_FORMATS)

    def quick(
        self, output_format: TextOutput, row: t.Any, text: str | None, start: int, end: int
    ) -> RenderedRow | None:
        if not isinstance(row, dict) or len(row) != 1:
            return None
        content = row.get(self.field["prompt"])
        if not isinstance(content, str) or not content or content.isspace() or not plain_text(text, start, end, 2):
            return None
        sample = Sample([(HUMAN, content)])
        line = output_format.line(sample)
        return None if "\\u0000" in line else (line, "", sample.key)

    def check(self, row: t.Any) -> list[Fault]:
        if not isinstance(row, t.Mapping):
            return self.not_an_object(row)
        field = self.field["prompt"]
        return self.check_fields(row) + (self.check_text(row[field], field) if field in row else [])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        return Sample([(HUMAN, row[self.field["prompt"]])])
