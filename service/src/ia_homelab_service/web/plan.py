# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view "Plan": the steps and why they are needed, their cost, and the equivalent inventory and command."""

from __future__ import annotations

import asyncio
import html
import typing as t
from urllib.parse import urlencode

from nicegui import ui

from ia_homelab_core.errors import CoreError

from ..application import schemas
from ..application.errors import FieldErrors
from ..application.operations import Operations
from . import components
from .finetune_form import FIXED_VALUES, canonical, read_query, to_text
from .i18n.language import Language
from .layout import Viewer

_STEP_CHIPS = {"whole": "good", "idle": "", "needed": "busy", "running": "busy", "failed": "bad"}


async def build(viewer: Viewer, operations: Operations, query: t.Mapping[str, str]) -> None:
    """Build the view."""
    language = viewer.language
    schema = operations.schema()
    components.heading(language("plan.title"), 1)
    values, errors = read_query(schema, query)
    back = f"/?{urlencode(canonical(schema, query))}"
    if not values and not errors:
        components.paragraph(language("plan.empty"), "lead")
        _link_button(language("plan.configure"), "/")
        return
    try:
        if errors:
            raise FieldErrors(errors)
        plan = await asyncio.to_thread(operations.plan, {**values, **FIXED_VALUES})
    except CoreError as error:
        components.problem(language, error)
        _link_button(language("plan.change"), back)
        return
    components.paragraph(language("plan.lead"), "lead")
    _show_notes(language, plan)
    with ui.element("div").classes("grid wide"):
        _show_declaration(language, plan)
        _show_cost(language, plan.estimate)
    _show_steps(language, plan)
    outcome = ui.element("div").props("aria-live=assertive")
    with ui.element("div").classes("line actions"):
        go = ui.button(language("plan.start"), icon="play_arrow")
        _link_button(language("plan.change"), back)
    _show_equivalents(language, plan)

    async def start() -> None:
        if not viewer.may_train():
            return
        outcome.clear()
        go.disable()
        try:
            submitted = await asyncio.to_thread(operations.train, {**values, **FIXED_VALUES}, "model", "page")
        except CoreError as error:
            with outcome:
                components.problem(language, error)
            go.enable()
            return
        ui.navigate.to(f"/watch/{submitted.job_id}")

    go.on_click(start)
    if not viewer.session.may("train"):
        go.disable()


def _link_button(text: str, address: str) -> None:
    ui.button(text).props(f'outline href="{html.escape(components.address(address))}"').classes("self-start")


def _show_notes(language: Language, plan: schemas.Plan) -> None:
    with components.note("" if plan.pending else "good", role="status"):
        first, *others = [components.messages_html(language, [said]) for said in plan.summary]
        ui.html(f"<p><strong>{first}</strong></p>" + (f"<p>{', '.join(others)}</p>" if others else ""), sanitize=False)
    if plan.estimate.fits is False:
        with components.note("bad", role="alert"):
            components.paragraph(language("plan.no_fit"))
            if plan.estimate.advice:
                ui.html(f"<p>{components.english(plan.estimate.advice)}</p>", sanitize=False)
    if plan.warnings:
        with components.note("warn"):
            warnings = (components.messages_html(language, [warning]) for warning in plan.warning_messages)
            items = "".join(f"<li>{warning}</li>" for warning in warnings)
            ui.html(f"<p><strong>{html.escape(language('plan.warnings'))}</strong></p><ul>{items}</ul>", sanitize=False)
    if plan.base_unchecked_message is not None:
        why = components.messages_html(language, [plan.base_unchecked_message])
        with components.note():
            ui.html(f"<p>{html.escape(language('plan.base_unchecked'))} {why}</p>", sanitize=False)


def _show_declaration(language: Language, plan: schemas.Plan) -> None:
    job = plan.job
    with components.panel(language("plan.what")):
        pairs = [
            (language("plan.model"), html.escape(job.name)),
            (language("field.base_model"), _name_and_detail(plan.declaration.get("base_model"), job.base)),
            (language("field.dataset"), _name_and_detail(job.dataset, job.dataset_digest[:12])),
            (language("dataset.rows"), language.number(job.dataset_rows) if job.dataset_rows is not None else ""),
            (language("field.method"), html.escape(job.method)),
        ]
        if job.method_reason:
            cause = [job.method_cause] if job.method_cause else []
            text = components.messages_html(language, cause, job.method_reason)
            pairs.append((language("plan.why_method"), text))
        if job.tool_format_cause:
            why = components.messages_html(language, [job.tool_format_cause], "")
            pairs.append((language("field.tool_format"), html.escape(job.tool_format)))
            pairs.append((language("plan.why_tool_format"), why))
        if job.thinking_cause:
            why = components.messages_html(language, [job.thinking_cause], "")
            pairs.append((language("field.thinking"), html.escape(job.thinking)))
            pairs.append((language("plan.why_thinking"), why))
        shown = {"base_model", "dataset", "method", "name", "goal"}
        shown |= {"tool_format"} if job.tool_format_cause else set()
        shown |= {"thinking"} if job.thinking_cause else set()
        for name, value in plan.declaration.items():
            if name not in shown and to_text(value):
                text = language.number(value) if isinstance(value, float) else to_text(value)
                pairs.append((language.maybe(f"field.{name}", name), html.escape(text)))
        components.facts([(name, value) for name, value in pairs if value])


