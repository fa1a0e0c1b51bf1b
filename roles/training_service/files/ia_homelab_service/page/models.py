# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models: which one answers, where each comes from, what it answered before it was let in; promote, roll back, try."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError

from .. import shapes
from ..operations import Operations
from . import chat, shell
from .language import Language
from .shell import Reader


async def build_list(reader: Reader, operations: Operations) -> None:
    """All models, one line for each name."""
    words = reader.words
    shell.heading(words("models.title"), 1)
    shell.paragraph(words("models.lead"), "lead")
    try:
        found = await asyncio.to_thread(operations.list_models)
    except CoreError as error:
        shell.problem(words, error)
        return
    by_name: dict[str, list[shapes.Model]] = {}
    for model in found:
        by_name.setdefault(model.name, []).append(model)
    with shell.panel():
        if not by_name:
            shell.paragraph(words("models.none"), "soft")
            return
        shell.table(
            words("models.caption"),
            [words("models.name"), words("models.answers"), words("models.versions"), words("models.latest")],
            [_row(words, name, versions) for name, versions in by_name.items()],
        )


def _row(words: Language, name: str, versions: t.Sequence[shapes.Model]) -> list[str]:
    served = next((model for model in versions if is_served(model)), None)
    return [
        f'<a class="plain" href="/models/{html.escape(name)}">{html.escape(name)}</a>',
        f"<code>{html.escape(served.tag)}</code>" if served else html.escape(words("models.nobody")),
        words.number(len(versions)),
        html.escape(words.time(versions[0].registered_at)),
    ]


def is_served(model: shapes.Model) -> bool:
    """Whether the name that people use stands for it."""
    return bool(model.served)


async def build_model(reader: Reader, operations: Operations, name: str) -> None:
    """One model and its versions."""
    await _ModelView(reader, operations, name).show()


class _ModelView:
    """The versions of one model."""

    def __init__(self, reader: Reader, operations: Operations, name: str) -> None:
        self._reader, self._words, self._operations, self._name = reader, reader.words, operations, name
        shell.heading(name, 1)
        self._outcome = ui.element("div").props("aria-live=polite")
        self._body = ui.element("div").style("display: contents")
        # what was said in it is not lost when another version is promoted
        self._chat_place = ui.element("div").style("display: contents")
        self._chat: chat.Chat | None = None

    async def show(self) -> None:
        """Look and show."""
        words = self._words
        try:
            versions = await asyncio.to_thread(self._operations.list_models, self._name)
        except CoreError as error:
            with self._body:
                shell.problem(words, error)
            return
        self._body.clear()
        with self._body:
            if not versions:
                with shell.note("warn"):
                    shell.paragraph(words("models.unknown"))
                return
            served = next((model for model in versions if is_served(model)), None)
            self._served(served, versions)
            for model in versions:
                self._version(model, served)
        if self._chat is None:
            with self._chat_place:
                self._chat = chat.Chat(words, self._operations, self._name, versions)
        else:
            self._chat.offer(versions)

    def _served(self, served: shapes.Model | None, versions: t.Sequence[shapes.Model]) -> None:
        words = self._words
        with shell.panel(words("models.now")):
            if served is None:
                shell.paragraph(words("models.nobody_long", name=self._name))
            else:
                ui.html(
                    f"<p>{html.escape(words('models.now_answers', name=', '.join(served.served)))} "
                    f"<code>{html.escape(served.tag)}</code></p>",
                    sanitize=False,
                )
                if served.held:
                    with shell.note("warn"):
                        shell.paragraph(words("models.held"))
            older = [one for one in versions if served and one.tag != served.tag and one.present]
            with ui.element("div").classes("line actions"):
                if older:
                    ui.button(words("models.rollback"), icon="undo", on_click=self._roll_back).props("outline")
                if served is not None and served.held:
                    ui.button(words("models.release"), icon="lock_open", on_click=self._release).props("outline")

    def _version(self, model: shapes.Model, served: shapes.Model | None) -> None:
        words, now = self._words, served is not None and model.tag == served.tag
        with shell.panel() as part:
            with ui.element("div").classes("line"):
                title = shell.heading(model.tag).classes("wrap")
                if now:
                    shell.chip(words("models.serves"), "good")
                if model.present is False:
                    shell.chip(words("models.gone"), "bad")
                if model.gate is not None:
                    passed = bool(model.gate.get("passed"))
                    shell.chip(words("gate.passed" if passed else "gate.failed"), "good" if passed else "bad")
            part.props(f'aria-labelledby="{title.html_id}"')
            shell.facts(_lineage(words, model))
            if model.gate is not None:
                with ui.expansion(words("gate.answers")).classes("w-full"):
                    _gate(words, model.gate)
            if not now and model.present:
                with ui.element("div").classes("line actions"):
                    button = ui.button(words("models.promote"), icon="publish")
                    button._props["aria-label"] = words("models.promote_what", tag=model.tag)
                    button.on_click(lambda _event, tag=model.tag: self._promote(tag))

    async def _promote(self, tag: str) -> None:
        await self._move(lambda: self._operations.promote(tag), "models.promoted")

    async def _roll_back(self) -> None:
        await self._move(lambda: self._operations.rollback(self._name), "models.rolled_back")

    async def _release(self) -> None:
        await self._move(lambda: self._operations.release(self._name), "models.released")

    async def _move(self, what: t.Callable[[], t.Any], key: str) -> None:
        if not self._reader.may_train():
            return
        words = self._words
        self._outcome.clear()
        try:
            done = await asyncio.to_thread(what)
        except CoreError as error:
            with self._outcome:
                shell.problem(words, error)
            return
        await self.show()
        with self._outcome, shell.note("good", role="status"):
            shell.paragraph(words(key, name=self._name, tag=getattr(done, "tag", "")))


