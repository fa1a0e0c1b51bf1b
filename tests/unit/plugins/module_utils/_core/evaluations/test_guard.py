# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard set: what it asks, and that its expectations accept right answers and no wrong ones."""

from __future__ import annotations

import re

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import guard, scores
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.guard_questions import QUESTIONS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import Answer, read_gate

#: Right answers to each question, and a wrong one last, in the order of the set.
ANSWERS = (
    ("42", "17 + 25 = **42**.", "43"),
    ("72", "9 × 8 = 72", "81"),
    ("63", "C'est 63.", "67"),
    ("36", "36 €", "24"),
    ("0,5", "**0.5**", "Le plus grand nombre est 0,50.", "0,25 est plus grand que 0,5."),
    ("Rome", "La capitale de l'Italie est Rome.", "Milan"),
    ("7", "Sept jours.", "17"),
    ("H2O", "H₂O", "$H_2O$", "HO2"),
    ("Rouge", "Il est rouge.", "Bleu"),
    ("Mai", "C'est mai.", "Mars"),
    ("France", "En France.", "Francfort"),
    ("dog", "« Dog »", "god"),
    ("house", "Home", "mouse"),
    ("froid", "Froid.", "brûlant"),
    ("chevaux", "Le pluriel est « chevaux ».", "chevals"),
    ('{"couleur": "bleu"}', '```json\n{\n  "couleur":"bleu"\n}\n```', '{"color": "bleu"}'),
    ("1, 2, 3, 4, 5", "1,2,3,4,5", "1 2 3 4 5"),
    ("Oui", "**Oui**, il y vit.", "Non"),
    ("Lyon", "Marie habite à Lyon.", "Marie a 30 ans et habite à Lyon. Dans quelle ville ?"),
    ("BONJOUR", "**BONJOUR**", "Bonjour"),
    ("43", "15 + 28 = 43", "42"),
    ("42", "Forty-two", "48"),
    ("56", "The answer is 56.", "66"),
    ("24", "4 × 6 = 24 eggs", "10"),
    ("25", "Half of 50 is 25.", "20"),
    ("Tokyo", "Tōkyō", "Kyoto"),
    ("12", "Twelve months.", "112"),
    ("Earth", "The Earth.", "Mars"),
    ("Tuesday", "It is Tuesday.", "Sunday"),
    ("Africa", "In Africa.", "Asia"),
    ("8", "Eight legs", "18"),
    ("chat", "« Chat »", "chien"),
    ("eau", "L'eau", "beau"),
    ("small", "Little", "large"),
    ("children", "Children.", "childs"),
    ('{"name": "Alice"}', '```json\n{"name": "Alice"}\n```', '{"Alice": "name"}'),
    ("A-B-C-D", "A - B - C - D", "A, B, C, D"),
    ("Yes", "Yes, it is.", "No"),
    ("Baker", "Tom is a baker.", "Tom is a baker and lives in Oslo."),
    ("HELLO", "**HELLO**", "Hello"),
)


def test_its_digest_is_that_of_what_is_asked() -> None:
    """A change of the set asks every evaluation with it again: it is made on purpose, with this digest."""
    assert guard.DIGEST == "ede467bffbff35a12bf1b71c40154bc93a144c7b302bd7009b3df32b9c313f97"


def test_20_questions_in_french_and_20_in_english() -> None:
    items = guard.items()
    assert items == guard.items() and len(items) == len(ANSWERS) == 40
    assert len({item.id for item in items}) == 40
    assert {item.part for item in items} == {"guard"}
    french = [bool(re.search(r"[éèêçàù«]|\b(combien|quel|quelle)\b", str(q["prompt"]), re.I)) for q in QUESTIONS]
    assert french == [True] * 20 + [False] * 20


def test_expectations_are_those_of_a_gate() -> None:
    declared = read_gate([{**question, "ignore_case": True} for question in QUESTIONS])
    assert declared is not None
    assert [(question.messages, question.expect) for question in declared.questions] == [
        (item.messages, item.expect) for item in guard.items()
    ]
    assert all(item.options == declared.options for item in guard.items())
    assert all(Item.from_dict(item.as_dict()) == item for item in guard.items())


@pytest.mark.parametrize(("item", "answers"), list(zip(guard.items(), ANSWERS)), ids=lambda value: str(value)[:40])
def test_right_and_wrong_answers(item: Item, answers: tuple[str, ...]) -> None:
    *right, wrong = answers
    for text in right:
        assert scores.score(item, Answer(text, True, 5)) == ({"guard": 1.0}, []), text
    assert scores.score(item, Answer(wrong, True, 5))[0] == {"guard": 0.0}
    repeated = str(item.messages[0]["content"])
    assert scores.score(item, Answer(repeated, True, 5))[0] == {"guard": 0.0}, "a model that repeats the question"
