# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view "Watch": the queue and the machine, and the progress of a run."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError
from ia_homelab_core.messages.message import Message

from ..application import schemas
from ..application.operations import Operations
from . import charts, components
from .i18n.language import Language
from .layout import Viewer
from .plan import step_chip, step_suffix
from .run_log import RunLog

#: Seconds between two updates.
_POLL_SECONDS = 1.0
STATUS_CHIPS = {
    "queued": "",
    "running": "busy",
    "paused": "warn",
    "succeeded": "good",
    "failed": "bad",
    "cancelled": "warn",
}
#: Lines of the log that are shown.
_LOG_LINES = 200
#: Percent between two announcements for screen readers.
_ANNOUNCE_EVERY = 10


def status_html(language: Language, job: schemas.Job) -> str:
    """Return the state of a run as HTML."""
    text = components.messages_html(language, [job.state])
    return f'<span class="chip {STATUS_CHIPS.get(job.status, "")}">{text}</span>'


def progress_text(language: Language, job: schemas.Job) -> str:
    """Describe the progress of a run."""
    parts = []
    if job.current_step and not job.ended:
        kind, _dash, more = job.current_step.partition("-")
        parts.append(language.maybe(f"step.{kind}", kind) + (f" {more}" if more else ""))
    progress = job.progress
    if progress is not None and not job.ended:
        if progress.percent is not None:
            parts.append(f"{progress.percent} %")
        if progress.unit == "step" and progress.total:
            parts.append(language("watch.step_of", current=int(progress.current), total=int(progress.total)))
        if progress.loss is not None:
            parts.append(f"{language('watch.loss').lower()} {language.number(progress.loss, 3)}")
        if progress.eta_seconds is not None:
            parts.append(language("watch.eta", time=language.duration(progress.eta_seconds)))
        if progress.note_message is not None:
            parts.append(Message.from_stored(progress.note_message.model_dump()).render(language.code).message)
        elif progress.note:
            parts.append(progress.note)
    if job.waiting_for_message is not None:
        reason = Message.from_stored(job.waiting_for_message.model_dump()).render(language.code).message
        parts.append(language("watch.waiting_for", reason=reason))
    return " · ".join(parts)


def _unchecked_html(language: Language, step: schemas.Step) -> str:
    """Return why a complete step is only taken to be as its receipt says, as HTML; empty if it was checked."""
    if step.state != "whole" or not step.reason:
        return ""
    return f'<br><span class="soft small">{components.messages_html(language, step.causes, step.reason)}</span>'


def cancel_text(job: schemas.Job, has_checkpoint: bool) -> str:
    """Return the key of the text that says what stopping a run keeps.

    :param has_checkpoint: whether its training has written a checkpoint already; a training that runs writes one at
        its end.
    """
    if has_checkpoint or (job.current_step == "train" and job.status == "running"):
        return "watch.cancel_kept"
    return "watch.cancel_begins_again" if job.status == "running" else "watch.cancel_not_begun"


async def build_queue(viewer: Viewer, operations: Operations) -> None:
    """Build the view of all runs and the machine."""
    language = viewer.language
    components.heading(language("watch.title"), 1)
    components.paragraph(language("watch.lead"), "lead")
    with components.panel(language("machine.title")):
        machine = ui.element("div")
    with components.panel(language("watch.runs")):
        runs = ui.element("div")
    seen: dict[str, t.Any] = {}

    async def refresh() -> None:
        jobs, now = await asyncio.to_thread(operations.list_jobs), await asyncio.to_thread(operations.machine)
        if (jobs, now) == (seen.get("jobs"), seen.get("now")):
            return
        seen.update(jobs=jobs, now=now)
        machine.clear()
        with machine:
            show_machine(language, now)
        runs.clear()
        with runs:
            if not jobs:
                components.paragraph(language("watch.none"), "soft")
                return
            head = ["watch.name", "state", "watch.progress", "watch.by", "watch.since"]
            components.table(
                language("watch.runs_caption"), [language(key) for key in head], [_row(language, job) for job in jobs]
            )

    await refresh()
    ui.timer(_POLL_SECONDS, refresh)


def _row(language: Language, job: schemas.Job) -> list[str]:
    address = html.escape(components.address(f"/watch/{job.job_id}"))
    progress = progress_text(language, job)
    return [
        f'<a class="plain" href="{address}">{components.run_html(job.name, job.job_id)}</a>',
        status_html(language, job),
        f'<span class="figures">{html.escape(progress)}</span>' if progress else "",
        html.escape(job.submitted_by),
        html.escape(language.time(job.submitted_at)),
    ]


