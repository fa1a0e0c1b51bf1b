# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model as judge between two answers, where nothing exact can decide: the texts of held-out rows.

The judge sees the question and both answers, once in each order, and says by a JSON schema which is better. A verdict
counts only if it is the same in both orders; otherwise the judge disagrees with itself. How often it chose the first
answer and the longer one is reported, because judges prefer both whatever they say: L. Zheng et al., "Judging
LLM-as-a-Judge with MT-Bench and Chatbot Arena" (2023), section 3.3.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError, NotReadyError
from ..json_text import parse_json
from ..messages.message import Message
from ..messages.suggestions import nearest
from ..ollama.client import Ollama
from ..ollama.syntax import check_name
from .intervals import wilson
from .items import Item, normalised
from .scores import measures_of, without_thought

FIRST, SECOND, TIE = "first", "second", "tie"
#: Verdict of an answer that is none: no JSON, or another word.
NONE = "none"

#: What the judge answers by (``format`` of Ollama's chat API).
SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": [FIRST, SECOND, TIE]}},
    "required": ["verdict"],
}
#: The verdict is one word in JSON; a judge with thoughts needs more before it.
OPTIONS: dict[str, t.Any] = {"temperature": 0, "seed": 42, "num_predict": 2048}

RUBRIC = "The better answer is correct, complete, and answers the question that was asked. Length is no merit."

_KEYS = ("model", "rubric")
#: Share of questions with contradicting verdicts, and share of a preference, from which a report warns.
_DOUBTFUL, _DOUBTFUL_SHARE = 0.2, 0.65
_SYSTEM = (
    "You compare two answers to the same question. {rubric}\n"
    'Reply with a JSON object with the key "verdict": "first" if the first answer is better, "second" if the second '
    'answer is better, "tie" if they are equally good.'
)
_QUESTION = "[Question]\n{question}\n\n[First answer]\n{first}\n\n[Second answer]\n{second}\n\n[Verdict]"


