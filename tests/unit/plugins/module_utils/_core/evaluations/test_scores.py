# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores of answers: what counts as the same calls, the same structure and the same text."""

from __future__ import annotations

import dataclasses
import json
import random
import typing as t
import unicodedata

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.json_schema import (
    schema_faults,
    value_faults,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import scores
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item, normalised
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import Answer


def row(content: str = "", calls: t.Sequence[t.Mapping[str, t.Any]] = ()) -> Item:
    return Item("1", "held_out", ({"role": "user", "content": "?"},), reference={"content": content, "calls": calls})


def said(text: str = "", calls: t.Sequence[t.Mapping[str, t.Any]] = (), **more: t.Any) -> Answer:
    return Answer(text, more.pop("ended", True), 3, calls=tuple(dict(call) for call in calls), **more)


def call(name: str, **arguments: t.Any) -> dict[str, t.Any]:
    return {"name": name, "arguments": arguments}


# ---------------------------------------------------------------------- which measure


@pytest.mark.parametrize(
    ("item", "measures"),
    [
        (row(calls=[call("a")]), ("calls",)),
        (row("I do it.", [call("a")]), ("calls",)),
        (row(' {"a": 1}\n'), ("json",)),
        (row("[]"), ("json",)),
        (row("Paris"), ("exact", "same", "text")),
        (row("3"), ("exact", "same", "text")),
        (row("{not JSON"), ("exact", "same", "text")),
        (row('{"a": NaN}'), ("exact", "same", "text")),
        (row("[" * 60 + "]" * 60), ("exact", "same", "text")),
        (row("[" * 5000), ("exact", "same", "text")),
        (dataclasses.replace(row(), part="gate"), ("gate",)),
        (dataclasses.replace(row(), part="guard"), ("guard",)),
    ],
)
def test_the_reference_decides_the_measure(item: Item, measures: tuple[str, ...]) -> None:
    assert scores.measures_of(item) == measures


def test_questions_are_counted_by_measure() -> None:
    assert scores.counts([row("a"), row("{}"), row("b")]) == {"json": 1, "exact": 2, "same": 2, "text": 2}


# ---------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("expected", "made"),
    [
        ([call("a", x=1)], [call("a", x=1.0)]),
        ([call("a", x=1), call("b")], [call("b"), call("a", x=1)]),
        ([call("a", x=1), call("a", x=2)], [call("a", x=2), call("a", x=1)]),
        ([call("a", city="Orl\u00e9ans")], [call("a", city="Orle\u0301ans")]),
        ([call("a", x={"k": [1, None, True]})], [call("a", x={"k": [1, None, True]})]),
        ([call("a")], [call("a")]),
    ],
)
def test_the_same_calls(expected: list[dict[str, t.Any]], made: list[dict[str, t.Any]]) -> None:
    assert scores.score(row(calls=expected), said(calls=made)) == ({"calls": 1.0}, [])


@pytest.mark.parametrize(
    ("expected", "made"),
    [
        ([call("a", x=1)], []),
        ([call("a", x=1)], [call("b", x=1)]),
        ([call("a", x=1)], [call("a", x=2)]),
        ([call("a", x=1)], [call("a", x="1")]),
        ([call("a", x=1)], [call("a", x=True)]),
        ([call("a", x=1)], [call("a")]),
        ([call("a")], [call("a", x=1)]),
        ([call("a", x="Paris")], [call("a", x="paris")]),
        ([call("a", x=[1, 2])], [call("a", x=[2, 1])]),
        ([call("a")], [call("a"), call("a")]),
        ([call("a"), call("a")], [call("a")]),
        ([call("a", x=1), call("a", x=1)], [call("a", x=1), call("a", x=2)]),
    ],
)
def test_other_calls(expected: list[dict[str, t.Any]], made: list[dict[str, t.Any]]) -> None:
    found, unmet = scores.score(row(calls=expected), said(calls=made))
    assert found == {"calls": 0.0} and len(unmet) == 1 and str(unmet[0]) != unmet[0].code


