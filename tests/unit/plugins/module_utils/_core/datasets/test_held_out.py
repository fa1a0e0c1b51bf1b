# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are held out: which they are, that no training reads them, and how they are asked."""

from __future__ import annotations

import json
import random
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import (
    held_out,
    held_out_rows,
    validation_split,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.held_out_rows import (
    Sides,
    position,
    questions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import Declaration, apply
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item, normalised

TOOL = {
    "type": "function",
    "function": {"name": "meteo", "parameters": {"type": "object", "properties": {"ville": {"type": "string"}}}},
}


def publish(folder: Path, rows: t.Sequence[t.Any]) -> str:
    """A published version of these rows."""
    done = apply(Layout(str(folder)), Declaration("rows"), [Source("records", records=list(rows))])
    assert done.dataset is not None
    return done.dataset.path


def alpaca(number: int, **more: t.Any) -> dict[str, t.Any]:
    """A unique row."""
    return {"instruction": f"question {number}", "output": f"réponse {number}", **more}


def said(*texts: str, **more: t.Any) -> dict[str, t.Any]:
    """A conversation in which user and assistant alternate."""
    turns = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]
    return {"messages": turns, **more}


def published(path: str | Path) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in Path(path, "data.jsonl").read_text("utf-8").splitlines()]


def first_asked(start: int = 0, share: float = 0.2) -> int:
    """The number of a row that is held out."""
    return next(
        number for number in range(start, 1000) if position(questions({"input": "", **alpaca(number)})[-1]) < share
    )


def first_trained(start: int = 0, share: float = 0.2) -> int:
    """The number of a row that is not held out."""
    return next(
        number for number in range(start, 1000) if position(questions({"input": "", **alpaca(number)})[-1]) >= share
    )


# -- which rows --------------------------------------------------------------------------------------------------------


def test_golden_positions() -> None:
    """A changed position of a question would let existing trainings read rows that are asked."""
    rows = [{"instruction": text, "input": "", "output": "r"} for text in ("", "Qui es-tu ?", "question 1")]
    assert [round(position(questions(row)[-1]), 12) for row in rows] == GOLDEN


GOLDEN = [0.144062744389, 0.498383415071, 0.561193576232]


def test_both_shares_hold_and_are_disjoint(tmp_path: Path) -> None:
    """The validation share is one of what is left, and independent of what is held out."""
    version = publish(tmp_path, [alpaca(number) for number in range(4000)])
    written = held_out_rows.write_trained(version, str(tmp_path / "trained"), 0.2)
    assert written.counts.trained + written.counts.asked == 4000
    assert 724 < written.counts.asked < 876  # three standard deviations
    split = validation_split.split(str(tmp_path / "trained"), str(tmp_path / "split"), 0.1)
    assert split.train + split.validation == written.counts.trained
    assert 265 < split.validation < 375
    items, _counts = held_out.items(version, 0.2)
    asked = {item.messages[-1]["content"] for item in items}
    for side in ("train", "validation"):
        lines = (tmp_path / "split" / f"{side}.jsonl").read_text().splitlines()
        assert not asked & {json.loads(line)["instruction"] for line in lines}


def test_rows_keep_their_side_as_the_dataset_grows(tmp_path: Path) -> None:
    """Also if they are reordered, and answers, system prompts and the output format change."""
    rows = [alpaca(number) for number in range(200)]
    before = {item.messages[-1]["content"] for item in held_out.items(publish(tmp_path / "a", rows), 0.2)[0]}
    assert len(before) > 20
    grown = [alpaca(number, system="Bref.", output="autre") for number in range(100, 900)]
    random.Random(1).shuffle(grown)
    grown.append(alpaca(1000, history=[["a", "b"]]))
    after = {item.messages[-1]["content"] for item in held_out.items(publish(tmp_path / "b", grown), 0.2)[0]}
    kept = {f"question {number}" for number in range(100, 200)}
    assert after & kept == before & kept
    more = {item.messages[-1]["content"] for item in held_out.items(publish(tmp_path / "c", rows), 0.4)[0]}
    assert before < more


