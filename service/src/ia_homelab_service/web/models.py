# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view "Models": which version is served, lineage, answers at the gate; promote, roll back, chat."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError
from ia_homelab_core.messages.message import Message
from ia_homelab_core.releases.gate_calls import calls_text
from ia_homelab_core.releases.lineage import ORDER

from ..application import schemas
from ..application.operations import Operations
from . import chat, components, evaluations
from .i18n.language import Language
from .layout import Viewer


async def build_list(viewer: Viewer, operations: Operations) -> None:
    """Build the list of models, a row for each name."""
    language = viewer.language
    components.heading(language("models.title"), 1)
    components.paragraph(language("models.lead"), "lead")
    try:
        models = await asyncio.to_thread(operations.list_models)
    except CoreError as error:
        components.problem(language, error)
        return
    by_name: dict[str, list[schemas.Model]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    with components.panel():
        if not by_name:
            components.paragraph(language("models.none"), "soft")
            return
        components.table(
            language("models.caption"),
            [
                language("models.name"),
                language("models.answers"),
                language("models.versions"),
                language("models.latest"),
            ],
            [_row(language, name, versions) for name, versions in by_name.items()],
        )


def _row(language: Language, name: str, versions: t.Sequence[schemas.Model]) -> list[str]:
    served = next((model for model in versions if is_served(model)), None)
    return [
        f'<a class="plain" href="{components.address("/models/")}{html.escape(name)}">{html.escape(name)}</a>',
        f"<code>{html.escape(components.without_name(served.tag, name, ':'))}</code>"
        if served
        else html.escape(base_text(language, versions) or language(unserved_text(versions))),
        language.number(len(versions)),
        html.escape(language.time(versions[0].registered_at)),
    ]


def base_text(language: Language, versions: t.Sequence[schemas.Model]) -> str:
    """Say of which model this is the base, which is only there to be evaluated; empty for another model."""
    model = next((each.base_of for each in versions if each.base_of), "")
    return Message("releases.version_base", model=model).render(language.code).message if model else ""


def is_served(model: schemas.Model) -> bool:
    """Whether a public name points at the model."""
    return bool(model.served)


def unserved_text(versions: t.Sequence[schemas.Model]) -> str:
    """Return the key of the text for a model of which no version is known to be served."""
    return "models.unknown_served" if any(model.present is None for model in versions) else "models.nobody"


async def build_model(viewer: Viewer, operations: Operations, name: str) -> None:
    """Build the view of a model."""
    await _ModelView(viewer, operations, name).show()


class _ModelView:
    """The view of a model and its versions."""

    def __init__(self, viewer: Viewer, operations: Operations, name: str) -> None:
        self._reader, self._language, self._operations, self._name = viewer, viewer.language, operations, name
        components.heading(name, 1)
        self._outcome = ui.element("div").props("aria-live=polite")
        self._body = ui.element("div").style("display: contents")
        # kept when another version is promoted, with its conversation
        self._chat_place = ui.element("div").style("display: contents")
        self._chat: chat.Chat | None = None

    async def show(self) -> None:
        """Load the versions and show them."""
        language = self._language
        try:
            versions = await asyncio.to_thread(self._operations.list_models, self._name)
            evaluated = await asyncio.to_thread(self._operations.evaluations.all, self._name)
        except CoreError as error:
            with self._body:
                components.problem(language, error)
            return
        self._body.clear()
        with self._body:
            if not versions:
                with components.note("warn"):
                    components.paragraph(language("models.unknown"))
                return
            served = next((model for model in versions if is_served(model)), None)
            self._show_served(served, versions)
            evaluations.show_side_by_side(language, self._operations, evaluated)
            by_tag = {each.tag: each for each in evaluated}
            for model in versions:
                self._show_version(model, served, by_tag.get(model.tag))
        if self._chat is None:
            with self._chat_place:
                self._chat = chat.Chat(language, self._operations, self._name, versions)
        else:
            self._chat.set_versions(versions)

    def _show_served(self, served: schemas.Model | None, versions: t.Sequence[schemas.Model]) -> None:
        language = self._language
        with components.panel(language("models.now")):
            if served is None:
                answers = base_text(language, versions) or language(f"{unserved_text(versions)}_long", name=self._name)
                components.paragraph(answers)
            else:
                ui.html(
                    f"<p>{html.escape(language('models.now_answers', name=', '.join(served.served)))} "
                    f"<code>{html.escape(components.without_name(served.tag, self._name, ':'))}</code></p>",
                    sanitize=False,
                )
                if served.held:
                    with components.note("warn"):
                        components.paragraph(language("models.held"))
            older = [one for one in versions if served and one.tag != served.tag and one.present]
            with ui.element("div").classes("line actions"):
                if older:
                    ui.button(language("models.rollback"), icon="undo", on_click=self._roll_back).props("outline")
                if served is not None and served.held:
                    ui.button(language("models.release"), icon="lock_open", on_click=self._release).props("outline")

    def _show_version(
        self, model: schemas.Model, served: schemas.Model | None, evaluated: schemas.EvaluatedVersion | None
    ) -> None:
        language, now = self._language, served is not None and model.tag == served.tag
        with components.panel() as part:
            with ui.element("div").classes("line"):
                title = components.heading(model.tag).classes("wrap")
                state = Message.from_stored(model.state.model_dump()).render(language.code).message
                components.chip(state, "good" if now else "bad" if model.present is False else "")
                if model.gate is not None and evaluated is None:
                    # reports of a gate alone, by earlier versions, say only whether it was passed
                    passed = bool(model.gate["chosen"] if "models" in model.gate else model.gate.get("passed"))
                    components.chip(language("gate.passed" if passed else "gate.failed"), "good" if passed else "bad")
                if evaluated is not None:
                    evaluations.chip(language, evaluated)
            part.props(f'aria-labelledby="{title.html_id}"')
            components.facts(_lineage_facts(language, model))
            found = ((model.lineage.get("train") or {}).get("results") or {}).get("findings") or []
            components.findings(language, [schemas.MessageBody(**finding) for finding in found])
            if evaluated is not None:
                evaluations.show_version(language, self._operations, evaluated)
            if model.gate is not None and "questions" in model.gate:
                with ui.expansion(language("gate.answers")).classes("w-full"):
                    _show_gate(language, model.gate)
            if not now and model.present:
                with ui.element("div").classes("line actions"):
                    button = ui.button(language("models.promote"), icon="publish")
                    button._props["aria-label"] = language("models.promote_what", tag=model.tag)
                    button.on_click(lambda _event, tag=model.tag: self._promote(tag))

    async def _promote(self, tag: str) -> None:
        await self._change_served(lambda: self._operations.promote(tag), "models.promoted")

    async def _roll_back(self) -> None:
        await self._change_served(lambda: self._operations.rollback(self._name), "models.rolled_back")

    async def _release(self) -> None:
        await self._change_served(lambda: self._operations.release(self._name), "models.released")

    async def _change_served(self, operation: t.Callable[[], t.Any], key: str) -> None:
        if not self._reader.may_train():
            return
        language = self._language
        self._outcome.clear()
        try:
            done = await asyncio.to_thread(operation)
        except CoreError as error:
            with self._outcome:
                components.problem(language, error)
            return
        await self.show()
        with self._outcome, components.note("good", role="status"):
            version = components.without_name(getattr(done, "tag", ""), self._name, ":")
            components.paragraph(language(key, name=self._name, tag=version))


def _lineage_facts(language: Language, model: schemas.Model) -> list[tuple[str, str]]:
    """Return the lineage of a model, from its registration back to the rows and their commit."""
    line, pairs = model.lineage, []
    pairs.append((language("lineage.registered"), html.escape(language.time(model.registered_at))))
    if model.quantization:
        pairs.append(("GGUF", _result_html(line.get("gguf"), model.quantization)))
    for kind in ORDER:
        if kind in line and kind not in ("gguf", "base", "dataset"):
            more = str(line[kind].get("method") or "")
            if line[kind].get("weights") is False:
                more = language("lineage.on_the_way")
            title = language.maybe(f"lineage.{kind}", language(f"step.{kind}"))
            pairs.append((title, _result_html(line[kind], more)))
    base = line.get("base") or {}
    if base:
        known = base.get("settings") or {}
        name = str(known.get("hub") or base.get("name") or "")
        pairs.append((language("field.base_model"), _result_html(base, name)))
    data = line.get("dataset") or {}
    if data:
        text = str(data.get("name") or "")
        if data.get("rows") is not None:  # unknown once its receipt is gone
            text = language("dataset.option", name=text, rows=language.number(data["rows"]))
        pairs.append((language("field.dataset"), _result_html(data, text)))
        for source in data.get("sources") or []:
            commit = str(source.get("commit") or "")
            if commit:
                where = str(source.get("name") or source.get("path") or "")
                pairs.append(
                    (language("lineage.commit"), f"<code>{html.escape(commit[:12])}</code> {html.escape(where)}")
                )
    run_id = str(line.get("run") or "")
    if run_id:
        at, text = components.address("/watch/") + run_id, components.without_name(run_id, model.name, "-")
        link = f'<a class="plain" href="{html.escape(at)}">{html.escape(text)}</a>'
        pairs.append((language("lineage.run"), link))
    return pairs


def _result_html(entry: t.Mapping[str, t.Any] | None, text: str) -> str:
    fingerprint = str((entry or {}).get("fingerprint") or "")[:12]
    code = f' <code class="soft small">{html.escape(fingerprint)}</code>' if fingerprint else ""
    return html.escape(text) + code


def _show_gate(language: Language, gate: t.Mapping[str, t.Any]) -> None:
    """Show the answers of the new model next to those of the previously served one."""

    def answer(entry: t.Mapping[str, t.Any] | None) -> str:
        if not entry:
            return f'<span class="soft">{html.escape(language("gate.nothing"))}</span>'
        kind, key = ("good", "gate.met") if entry.get("met") else ("bad", "gate.unmet")
        # reports of 0.1.0 have the texts alone
        failures = [Message.from_stored(each) for each in entry.get("unmet_messages") or entry.get("unmet") or ()]
        unmet = "".join(
            f'<br><span class="small">{components.message_html(language, each)}</span>' for each in failures
        )
        text = html.escape("\n".join(filter(None, (str(entry.get("text", "")), calls_text(entry.get("calls") or ())))))
        return f'<span class="chip {kind}">{html.escape(language(key))}</span><div class="answers">{text}</div>{unmet}'

    if gate.get("served_error"):
        why = Message.from_stored(gate.get("served_error_message") or gate["served_error"])
        with components.note("warn"):
            told = f"{html.escape(language('gate.not_compared'))} {components.message_html(language, why)}"
            ui.html(f"<p>{told}</p>", sanitize=False)
    components.table(
        language("gate.caption"),
        [language("gate.question"), language("gate.before"), language("gate.after")],
        [
            (
                html.escape(str(question["messages"][-1]["content"])),
                answer(question.get("before")),
                answer(question.get("after")),
            )
            for question in gate.get("questions") or ()
        ],
    )
