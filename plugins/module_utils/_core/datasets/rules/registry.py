# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by format and training stage."""

from __future__ import annotations

import typing as t

from ...errors import InputError
from ...messages.suggestions import nearest
from ..output_formats import KTO, PREFERENCE, SFT
from .alpaca import AlpacaRules
from .base import Rules
from .conversations import OpenAIRules, SharegptRules
from .preferences import AlpacaKto, AlpacaPreference, OpenAIKto, OpenAIPreference, SharegptKto, SharegptPreference
from .text import TextRules
from .unread_fields import holds_nothing

_ALL: tuple[type[Rules], ...] = (
    AlpacaRules, SharegptRules, OpenAIRules, TextRules, AlpacaPreference, SharegptPreference, OpenAIPreference,
    AlpacaKto, SharegptKto, OpenAIKto,
)  # fmt: skip
#: The rules by format and kind of rows.
RULES: dict[tuple[str, str], type[Rules]] = {(rules.format, rules.kind): rules for rules in _ALL}
#: Description of the fields of each format, for users.
DESCRIPTIONS: dict[str, str] = {rules.format: rules.description for rules in reversed(_ALL)}
FORMATS = ("auto", *dict.fromkeys(rules.format for rules in _ALL))

#: Fields that decide the kind of rows.
_KIND_FIELDS = {"chosen": PREFERENCE, "rejected": PREFERENCE, "kto_tag": KTO}


def make_rules(declared: str, columns: t.Mapping[str, str], ignored: t.Sequence[str], first_row: t.Any) -> Rules:
    """The rules of the declared format, or of the format detected from the first row, which also decides the kind.

    :param columns: may also name the fields that decide the kind (``chosen``, ``kto_tag``).
    :raises InputError: for an unknown format, or columns it does not have.
    """
    if declared not in FORMATS:
        raise InputError(
            "datasets.format_unknown", format=declared, suggestion=nearest(declared, FORMATS), formats=list(FORMATS)
        )
    fields = set(first_row) if isinstance(first_row, t.Mapping) else set()
    declared_columns = columns
    format_name, columns = (declared, columns) if declared != "auto" else _format_of(first_row, fields, columns)
    # a field without a value decides nothing: exports of tables have every column in every row
    given = {name for name in fields if not holds_nothing(first_row[name]) and name not in ignored}
    kinds = [kind for name, kind in _KIND_FIELDS.items() if name in columns or name in given]
    # a format with rows of only one kind refuses the fields of another kind by name
    only = next(rules for rules in _ALL if rules.format == format_name)
    rules = RULES.get((format_name, kinds[0] if kinds else SFT), only)(columns, ignored)
    rules.declared_columns = dict(declared_columns)
    return rules


def _format_of(first_row: t.Any, fields: set[t.Any], columns: t.Mapping[str, str]) -> tuple[str, t.Mapping[str, str]]:
    """The detected format, and the columns completed with the detected messages field."""
    names = [columns["messages"]] if "messages" in columns else ["conversations", "messages"]
    name = next((name for name in names if name in fields), "")
    if not name:
        recognized = next((rules for rules in _ALL if rules.recognizes(fields, columns)), None)
        if recognized:
            return recognized.format, columns
        return (SharegptRules if "messages" in columns else AlpacaRules).format, columns
    turns = first_row[name]
    turn = turns[0] if isinstance(turns, list) and turns else {}
    openai = (
        "role" in turn if isinstance(turn, t.Mapping) and ("role" in turn or "from" in turn) else name == "messages"
    )
    return (OpenAIRules if openai else SharegptRules).format, {**columns, "messages": name}