def show_machine(language: Language, machine: schemas.Machine) -> None:
    """Show GPUs, memory and disk, and the run that uses them."""
    pairs = []
    for gpu in machine.gpus:
        text = language("machine.free_of", free=language.memory(gpu.free_bytes), total=language.memory(gpu.total_bytes))
        pairs.append(
            (f"GPU {gpu.index}", f'{html.escape(gpu.name)} <span class="soft figures">{html.escape(text)}</span>')
        )
    if not machine.gpus:
        pairs.append(("GPU", html.escape(language("machine.no_gpu"))))
    holder = machine.holder
    at = html.escape(components.address(f"/watch/{holder}"))
    link = f'<a class="plain" href="{at}">{html.escape(holder)}</a>' if holder else ""
    pairs.append((language("machine.holder"), link or html.escape(language("machine.idle"))))
    if machine.disk_free_bytes:
        pairs.append((language("machine.disk"), html.escape(language.size(machine.disk_free_bytes))))
    if machine.loaded_models:
        pairs.append((language("machine.loaded"), html.escape(", ".join(machine.loaded_models))))
    components.facts(pairs)


async def build_run(viewer: Viewer, operations: Operations, job_id: str) -> None:
    """Build the view of a run."""
    language = viewer.language
    try:
        job = await asyncio.to_thread(operations.get_job, job_id)
    except CoreError as error:
        components.heading(language("watch.title"), 1)
        components.problem(language, error)
        return
    await _RunView(viewer, operations, job).start()


def _question(language: Language, key: str, yes: str) -> tuple[ui.dialog, ui.html]:
    """Add a dialog that is answered with yes or no; return it and its explanation, which is empty."""
    with ui.dialog() as dialog, ui.card():
        components.heading(language(key))
        explanation = components.paragraph("")
        with ui.element("div").classes("line"):
            ui.button(language(yes), color="negative", on_click=lambda: dialog.submit(True))
            ui.button(language("no"), on_click=lambda: dialog.submit(False)).props("outline")
    dialog.props(f'aria-label="{html.escape(language(key))}"')
    return dialog, explanation


