# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations in the view of a model: versions side by side, questions with answers, and any two versions compared."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError
from ia_homelab_core.evaluations import statements
from ia_homelab_core.evaluations.items import MEASURES
from ia_homelab_core.messages.message import Message

from ..application import schemas
from ..application.evaluations import spoken
from ..application.operations import Operations
from . import components
from .i18n.language import Language

#: Questions that are shown at a time.
_PAGE = 10
#: Largest number of versions side by side.
_MAX_VERSIONS = 8

#: Returns a page of questions, after so many.
LoadPage = t.Callable[[int], schemas.QuestionPage]


def show_side_by_side(
    language: Language, operations: Operations, evaluated: t.Sequence[schemas.EvaluatedVersion]
) -> None:
    """Add a panel with the measures of versions side by side, where any two of them can be compared.

    :param evaluated: the latest version first; nothing is added if there is none.
    """
    if not evaluated:
        return
    with components.panel(language("evaluation.title")):
        components.paragraph(language("evaluation.lead"), "soft")
        shown = evaluated[:_MAX_VERSIONS]
        heads = [language("evaluation.measure"), *(each.tag for each in shown)]
        components.table(language("evaluation.caption"), heads, _rows(language, shown), "figures")
        if len(evaluated) > 1:
            _Comparison(language, operations, [each.tag for each in evaluated])


def show_version(language: Language, operations: Operations, evaluated: schemas.EvaluatedVersion) -> None:
    """Add what the evaluation of one version found: its line, what else is said, and its questions."""
    components.paragraph(_text(language, evaluated.line), "figures")
    with ui.expansion(language("evaluation.questions")) as expansion:
        expansion.classes("w-full")
        _add_lines(language, evaluated.lines)
        questions = _Questions(
            language, lambda after: operations.evaluations.questions(evaluated.tag, "", after, _PAGE)
        )
    expansion.on_value_change(lambda event: questions.load_first() if event.value else None)


def chip(language: Language, evaluated: schemas.EvaluatedVersion) -> None:
    """Add a label for whether a version meets its requirements; nothing if there are none."""
    if evaluated.passed is not None:
        text = language("evaluation.passed" if evaluated.passed else "evaluation.failed")
        components.chip(text, "good" if evaluated.passed else "bad")


def _rows(language: Language, evaluated: t.Sequence[schemas.EvaluatedVersion]) -> t.Iterator[list[str]]:
    for measure in MEASURES:
        if any(measure in each.measures for each in evaluated):
            yield [_measure(language, measure), *(_measured(language, each, measure) for each in evaluated)]
    compared = dict.fromkeys((one.against, one.measure) for each in evaluated for one in each.comparisons)
    for against, measure in compared:
        title = language("evaluation.versus", measure=measure, against=against)
        yield [html.escape(title), *(_difference(language, each.comparisons, against, measure) for each in evaluated)]
    for field in ("tokens_per_answer", "seconds_per_answer"):
        values = [getattr(each, field) for each in evaluated]
        if any(value is not None for value in values):
            cells = [language.number(value, 3) if value is not None else "" for value in values]
            yield [html.escape(language(f"evaluation.{field}")), *cells]
    yield [html.escape(language("evaluation.asked_at")), *(language.time(each.asked_at) for each in evaluated)]


def _measure(language: Language, measure: str) -> str:
    return f"{html.escape(measure)} <br><span class='soft small'>{html.escape(language(f'measure.{measure}'))}</span>"


def _measured(language: Language, evaluated: schemas.EvaluatedVersion, measure: str) -> str:
    value = evaluated.measures.get(measure)
    return components.message_html(language, statements.measured(measure, value)) if value else ""


def _difference(language: Language, compared: t.Sequence[schemas.ModelDifference], against: str, measure: str) -> str:
    found = next((one for one in compared if (one.against, one.measure) == (against, measure)), None)
    return _difference_html(language, found) if found is not None else ""


def _difference_html(language: Language, found: schemas.ModelDifference) -> str:
    said = components.message_html(language, statements.difference(found.model_dump(), named=False))
    kind = {"evaluations.better": "good", "evaluations.worse": "bad"}.get(found.verdict.code, "")
    return f'{said} <span class="chip {kind}">{html.escape(_text(language, found.verdict))}</span>'


def _add_lines(language: Language, lines: t.Sequence[schemas.MessageBody]) -> None:
    if lines:
        items = "".join(f"<li>{components.message_html(language, _message(line))}</li>" for line in lines)
        with components.note():
            ui.html(f"<ul>{items}</ul>", sanitize=False)


