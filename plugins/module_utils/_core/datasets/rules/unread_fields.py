# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a field means that the rules of a format do not read: whether anything is lost without it, and how to read it.

A field whose meaning is known is never advised to be ignored: without ``label``, for example, the disliked answers of
a KTO dataset would be trained on as good ones.
"""

from __future__ import annotations

import json
import re
import typing as t

from ...messages.message import Message
from ...messages.suggestions import nearest
from ..output_formats import PREFERENCE, SFT
from ..problems import kind_of

MEDIA_FIELDS = ("images", "image", "videos", "video", "audios", "audio")
_RATED_FIELDS = ("chosen", "rejected", "kto_tag", "label")
_TURN_FIELDS = ("messages", "conversations")
_ANSWER_FIELDS = ("output", "response", "completion", "answer")
#: Columns by format. The kind of rows follows from the columns, so those of all kinds are named.
_RATED_COLUMNS = ("chosen", "rejected", "kto_tag")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "alpaca": ("prompt", "query", "response", "system", "history", *_RATED_COLUMNS),
    "sharegpt": ("messages", "system", "tools", *_RATED_COLUMNS),
    "openai": ("messages", "system", "tools", *_RATED_COLUMNS),
    "text": (),
}
#: Common names of the columns.
_MEANINGS = {
    "question": "prompt",
    "prompt": "prompt",
    "instruction": "prompt",
    "answer": "response",
    "response": "response",
    "completion": "response",
    "output": "response",
    "target": "response",
    "system_prompt": "system",
    "conversation": "messages",
    "conversations": "messages",
    "messages": "messages",
    "dialog": "messages",
    "dialogue": "messages",
    "functions": "tools",
    "tools": "tools",
    "history": "history",
    "chosen_response": "chosen",
    "rejected_response": "rejected",
    "chosen_messages": "chosen",
    "rejected_messages": "rejected",
    "label": "kto_tag",
}
#: Names that probably have that meaning.
_PROBABLE_MEANINGS = {"context": "query"}
_TEXTS_OF_TAGS = ("true", "false", "0", "1", "yes", "no")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


def holds_nothing(value: t.Any) -> bool:
    """Whether a value says nothing: null, blank text, an empty list or an empty object."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, (list, tuple, dict)) and not value)


def decided_by_row(name: str) -> bool:
    """Whether a field without a value loses nothing, so that its name in the header of a CSV is no fault."""
    known = (*MEDIA_FIELDS, *_RATED_FIELDS, *_TURN_FIELDS)
    return name in known or _MEANINGS.get(name.lower()) in ("tools", "history")


def is_lost(name: t.Any, value: t.Any) -> bool:
    """Whether something is lost if a field that no rule reads is left out."""
    if value is None:
        return False
    return not (isinstance(name, str) and decided_by_row(name) and holds_nothing(value))


def is_turns(value: t.Any) -> bool:
    """Whether a value is a list of turns of a conversation."""
    if not isinstance(value, (list, tuple)) or not value or not isinstance(value[0], t.Mapping):
        return False
    return "role" in value[0] or "from" in value[0]


def field_with_rows(row: t.Mapping[t.Any, t.Any]) -> str:
    """The field that contains rows, of an object that is no row itself: ``{"data": [{…}, {…}]}``; empty if none."""
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(item, t.Mapping) for item in value[:3]):
            if is_field_of_rows(str(name), value[0]):
                return str(name)
    return ""


def is_field_of_rows(name: str, first: t.Mapping[t.Any, t.Any]) -> bool:
    """Whether a list of objects with this name and this first object can be rows: no turns, answers or tools."""
    known = name in _RATED_FIELDS or _MEANINGS.get(name.lower()) in ("messages", "tools", "history")
    return bool(name) and not known and not is_turns([first]) and not {"type", "function"} & set(first)


