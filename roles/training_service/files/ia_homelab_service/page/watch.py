# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch: the queue and the machine, and one run from its place in the queue to its end."""

from __future__ import annotations

import asyncio
import html
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError

from .. import shapes
from ..operations import Operations
from . import charts, shell
from .language import Language
from .plan import step_chip, suffix
from .shell import Reader

#: Seconds between two looks.
_POLL = 1.0
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
#: Percent between two announcements to those who listen.
_ANNOUNCE_EVERY = 10


def status_html(words: Language, job: shapes.Job) -> str:
    """The state of a run, as HTML."""
    text = words("status.cancelling") if job.cancelling else words(f"status.{job.status}")
    return f'<span class="chip {STATUS_CHIPS.get(job.status, "")}">{html.escape(text)}</span>'


def progress_words(words: Language, job: shapes.Job) -> str:
    """How far a run is, in a few words."""
    parts = []
    if job.current_step and not job.ended:
        kind, _dash, more = job.current_step.partition("-")
        parts.append(words.maybe(f"step.{kind}", kind) + (f" {more}" if more else ""))
    progress = job.progress
    if progress is not None and not job.ended:
        if progress.percent is not None:
            parts.append(f"{progress.percent} %")
        if progress.unit == "step" and progress.total:
            parts.append(words("watch.step_of", current=int(progress.current), total=int(progress.total)))
        if progress.loss is not None:
            parts.append(f"{words('watch.loss').lower()} {words.number(progress.loss, 3)}")
        if progress.eta_seconds is not None:
            parts.append(words("watch.eta", time=words.duration(progress.eta_seconds)))
        if progress.note:
            parts.append(progress.note)
    if job.position:
        parts.append(words("watch.position", place=job.position))
    return " · ".join(parts)


async def build_queue(reader: Reader, operations: Operations) -> None:
    """All runs, and the machine."""
    words = reader.words
    shell.heading(words("watch.title"), 1)
    shell.paragraph(words("watch.lead"), "lead")
    with shell.panel(words("machine.title")):
        machine = ui.element("div")
    with shell.panel(words("watch.runs")):
        runs = ui.element("div")
    seen: dict[str, t.Any] = {}

    async def look() -> None:
        jobs, now = await asyncio.to_thread(operations.list_jobs), await asyncio.to_thread(operations.machine)
        if (jobs, now) == (seen.get("jobs"), seen.get("now")):
            return
        seen.update(jobs=jobs, now=now)
        machine.clear()
        with machine:
            show_machine(words, now)
        runs.clear()
        with runs:
            if not jobs:
                shell.paragraph(words("watch.none"), "soft")
                return
            head = ["watch.name", "state", "watch.progress", "watch.by", "watch.since"]
            shell.table(words("watch.runs_caption"), [words(key) for key in head], [_row(words, job) for job in jobs])

    await look()
    ui.timer(_POLL, look)


def _row(words: Language, job: shapes.Job) -> list[str]:
    address = html.escape(f"/watch/{job.job_id}")
    return [
        f'<a class="plain" href="{address}">{html.escape(job.name)}</a>'
        f'<br><span class="soft small">{html.escape(job.job_id)}</span>',
        status_html(words, job),
        f'<span class="figures">{html.escape(progress_words(words, job))}</span>',
        html.escape(job.submitted_by),
        html.escape(words.time(job.submitted_at)),
    ]