class _RunView:
    """The view of a run, updated regularly."""

    def __init__(self, viewer: Viewer, operations: Operations, job: schemas.Job) -> None:
        self._reader, self._language, self._operations, self._id = viewer, viewer.language, operations, job.job_id
        self._shown: dict[str, t.Any] = {}
        self._announced: tuple[t.Any, ...] = ()
        language = self._language
        with ui.element("div").classes("line"):
            ui.html(components.run_html(job.name, job.job_id), tag="h1", sanitize=False).classes("wrap")
            self._status = ui.html("", sanitize=False)
        self._live = ui.element("div").classes("sr").props("aria-live=polite role=status")
        with self._live:
            self._announcement = ui.label("")
        self._outcome = ui.element("div").props("aria-live=assertive")
        self._findings = ui.element("div")
        with components.panel(language("watch.progress")):
            self._bar = ui.linear_progress(0, show_value=False).props(
                f'aria-label="{html.escape(language("watch.progress"))}"'
            )
            self._progress_text = components.paragraph("", "figures")
            self._place = components.paragraph("", "wrap")
            self._buttons()
        with ui.element("div").classes("grid wide level"):
            with components.panel(language("watch.loss")):
                self._loss = ui.echart(charts.loss(language, [])).style("height: 16rem")
                self._loss_description = components.paragraph("", "soft small figures")
            with components.panel(language("watch.learning_rate")):
                self._rate = ui.echart(charts.learning_rate(language, [])).style("height: 16rem")
        for chart, key in ((self._loss, "watch.loss"), (self._rate, "watch.learning_rate")):
            chart.props(f'role=img aria-label="{html.escape(language(key))}"')
        with ui.element("div").classes("grid wide level"):
            with components.panel(language("watch.steps")):
                self._steps = ui.element("div")
            with components.panel(language("machine.title")):
                self._machine = ui.element("div")
        self._log = RunLog(language)

    def _buttons(self) -> None:
        language = self._language
        with ui.element("div").classes("line actions"):
            self._cancel = ui.button(language("watch.cancel"), icon="stop", color="negative").props("outline")
            self._resume = ui.button(language("watch.resume"), icon="play_arrow")
            self._retry = ui.button(language("watch.retry"), icon="replay")
            self._dismiss = ui.button(language("watch.dismiss"), icon="delete").props("outline")
            self._model = ui.button(language("watch.see_model"), icon="arrow_forward")
        dialog, kept = _question(language, "watch.cancel_sure", "watch.cancel_yes")
        self._dismissal, logs = _question(language, "watch.dismiss_sure", "watch.dismiss_yes")
        logs.content = html.escape(language("watch.dismiss_kept"))

        async def cancel() -> None:
            job = await asyncio.to_thread(self._operations.get_job, self._id)
            saved = await asyncio.to_thread(self._operations.checkpoints, self._id)
            kept.content = html.escape(language(cancel_text(job, bool(saved))))
            if await dialog:
                await self._act(self._operations.cancel)

        self._cancel.on_click(cancel)
        self._resume.on_click(lambda: self._act(self._operations.resume))
        self._retry.on_click(lambda: self._act(self._operations.retry))
        self._dismiss.on_click(self._ask_dismiss)

    async def _ask_dismiss(self) -> None:
        if await self._dismissal and await self._act(self._operations.dismiss):
            ui.navigate.to("/watch")

    async def start(self) -> None:
        """Show the run, and start updating it."""
        await self._refresh()
        self._timer = ui.timer(_POLL_SECONDS, self._refresh)

    async def _act(self, operation: t.Callable[[str], t.Any]) -> bool:
        """Do what a button says; whether that was done."""
        if not self._reader.may_train():
            return False
        self._outcome.clear()
        try:
            await asyncio.to_thread(operation, self._id)
        except CoreError as error:
            with self._outcome:
                components.problem(self._language, error)
            await self._refresh()
            return False
        if operation != self._operations.dismiss:
            await self._refresh()
        return True

    async def _refresh(self) -> None:
        operations = self._operations
        try:
            job = await asyncio.to_thread(operations.get_job, self._id)
            self._update("job", job, self._show_job)
            points = await asyncio.to_thread(operations.curve, self._id)
            self._update("curve", points, self._show_curve)
            log = await asyncio.to_thread(operations.log, self._id, _LOG_LINES)
            self._update("log", log, self._log.show)
            self._update("machine", await asyncio.to_thread(operations.machine), self._show_machine)
        except CoreError as error:
            with self._outcome.clear() or self._outcome:
                components.problem(self._language, error)

    def _update(self, what: str, value: t.Any, show: t.Callable[[t.Any], None]) -> None:
        """Update a part of the view only if its value has changed."""
        if self._shown.get(what) != value:
            self._shown[what] = value
            show(value)

    def _show_job(self, job: schemas.Job) -> None:
        language, percent = self._language, job.progress.percent if job.progress else None
        self._status.content = status_html(language, job)
        done = job.status == "succeeded"
        self._bar.value = 1.0 if done else (percent or 0) / 100
        progress = language("watch.done") if done else progress_text(language, job)
        self._progress_text.content = (
            html.escape(progress) if progress else components.messages_html(language, [job.state])
        )
        self._cancel.visible = not job.ended and not job.cancelling
        self._resume.visible = job.status in ("paused", "cancelled")
        self._retry.visible = job.status == "failed"
        self._dismiss.visible = job.status in ("paused", "cancelled", "failed")
        self._model.visible = done and job.goal == "model"
        if self._model.visible:
            self._model.props(f'href="{components.address("/models/")}{html.escape(job.name)}"')
        place = components.messages_html(language, [job.place]) if job.place is not None else ""
        self._place.content, self._place.visible = place, bool(place)
        self._announce(job, percent, progress)
        self._outcome.clear()
        if job.error is not None:
            with self._outcome:
                components.problem(language, job.error)
        self._update("findings", job.findings, self._show_findings)
        self._steps.clear()
        with self._steps:
            components.table(
                language("watch.steps_caption"),
                [language("step"), language("state")],
                [
                    (
                        html.escape(language.maybe(f"step.{step.kind}", step.kind) + step_suffix(step)),
                        step_chip(language, step.state) + _unchecked_html(language, step),
                    )
                    for step in job.steps
                ],
            )

    def _show_findings(self, findings: list[schemas.MessageBody]) -> None:
        self._findings.clear()
        with self._findings:
            components.findings(self._language, findings)

    def _announce(self, job: schemas.Job, percent: int | None, progress: str) -> None:
        """Announce changes to screen readers, but not each figure."""
        now = (job.status, job.cancelling, job.current_step, (percent or 0) // _ANNOUNCE_EVERY)
        if now != self._announced:
            self._announced = now
            state = Message.from_stored(job.state.model_dump()).render(self._language.code).message
            self._announcement.text = f"{state}. {progress}"

    def _show_curve(self, points: list[schemas.Point]) -> None:
        language = self._language
        for chart, options in (
            (self._loss, charts.loss(language, points)),
            (self._rate, charts.learning_rate(language, points)),
        ):
            chart.options.clear()
            chart.options.update(options)
            chart.update()
        self._loss_description.content = html.escape(charts.loss_description(language, points))

    def _show_machine(self, machine: schemas.Machine) -> None:
        self._machine.clear()
        with self._machine:
            show_machine(self._language, machine)