def _name_and_detail(first: t.Any, second: str) -> str:
    name = str(first or "")
    detail = second[len(name) :].strip() if second.startswith(name) else second
    detail = f' <span class="soft small">{html.escape(detail)}</span>' if detail else ""
    return html.escape(str(first or "")) + detail


def _show_cost(language: Language, estimate: schemas.Estimate) -> None:
    with components.panel(language("plan.cost")):
        if estimate.vram_bytes is not None:
            _show_vram(language, estimate)
        pairs = []
        if estimate.ram_bytes:
            on = "" if estimate.vram_bytes is not None else f" · {language('plan.no_gpu')}"
            pairs.append((language("plan.ram"), html.escape(language.memory(estimate.ram_bytes) + on)))
        if estimate.optimizer_steps is not None:
            pairs.append((language("plan.steps"), language.number(estimate.optimizer_steps)))
        if estimate.seconds is not None:
            pairs.append((language("plan.time"), html.escape(language.duration(estimate.seconds))))
        if estimate.disk_bytes is not None:
            free = language("plan.of_free", free=language.size(estimate.disk_free_bytes or 0))
            pairs.append((language("plan.disk"), html.escape(f"{language.size(estimate.disk_bytes)} {free}")))
        if pairs:
            components.facts(pairs)
        if estimate.fits and estimate.advice:
            ui.html(components.english(estimate.advice), sanitize=False).classes("soft small")
        if estimate.vram_bytes is None and not pairs:
            components.paragraph(language("plan.no_estimate"), "soft")


def _show_vram(language: Language, estimate: schemas.Estimate) -> None:
    """Show a bar: required memory, total memory, and a marker at free memory."""
    need, total = estimate.vram_bytes or 0, estimate.vram_total_bytes
    free = estimate.vram_free_bytes
    if not total:
        components.facts([(language("plan.vram"), html.escape(f"{language.memory(need)} · {language('plan.no_gpu')}"))])
        return
    text = language("plan.vram_text", need=language.memory(need), total=language.memory(total))
    if free is not None:
        text += " " + language("plan.vram_free", free=language.memory(free))
    name = components.paragraph(language("plan.vram"))
    bad = "bad" if estimate.fits is False else ""
    mark = f'<i style="left:{100 * min(free, total) / total:.1f}%"></i>' if free is not None else ""
    meter = ui.html(f'<span style="width:{100 * min(need, total) / total:.1f}%"></span>{mark}', sanitize=False)
    meter.classes(f"meter {bad}").props(
        f"role=meter aria-valuemin=0 aria-valuemax={total} aria-valuenow={min(need, total)} "
        f'aria-labelledby="{name.html_id}"'
    )
    meter._props["aria-valuetext"] = text
    components.paragraph(text, "small figures")
    if free is not None:
        components.paragraph(language("plan.vram_mark"), "soft small")


def _show_steps(language: Language, plan: schemas.Plan) -> None:
    with components.panel(language("plan.changes")):
        components.table(
            language("plan.changes_caption"),
            [language("step"), language("state"), language("plan.why")],
            [
                (
                    html.escape(language.maybe(f"step.{step.kind}", step.kind) + step_suffix(step)),
                    step_chip(language, step.state),
                    components.messages_html(language, step.causes, step.reason),
                )
                for step in plan.job.steps
            ],
        )


def step_suffix(step: schemas.Step) -> str:
    """Return what a step's label adds to its kind."""
    more = step.label[len(step.kind) :].lstrip("-") if step.label.startswith(step.kind) else step.label
    return f" {more}" if more else ""


def step_chip(language: Language, state: str) -> str:
    """Return the state of a step as HTML."""
    text = html.escape(language.maybe(f"step_state.{state}", state))
    return f'<span class="chip {_STEP_CHIPS.get(state, "")}">{text}</span>'


def _show_equivalents(language: Language, plan: schemas.Plan) -> None:
    with components.panel(language("plan.same")):
        components.paragraph(language("plan.same_lead"), "soft")
        for title, text in ((language("plan.yaml"), plan.yaml), (language("plan.curl"), plan.curl)):
            with ui.element("div").classes("line apart"):
                named = components.heading(title, 3)
                button = ui.button(language("copy"), icon="content_copy").props("outline dense")
                button._props["aria-label"] = language("copy.what", what=title)
            ui.html(html.escape(text), tag="pre", sanitize=False).classes("copy").props(
                f'tabindex=0 role=group aria-labelledby="{named.html_id}"'
            )
            button.on_click(lambda _event, text=text: _copy(language, text))


def _copy(language: Language, text: str) -> None:
    ui.clipboard.write(text)
    ui.notify(language("copied"), type="positive")