@given(st.text(max_size=40), st.sampled_from(["", " ", "\t\n"]))
def test_questions_that_differ_in_case_and_white_space_are_the_same(text: str, blank: str) -> None:
    """The spelling of letters in one or two characters is no difference either; the answer has no part in it."""
    assert normalised(normalised(text)) == normalised(text)
    assert normalised(f"{blank}{text}{blank}".upper()) == normalised(text.upper())
    row = {"instruction": text, "input": "", "output": "a", "system": ""}
    turns = [{"from": "human", "value": f" {text}"}, {"from": "gpt", "value": "b"}]
    assert questions(row) == questions({"conversations": turns, "system": "s", "tools": ""})


def test_composed_characters_and_case() -> None:
    assert normalised("E\u0301TE\u0301  Où\n") == "été où"


def test_a_conversation_with_a_question_that_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    """It would be trained on at its first answer. It is not asked, because its own question is not held out."""
    asked, trained = first_asked(), first_trained()
    while True:  # a second question with which the whole conversation would be trained on
        row = said(f"question {asked}", "r", f"et {trained} ?", "oui")
        turns = [
            {"from": "human" if n % 2 == 0 else "gpt", "value": m["content"]} for n, m in enumerate(row["messages"])
        ]
        if position(questions({"conversations": turns})[-1]) >= 0.2:
            break
        trained += 1
    version = publish(tmp_path, [said(f"question {number}", "r") for number in (asked, first_trained())] + [row])
    written = held_out_rows.write_trained(version, str(tmp_path / "trained"), 0.2)
    assert (written.counts.trained, written.counts.asked, written.counts.containing) == (1, 1, 1)
    assert list(written.numbers) == [2]
    items, counts = held_out.items(version, 0.2)
    assert [item.row for item in items] == [1]
    assert (counts["held_out"], counts["containing"]) == (2, 1)
    assert [note.code for note in held_out.notes(counts)] == ["datasets.questions_contained"]
    # without the first row, nothing is held out that it contains
    alone = publish(
        tmp_path / "alone",
        [said(f"question {number}", "r") for number in (first_asked(asked + 1), first_trained())] + [row],
    )
    assert held_out_rows.write_trained(alone, str(tmp_path / "other"), 0.2).counts.containing == 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0),
        min_size=1,
        max_size=30,
    ),
    st.floats(0.05, 0.5),
)
def test_no_question_that_is_held_out_is_trained_on(
    tmp_path_factory: pytest.TempPathFactory, conversations: list[list[str]], share: float
) -> None:
    """At no answer of no row, whatever the conversations have in common."""
    folder = tmp_path_factory.mktemp("rows")
    rows = [
        {"conversations": [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]}
        for texts in conversations
    ]
    Path(folder, "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = Sides(str(folder), share)
    by_side: dict[str, list[dict[str, t.Any]]] = {}
    for row in rows:
        by_side.setdefault(sides.side(row), []).append(row)
    asked = {questions(row)[-1] for row in by_side.get("asked", [])}
    trained = {question for row in by_side.get("trained", []) for question in questions(row)}
    assert not asked & trained
    for row in by_side.get("containing", []):
        assert asked & set(questions(row))


@pytest.mark.parametrize("check", ["write", "plan"])
def test_a_share_that_leaves_one_side_empty_is_refused(tmp_path: Path, check: str) -> None:
    def run(rows: list[dict[str, t.Any]], share: float) -> None:
        version = publish(tmp_path / str(len(list(tmp_path.iterdir()))), rows)
        if check == "write":
            held_out_rows.write_trained(version, str(tmp_path / "trained"), share)
        else:
            held_out_rows.trained_results(version, {}, share)

    trained, asked = first_trained(share=0.5), first_asked(share=0.1)
    with pytest.raises(InputError, match="of 1 rows holds no row out. Add rows, or leave it out: no share up to 0.5"):
        run([alpaca(trained)], 0.5)
    with pytest.raises(InputError, match="leaves no row to train on"):
        run([alpaca(asked)], 0.5)
    middle = next(
        number for number in range(1000) if 0.2 < position(questions({"input": "", **alpaca(number)})[-1]) < 0.3
    )
    with pytest.raises(InputError, match=r"The smallest share that selects a row is 0\.[23]"):
        run([alpaca(middle), alpaca(trained)], 0.1)
    run([alpaca(middle), alpaca(trained)], 0.3)


def test_statistics_are_those_of_the_rows_that_are_trained_on(tmp_path: Path) -> None:
    """Counted from the rows; estimated from the share where they are not there."""
    long = first_asked(500)
    rows = [*(alpaca(number) for number in range(100)), alpaca(long, input="x" * 5000)]
    version = publish(tmp_path, rows)
    results = {"rows": 101, "bytes": 1000, "kind": "sft"}
    made, counts = held_out_rows.trained_results(version, results, 0.2)
    written = held_out_rows.write_trained(version, str(tmp_path / "trained"), 0.2)
    assert counts == written.counts
    assert made["rows"] == counts.trained == len(published(tmp_path / "trained"))
    assert made["bytes"] == (tmp_path / "trained" / "data.jsonl").stat().st_size
    assert sum(count for _top, count in made["lengths"]) == counts.trained
    assert made["kind"] == "sft"
    for absent in (None, str(tmp_path / "absent")):
        assert held_out_rows.trained_results(absent, results, 0.2) == ({**results, "rows": 81, "bytes": 800}, None)


# -- how they are asked ------------------------------------------------------------------------------------------------


def only(folder: Path, *rows: t.Any, **more: t.Any) -> Item:
    (item,) = held_out.items(publish(folder, rows), None, **more)[0]
    return item


def test_a_row_is_asked_as_it_is_served(tmp_path: Path) -> None:
    item = only(tmp_path, {"instruction": "Résume.", "input": "Un texte.", "output": "Bref.", "system": "Sois bref."})
    assert item.part == "held_out" and item.row == 1
    assert item.messages == (
        {"role": "system", "content": "Sois bref."},
        {"role": "user", "content": "Résume.\nUn texte."},
    )
    assert item.reference == {"content": "Bref.", "calls": []}
    assert Item.from_dict(json.loads(json.dumps(item.as_dict()))) == item


def test_tools_calls_and_results_as_ollama_takes_them(tmp_path: Path) -> None:
    """Arguments are values, each result is a message with the name of its tool, and thoughts are removed."""
    calls = [
        {"id": "1", "type": "function", "function": {"name": "meteo", "arguments": '{"ville": "Lyon", "a": 2.0}'}},
        {"id": "2", "type": "function", "function": {"name": "meteo", "arguments": '{"ville": "Nice"}'}},
    ]
    row = {
        "messages": [
            {"role": "user", "content": "Quel temps ?"},
            {"role": "assistant", "content": "<think>\nA B\n</think>\n\nJe regarde.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": "gris"},
            {"role": "tool", "tool_call_id": "2", "content": "bleu"},
            {"role": "assistant", "content": "<think>\nC\n</think>\n\nGris et bleu."},
        ],
        "tools": [TOOL],
    }
    item = only(tmp_path / "a", row)
    first = {"name": "meteo", "arguments": {"a": 2, "ville": "Lyon"}}
    second = {"name": "meteo", "arguments": {"ville": "Nice"}}
    assert item.messages == (
        {"role": "user", "content": "Quel temps ?"},
        {"role": "assistant", "content": "Je regarde.", "tool_calls": [{"function": first}, {"function": second}]},
        {"role": "tool", "content": "gris", "tool_name": "meteo"},
        {"role": "tool", "content": "bleu", "tool_name": "meteo"},
    )
    assert item.reference == {"content": "Gris et bleu.", "calls": []}
    assert item.tools[0]["function"]["name"] == "meteo"
    call, answer = held_out.items(publish(tmp_path / "b", [row]), None, every_call=True)[0]
    assert answer == item
    assert call.messages == item.messages[:1]
    assert call.reference == {"content": "Je regarde.", "calls": [first, second]}


def called(number: int, result: str) -> dict[str, t.Any]:
    """A question, its call, the result, and the answer."""
    call = {"type": "function", "function": {"name": "meteo", "arguments": {"ville": f"V{number}"}}}
    turns = [
        {"role": "user", "content": f"Temps à V{number} ?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": f"Il fait {result}."},
    ]
    return {"messages": turns, "tools": [TOOL]}


def test_a_call_whose_question_another_row_trains_on_is_not_asked(tmp_path: Path) -> None:
    """Rows with the same question and another result have different last questions, and may be on different sides."""
    version = publish(tmp_path, [called(number, result) for number in range(40) for result in ("gris", "bleu")])
    items, counts = held_out.items(version, 0.3, every_call=True)
    trained = [row for row in published(version) if Sides(version, 0.3).is_trained(row)]
    read = {question for row in trained for question in questions(row)}
    calls = [item for item in items if (item.reference or {})["calls"]]
    assert calls and counts["calls"] == len(calls) and counts["calls_trained"] > 0
    asked = {questions(row)[0] for row in published(version) if row["conversations"][0]["value"] in {
        item.messages[-1]["content"] for item in calls}}  # fmt: skip
    assert len(asked) == len(calls) and not asked & read
    answers = [item for item in items if not (item.reference or {})["calls"]]
    assert len(answers) == counts["held_out"], "the answers after a result are asked in any case"
    assert f"{counts['calls_trained']} calls are not asked: another row" in str(held_out.notes(counts)[-1])


def test_a_call_that_a_training_of_another_dataset_reads_is_not_asked(tmp_path: Path) -> None:
    trained = publish(tmp_path / "trained", [called(0, "gris"), called(1, "gris")])
    tests = publish(tmp_path / "tests", [called(0, "gris"), called(1, "bleu"), called(2, "bleu")])
    items, counts = held_out.items(tests, None, trained, every_call=True)
    assert [(item.row, bool((item.reference or {})["calls"])) for item in items] == [(2, False), (3, True), (3, False)]
    assert (counts["trained"], counts["calls"], counts["calls_trained"]) == (1, 1, 1)


def test_a_last_answer_that_is_a_call(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "meteo", "arguments": {"ville": "Lyon"}}}
    turns = [{"role": "user", "content": "Lyon ?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    item = only(tmp_path, {"messages": turns, "tools": [TOOL]})
    assert item.reference == {"content": "", "calls": [{"name": "meteo", "arguments": {"ville": "Lyon"}}]}


def test_the_better_answer_of_a_pair_is_the_reference(tmp_path: Path) -> None:
    item = only(tmp_path, {"instruction": "Qui ?", "chosen": "Moi.", "rejected": "Toi."})
    assert item.messages == ({"role": "user", "content": "Qui ?"},)
    assert item.reference == {"content": "Moi.", "calls": []}


def test_disliked_answers_are_no_reference(tmp_path: Path) -> None:
    rows = [{**alpaca(n), "kto_tag": n % 2 == 0} for n in range(4)]
    rows.append({**alpaca(1), "output": "mieux", "kto_tag": True})
    items, counts = held_out.items(publish(tmp_path / "a", rows), None)
    assert [item.row for item in items] == [1, 3, 5]
    assert counts["left_out"] == {"disliked": 2}
    assert str(held_out.notes(counts)[0]) == "2 rows are not asked: a disliked answer is no reference."
    with pytest.raises(InputError, match="None of the 2 rows can be asked. 2 rows are not asked: a disliked"):
        held_out.items(publish(tmp_path / "b", [row for row in rows if not row["kto_tag"]]), None)


def test_plain_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain text, which has no question"):
        held_out.items(publish(tmp_path, [{"text": "Il était une fois."}]), None)


def test_thoughts_that_cannot_be_told_from_the_answer(tmp_path: Path) -> None:
    rows = [alpaca(0, output="<think>\nsans fin"), alpaca(1), alpaca(2, output="le mot <think> est une balise")]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"input": "", "system": "", **row}) + "\n" for row in rows))
    items, counts = held_out.items(str(tmp_path), None)
    assert [item.row for item in items] == [2, 3]
    assert counts["left_out"] == {"thought": 1}