def columns_of(
    format_name: str, kind: str, row: t.Mapping[t.Any, t.Any], unknown: t.Iterable[t.Any], taken: t.Container[str]
) -> dict[str, str]:
    """The columns that fields are, by what they are called and what they contain.

    :param kind: kind of the rows, which the first row has decided.
    :param row: the fields of the row; empty if only their names are known.
    :param unknown: fields that no rule reads.
    :param taken: columns whose field the row has.
    :returns: column → field, for the option ``columns``.
    """
    found: dict[str, str] = {}
    for name in unknown:
        column = _column_of(str(name), row.get(name))
        if column in found or column in taken:
            continue
        if column not in _COLUMNS[format_name] and not (column == "messages" and str(name) not in _TURN_FIELDS):
            continue
        if column in _RATED_COLUMNS and kind != SFT:
            continue  # the rows are rated already
        if column == "response" and kind == PREFERENCE:
            continue
        found[column] = str(name)
    return found


def _column_of(name: str, value: t.Any) -> str:
    column = _MEANINGS.get(name.lower(), "")
    if column == "kto_tag":
        return column if _is_tag(value) else ""
    if is_turns(value) and len(value) > 1 and column in ("chosen", "rejected"):
        return ""  # each holds the question as well
    if is_turns(value) and column in ("prompt", "response"):
        # trl: a prompt of turns, to which chosen and rejected answer; its completion is the last turn, not all of them
        return "messages" if column == "prompt" or len(value) > 1 else ""
    return column


def _is_tag(value: t.Any) -> bool:
    """Whether a value can be meant as whether the answer was liked."""
    if isinstance(value, str):
        return value.strip().lower() in _TEXTS_OF_TAGS
    return isinstance(value, bool) or (isinstance(value, (int, float)) and value in (0, 1))


def columns_text(columns: t.Mapping[str, str]) -> str:
    """Columns as they are declared: ``{prompt: question, kto_tag: label}``."""
    pairs = [
        f"{column}: {name if _PLAIN_NAME.match(name) else json.dumps(name, ensure_ascii=False)}"
        for column, name in columns.items()
    ]
    return f"{{{', '.join(pairs)}}}"


def describe_unknown(
    name: str,
    value: t.Any,
    *,
    format_name: str,
    kind: str,
    columns: t.Mapping[str, str],
    suggested: t.Mapping[str, str],
    candidates: t.Iterable[str],
) -> Message:
    """The defect of a field that no rule reads.

    :param columns: the declared columns; :param suggested: result of :func:`columns_of`.
    :param candidates: fields that may have been meant.
    """
    if name in suggested.values():
        column = next(column for column, field in suggested.items() if field == name)
        text = columns_text({**columns, **suggested})
        return Message("datasets.field_is_column", column=column, columns=text)
    meaning = _MEANINGS.get(name.lower(), "")
    if name == "label" and not _is_tag(value) and kind == SFT:
        return Message("datasets.label_unclear", columns=columns_text({**columns, "kto_tag": name}))
    if meaning in ("chosen", "rejected") and is_turns(value):
        return Message("datasets.turns_not_text", kind=kind_of(value))
    if name in _RATED_FIELDS or meaning in ("chosen", "rejected"):
        return Message("datasets.preference_field", kind=kind)
    if name in MEDIA_FIELDS:
        return Message("datasets.no_media")
    if kind == PREFERENCE and name.lower() in _ANSWER_FIELDS:
        return Message("datasets.answer_beside_pair")
    if is_turns(value) and meaning == "response":
        return Message("datasets.answer_apart")
    if name in _TURN_FIELDS:
        return Message("datasets.field_of_other_format", format=format_name)
    if meaning in ("tools", "history") and meaning not in _COLUMNS[format_name]:
        code = "datasets.tools_of_conversations" if meaning == "tools" else "datasets.history_of_alpaca"
        return Message(code, format=format_name)
    suggestion = nearest(name, candidates)
    probable = _PROBABLE_MEANINGS.get(name.lower(), "")
    if not suggestion and probable in _COLUMNS[format_name]:
        suggestion = Message("datasets.set_columns", columns=columns_text({**columns, probable: name}))
    if suggestion:
        return Message("datasets.field_unknown_suggested", format=format_name, suggestion=suggestion)
    return Message("datasets.field_unknown", format=format_name)
