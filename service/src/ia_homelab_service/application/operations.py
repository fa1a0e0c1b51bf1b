# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the service can do. REST, OpenAI's interface, MCP and the page are thin layers over this.

Methods block and may be called from any thread. They take plain values, return the types of ``schemas``, and raise
subclasses of the core's error (see ``errors``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import time
import typing as t

from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.errors import CoreError, InputError
from ia_homelab_core.messages.message import Message
from ia_homelab_core.messages.suggestions import nearest
from ia_homelab_core.ollama.client import Ollama
from ia_homelab_core.planning import planner, statements
from ia_homelab_core.planning.request import Host, Request
from ia_homelab_core.runs.names import LOG_FILE
from ia_homelab_core.runs.run import Job as CoreJob
from ia_homelab_core.runs.run import Run
from ia_homelab_core.runs.states import RunState, StepState
from ia_homelab_core.system import gpus
from ia_homelab_core.system.disk import free_bytes
from ia_homelab_core.system.files import tail_lines

from ..settings import Settings
from . import failures, finetune_request
from .datasets import Datasets
from .errors import ConflictError, FieldError, FieldErrors, NotFoundError
from .estimate import core_plan, estimate
from .evaluations import VersionEvaluations
from .events import Journal
from .jobs import Jobs, goal_of, step_spec
from .models import Models
from .redaction import Redactor
from .schemas import (
    Checkpoint,
    Event,
    Gpu,
    Job,
    Log,
    LogCause,
    Machine,
    MessageBody,
    Model,
    Plan,
    Point,
    Promotion,
    Status,
    Step,
    Submitted,
)

_MAX_LOG_LINES = 5000


