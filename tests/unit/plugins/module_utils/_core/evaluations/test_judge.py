# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A judge over HTTP: its verdicts, and how a report exposes one that does not judge."""

from __future__ import annotations

import json
import random
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    NotReadyError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import judge as judges
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import wilson
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.judge import Judge, Judgement
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama

JUDGE = Judge("judge:latest")
PLACE = Message("releases.place_gate")


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"judge:latest": "1" * 64}
        yield server


def row(number: int) -> Item:
    return Item(
        str(number), "held_out", ({"role": "user", "content": f"Question {number}?"},), reference={"content": "a"}
    )


def line(text: str, **more: t.Any) -> dict[str, t.Any]:
    return {"answer": {"text": text, "ended": True, **more}}


def parts(prompt: str) -> tuple[str, str]:
    """The first and the second answer in the question to a judge."""
    first, _mark, rest = prompt.partition("[First answer]\n")[2].partition("\n\n[Second answer]\n")
    return first, rest.partition("\n\n[Verdict]")[0]


def says(verdict: str) -> str:
    return json.dumps({"verdict": verdict})


def judged(server: FakeOllama, count: int = 20) -> dict[str, t.Any]:
    """The summary of a judge about answers of which ``new`` is better, and as often the longer one as not."""
    generator = random.Random(3)
    items = [row(number) for number in range(count)]
    new = {item.id: line(f"good {item.id}" + " x" * generator.choice([0, 9])) for item in items}
    old = {item.id: line(f"poor {item.id}" + " y" * (4 + int(item.id) % 2)) for item in items}
    asked = judges.pairs([("new", "old")], items, {"new": new, "old": old})
    ollama = Ollama(server.url)
    found = [judges.ask_pair(ollama, JUDGE, *pair) for pair in asked]
    assert [Judgement.from_dict(json.loads(json.dumps(each.as_dict()))) for each in found] == found
    summary = judges.summary(JUDGE, found)
    assert json.loads(json.dumps(summary)) == summary
    (pair,) = summary["pairs"]
    counted = [pair[name] for name in ("wins", "losses", "ties", "disagreements", "unread")]
    assert sum(counted) == pair["asked"] == count
    return summary


def codes(summary: dict[str, t.Any]) -> list[str]:
    notes = judges.notes(summary)
    assert all("evaluations." not in str(note) for note in notes)
    return [note.code for note in notes]


def test_a_sound_judge_decides_by_the_answer(server: FakeOllama) -> None:
    server.reply = lambda _model, prompt: says("first" if parts(prompt)[0].startswith("good") else "second")
    summary = judged(server)
    (pair,) = summary["pairs"]
    assert (pair["wins"], pair["losses"], pair["disagreements"]) == (20, 0, 0)
    assert pair["share"] == {**wilson(20, 20)._asdict(), "met": 20, "asked": 20}
    assert pair["position"] == 0.5
    assert codes(summary) == []
    assert (summary["model"], pair["model"], pair["against"]) == ("judge:latest", "new", "old")


def test_what_a_judge_is_asked(server: FakeOllama) -> None:
    server.reply = lambda _model, _prompt: says("tie")
    item = Item(
        "1",
        "held_out",
        ({"role": "system", "content": "Be short."}, {"role": "user", "content": "Why {this}?"}),
        reference={"content": "a"},
    )
    found = judges.ask_pair(
        Ollama(server.url), Judge("judge:latest", "Politeness {counts}."), item, "n", "A.", "o", "B{}."
    )
    assert found.verdicts == ("tie", "tie") and found.winner == ""
    one, other = server.bodies("/api/chat")
    assert one["format"] == judges.SCHEMA and one["options"]["temperature"] == 0 and "seed" in one["options"]
    assert "Politeness {counts}." in one["messages"][0]["content"]
    assert "system: Be short.\n\nuser: Why {this}?" in one["messages"][1]["content"]
    assert parts(one["messages"][1]["content"]) == ("A.", "B{}.")
    assert parts(other["messages"][1]["content"]) == ("B{}.", "A.")


@pytest.mark.parametrize(
    ("verdict", "code"), [("first", "evaluations.judge_prefers_first"), ("second", "evaluations.judge_prefers_second")]
)
def test_a_judge_that_looks_at_the_position_is_exposed(server: FakeOllama, verdict: str, code: str) -> None:
    server.reply = lambda _model, _prompt: says(verdict)
    summary = judged(server)
    (pair,) = summary["pairs"]
    assert (pair["wins"], pair["losses"], pair["disagreements"], pair["share"]) == (0, 0, 20, None)
    assert pair["position"] == (1.0 if verdict == "first" else 0.0)
    assert codes(summary) == ["evaluations.judge_disagrees", code]