def test_what_is_the_same_is_asked_once(tmp_path: Path) -> None:
    """Rows that repeat a question are counted; another system prompt makes another question."""
    rows = [alpaca(0), alpaca(0), alpaca(0, output="autre"), alpaca(0, system="Bref."), alpaca(1)]
    rows.append({**alpaca(1), "instruction": "QUESTION  1"})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"input": "", "system": "", **row}) + "\n" for row in rows))
    items, counts = held_out.items(str(tmp_path), None)
    assert [item.row for item in items] == [1, 4, 5]
    assert (counts["rows"], counts["asked"], counts["duplicates"], counts["same_question"]) == (6, 3, 2, 1)
    assert len({item.id for item in items}) == 3


def test_rows_of_a_dataset_whose_question_is_trained_on_are_not_asked(tmp_path: Path) -> None:
    """Also if it is an earlier turn of a row that is trained on."""
    trained = publish(tmp_path / "trained", [said("question 1", "r"), said("Question 2", "r", "et 3 ?", "oui")])
    asked = publish(tmp_path / "asked", [alpaca(number) for number in range(5)])
    items, counts = held_out.items(asked, None, trained)
    assert [item.row for item in items] == [1, 4, 5]
    assert (counts["trained"], counts["asked"], counts["held_out"]) == (2, 3, 0)
    assert [str(note) for note in held_out.notes(counts)] == ["2 rows are not asked: the question is trained on."]
    with pytest.raises(InputError, match="None of the 5 rows can be asked. 5 rows are not asked: the question is"):
        held_out.items(asked, None, asked)