def _lineage(words: Language, model: shapes.Model) -> list[tuple[str, str]]:
    """Where a model comes from, from the name in Ollama back to the rows and their commit."""
    line, pairs = model.lineage, []
    pairs.append((words("lineage.registered"), html.escape(words.time(model.registered_at))))
    if model.quantization:
        pairs.append(("GGUF", _made(line.get("gguf"), model.quantization)))
    for kind in ("merge", "train"):
        if kind in line:
            more = str((line[kind] or {}).get("method") or "")
            pairs.append((words(f"lineage.{kind}"), _made(line[kind], more)))
    base = line.get("base") or {}
    if base:
        known = base.get("settings") or {}
        name = str(known.get("hub") or base.get("name") or "")
        pairs.append((words("field.base_model"), _made(base, name)))
    data = line.get("dataset") or {}
    if data:
        rows = words("dataset.option", name=data.get("name") or "", rows=words.number(data.get("rows") or 0))
        pairs.append((words("field.dataset"), _made(data, rows)))
        for source in data.get("sources") or []:
            commit = str(source.get("commit") or "")
            if commit:
                where = str(source.get("name") or source.get("path") or "")
                pairs.append((words("lineage.commit"), f"<code>{html.escape(commit[:12])}</code> {html.escape(where)}"))
    run_id = str(line.get("run") or "")
    if run_id:
        link = f'<a class="plain" href="/watch/{html.escape(run_id)}">{html.escape(run_id)}</a>'
        pairs.append((words("lineage.run"), link))
    return pairs


def _made(entry: t.Mapping[str, t.Any] | None, text: str) -> str:
    fingerprint = str((entry or {}).get("fingerprint") or "")[:12]
    code = f' <code class="soft small">{html.escape(fingerprint)}</code>' if fingerprint else ""
    return html.escape(text) + code


def _gate(words: Language, gate: t.Mapping[str, t.Any]) -> None:
    """The answers of the new model beside those of the one that was served."""

    def answer(told: t.Mapping[str, t.Any] | None) -> str:
        if not told:
            return f'<span class="soft">{html.escape(words("gate.nothing"))}</span>'
        kind, key = ("good", "gate.met") if told.get("met") else ("bad", "gate.unmet")
        unmet = "".join(f'<br><span class="small">{shell.english(text)}</span>' for text in told.get("unmet") or ())
        text = html.escape(str(told.get("text", "")))
        return f'<span class="chip {kind}">{html.escape(words(key))}</span><div class="answers">{text}</div>{unmet}'

    shell.table(
        words("gate.caption"),
        [words("gate.question"), words("gate.before"), words("gate.after")],
        [
            (
                html.escape(str(asked["messages"][-1]["content"])),
                answer(asked.get("before")),
                answer(asked.get("after")),
            )
            for asked in gate.get("questions") or ()
        ],
    )
