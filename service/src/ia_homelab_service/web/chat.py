# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat with a model, streamed from Ollama. Calls of tools are shown, and their results are typed in: nothing is
executed here.
"""

from __future__ import annotations

import html
import typing as t

import httpx
from nicegui import ui

from ia_homelab_core.ollama.syntax import with_scheme

from ..application import schemas
from ..application.operations import Operations
from . import components
from .conversation import Call, ChatError, Conversation, read_tools, tools_problem
from .i18n.language import Language


class Chat:
    """A conversation.

    :param name: the model's name.
    :param versions: its versions; names that are served come first.
    """

    def __init__(
        self, language: Language, operations: Operations, name: str, versions: t.Sequence[schemas.Model]
    ) -> None:
        self._language, self._url, self._name = language, with_scheme(operations.settings.ollama_url).rstrip("/"), name
        self._conversation = Conversation(self._url)
        with components.panel(language("chat.title")):
            components.paragraph(language("chat.lead"), "soft")
            self._model = (
                ui.select({}, label=language("chat.model"), on_change=self._reset).props("outlined").classes("w-full")
            )
            with ui.expansion(language("chat.tools")).classes("w-full"):
                components.paragraph(language("chat.tools_lead"), "soft small")
                self._tools = (
                    ui.textarea(language("chat.tools_json"), validation=self._tools_problem)
                    .props("outlined autogrow spellcheck=false input-class=mono")
                    .classes("w-full")
                )
            self._log = ui.element("div").classes("chat")
            self._log.props(f'role=log aria-live=polite aria-label="{html.escape(language("chat.title"))}" tabindex=0')
            self._log.visible = False
            self._results = ui.element("div").classes("fields")
            with ui.element("div").classes("line").style("flex-wrap: nowrap; align-items: flex-end"):
                self._input = (
                    ui.textarea(language("chat.message")).props("outlined autogrow rows=1").style("flex: 1 1 auto")
                )
                self._send = ui.button(language("chat.send"), icon="send", on_click=self._ask)
        self._input.on("keydown.enter.exact.prevent", self._ask)
        self.set_versions(versions)

    def set_versions(self, versions: t.Sequence[schemas.Model]) -> None:
        """Set the versions that can be selected."""
        served = [name for model in versions for name in model.served]
        options = {name: self._language("chat.served", name=name) for name in served}
        options.update({model.tag: model.tag for model in versions if model.present})
        if not options:
            return
        chosen = self._model.value if self._model.value in options else next(iter(options))
        self._model.set_options(options, value=chosen)

    def _reset(self) -> None:
        self._conversation = Conversation(self._url)
        self._log.clear()
        self._log.visible = False
        self._results.clear()
        self._send.enable()

    def _tools_problem(self, text: str) -> str | None:
        problem = tools_problem(text or "")
        return self._language("chat.tools_invalid", error=problem) if problem else None

    async def _ask(self) -> None:
        text = str(self._input.value or "").strip()
        if not text or not self._send.enabled or not self._tools.validate():
            return
        self._input.value = ""
        self._conversation.ask(text)
        self._log.visible = True
        with self._log:
            _message(self._language("chat.you"), text, "mine")
        await self._answer([])

    async def _give(self, calls: t.Sequence[Call], fields: t.Sequence[ui.textarea]) -> None:
        """Continue with the results of calls, which were typed in."""
        results = [str(field.value or "") for field in fields]
        self._results.clear()
        self._conversation.give(results)
        with self._log:
            for call, result in zip(calls, results):
                _message(self._language("chat.result_of", name=call.name), result, "mine")
        await self._answer(calls)

    async def _answer(self, calls: t.Sequence[Call]) -> None:
        """Let the model answer, and show it.

        :param calls: calls whose results were given last.
        """
        language = self._language
        self._send.disable()
        with self._log:
            # screen readers announce the complete answer once, not each token
            answer = _message(language("chat.it"), "…", "").props("aria-busy=true")
        self._scroll()
        try:
            text = ""
            async for text in self._conversation.answer(str(self._model.value), read_tools(self._tools.value or "")):
                answer.content = _html(language("chat.it"), text or "…")
                self._scroll()
            lines = [text] if text else []
            lines += [language("chat.calls", call=call) for call in self._conversation.calls]
            answer.content = _html(language("chat.it"), "\n".join(lines))
        except (httpx.HTTPError, ChatError) as error:
            self._conversation.take_back(calls)
            answer.classes("note bad")
            reason = str(error) or type(error).__name__
            answer.content = _html(language("chat.it"), language("chat.failed", error=reason))
        finally:
            answer.props(remove="aria-busy")
        if self._conversation.calls:
            self._ask_for_results()
        else:
            self._send.enable()
        self._scroll()

    def _ask_for_results(self) -> None:
        """A field for the result of each call; the next message waits for them."""
        calls = list(self._conversation.calls)
        with self._results:
            components.paragraph(self._language("chat.results_lead"), "soft")
            fields = [
                ui.textarea(self._language("chat.result_of_call", call=call))
                .props("outlined autogrow")
                .classes("w-full")
                for call in calls
            ]
            ui.button(self._language("chat.give"), icon="reply", on_click=lambda: self._give(calls, fields))

    def _scroll(self) -> None:
        ui.run_javascript(f"{{const e = getHtmlElement({self._log.id}); if (e) e.scrollTop = e.scrollHeight;}}")


def _html(speaker: str, text: str) -> str:
    return f'<span class="sr">{html.escape(speaker)} </span>{html.escape(text)}'


def _message(speaker: str, text: str, classes: str) -> ui.html:
    return ui.html(_html(speaker, text), sanitize=False).classes(classes)
