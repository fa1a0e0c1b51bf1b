# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view "Configure": the form of a fine-tune, with rare options folded away, and the upload of a dataset."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.base_models import names
from ia_homelab_core.errors import CoreError
from ia_homelab_core.messages.message import Message

from ..application import schemas
from ..application.errors import FieldErrors
from ..application.operations import Operations
from . import components
from .finetune_form import FIXED_VALUES, MAIN_FIELDS, FinetuneForm, canonical, read_query
from .layout import Viewer

#: Milliseconds after loading before the automatic method is explained.
_EXPLAIN_DELAY_MS = 500


async def build(viewer: Viewer, operations: Operations, query: t.Mapping[str, str], upload: UploadForm) -> None:
    """Build the view.

    :param query: initial values of the form.
    :param upload: the form for a dataset.
    """
    language = viewer.language
    schema = operations.schema()
    components.heading(language("configure.title"), 1)
    components.paragraph(language("configure.lead"), "lead")
    datasets = await asyncio.to_thread(operations.datasets.all)
    # the default method is chosen for the GPU; values in the address are kept
    start = canonical(schema, query)
    form = FinetuneForm(language, schema, start or {"method": "auto"})
    with components.panel(language("configure.what")), ui.element("div").classes("grid wide"):
        form.add("base_model", options=names.catalogue_names(), free=True)
        with ui.element("div"):
            trainable = [found for found in datasets if found.managed]
            form.add("dataset", options={found.name: _dataset_label(language, found) for found in trainable})
            description = ui.element("div").classes("about").props("aria-live=polite")
    with components.panel(language("configure.how")):
        with ui.element("div").classes("grid"):
            for name in MAIN_FIELDS[2:]:
                form.add(name)
        reason = ui.element("div").props("aria-live=polite")
        with ui.expansion(language("configure.more")).classes("w-full"), ui.element("div").classes("grid"):
            for name in form.rest():
                form.add(name)
    general = ui.element("div").props("aria-live=assertive")
    _values, unusable = read_query(schema, query)
    if unusable:
        with general:
            components.problem(language, FieldErrors(unusable))
    with ui.element("div").classes("line actions"):
        go = ui.button(language("configure.plan"), icon="event_note")
        ui.label(language("configure.nothing_yet")).classes("soft small")
    _upload(viewer, upload)
    by_name = {found.name: found for found in datasets}

    def describe() -> None:
        description.clear()
        with description:
            _describe(language, by_name.get(form.value("dataset")))

    async def explain() -> None:
        text, kind = "", ""
        if form.value("method") == "auto" and form.value("base_model") and form.value("dataset"):
            try:
                plan = await asyncio.to_thread(operations.plan, form.values())
                summary = html.escape(language("configure.auto", method=plan.job.method))
                cause = [plan.job.method_cause] if plan.job.method_cause else []
                why = components.messages_html(language, cause, plan.job.method_reason)
                text, kind = f"{summary} {why}", "busy"
            except CoreError:
                pass  # submitting the form reports errors at their fields
        reason.clear()
        if text:
            with reason, components.note(kind):
                ui.html(f"<p>{text}</p>", sanitize=False)

    async def plan() -> None:
        general.clear()
        form.show_errors([])
        go.disable()
        try:
            values, errors = read_query(schema, form.query())
            if errors:
                raise FieldErrors(errors)
            await asyncio.to_thread(operations.plan, {**values, **FIXED_VALUES})
        except FieldErrors as error:
            left = form.show_errors(error.errors)
            with general:
                if left:
                    components.problem(language, error)
                else:
                    with components.note("bad", role="alert"):
                        components.paragraph(language("configure.wrong", count=len(error.errors)))
            return
        except CoreError as error:
            with general:
                components.problem(language, error)
            return
        finally:
            go.enable()
        ui.navigate.to(form.address("/plan"))

    go.on_click(plan)
    form.on_change("dataset", describe)
    for name in ("method", "dataset", "base_model"):
        form.on_change(name, explain)
    describe()
    ui.timer(_EXPLAIN_DELAY_MS / 1000, explain, once=True)