def show_machine(words: Language, machine: shapes.Machine) -> None:
    """What there is to train on, and who has it."""
    pairs = []
    for gpu in machine.gpus:
        text = words("machine.free_of", free=words.memory(gpu.free_bytes), total=words.memory(gpu.total_bytes))
        pairs.append(
            (f"GPU {gpu.index}", f'{html.escape(gpu.name)} <span class="soft figures">{html.escape(text)}</span>')
        )
    if not machine.gpus:
        pairs.append(("GPU", html.escape(words("machine.no_gpu"))))
    holder = machine.holder
    link = f'<a class="plain" href="/watch/{html.escape(holder)}">{html.escape(holder)}</a>' if holder else ""
    pairs.append((words("machine.holder"), link or html.escape(words("machine.idle"))))
    if machine.disk_free_bytes:
        pairs.append((words("machine.disk"), html.escape(words.size(machine.disk_free_bytes))))
    if machine.loaded_models:
        pairs.append((words("machine.loaded"), html.escape(", ".join(machine.loaded_models))))
    shell.facts(pairs)


async def build_run(reader: Reader, operations: Operations, job_id: str) -> None:
    """One run."""
    words = reader.words
    try:
        job = await asyncio.to_thread(operations.look, job_id)
    except CoreError as error:
        shell.heading(words("watch.title"), 1)
        shell.problem(words, error)
        return
    await _RunView(reader, operations, job).start()


