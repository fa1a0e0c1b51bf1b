# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores of one answer. Pure functions, but for regular expressions of a gate, which run with limits.

An answer to a question of a gate or of the guard set meets its expectations or not. An answer to a held-out row is
compared with the reference, by what the reference is:

* calls: the answer makes the same calls, in any order, each with the same name and the same arguments, no more and no
  fewer. Texts are compared in Unicode's NFC form; 1 is 1.0; true is not 1.
* an object or a list in JSON: the answer, without white space around it, is JSON and has its structure
  (:func:`structure_of`). Values are not compared: texts in them may be said in several ways.
* text: ``exact``, ``same`` (:func:`.items.normalised`), and ``text``, which is computed for all answers at once
  (``evaluations.chrf``). An answer that makes a call instead has the text "".

A thought before the answer is no part of it, but for a gate, whose expectations are about all that a model writes.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import typing as t
import unicodedata

from ..chat_formats import thoughts
from ..chat_formats.json_schema import Fault, value_faults
from ..errors import InputError
from ..json_text import is_too_deep, parse_strict_json
from ..messages.message import Message
from ..releases.gate import Answer, Question, unmet
from ..releases.gate_calls import calls_text, same_value
from .items import MEASURES, Item, normalised

#: Levels of lists and objects up to which the structure of a reference is compared; a deeper one is text.
_MAX_LEVELS = 40
#: Faults of one answer that are kept.
_MAX_FAULTS = 5


def measures_of(item: Item) -> tuple[str, ...]:
    """What the answer to an item is measured by, in the order of :data:`.items.MEASURES`."""
    if item.part != "held_out":
        return (item.part,)
    reference = item.reference or {}
    if reference.get("calls"):
        return ("calls",)
    if json_of_reference(item) is not None:
        return ("json",)
    return ("exact", "same", "text")


def counts(items: t.Iterable[Item]) -> dict[str, int]:
    """The number of items by measure; measures without items are left out."""
    return counted(items)[0]


def counted(items: t.Iterable[Item]) -> tuple[dict[str, int], int]:
    """The number of items by measure, as :func:`counts`, and of all items."""
    found: collections.Counter[str] = collections.Counter()
    number = 0
    for item in items:
        found.update(measures_of(item))
        number += 1
    return {measure: found[measure] for measure in MEASURES if found[measure]}, number


def score(item: Item, answer: Answer) -> tuple[dict[str, float], list[Message]]:
    """The scores of an answer by measure, each 0 or 1, without ``text``; and what it does not meet, as short phrases.

    :raises InputError: for a regular expression of a gate that exceeds its limits.
    """
    if item.part != "held_out":
        if item.part == "guard":
            answer = dataclasses.replace(answer, text=without_thought(answer.text))
        failures = unmet(Question(item.messages, dict(item.expect), item.tools), answer)
        return {item.part: float(not failures)}, failures
    measures = measures_of(item)
    if measures == ("calls",):
        failures = _unmet_calls((item.reference or {})["calls"], answer)
    elif measures == ("json",):
        failures = _unmet_structure(json_of_reference(item), answer)
    else:
        return _text_scores(item, answer)
    if failures and not answer.ended and not answer.malformed_call:
        failures.append(Message("releases.unmet_ends_by_itself", tokens=answer.tokens))
    return {measures[0]: float(not failures)}, failures


def text_pair(item: Item, answer: Answer) -> tuple[str, str] | None:
    """Answer and reference for ``text``; None if the item is not measured by it."""
    if "text" not in measures_of(item):
        return None
    return _said(answer), _reference_text(item)


def without_thought(text: str) -> str:
    """An answer without the thought before it; empty if it ended within the thought."""
    try:
        thought = thoughts.read(text)
    except thoughts.Unclear as unclear:
        return "" if unclear.kind in (thoughts.OPEN, thoughts.ALONE) else text
    return text if thought is None else thought.answer


# -- calls -------------------------------------------------------------------------------------------------------------


def _unmet_calls(expected: t.Sequence[t.Mapping[str, t.Any]], answer: Answer) -> list[Message]:
    if answer.malformed_call:
        return [Message("releases.unmet_call_unread")]
    if not answer.calls:
        return [Message("releases.unmet_calls_none", expected=[str(call["name"]) for call in expected])]
    names = [str(call["name"]) for call in answer.calls]
    expected_names = [str(call["name"]) for call in expected]
    if sorted(names) != sorted(expected_names):
        return [Message("releases.unmet_calls", names=names, expected=expected_names)]
    # equality is transitive, so that the first equal call is as good a partner as any other
    missing, made = [], list(answer.calls)
    for call in expected:
        partner = next((number for number, each in enumerate(made) if _is_same_call(call, each)), None)
        if partner is None:
            missing.append(call)
        else:
            del made[partner]  # by number: for Python, true is equal to 1
    if not missing:
        return []
    return [Message("evaluations.unmet_calls_equal", calls=calls_text(made), expected=calls_text(missing))]