def test_a_judge_that_looks_at_the_length_is_exposed(server: FakeOllama) -> None:
    server.reply = lambda _model, prompt: says("first" if len(parts(prompt)[0]) > len(parts(prompt)[1]) else "second")
    summary = judged(server)
    (pair,) = summary["pairs"]
    assert pair["longer"] == 1.0 and pair["disagreements"] == 0
    assert codes(summary) == ["evaluations.judge_prefers_longer"]


@pytest.mark.parametrize(
    "answer",
    ["", "The first one.", "[]", "{}", '{"verdict": "both"}', '{"verdict": 1}', '{"verdict": ["first"]}', "[" * 9999],
)
def test_a_judge_that_says_nonsense_is_exposed(server: FakeOllama, answer: str) -> None:
    server.reply = lambda _model, _prompt: answer
    summary = judged(server, 6)
    (pair,) = summary["pairs"]
    assert (pair["unread"], pair["wins"], pair["ties"], pair["position"]) == (6, 0, 0, None)
    assert codes(summary) == ["evaluations.judge_unread"]


def test_a_judge_that_draws_lots_is_exposed(server: FakeOllama) -> None:
    generator = random.Random(1)
    server.reply = lambda _model, _prompt: says(generator.choice(["first", "second", "tie"]))
    summary = judged(server, 40)
    assert "evaluations.judge_disagrees" in codes(summary)
    share = summary["pairs"][0]["share"]
    assert share["low"] < 0.5 < share["high"]


def test_one_verdict_of_two_that_is_none_counts_for_neither(server: FakeOllama) -> None:
    server.reply = lambda _model, prompt: says("first") if parts(prompt)[0].startswith("good") else "?"
    (pair,) = judged(server)["pairs"]
    assert (pair["unread"], pair["wins"], pair["disagreements"]) == (20, 0, 0)


def test_a_thought_before_the_verdict_is_left_out() -> None:
    assert judges.verdict_of('<think>\nThe second?\n</think>\n\n{"verdict": "first"}') == "first"


def test_equal_answers_are_a_tie_that_nobody_is_asked_about(server: FakeOllama) -> None:
    found = judges.ask_pair(Ollama(server.url), JUDGE, row(1), "new", "Oui.", "old", " oui. ")
    assert found.winner == "" and found.verdicts == () and server.requests == []
    (pair,) = judges.summary(JUDGE, [found])["pairs"]
    assert (pair["ties"], pair["share"], pair["position"], pair["longer"]) == (1, None, None, None)


def test_only_texts_are_judged() -> None:
    called = Item("c", "held_out", row(1).messages, reference={"calls": [{"name": "a", "arguments": {}}]})
    items = [row(1), called, Item("g", "guard", row(1).messages), row(2), row(3), row(4)]
    full = {item.id: line("a") for item in items}
    other = {**full, "2": line("", calls=[{"name": "a", "arguments": {}}]), "3": line("", malformed_call=True)}
    del other["4"]
    found = list(judges.pairs([("a", "b"), ("b", "a")], items, {"a": full, "b": other}))
    assert [(item.id, model, against) for item, model, _one, against, _two in found] == [
        ("1", "a", "b"),
        ("1", "b", "a"),
    ]


def test_a_judge_that_is_not_there(server: FakeOllama) -> None:
    assert judges.require(Ollama(server.url), JUDGE) == "1" * 64
    with pytest.raises(NotReadyError, match="ollama pull qwen3:14b"):
        judges.require(Ollama(server.url), Judge("qwen3:14b"))


def test_a_failure_of_the_server_is_no_verdict(server: FakeOllama) -> None:
    server.reply = lambda _model, _prompt: 500
    with pytest.raises(RemoteError):
        judges.ask_pair(Ollama(server.url), JUDGE, row(1), "new", "a", "old", "b")


def test_what_is_declared() -> None:
    assert judges.read(None, PLACE) is None
    assert judges.read("qwen3:14b", PLACE) == Judge("qwen3:14b") == judges.read({"model": "qwen3:14b"}, PLACE)
    made = judges.read({"model": "qwen3:14b", "rubric": " Short. "}, PLACE)
    assert made == Judge("qwen3:14b", "Short.")
    assert judges.read(made.as_settings(), PLACE) == made


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ([], "evaluations.judge_invalid"),
        ({}, "evaluations.judge_invalid"),
        ({"model": 3}, "evaluations.judge_invalid"),
        ({"model": "a", "rubrik": "x"}, "evaluations.judge_key_unknown"),
        ({"model": "a", "rubric": " "}, "evaluations.rubric_invalid"),
        ({"model": "a", "rubric": ["x"]}, "evaluations.rubric_invalid"),
        ({"model": "a b"}, "ollama.name_invalid"),
    ],
)
def test_what_is_refused(declared: t.Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        judges.read(declared, PLACE)
    assert caught.value.code == code and code not in str(caught.value)