class Operations:
    """Operations on the runs, datasets and models of a data directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.data_dir)
        self.layout = self.engine.layout
        self.redactor = Redactor(_known_secrets(settings))
        self.jobs = Jobs(settings, self.engine, self.redactor)
        self.datasets = Datasets(settings, self.layout)
        self.models = Models(self.layout, settings.ollama_url)
        self.evaluations = VersionEvaluations(self.layout, self.models)
        self.journal = Journal(settings, self.engine, self.jobs)
        #: Called after each operation that changes the queue; the watcher polls the store then.
        self.on_queue_change: t.Callable[[], None] | None = None

    # -- submitting runs -------------------------------------------------------------------------------------------

    def schema(self) -> dict[str, t.Any]:
        """Return the JSON schema of a fine-tune request."""
        return finetune_request.form_schema()

    def train(
        self,
        request: t.Mapping[str, t.Any],
        goal: str = "train",
        submitted_by: str = "rest",
        client_data: t.Mapping[str, t.Any] | None = None,
    ) -> Submitted:
        """Submit a fine-tune. The same request is the same job.

        :param request: fields of :func:`finetune_request.form_schema`, in any of their spellings.
        :param goal: the goal if the request has none: ``train`` or ``model``.
        :param client_data: values stored for the client; they have no effect on the job.
        :raises FieldErrors: with every invalid field.
        """
        checked = self._parse(request, goal)
        run = self._plan_finetune(checked, self._host(submitted_by))
        if client_data:
            run = dataclasses.replace(run, declaration={**run.declaration, "request": dict(client_data)})
        return self._submit(run)

    def plan(self, request: t.Mapping[str, t.Any], goal: str = "model") -> Plan:
        """Return what submitting the request would do. Writes nothing."""
        checked = self._parse(request, goal)
        run = self._plan_finetune(checked, self._host(write=False))
        view = self.engine.preview(run)
        plan = core_plan(self.settings, self.layout, run, view, self.engine.obstacles([run]))
        job = self.jobs.describe(view, run)
        planned = {step["label"]: step for step in plan["steps"]}
        steps = [_as_planned(step, planned[step.label]) for step in job.steps]
        return Plan(
            job=job.model_copy(update={"steps": steps}),
            pending=view.pending,
            summary=[MessageBody(**said.as_dict()) for said in statements.of_plan(plan)],
            warnings=plan["warnings"],
            warning_messages=plan["warning_messages"],
            base_unchecked=plan["base_unchecked"],
            base_unchecked_message=plan["base_unchecked_message"] or None,
            estimate=estimate(self.settings, self.layout, run, plan),
            declaration=checked.declaration,
            yaml=as_yaml(checked.declaration),
            curl=as_curl(self.settings, checked),
        )

    def _parse(self, request: t.Mapping[str, t.Any], goal: str) -> finetune_request.FinetuneRequest:
        return finetune_request.parse_request(request, goal, allow_remote_code=self.settings.allow_remote_code)

    def _plan_finetune(self, request: finetune_request.FinetuneRequest, host: Host) -> Run:
        with finetune_request.errors_by_field(request):
            return planner.plan(self.layout, request.checked, host)

    def _host(self, submitted_by: str = "rest", write: bool = True) -> Host:
        return Host(self.settings.tools, self.settings.accelerator, write=write, submitted_by=submitted_by)

    def _submit(self, run: Run) -> Submitted:
        record = self.engine.store.record(run.id)
        obstacles = self.engine.check_start([run])
        submission = self.engine.submit(run)
        self.jobs.clear_paused(run.id)
        self.jobs.remember_request(run)
        self._queue_changed(run.id)
        job = self.jobs.describe(submission.view, run)
        created = bool(submission.pending) and not submission.attached
        warnings = [*planner.warnings_of(run, self.layout), *obstacles]
        return Submitted(
            **dict(job),
            created=created and (record is None or not record.is_unfinished),
            pending=list(submission.pending),
            warnings=[str(warning) for warning in warnings],
            warning_messages=[MessageBody(**warning.as_dict()) for warning in warnings],
            estimate=estimate(
                self.settings, self.layout, run, core_plan(self.settings, self.layout, run, submission.view)
            ),
        )

    def _queue_changed(self, job_id: str) -> None:
        """Make a change of the queue visible at once: to readers of the job and its events, and to the watcher."""
        self.jobs.invalidate(job_id)
        self.journal.sync(job_id)
        if self.on_queue_change is not None:
            self.on_queue_change()

    def export(self, job_id: str, format: str = "gguf", submitted_by: str = "rest") -> Submitted:
        """Submit a run that registers a trained job as a model in Ollama: a further run of the same fine-tune.

        :param format: ``gguf``.
        :raises ConflictError: when the job has not been trained yet.
        """
        if str(format).lower() != "gguf":
            raise FieldErrors([FieldError("format", Message("service.export_format_unknown", format=format))])
        run = self.jobs.run(job_id)
        training = step_spec(run, "train")
        if training is None:
            raise ConflictError("service.job_trains_nothing", job=job_id)
        if goal_of(run) == "model":
            return self._submit(run)
        trained = next((step for step in self.get_job(job_id).steps if step.kind == "train"), None)
        if trained is None or trained.state != StepState.WHOLE:
            raise ConflictError("service.job_not_trained", job=job_id)
        declaration = finetune_request.declared_options(run.declaration)
        declaration.update(method=training.options["resolved"]["method"])
        # continues from what was trained, even if the dataset's name or the declared base stands for another one now
        request = Request.export(declaration, training.fingerprint)
        export = planner.plan(self.layout, request, self._host(submitted_by))
        return self._submit(dataclasses.replace(export, declaration={**export.declaration, "trained_by": job_id}))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and keep its checkpoint; no-op if it has ended."""
        self.jobs.run(job_id)
        self.engine.cancel(job_id)
        self._queue_changed(job_id)
        return self.get_job(job_id)

    def pause(self, job_id: str) -> Job:
        """Pause a job: :meth:`resume` continues from its checkpoint.

        :raises ConflictError: when it has ended.
        """
        if self.get_job(job_id).ended:
            raise ConflictError("service.job_ended", job=job_id)
        self.jobs.set_paused(job_id)
        self.engine.cancel(job_id)
        self._queue_changed(job_id)
        return self.get_job(job_id)

    def resume(self, job_id: str) -> Submitted:
        """Resume a paused, cancelled or failed job from its last checkpoint."""
        job = self.get_job(job_id)
        if job.status == "succeeded":
            raise ConflictError("service.job_succeeded", job=job_id)
        tools = self.settings.tools
        return self._submit(dataclasses.replace(self.jobs.run(job_id), toolchain=tools, runner=tools.runner))

    def retry(self, job_id: str) -> Submitted:
        """Resume a failed job."""
        return self.resume(job_id)

    def dismiss(self, job_id: str) -> Job:
        """Remove an ended job with its logs and events; what it has made is kept. Return it as it was.

        :raises ConflictError: when it is queued or running.
        """
        job = self.get_job(job_id)
        if self.engine.store.is_active(job_id):
            raise ConflictError("runs.dismiss_active", run=job_id)
        try:
            self.engine.dismiss(job_id)
        except InputError as error:  # submitted again in the meantime
            raise ConflictError(error.content) from error
        self.jobs.forget(job_id)
        self.journal.forget(job_id)
        if self.on_queue_change is not None:
            self.on_queue_change()
        return job

    # -- reading ---------------------------------------------------------------------------------------------------

    def get_job(self, job_id: str) -> Job:
        """Return the current state of a job.

        :raises NotFoundError: when there is none.
        """
        return self.jobs.get(job_id)

    def job_json(self, job_id: str) -> bytes:
        """Return the current state of a job as JSON."""
        job = self.get_job(job_id)
        return self.jobs.cached_json(job_id) or job.model_dump_json().encode("utf-8")

    def list_jobs(self, limit: int = 50, name: str = "", status: str = "") -> list[Job]:
        """Return active jobs in the order of the queue, then the latest finished ones.

        :param limit: the largest number of finished ones, of those that the other parameters select.
        :param name: only jobs of that fine-tune; empty for all.
        :param status: only jobs in that status; empty for all.
        :raises FieldErrors: for an unknown status.
        """
        known = t.get_args(Status)
        if status and status not in known:
            suggestion = nearest(status, known) or Message("errors.known", names=list(known))
            raise FieldErrors(
                [FieldError("status", Message("service.status_unknown", status=status, suggestion=suggestion))]
            )
        if not name and not status:
            return self.jobs.all(limit)
        return self.jobs.all(limit, lambda job: (not name or job.name == name) and (not status or job.status == status))

    def wait(self, job_id: str, seconds: float) -> Job:
        """Wait until a job has ended, at most so many seconds, and return it."""
        end = time.monotonic() + seconds
        while True:
            job = self.get_job(job_id)
            if job.ended or time.monotonic() >= end:
                return job
            time.sleep(min(0.25, max(0.0, end - time.monotonic())))

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return the events of a job with ids greater than ``after``."""
        self._sync_events(job_id)
        return self.journal.read(job_id, after, limit)

    def latest_events(self, job_id: str, before: int | None = None, limit: int = 1000) -> list[Event]:
        """Return the last events of a job with ids less than ``before``, the latest first.

        :param before: None for all events.
        """
        self._sync_events(job_id)
        count = self.journal.count(job_id)
        end = count if before is None else min(max(before - 1, 0), count)
        start = max(0, end - limit)
        return self.journal.read(job_id, start, end - start)[::-1] if end else []

    def _sync_events(self, job_id: str) -> None:
        self.jobs.run(job_id)
        if not self.journal.is_current(job_id):
            self.journal.sync(job_id)  # a client that has seen the end of a job also finds it in the events

    def log(self, job_id: str, lines: int = 200, step: str = "") -> Log:
        """Return the last lines of output of a job's current step, its last step, or a given step.

        For an attempt that failed, with the first cause of that, wherever in the log it is.
        """
        run = self.jobs.run(job_id)
        record = self.engine.store.record(job_id)
        attempts = [job for job in record.jobs if not step or job.label == step] if record else []
        if step and step not in {one.label for one in run.steps}:
            labels = ", ".join(one.label for one in run.steps)
            raise NotFoundError("service.step_unknown", job=job_id, step=step, known=labels)
        if not attempts:
            return Log(job_id=job_id, step=step, lines=[])
        path = os.path.join(attempts[-1].directory, LOG_FILE)
        count = max(0, min(lines, _MAX_LOG_LINES))
        tail = tail_lines(path, count, 1024 * 1024) if count else []
        cause = failures.cause_in(path) if _failed_in_its_command(attempts[-1]) else None
        return Log(
            job_id=job_id,
            step=attempts[-1].label,
            path=path,
            lines=[self.redactor.text(line) for line in tail],
            cause=LogCause(**self.redactor.value(cause.as_dict())) if cause is not None else None,
        )

    def curve(self, job_id: str, limit: int = 2000) -> list[Point]:
        """Return losses and learning rates of a training."""
        return self.jobs.curve(job_id, limit)

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """Return the checkpoints that a job's training can resume from, the last first."""
        return self.jobs.checkpoints(job_id)

    def machine(self) -> Machine:
        """Return the GPUs and resources of this machine, and the run that uses them."""
        queue = self.engine.store.active()
        holder = next((one.id for one in queue if one.current_job is not None and one.current_job.exclusive), "")
        loaded: list[str] | None = None
        with contextlib.suppress(CoreError):
            loaded = [str(one.get("name", "")) for one in Ollama(self.settings.ollama_url, timeout=3.0).ps()]
        return Machine(
            accelerator=gpus.accelerator(self.settings.accelerator),
            gpus=[Gpu(**dataclasses.asdict(gpu)) for gpu in gpus.gpus()],
            holder=holder,
            queue=[one.id for one in queue],
            disk_free_bytes=free_bytes(self.layout.root),
            loaded_models=loaded,
        )

    # -- models ----------------------------------------------------------------------------------------------------

    def list_models(self, name: str = "") -> list[Model]:
        """Return registered models with their lineage, the latest first."""
        return self.models.all(name)

    def promote(self, tag: str) -> Promotion:
        """Point the public name at this model."""
        return self.models.promote(tag)

    def delete_model(self, tag: str) -> list[str]:
        """Delete a version of a model; return its tags, one for each quantization."""
        return self.models.delete(tag)

    def rollback(self, name: str, to: str = "") -> Promotion:
        """Point the public name at the previous version, or at the given one."""
        return self.models.rollback(name, to)

    def release(self, name: str) -> bool:
        """Release the hold of a rollback; False if there was none."""
        return self.models.release(name)

    # -- queue -----------------------------------------------------------------------------------------------------

    def reconcile(self) -> list[str]:
        """Finalize finished jobs, start the next ones, write events; return ids of runs with new events."""
        active = self.engine.store.active()
        if any(one.current_job is None or not one.current_job.is_supervised() for one in active):
            self.engine.reconcile()
        return [one.id for one in active if self.journal.sync(one.id)]