def _is_same_call(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    return one["name"] == other["name"] and same_value(one["arguments"], other["arguments"], False)


# -- JSON --------------------------------------------------------------------------------------------------------------


def json_of_reference(item: Item) -> t.Any:
    """The object or list that the reference of a held-out row is, without white space around it; None if it is text."""
    text = _reference_text(item).strip()
    if text[:1] not in ("{", "["):
        return None
    try:
        value = parse_strict_json(text)
    except ValueError:
        return None
    return None if is_too_deep(value, _MAX_LEVELS) else value


def structure_of(value: t.Any) -> dict[str, t.Any]:
    """The JSON schema of the structure of a value: the same keys and types, all the way down.

    An object has exactly these keys. A list has elements of the structures that its elements have, at least one if it
    has one; the elements of an empty list may be anything. All numbers have one type, and null is a type of its own.
    """
    if isinstance(value, dict):
        properties = {key: structure_of(each) for key, each in value.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        distinct = {json.dumps(each, sort_keys=True): each for each in map(structure_of, value)}
        kinds = list(distinct.values())
        items = {"items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}, "minItems": 1} if kinds else {}
        return {"type": "array", **items}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": "number"}
    return {"type": "null" if value is None else "string"}


def _unmet_structure(reference: t.Any, answer: Answer) -> list[Message]:
    if answer.malformed_call:
        return [Message("releases.unmet_call_unread")]
    if answer.calls:
        return [Message("releases.unmet_no_calls", calls=calls_text(answer.calls))]
    text = without_thought(answer.text).strip()
    if not text:
        return [Message("releases.unmet_not_empty")]
    try:
        value = parse_strict_json(text)
    except ValueError as error:
        return [Message("releases.unmet_json", reason=str(error))]
    if is_too_deep(value, 2 * _MAX_LEVELS):
        return [Message("releases.unmet_json", reason=Message("releases.nested_too_deeply"))]
    return unmet_schema(value_faults(value, structure_of(reference), "$"))


def unmet_schema(faults: t.Sequence[Fault]) -> list[Message]:
    """What of a JSON value is not as its schema says, as short phrases, at most five."""
    return [Message("evaluations.unmet_structure", place=place, reason=fault) for place, fault in faults[:_MAX_FAULTS]]


# -- text --------------------------------------------------------------------------------------------------------------


def _text_scores(item: Item, answer: Answer) -> tuple[dict[str, float], list[Message]]:
    said, reference = _said(answer), _reference_text(item)
    exact = _is_equal(said, reference)
    scores = {"exact": float(exact), "same": float(exact or normalised(said) == normalised(reference))}
    if answer.malformed_call:
        return scores, [Message("releases.unmet_call_unread")]
    if answer.calls:
        return scores, [Message("releases.unmet_no_calls", calls=calls_text(answer.calls))]
    if not said.strip() and reference.strip():
        return scores, [Message("releases.unmet_not_empty")]
    return scores, []


def _is_equal(one: str, other: str) -> bool:
    """Whether two texts are equal as a gate's ``equals`` has it: in NFC form, without white space around them."""
    return unicodedata.normalize("NFC", one).strip() == unicodedata.normalize("NFC", other).strip()


def _said(answer: Answer) -> str:
    """The text of an answer; empty if it makes a call instead."""
    return "" if answer.calls or answer.malformed_call else without_thought(answer.text)


def _reference_text(item: Item) -> str:
    return str((item.reference or {}).get("content") or "")


def answer_of(line: t.Mapping[str, t.Any]) -> Answer:
    """The answer in a line of ``answers.jsonl``.

    :raises InputError: if the line has none.
    """
    raw = line.get("answer")
    if not isinstance(raw, t.Mapping):
        raise InputError("evaluations.no_answer", item=str(line.get("item")))
    return Answer(
        text=str(raw.get("text") or ""),
        ended=bool(raw.get("ended")),
        tokens=int(raw.get("tokens") or 0),
        seconds=float(raw.get("seconds") or 0.0),
        calls=tuple(raw.get("calls") or ()),
        malformed_call=bool(raw.get("malformed_call")),
    )