class _RunView:
    """One run on the page, kept up to date."""

    def __init__(self, reader: Reader, operations: Operations, job: shapes.Job) -> None:
        self._reader, self._words, self._operations, self._id = reader, reader.words, operations, job.job_id
        self._shown: dict[str, t.Any] = {}
        self._announced: tuple[t.Any, ...] = ()
        words = self._words
        with ui.element("div").classes("line"):
            shell.heading(job.name, 1)
            self._status = ui.html("", sanitize=False)
        shell.paragraph(job.job_id, "soft small wrap")
        self._live = ui.element("div").classes("sr").props("aria-live=polite role=status")
        with self._live:
            self._spoken = ui.label("")
        self._outcome = ui.element("div").props("aria-live=assertive")
        with shell.panel(words("watch.progress")):
            self._bar = ui.linear_progress(0, show_value=False).props(
                f'aria-label="{html.escape(words("watch.progress"))}"'
            )
            self._told = shell.paragraph("", "figures")
            self._buttons()
        with ui.element("div").classes("grid wide level"):
            with shell.panel(words("watch.loss")):
                self._loss = ui.echart(charts.loss(words, [])).style("height: 16rem")
                self._loss_words = shell.paragraph("", "soft small figures")
            with shell.panel(words("watch.learning_rate")):
                self._rate = ui.echart(charts.learning_rate(words, [])).style("height: 16rem")
        for chart, key in ((self._loss, "watch.loss"), (self._rate, "watch.learning_rate")):
            chart.props(f'role=img aria-label="{html.escape(words(key))}"')
        with ui.element("div").classes("grid wide level"):
            with shell.panel(words("watch.steps")):
                self._steps = ui.element("div")
            with shell.panel(words("machine.title")):
                self._machine = ui.element("div")
        with shell.panel(words("watch.log")):
            self._log = ui.html("", tag="pre", sanitize=False).classes("log")
            self._log.props(f'tabindex=0 role=log aria-live=off aria-label="{html.escape(words("watch.log"))}"')

    def _buttons(self) -> None:
        words = self._words
        with ui.element("div").classes("line actions"):
            self._cancel = ui.button(words("watch.cancel"), icon="stop", color="negative").props("outline")
            self._resume = ui.button(words("watch.resume"), icon="play_arrow")
            self._retry = ui.button(words("watch.retry"), icon="replay")
            self._model = ui.button(words("watch.see_model"), icon="arrow_forward")
        with ui.dialog() as asked, ui.card():
            shell.heading(words("watch.cancel_sure"))
            shell.paragraph(words("watch.cancel_kept"))
            with ui.element("div").classes("line"):
                ui.button(words("watch.cancel_yes"), color="negative", on_click=lambda: asked.submit(True))
                ui.button(words("no"), on_click=lambda: asked.submit(False)).props("outline")
        asked.props(f'aria-label="{html.escape(words("watch.cancel_sure"))}"')

        async def cancel() -> None:
            if await asked:
                await self._act(self._operations.cancel)

        self._cancel.on_click(cancel)
        self._resume.on_click(lambda: self._act(self._operations.resume))
        self._retry.on_click(lambda: self._act(self._operations.retry))

    async def start(self) -> None:
        """Show how it stands, and go on doing so."""
        await self._look()
        self._timer = ui.timer(_POLL, self._look)

    async def _act(self, what: t.Callable[[str], t.Any]) -> None:
        if not self._reader.may_train():
            return
        self._outcome.clear()
        try:
            await asyncio.to_thread(what, self._id)
        except CoreError as error:
            with self._outcome:
                shell.problem(self._words, error)
        await self._look()

    async def _look(self) -> None:
        operations = self._operations
        try:
            job = await asyncio.to_thread(operations.look, self._id)
            self._changed("job", job, self._show_job)
            points = await asyncio.to_thread(operations.curve, self._id)
            self._changed("curve", points, self._show_curve)
            log = await asyncio.to_thread(operations.log, self._id, _LOG_LINES)
            self._changed("log", log.lines, self._show_log)
            self._changed("machine", await asyncio.to_thread(operations.machine), self._show_machine)
        except CoreError as error:
            with self._outcome.clear() or self._outcome:
                shell.problem(self._words, error)

    def _changed(self, what: str, value: t.Any, show: t.Callable[[t.Any], None]) -> None:
        """Send nothing to the browser for what is as it was."""
        if self._shown.get(what) != value:
            self._shown[what] = value
            show(value)

    def _show_job(self, job: shapes.Job) -> None:
        words, percent = self._words, job.progress.percent if job.progress else None
        self._status.content = status_html(words, job)
        done = job.status == "succeeded"
        self._bar.value = 1.0 if done else (percent or 0) / 100
        told = words("watch.done") if done else progress_words(words, job)
        self._told.content = html.escape(told or (words(f"status.{job.status}")))
        self._cancel.visible = not job.ended and not job.cancelling
        self._resume.visible = job.status in ("paused", "cancelled")
        self._retry.visible = job.status == "failed"
        self._model.visible = done and job.goal == "model"
        if self._model.visible:
            self._model.props(f'href="/models/{html.escape(job.name)}"')
        self._announce(job, percent, told)
        self._outcome.clear()
        if job.error is not None:
            with self._outcome:
                shell.problem(words, t.cast(Exception, job.error))
        self._steps.clear()
        with self._steps:
            shell.table(
                words("watch.steps_caption"),
                [words("step"), words("state")],
                [
                    (
                        html.escape(words.maybe(f"step.{step.kind}", step.kind) + suffix(step)),
                        step_chip(words, step.state),
                    )
                    for step in job.steps
                ],
            )

    def _announce(self, job: shapes.Job, percent: int | None, told: str) -> None:
        """Tell those who listen what changed, and not each figure."""
        now = (job.status, job.cancelling, job.current_step, (percent or 0) // _ANNOUNCE_EVERY)
        if now != self._announced:
            self._announced = now
            self._spoken.text = f"{self._words(f'status.{job.status}')}. {told}"

    def _show_curve(self, points: list[shapes.Point]) -> None:
        words = self._words
        for chart, options in (
            (self._loss, charts.loss(words, points)),
            (self._rate, charts.learning_rate(words, points)),
        ):
            chart.options.clear()
            chart.options.update(options)
            chart.update()
        self._loss_words.content = html.escape(charts.loss_in_words(words, points))

    def _show_log(self, lines: list[str]) -> None:
        self._log.content = html.escape("\n".join(lines))
        # the end is in view, unless somebody is reading
        element = f"getHtmlElement({self._log.id})"
        ui.run_javascript(
            f"{{const e = {element}; if (e && !e.matches(':focus, :hover')) e.scrollTop = e.scrollHeight}}"
        )

    def _show_machine(self, machine: shapes.Machine) -> None:
        self._machine.clear()
        with self._machine:
            show_machine(self._words, machine)