def _failed_in_its_command(attempt: CoreJob) -> bool:
    """Whether an attempt failed because its command did, so that the log says why; else the error has all of it."""
    outcome = attempt.outcome or {}
    details = (outcome.get("error") or {}).get("details")
    return outcome.get("state") == RunState.FAILED and isinstance(details, dict) and "log_tail" in details


def _as_planned(step: Step, planned: t.Mapping[str, t.Any]) -> Step:
    """Return a step with what the plan says of it as its reason."""
    said = statements.of_step(planned)
    causes = [MessageBody(**message.as_dict()) for message in said]
    return step.model_copy(update={"reason": "; ".join(message.text for message in said), "causes": causes})


def _known_secrets(settings: Settings) -> list[str]:
    if not settings.token_file:
        return []
    try:
        with open(settings.token_file, encoding="utf-8") as stream:
            return [stream.read().strip()]
    except (OSError, ValueError):
        return []


def as_yaml(declaration: t.Mapping[str, t.Any]) -> str:
    """Return a declaration as an entry of ``finetunes`` in an inventory. JSON values are valid YAML."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in declaration.items()]
    return "finetunes:\n" + "".join(f"  {'-' if not index else ' '} {line}\n" for index, line in enumerate(lines))


def as_curl(settings: Settings, request: finetune_request.FinetuneRequest) -> str:
    """Return a shell command that sends the request."""
    body = json.dumps({**request.declaration, "goal": request.goal}, ensure_ascii=False)
    lines = [f"curl -X POST {settings.url}/api/train", "-H 'Content-Type: application/json'"]
    if not settings.no_token:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    return " \\\n  ".join([*lines, f"-d {shlex.quote(body)}"])