@dataclasses.dataclass(frozen=True)
class Judge:
    """A declared judge.

    :param model: its name in Ollama.
    :param rubric: what makes an answer better.
    """

    model: str
    rubric: str = RUBRIC

    def as_settings(self) -> dict[str, t.Any]:
        """The judge in canonical form, as :func:`read` takes it."""
        return {"model": self.model, **({"rubric": self.rubric} if self.rubric != RUBRIC else {})}


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdicts about one question.

    :param item: the question.
    :param model: label of the one model; :param against: label of the other.
    :param verdicts: with the answer of ``model`` first, and with that of ``against`` first; each :data:`FIRST`,
        :data:`SECOND`, :data:`TIE` or :data:`NONE`. Empty for equal answers, about which nobody was asked.
    :param longer: the label of the longer answer; empty if both have the same length.
    """

    item: str
    model: str
    against: str
    verdicts: tuple[str, ...]
    longer: str = ""

    @property
    def winner(self) -> str | None:
        """The label of the better model; empty for a tie; None if there is no verdict, or the two contradict."""
        chosen = self.chosen()
        return "" if not chosen else chosen[0] if chosen[0] == chosen[1] else None

    def chosen(self) -> list[str | None]:
        """What each verdict chose: a label, "" for a tie, None for no verdict."""
        order = ((self.model, self.against), (self.against, self.model))
        return [
            {FIRST: first, SECOND: second, TIE: ""}.get(verdict)
            for verdict, (first, second) in zip(self.verdicts, order)
        ]

    def as_dict(self) -> dict[str, t.Any]:
        """JSON values."""
        return {**dataclasses.asdict(self), "verdicts": list(self.verdicts), "winner": self.winner}

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any]) -> Judgement:
        """The judgement that :meth:`as_dict` returned."""
        verdicts = tuple(str(verdict) for verdict in raw["verdicts"])
        return cls(str(raw["item"]), str(raw["model"]), str(raw["against"]), verdicts, str(raw.get("longer") or ""))


def read(raw: t.Any, place: Message) -> Judge | None:
    """Validate a declared judge; None if none is declared.

    :param raw: a dictionary with ``model`` and perhaps ``rubric``, or the name of the model.
    :raises InputError: with the defect and its place.
    """
    if raw is None:
        return None
    declared = {"model": raw} if isinstance(raw, str) else raw
    if not isinstance(declared, t.Mapping) or not isinstance(declared.get("model"), str):
        raise InputError("evaluations.judge_invalid", place=place, value=raw)
    for key in declared:
        if key not in _KEYS:
            suggestion = nearest(str(key), _KEYS)
            raise InputError(
                "evaluations.judge_key_unknown", place=place, key=str(key), suggestion=suggestion, names=list(_KEYS)
            )
    rubric = declared.get("rubric")
    if rubric is not None and (not isinstance(rubric, str) or not rubric.strip()):
        raise InputError("evaluations.rubric_invalid", place=place, value=rubric)
    return Judge(check_name(declared["model"]), rubric.strip() if rubric else RUBRIC)


def require(ollama: Ollama, judge: Judge) -> str:
    """The digest of the judge's model.

    :raises NotReadyError: if it is not in Ollama.
    """
    digest = ollama.digest(judge.model)
    if not digest:
        raise NotReadyError("evaluations.judge_missing", model=judge.model, url=ollama.url)
    return digest


def is_judged(item: Item) -> bool:
    """Whether a judge is asked about the answers to an item: nothing else can tell which text is better."""
    return "text" in measures_of(item)


def ask_pair(ollama: Ollama, judge: Judge, item: Item, model: str, answer: str, against: str, other: str) -> Judgement:
    """Ask a judge which of two answers is better, in both orders. Equal answers are a tie without a question.

    :param model: label of the model that answered ``answer``; :param against: label of that of ``other``.
    :raises RemoteError: if Ollama does not answer.
    """
    one, two = without_thought(answer).strip(), without_thought(other).strip()
    if normalised(one) == normalised(two):
        return Judgement(item.id, model, against, ())
    longer = "" if len(one) == len(two) else model if len(one) > len(two) else against
    verdicts = (_ask(ollama, judge, item, one, two), _ask(ollama, judge, item, two, one))
    return Judgement(item.id, model, against, verdicts, longer)


def _ask(ollama: Ollama, judge: Judge, item: Item, first: str, second: str) -> str:
    question = _QUESTION.format(question=_conversation(item), first=first, second=second)
    messages = [
        {"role": "system", "content": _SYSTEM.format(rubric=judge.rubric)},
        {"role": "user", "content": question},
    ]
    reply = ollama.chat(judge.model, messages, OPTIONS, format=SCHEMA)
    return verdict_of(str((reply.get("message") or {}).get("content") or ""))


def verdict_of(text: str) -> str:
    """The verdict in an answer of a judge; :data:`NONE` if it is not as the schema says."""
    try:
        value = parse_json(without_thought(text).strip())
    except ValueError:
        return NONE
    verdict = value.get("verdict") if isinstance(value, dict) else None
    return str(verdict) if verdict in (FIRST, SECOND, TIE) else NONE


def _conversation(item: Item) -> str:
    """The question, and what was said before it."""
    said = [(str(message["role"]), str(message.get("content") or "")) for message in item.messages]
    return said[0][1] if len(said) == 1 else "\n\n".join(f"{role}: {text}" for role, text in said)


def pairs(
    labels: t.Sequence[tuple[str, str]],
    items: t.Iterable[Item],
    answers: t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]],
) -> t.Iterator[tuple[Item, str, str, str, str]]:
    """The pairs of answers to judge: arguments of :func:`ask_pair`.

    :param labels: pairs of models.
    :param items: the questions; those are left out that something else can decide.
    :param answers: by label, the lines of ``answers.jsonl`` by question. Calls and missing answers are left out.
    """
    for item in items:
        if not is_judged(item):
            continue
        for model, against in labels:
            texts = [_text(answers.get(label, {}).get(item.id)) for label in (model, against)]
            if texts[0] is not None and texts[1] is not None:
                yield item, model, texts[0], against, texts[1]


def _text(line: t.Mapping[str, t.Any] | None) -> str | None:
    answer = (line or {}).get("answer") or {}
    return None if not answer or answer.get("calls") or answer.get("malformed_call") else str(answer.get("text") or "")


# -- the report --------------------------------------------------------------------------------------------------------


def summary(judge: Judge, judgements: t.Iterable[Judgement]) -> dict[str, t.Any]:
    """What a report says of a judge.

    :returns: ``model``, ``rubric``, and ``pairs``, each with ``model``, ``against`` and ``asked``; ``wins``, ``losses``
        and ``ties`` of ``model``; ``disagreements``, questions with two different verdicts; ``unread``, questions with
        a verdict that is none; ``share`` of wins among wins and losses, with Wilson's interval; ``position``, share of
        the verdicts for an answer that chose the first one, and ``verdicts``, how many these are; ``longer``, share of
        those about answers of different lengths that chose the longer one, and ``lengths``, how many these are. A share
        is None if there is nothing to count.
    """
    by_pair: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        by_pair.setdefault((judgement.model, judgement.against), []).append(judgement)
    return {
        "model": judge.model,
        "rubric": judge.rubric,
        "pairs": [_summary(model, against, found) for (model, against), found in by_pair.items()],
    }


def _summary(model: str, against: str, judgements: t.Sequence[Judgement]) -> dict[str, t.Any]:
    unread = sum(NONE in each.verdicts for each in judgements)
    disagreements = sum(each.winner is None for each in judgements if NONE not in each.verdicts)
    wins = sum(each.winner == model for each in judgements)
    losses = sum(each.winner == against for each in judgements)
    decided = [verdict for each in judgements for verdict in each.verdicts if verdict in (FIRST, SECOND)]
    lengths = [label == each.longer for each in judgements if each.longer for label in each.chosen() if label]
    return {
        "model": model,
        "against": against,
        "asked": len(judgements),
        "wins": wins,
        "losses": losses,
        "ties": len(judgements) - wins - losses - disagreements - unread,
        "disagreements": disagreements,
        "unread": unread,
        "share": {**wilson(wins, wins + losses)._asdict(), "met": wins, "asked": wins + losses}
        if wins + losses
        else None,
        "position": decided.count(FIRST) / len(decided) if decided else None,
        "verdicts": len(decided),
        "longer": sum(lengths) / len(lengths) if lengths else None,
        "lengths": len(lengths),
    }


def notes(summarised: t.Mapping[str, t.Any]) -> list[Message]:
    """What makes the verdicts of a judge doubtful.

    :param summarised: a :func:`summary`.
    """
    made = []
    for pair in summarised["pairs"]:
        facts = {"judge": summarised["model"], "model": pair["model"], "against": pair["against"]}
        asked = pair["asked"]
        if pair["unread"]:
            made.append(Message("evaluations.judge_unread", count=pair["unread"], asked=asked, **facts))
        if pair["disagreements"] > _DOUBTFUL * asked:
            made.append(Message("evaluations.judge_disagrees", count=pair["disagreements"], asked=asked, **facts))
        if _is_preferred(pair["position"], pair["verdicts"]):
            made.append(Message("evaluations.judge_prefers_first", share=round(100 * pair["position"]), **facts))
        elif _is_preferred(None if pair["position"] is None else 1 - pair["position"], pair["verdicts"]):
            share = round(100 * (1 - pair["position"]))
            made.append(Message("evaluations.judge_prefers_second", share=share, **facts))
        if _is_preferred(pair["longer"], pair["lengths"]):
            made.append(Message("evaluations.judge_prefers_longer", share=round(100 * pair["longer"]), **facts))
    return made


def _is_preferred(share: float | None, verdicts: int) -> bool:
    """Whether more verdicts chose something than chance explains.

    The two verdicts about a question are not independent of each other, so that questions count.
    """
    questions = verdicts // 2
    if share is None or not questions:
        return False
    return share >= _DOUBTFUL_SHARE and wilson(round(share * questions), questions).low > 0.5