def test_a_call_that_the_server_cannot_read_is_a_wrong_answer() -> None:
    for item in (row(calls=[call("a")]), row('{"a": 1}'), row("text")):
        found, unmet = scores.score(item, said(malformed_call=True))
        assert not any(found.values())
        assert [each.code for each in unmet] == ["releases.unmet_call_unread"]


def test_any_order_of_the_same_calls_is_right() -> None:
    generator = random.Random(2)
    for _trial in range(50):
        expected = [call(generator.choice("ab"), x=generator.choice([1, 2, "1", True])) for _call in range(4)]
        made = generator.sample(expected, 4)
        assert scores.score(row(calls=expected), said(calls=made))[0] == {"calls": 1.0}
        made[2] = call("a", x="another")
        assert scores.score(row(calls=expected), said(calls=made))[0] == {"calls": 0.0}


# ---------------------------------------------------------------------- JSON


REFERENCE = '{"name": "Anna", "age": 3, "tags": ["a", "b"], "home": {"city": "Lyon", "floor": null}, "new": true}'


@pytest.mark.parametrize(
    "answer",
    [
        REFERENCE,
        '\n{"new": false, "home": {"floor": null, "city": ""}, "tags": ["c"], "age": 4.5, "name": "Bo"}\n',
        f"<think>\nHm.\n</think>\n\n{REFERENCE}",
    ],
)
def test_json_of_the_structure_of_the_reference(answer: str) -> None:
    assert scores.score(row(REFERENCE), said(answer)) == ({"json": 1.0}, [])


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        (REFERENCE.replace('"age": 3', '"age": "3"'), "$.age"),
        (REFERENCE.replace('"age": 3', '"age": true'), "$.age"),
        (REFERENCE.replace('"age": 3, ', ""), "$"),
        (REFERENCE.replace('"age"', '"Age"'), "$"),
        (REFERENCE.replace('"city"', '"town": 1, "city"'), "$.home.town"),
        (REFERENCE.replace('"b"]', "1]"), "$.tags[1]"),
        (REFERENCE.replace('["a", "b"]', "[]"), "$.tags"),
        (REFERENCE.replace("null", '"2"'), "$.home.floor"),
        (f"[{REFERENCE}]", "$"),
    ],
)
def test_json_of_another_structure(answer: str, place: str) -> None:
    found, unmet = scores.score(row(REFERENCE), said(answer))
    assert found == {"json": 0.0}
    assert unmet[0].code == "evaluations.unmet_structure" and unmet[0].parameters["place"] == place


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("", "releases.unmet_not_empty"),
        ("Here it is: {}", "releases.unmet_json"),
        ("```json\n{}\n```", "releases.unmet_json"),
        ('{"a": 1, "a": 2}', "releases.unmet_json"),
        ('{"a": Infinity}', "releases.unmet_json"),
        ("[" * 100_000, "releases.unmet_json"),
        ("[" * 300 + "]" * 300, "releases.unmet_json"),
        ("<think>\nHm.", "releases.unmet_not_empty"),
    ],
)
def test_no_json(answer: str, code: str) -> None:
    found, unmet = scores.score(row("{}"), said(answer))
    assert found == {"json": 0.0} and [each.code for each in unmet] == [code]


def test_json_cut_off_by_the_limit_says_so() -> None:
    _found, unmet = scores.score(row('{"a": 1}'), said('{"a"', ended=False))
    assert [each.code for each in unmet] == ["releases.unmet_json", "releases.unmet_ends_by_itself"]


def test_a_call_instead_of_json_is_wrong() -> None:
    _found, unmet = scores.score(row("{}"), said("{}", [call("a")]))
    assert [each.code for each in unmet] == ["releases.unmet_no_calls"]


def value(generator: random.Random, level: int = 0) -> t.Any:
    kind = generator.randrange(4 if level > 3 else 6)
    if kind == 4:
        return [value(generator, level + 1) for _element in range(generator.randrange(4))]
    if kind == 5:
        return {generator.choice("abcdef"): value(generator, level + 1) for _key in range(generator.randrange(4))}
    return [generator.choice([None]), generator.random() < 0.5, generator.randint(-9, 9), "text"][kind]