def test_ids_are_of_what_is_asked_and_expected(tmp_path: Path) -> None:
    """They do not change with the place of a row, and answers of a former evaluation can be taken over."""
    rows = [alpaca(number) for number in range(5)]
    first = {item.id for item in held_out.items(publish(tmp_path / "a", rows), None)[0]}
    again = {item.id for item in held_out.items(publish(tmp_path / "b", rows[::-1]), None)[0]}
    assert first == again and len(first) == 5
    other = held_out.items(publish(tmp_path / "c", [alpaca(0, output="autre"), *rows[1:]]), None)[0]
    assert len(first & {item.id for item in other}) == 4


def test_rows_that_are_gone_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="data.jsonl"):
        held_out.items(str(tmp_path), None)
    turns = [{"from": "human", "value": "a"}, {"from": "function_call", "value": "no call"}]
    (tmp_path / "data.jsonl").write_text(json.dumps({"conversations": turns, "system": "", "tools": ""}) + "\n")
    with pytest.raises(InputError, match="Row 1 of the dataset"):
        held_out.items(str(tmp_path), None)


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    """The memory does not grow with the length of the rows."""
    with (tmp_path / "data.jsonl").open("w") as stream:
        for number in range(2000):
            row = {"instruction": f"{number} " + "x" * 10_000, "input": "", "output": "r", "system": ""}
            stream.write(json.dumps(row) + "\n")
    counts: dict[str, t.Any] = {}
    tracemalloc.start()
    number = sum(1 for _item in held_out.each_item(str(tmp_path), 0.5, None, counts))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == counts["asked"] > 900
    assert peak < 3_000_000  # of 20 MB
