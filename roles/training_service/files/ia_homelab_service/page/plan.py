# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what would be made and why, what it takes, and the same for the inventory and the command line."""

from __future__ import annotations

import asyncio
import html
import typing as t
from urllib.parse import urlencode

from nicegui import ui

from ia_homelab_core.errors import CoreError

from .. import shapes
from ..errors import FieldErrors
from ..operations import Operations
from . import shell
from .form import FIXED, read_query, written
from .language import Language
from .shell import Reader

_STEP_CHIPS = {"whole": "good", "idle": "", "needed": "busy", "running": "busy", "failed": "bad"}


async def build(reader: Reader, operations: Operations, query: t.Mapping[str, str]) -> None:
    """The view."""
    words = reader.words
    schema = operations.schema()
    shell.heading(words("plan.title"), 1)
    values, errors = read_query(schema, query)
    back = f"/?{urlencode({name: query[name] for name in schema['properties'] if query.get(name)})}"
    if not values:
        shell.paragraph(words("plan.empty"), "lead")
        _link_button(words("plan.configure"), "/")
        return
    try:
        if errors:
            raise FieldErrors(errors)
        plan = await asyncio.to_thread(operations.plan, {**values, **FIXED})
    except CoreError as error:
        shell.problem(words, error)
        _link_button(words("plan.change"), back)
        return
    shell.paragraph(words("plan.lead"), "lead")
    _verdict(words, plan)
    with ui.element("div").classes("grid wide"):
        _declared(words, plan)
        _cost(words, plan.estimate)
    _steps(words, plan)
    outcome = ui.element("div").props("aria-live=assertive")
    with ui.element("div").classes("line actions"):
        go = ui.button(words("plan.start"), icon="play_arrow")
        _link_button(words("plan.change"), back)
    _copies(words, plan)

    async def start() -> None:
        if not reader.may_train():
            return
        outcome.clear()
        go.disable()
        try:
            submitted = await asyncio.to_thread(operations.train, {**values, **FIXED}, "model", "page")
        except CoreError as error:
            with outcome:
                shell.problem(words, error)
            go.enable()
            return
        ui.navigate.to(f"/watch/{submitted.job_id}")

    go.on_click(start)
    if not reader.session.may("train"):
        go.disable()


def _link_button(text: str, address: str) -> None:
    ui.button(text).props(f'outline href="{html.escape(address)}"').classes("self-start")


def _verdict(words: Language, plan: shapes.Plan) -> None:
    if not plan.pending:
        with shell.note("good", role="status"):
            shell.paragraph(words("plan.nothing"))
    if plan.estimate.fits is False:
        with shell.note("bad", role="alert"):
            shell.paragraph(words("plan.no_fit"))
            if plan.estimate.advice:
                ui.html(f"<p>{shell.english(plan.estimate.advice)}</p>", sanitize=False)
    if plan.warnings:
        with shell.note("warn"):
            items = "".join(f"<li>{shell.english(warning)}</li>" for warning in plan.warnings)
            ui.html(f"<p><strong>{html.escape(words('plan.warnings'))}</strong></p><ul>{items}</ul>", sanitize=False)


def _declared(words: Language, plan: shapes.Plan) -> None:
    job = plan.job
    with shell.panel(words("plan.what")):
        pairs = [
            (words("plan.model"), html.escape(job.name)),
            (words("field.base_model"), _two(plan.declaration.get("base_model"), job.base)),
            (words("field.dataset"), _two(job.dataset, job.dataset_digest[:12])),
            (words("dataset.rows"), words.number(job.dataset_rows) if job.dataset_rows is not None else ""),
            (words("field.method"), html.escape(job.method)),
        ]
        if job.method_reason:
            pairs.append((words("plan.why_method"), shell.reason(words, job.method_reason)))
        shown = {"base_model", "dataset", "method", "name", "goal"}
        for name, value in plan.declaration.items():
            if name not in shown and written(value):
                told = words.number(value) if isinstance(value, float) else written(value)
                pairs.append((words.maybe(f"field.{name}", name), html.escape(told)))
        shell.facts([(name, value) for name, value in pairs if value])


def _two(first: t.Any, second: str) -> str:
    known = str(first or "")
    more = second[len(known) :].strip() if second.startswith(known) else second
    more = f' <span class="soft small">{html.escape(more)}</span>' if more else ""
    return html.escape(str(first or "")) + more


