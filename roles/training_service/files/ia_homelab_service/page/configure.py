# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure: which model, on which data, how. Few fields; the rest is folded away."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.base_models import names
from ia_homelab_core.errors import CoreError

from .. import shapes
from ..errors import FieldErrors
from ..operations import Operations
from . import shell
from .form import FIRST, FIXED, Form, read_query
from .shell import Reader

#: Milliseconds without a keystroke before the machine is asked what it would do.
_QUIET_MS = 500


async def build(reader: Reader, operations: Operations, query: t.Mapping[str, str], upload: UploadForm) -> None:
    """The view.

    :param query: what is filled in.
    :param upload: how a dataset comes here.
    """
    words = reader.words
    schema = operations.schema()
    shell.heading(words("configure.title"), 1)
    shell.paragraph(words("configure.lead"), "lead")
    datasets = await asyncio.to_thread(operations.datasets.all)
    # what suits the GPU, until somebody says otherwise; what was said stays said
    said = any(query.get(name) for name in schema["properties"])
    form = Form(words, schema, query if said else {**query, "method": "auto"})
    with shell.panel(words("configure.what")), ui.element("div").classes("grid wide"):
        form.add("base_model", options=names.catalogue_names(), free=True)
        with ui.element("div"):
            trainable = [found for found in datasets if found.managed]
            form.add("dataset", options={found.name: _dataset_label(words, found) for found in trainable})
            about = ui.element("div").classes("about").props("aria-live=polite")
    with shell.panel(words("configure.how")):
        with ui.element("div").classes("grid"):
            for name in FIRST[2:]:
                form.add(name)
        reason = ui.element("div").props("aria-live=polite")
        with ui.expansion(words("configure.more")).classes("w-full"), ui.element("div").classes("grid"):
            for name in form.rest():
                form.add(name)
    general = ui.element("div").props("aria-live=assertive")
    with ui.element("div").classes("line actions"):
        go = ui.button(words("configure.plan"), icon="event_note")
        ui.label(words("configure.nothing_yet")).classes("soft small")
    _upload(reader, upload)
    by_name = {found.name: found for found in datasets}

    def describe() -> None:
        about.clear()
        with about:
            _describe(words, by_name.get(form.value("dataset")))

    async def explain() -> None:
        text, kind = "", ""
        if form.value("method") == "auto" and form.value("base_model") and form.value("dataset"):
            try:
                plan = await asyncio.to_thread(operations.plan, form.values())
                told = html.escape(words("configure.auto", method=plan.job.method))
                text, kind = f"{told} {shell.reason(words, plan.job.method_reason)}", "busy"
            except CoreError:
                pass  # the plan says what is wrong, at the field
        reason.clear()
        if text:
            with reason, shell.note(kind):
                ui.html(f"<p>{text}</p>", sanitize=False)

    async def plan() -> None:
        general.clear()
        form.show_errors([])
        go.disable()
        try:
            values, errors = read_query(schema, form.query())
            if errors:
                raise FieldErrors(errors)
            await asyncio.to_thread(operations.plan, {**values, **FIXED})
        except FieldErrors as error:
            left = form.show_errors(error.errors)
            with general:
                if left:
                    shell.problem(words, error)
                else:
                    with shell.note("bad", role="alert"):
                        shell.paragraph(words("configure.wrong", count=len(error.errors)))
            return
        except CoreError as error:
            with general:
                shell.problem(words, error)
            return
        finally:
            go.enable()
        ui.navigate.to(form.address("/plan"))

    go.on_click(plan)
    form.on_change("dataset", describe)
    for name in ("method", "dataset", "base_model"):
        form.on_change(name, explain)
    describe()
    ui.timer(_QUIET_MS / 1000, explain, once=True)


class UploadForm(t.NamedTuple):
    """How a dataset comes here: an ordinary form, which needs no script and streams to the disk.

    :param token: what the form has to hold.
    :param result: what became of the last upload; None when there was none.
    """

    token: str
    result: shapes.DatasetChange | Exception | None = None


def _dataset_label(words: t.Any, found: shapes.Dataset) -> str:
    return found.name if found.rows is None else words("dataset.option", name=found.name, rows=words.number(found.rows))


def _describe(words: t.Any, found: shapes.Dataset | None) -> None:
    if found is None:
        return
    pairs = [(words("dataset.rows"), words.number(found.rows or 0)), (words("dataset.format"), found.format)]
    if found.bytes is not None:
        pairs.append((words("dataset.size"), words.size(found.bytes)))
    systems = found.systems.get("count", len(found.systems)) if found.systems else 0
    pairs += [(words("dataset.systems"), words.number(systems)), (words("dataset.version"), found.digest[:12])]
    with shell.note("good"):
        ui.html(f"<p><strong>{html.escape(words('dataset.valid'))}</strong></p>", sanitize=False)
        shell.facts([(name, html.escape(value)) for name, value in pairs if value])


def _upload(reader: Reader, upload: UploadForm) -> None:
    words = reader.words
    with shell.panel(words("upload.title")):
        shell.paragraph(words("upload.lead"), "soft")
        _upload_result(words, upload.result)
        if not reader.session.may("train"):
            shell.paragraph(words("may.not"))
            return
        body = f"""
<input type="hidden" name="form_token" value="{html.escape(upload.token)}">
<div class="grid">
<p><label for="upload-name">{html.escape(words("upload.name"))}</label><br>
<input class="native" id="upload-name" name="name" required maxlength="80" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
 aria-describedby="upload-name-hint"><br>
<span class="soft small" id="upload-name-hint">{html.escape(words("upload.name_hint"))}</span></p>
<p><label for="upload-file">{html.escape(words("upload.file"))}</label><br>
<input class="native" id="upload-file" name="file" type="file" required accept=".json,.jsonl,.csv"></p></div>
<p class="line actions"><button class="native" name="do" value="check">{html.escape(words("upload.check"))}</button>
<button class="native" name="do" value="publish">{html.escape(words("upload.publish"))}</button></p>"""
        form = ui.html(body, tag="form", sanitize=False)
        form._props.update({"method": "post", "action": "/datasets", "enctype": "multipart/form-data"})


def _upload_result(words: t.Any, result: shapes.DatasetChange | Exception | None) -> None:
    if result is None:
        return
    if isinstance(result, Exception):
        shell.problem(words, result)
        return
    if result.valid:
        key = "upload.published" if result.dataset is not None and result.changed else "upload.valid"
        rows = words.number(result.dataset.rows or 0) if result.dataset else "?"
        with shell.note("good", role="status"):
            shell.paragraph(words(key, rows=rows))
        return
    with shell.note("bad", role="alert"):
        shell.paragraph(words("upload.refused", count=words.number(result.problems_total)))
    shell.table(
        words("upload.problems"),
        [words("problem.where"), words("problem.what"), words("problem.fix")],
        [
            (
                html.escape(
                    " · ".join(str(entry[key]) for key in ("file", "row", "field") if entry.get(key) is not None)
                ),
                shell.english(str(entry.get("what", ""))),
                shell.english(str(entry.get("fix", ""))),
            )
            for entry in result.problems
        ],
    )
