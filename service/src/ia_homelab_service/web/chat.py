# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat with a model, streamed from Ollama."""

from __future__ import annotations

import html
import typing as t

import httpx
from nicegui import ui

from ia_homelab_core.json_text import parse_json

from ..application import schemas
from ..application.operations import Operations
from . import components
from .i18n.language import Language

#: Seconds for a model to load and to send its first token.
_READ_TIMEOUT_SECONDS = 300.0
#: Largest number of tokens of an answer: a badly trained model may never stop.
_MAX_TOKENS = 1024


class Chat:
    """A conversation.

    :param name: the model's name.
    :param versions: its versions; names that are served come first.
    """

    def __init__(
        self, language: Language, operations: Operations, name: str, versions: t.Sequence[schemas.Model]
    ) -> None:
        self._language, self._url, self._name = language, operations.settings.ollama_url.rstrip("/"), name
        self._messages: list[dict[str, str]] = []
        with components.panel(language("chat.title")):
            components.paragraph(language("chat.lead"), "soft")
            self._model = (
                ui.select({}, label=language("chat.model"), on_change=self._reset).props("outlined").classes("w-full")
            )
            self._log = ui.element("div").classes("chat")
            self._log.props(f'role=log aria-live=polite aria-label="{html.escape(language("chat.title"))}" tabindex=0')
            self._log.visible = False
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
        self._messages = []
        self._log.clear()
        self._log.visible = False

    async def _ask(self) -> None:
        text = str(self._input.value or "").strip()
        if not text or not self._send.enabled:
            return
        self._input.value = ""
        self._send.disable()
        self._messages.append({"role": "user", "content": text})
        self._log.visible = True
        with self._log:
            _message(self._language("chat.you"), text, "mine")
            # screen readers announce the complete answer once, not each token
            answer = _message(self._language("chat.it"), "…", "").props("aria-busy=true")
        self._scroll()
        received = ""
        try:
            async for part in self._stream():
                received += part
                answer.content = _html(self._language("chat.it"), received)
                self._scroll()
            self._messages.append({"role": "assistant", "content": received})
        except (httpx.HTTPError, _ChatError) as error:
            self._messages.pop()
            answer.classes("note bad")
            language = str(error) or type(error).__name__
            answer.content = _html(self._language("chat.it"), self._language("chat.failed", error=language))
        finally:
            answer.props(remove="aria-busy")
            self._send.enable()

    async def _stream(self) -> t.AsyncIterator[str]:
        body = {"model": self._model.value, "messages": self._messages, "options": {"num_predict": _MAX_TOKENS}}
        timeout = httpx.Timeout(10.0, read=_READ_TIMEOUT_SECONDS)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            async with client.stream("POST", f"{self._url}/api/chat", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _ChatError(_error_message(response.text))
                async for line in response.aiter_lines():
                    message = parse_json(line) if line.strip() else {}
                    if message.get("error"):  # Ollama reports errors within a stream that has started
                        raise _ChatError(str(message["error"]))
                    if message.get("message"):
                        yield str(message["message"].get("content") or "")

    def _scroll(self) -> None:
        ui.run_javascript(f"{{const e = getHtmlElement({self._log.id}); if (e) e.scrollTop = e.scrollHeight;}}")


class _ChatError(Exception):
    """Ollama refused the request."""


def _error_message(text: str) -> str:
    try:
        return str(parse_json(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _html(speaker: str, text: str) -> str:
    return f'<span class="sr">{html.escape(speaker)} </span>{html.escape(text)}'


def _message(speaker: str, text: str, classes: str) -> ui.html:
    return ui.html(_html(speaker, text), sanitize=False).classes(classes)