def _cost(words: Language, estimate: shapes.Estimate) -> None:
    with shell.panel(words("plan.cost")):
        if estimate.vram_bytes is not None:
            _vram(words, estimate)
        pairs = []
        memory = (estimate.details.get("ram") or {}).get("train")
        if estimate.vram_bytes is None and memory:
            on = f"{words.memory(memory)} · {words('plan.no_gpu')}"
            pairs.append((words("plan.ram"), html.escape(on)))
        if estimate.seconds is not None:
            pairs.append((words("plan.time"), html.escape(words.duration(estimate.seconds))))
        if estimate.disk_bytes is not None:
            free = words("plan.of_free", free=words.size(estimate.disk_free_bytes or 0))
            pairs.append((words("plan.disk"), html.escape(f"{words.size(estimate.disk_bytes)} {free}")))
        if pairs:
            shell.facts(pairs)
        if estimate.fits and estimate.advice:
            ui.html(shell.english(estimate.advice), sanitize=False).classes("soft small")
        if estimate.vram_bytes is None and not pairs:
            shell.paragraph(words("plan.no_estimate"), "soft")


def _vram(words: Language, estimate: shapes.Estimate) -> None:
    """A bar: what is needed, on what there is, with a mark at what is free."""
    need, total = estimate.vram_bytes or 0, estimate.vram_total_bytes
    free = estimate.vram_free_bytes
    if not total:
        shell.facts([(words("plan.vram"), html.escape(f"{words.memory(need)} · {words('plan.no_gpu')}"))])
        return
    text = words("plan.vram_text", need=words.memory(need), total=words.memory(total))
    if free is not None:
        text += " " + words("plan.vram_free", free=words.memory(free))
    name = shell.paragraph(words("plan.vram"))
    bad = "bad" if estimate.fits is False else ""
    mark = f'<i style="left:{100 * min(free, total) / total:.1f}%"></i>' if free is not None else ""
    meter = ui.html(f'<span style="width:{100 * min(need, total) / total:.1f}%"></span>{mark}', sanitize=False)
    meter.classes(f"meter {bad}").props(
        f"role=meter aria-valuemin=0 aria-valuemax={total} aria-valuenow={min(need, total)} "
        f'aria-labelledby="{name.html_id}"'
    )
    meter._props["aria-valuetext"] = text
    shell.paragraph(text, "small figures")
    if free is not None:
        shell.paragraph(words("plan.vram_mark"), "soft small")


def _steps(words: Language, plan: shapes.Plan) -> None:
    with shell.panel(words("plan.changes")):
        shell.table(
            words("plan.changes_caption"),
            [words("step"), words("state"), words("plan.why")],
            [
                (
                    html.escape(words.maybe(f"step.{step.kind}", step.kind) + suffix(step)),
                    step_chip(words, step.state),
                    shell.reason(words, step.reason) if step.reason else "",
                )
                for step in plan.job.steps
            ],
        )


def suffix(step: shapes.Step) -> str:
    more = step.label[len(step.kind) :].lstrip("-") if step.label.startswith(step.kind) else step.label
    return f" {more}" if more else ""


def step_chip(words: Language, state: str) -> str:
    """The state of a step, as HTML."""
    text = html.escape(words.maybe(f"step_state.{state}", state))
    return f'<span class="chip {_STEP_CHIPS.get(state, "")}">{text}</span>'


def _copies(words: Language, plan: shapes.Plan) -> None:
    with shell.panel(words("plan.same")):
        shell.paragraph(words("plan.same_lead"), "soft")
        for title, text in ((words("plan.yaml"), plan.yaml), (words("plan.curl"), plan.curl)):
            with ui.element("div").classes("line apart"):
                named = shell.heading(title, 3)
                button = ui.button(words("copy"), icon="content_copy").props("outline dense")
                button._props["aria-label"] = words("copy.what", what=title)
            ui.html(html.escape(text), tag="pre", sanitize=False).classes("copy").props(
                f'tabindex=0 role=group aria-labelledby="{named.html_id}"'
            )
            button.on_click(lambda _event, text=text: _copy(words, text))


def _copy(words: Language, text: str) -> None:
    ui.clipboard.write(text)
    ui.notify(words("copied"), type="positive")