class _Comparison:
    """Two fields for versions, and what they differ in."""

    def __init__(self, language: Language, operations: Operations, tags: t.Sequence[str]) -> None:
        self._language, self._operations = language, operations
        components.heading(language("evaluation.compare_title"), 3)
        with ui.element("div").classes("grid"):
            self._one = self._select("evaluation.one", tags, tags[0])
            self._other = self._select("evaluation.other", tags, tags[1])
        with ui.element("div").classes("line actions"):
            ui.button(language("evaluation.compare"), icon="compare_arrows", on_click=self._compare).props("outline")
        self._outcome = ui.element("div").props("aria-live=polite").classes("w-full")

    def _select(self, key: str, tags: t.Sequence[str], value: str) -> ui.select:
        return ui.select(list(tags), label=self._language(key), value=value).props("outlined").classes("w-full")

    async def _compare(self) -> None:
        language, operations = self._language, self._operations
        one, other = str(self._one.value), str(self._other.value)
        self._outcome.clear()
        try:
            compared = await asyncio.to_thread(operations.evaluations.compare, one, other)
        except CoreError as error:
            with self._outcome:
                components.problem(language, error)
            return
        heads = ["measure", "difference", "answers", "worse", "better"]
        rows = [
            [
                _measure(language, found.measure),
                _difference_html(language, found),
                *(language.number(count) for count in (found.asked, found.worse, found.better)),
            ]
            for found in compared.measures
        ]
        with self._outcome:
            caption = language("evaluation.compared", one=one, other=other)
            components.table(caption, [language(f"evaluation.{head}") for head in heads], rows, "figures")
            questions = _Questions(language, lambda after: operations.evaluations.questions(one, other, after, _PAGE))
        await questions.load_first()


class _Questions:
    """Questions with the answers of models, page by page."""

    def __init__(self, language: Language, load: LoadPage) -> None:
        self._language, self._load = language, load
        self._place = ui.element("div").classes("w-full")
        self._more = ui.button(language("evaluation.more"), icon="expand_more", on_click=self._load_next)
        self._more.props("outline").visible = False
        self._next: int | None = 0

    async def load_first(self) -> None:
        """Load the first page, unless it is there."""
        if self._next == 0:
            await self._load_next()

    async def _load_next(self) -> None:
        after, language = self._next, self._language
        if after is None:
            return
        self._more.disable()
        try:
            page = await asyncio.to_thread(self._load, after)
        except (CoreError, OSError) as error:
            with self._place:
                components.problem(language, error)
            return
        finally:
            self._more.enable()
        self._next = page.next
        self._more.visible = page.next is not None
        with self._place:
            _add_page(language, page, after)


def _add_page(language: Language, page: schemas.QuestionPage, after: int) -> None:
    if not page.questions:
        components.paragraph(language("evaluation.no_questions"), "soft")
        return
    labels = list(page.questions[0].answers)
    labels.sort(key=lambda label: (label != page.label, label != page.against))
    counts = {"first": after + 1, "last": after + len(page.questions), "total": page.total}
    tag = f"{page.tag} / {page.against}" if page.against else page.tag
    caption = language("evaluation.page", tag=tag, worse=page.worse, better=page.better, **counts)
    rows = [
        [_question(language, question), *(_answer(language, question.answers[label]) for label in labels)]
        for question in page.questions
    ]
    components.table(caption, [language("gate.question"), *labels], rows)


def _question(language: Language, question: schemas.AnsweredQuestion) -> str:
    """A question as HTML, with whether its answer became worse or better, and what was expected."""
    item, parts = question.item, []
    if question.change:
        kind, code = ("bad", "evaluations.worse") if question.change < 0 else ("good", "evaluations.better")
        said = Message(code).render(language.code).message
        parts.append(f'<span class="chip {kind}">{html.escape(said)}</span>')
    messages = item.get("messages") or [{}]
    parts.append(f'<div class="answers">{html.escape(str(messages[-1].get("content") or ""))}</div>')
    where = [language(f"part.{item['part']}")] if item.get("part") else []
    if item.get("row") is not None:
        where.append(language("evaluation.row", row=item["row"]))
    parts.append(f'<span class="soft small">{html.escape(", ".join(where))}</span>')
    reference = item.get("reference")
    if reference:
        expected = html.escape(spoken(reference))
        parts.append(f'<div class="small answers">{html.escape(language("evaluation.expected"))} {expected}</div>')
    return "".join(parts)


def _answer(language: Language, line: t.Mapping[str, t.Any] | None) -> str:
    if line is None:
        return f'<span class="soft">{html.escape(language("evaluation.no_answer"))}</span>'
    scores = line.get("scores") or {}
    chips = "".join(_score(language, name, scores[name]) for name in MEASURES if name in scores)
    unmet = "".join(
        f'<br><span class="small">{components.message_html(language, Message.from_stored(each))}</span>'
        for each in line.get("unmet") or ()
    )
    return f'{chips}<div class="answers">{html.escape(spoken(line.get("answer") or {}))}</div>{unmet}'


def _score(language: Language, name: str, score: float) -> str:
    if name in statements.SHARES:
        kind, text = ("good", "✓") if score >= 1 else ("bad", "✗")
        said = language("gate.met" if score >= 1 else "gate.unmet")
        return (
            f'<span class="chip {kind}">{html.escape(name)} <span aria-hidden="true">{text}</span>'
            f'<span class="sr">{html.escape(said)}</span></span> '
        )
    return f'<span class="chip">{html.escape(name)} {language.number(round(score, 1))}</span> '


def _message(body: schemas.MessageBody) -> Message:
    return Message.from_stored(body.model_dump())


def _text(language: Language, body: schemas.MessageBody) -> str:
    return _message(body).render(language.code).message