class UploadForm(t.NamedTuple):
    """The form for a dataset: plain HTML that works without scripts; the file is streamed to disk.

    :param token: the form token.
    :param result: the result of the last upload; None if there was none.
    """

    token: str
    result: schemas.DatasetChange | Exception | None = None


def _dataset_label(language: t.Any, dataset: schemas.Dataset) -> str:
    return (
        dataset.name
        if dataset.rows is None
        else language("dataset.option", name=dataset.name, rows=language.number(dataset.rows))
    )


def _describe(language: t.Any, dataset: schemas.Dataset | None) -> None:
    if dataset is None:
        return
    pairs = [
        (language("dataset.rows"), language.number(dataset.rows or 0)),
        (language("dataset.format"), dataset.format),
    ]
    if dataset.bytes is not None:
        pairs.append((language("dataset.size"), language.size(dataset.bytes)))
    systems = int(dataset.systems.get("distinct") or 0)
    pairs += [
        (language("dataset.systems"), language.number(systems)),
        (language("dataset.version"), dataset.digest[:12]),
    ]
    with components.note("good"):
        ui.html(f"<p><strong>{html.escape(language('dataset.valid'))}</strong></p>", sanitize=False)
        components.facts([(name, html.escape(value)) for name, value in pairs if value])


def _upload(viewer: Viewer, upload: UploadForm) -> None:
    language = viewer.language
    with components.panel(language("upload.title")):
        components.paragraph(language("upload.lead"), "soft")
        _upload_result(language, upload.result)
        if not viewer.session.may("train"):
            components.paragraph(language("may.not"))
            return
        body = f"""
<input type="hidden" name="form_token" value="{html.escape(upload.token)}">
<div class="grid">
<p><label for="upload-name">{html.escape(language("upload.name"))}</label><br>
<input class="native" id="upload-name" name="name" required maxlength="80" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
 aria-describedby="upload-name-hint"><br>
<span class="soft small" id="upload-name-hint">{html.escape(language("upload.name_hint"))}</span></p>
<p><label for="upload-file">{html.escape(language("upload.file"))}</label><br>
<input class="native" id="upload-file" name="file" type="file" required accept=".json,.jsonl,.csv"></p></div>
<p class="line actions"><button class="native" name="do" value="check">{html.escape(language("upload.check"))}</button>
<button class="native" name="do" value="publish">{html.escape(language("upload.publish"))}</button></p>"""
        form = ui.html(body, tag="form", sanitize=False)
        action = components.address("/datasets")
        form._props.update({"method": "post", "action": action, "enctype": "multipart/form-data"})


def _defect(problem: t.Mapping[str, t.Any]) -> Message:
    return Message.from_stored({**problem, "text": problem.get("what"), "hint": problem.get("fix")})


def _upload_result(language: t.Any, result: schemas.DatasetChange | Exception | None) -> None:
    if result is None:
        return
    if isinstance(result, Exception):
        components.problem(language, result)
        return
    if result.valid:
        if result.dataset is None:
            text = language("upload.fine")
        else:
            key = "upload.valid" if not result.published else "upload.published" if result.changed else "upload.same"
            text = language(key, rows=language.number(result.dataset.rows or 0))
        with components.note("good", role="status"):
            components.paragraph(text)
        return
    with components.note("bad", role="alert"):
        components.paragraph(language("upload.refused", count=language.number(result.problems_total)))
    components.table(
        language("upload.problems"),
        [language("problem.where"), language("problem.what"), language("problem.fix")],
        [
            (
                html.escape(
                    " · ".join(str(entry[key]) for key in ("file", "row", "field") if entry.get(key) is not None)
                ),
                components.message_html(language, defect),
                components.hint_html(language, defect),
            )
            for entry, defect in ((entry, _defect(entry)) for entry in result.problems)
        ],
    )