def other_values(of: t.Any, generator: random.Random) -> t.Any:
    """Another value of the same structure: other texts, numbers and truths, lists in another order."""
    if isinstance(of, dict):
        return {key: other_values(each, generator) for key, each in of.items()}
    if isinstance(of, list):
        return [other_values(each, generator) for each in generator.sample(of, len(of))]
    if isinstance(of, bool):
        return not of
    return {int: 0.5, str: "other"}.get(type(of))


def test_structure_is_a_valid_schema_that_its_value_meets() -> None:
    generator = random.Random(4)
    for _trial in range(300):
        one = value(generator)
        schema = scores.structure_of(one)
        assert not schema_faults(schema, "s") and not value_faults(one, schema, "v")
        assert not value_faults(other_values(one, generator), schema, "v")
        if isinstance(one, dict):
            assert value_faults({**one, "more": 1}, schema, "v")
            for key in one:
                assert value_faults({name: each for name, each in one.items() if name != key}, schema, "v")


def test_structure_of_a_long_list_is_short() -> None:
    records = [{"id": number, "name": str(number)} for number in range(20_000)]
    assert len(json.dumps(scores.structure_of(records))) < 500


# ---------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("answer", "exact", "same"),
    [
        ("L'été à Paris.", 1.0, 1.0),
        ("  L'été à Paris.\n", 1.0, 1.0),
        (unicodedata.normalize("NFD", "L'été à Paris."), 1.0, 1.0),
        ("l'ÉTÉ à  paris.", 0.0, 1.0),
        (unicodedata.normalize("NFD", "l'ÉTÉ\nà paris."), 0.0, 1.0),
        ("L'ete a Paris.", 0.0, 0.0),
        ("L'été à Paris", 0.0, 0.0),
        ("<think>\nHm.\n</think>\n\nL'été à Paris.", 1.0, 1.0),
        ("", 0.0, 0.0),
    ],
)
def test_equal_texts(answer: str, exact: float, same: float) -> None:
    assert scores.score(row("L'été à Paris."), said(answer))[0] == {"exact": exact, "same": same}


def test_normalising_twice_changes_nothing() -> None:
    generator = random.Random(8)
    for _trial in range(500):
        text = "".join(
            chr(generator.choice([32, 9, 0x130, 0xDF, 0x1E9E, 0x345, 0x301, 0x49, 0xFB01, 0x3A3])) for _ch in range(6)
        )
        once = normalised(text)
        assert normalised(once) == once
        assert normalised(unicodedata.normalize("NFD", text)) == once


def test_texts_to_compare() -> None:
    assert scores.text_pair(row("Oui."), said("Non.")) == ("Non.", "Oui.")
    assert scores.text_pair(row("Oui."), said("Oui.", [call("a")])) == ("", "Oui.")
    assert scores.text_pair(row("{}"), said("{}")) is None


# ---------------------------------------------------------------------- gate and guard


def test_expectations_of_a_gate_and_a_guard() -> None:
    item = Item("1", "gate", ({"role": "user", "content": "2 + 2?"},), expect={"equals": "4"})
    assert scores.score(item, said("4")) == ({"gate": 1.0}, [])
    found, unmet = scores.score(item, said("5"))
    assert found == {"gate": 0.0} and [each.code for each in unmet] == ["releases.unmet_equals"]
    thought = said("<think>\nIt is 4.\n</think>\n\n4")
    assert scores.score(item, thought)[0] == {"gate": 0.0}, "a gate is about all that the model writes"
    assert scores.score(dataclasses.replace(item, part="guard"), thought)[0] == {"guard": 1.0}


def test_an_answer_from_its_line() -> None:
    answer = said("a", [call("b", x=1)])
    assert scores.answer_of(json.loads(json.dumps({"answer": dataclasses.asdict(answer)}))) == answer
