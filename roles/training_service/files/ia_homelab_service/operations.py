# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the service can do, once: REST, OpenAI's interface, MCP and the page are thin over this.

Methods block and may be called from any thread; they take plain values, return the typed ones of ``shapes``, and
raise errors of the core's family (see ``errors``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import time
import typing as t

from ia_homelab_core.artifacts.integrity import receipt_results
from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.errors import CoreError, InputError
from ia_homelab_core.ollama.client import Ollama
from ia_homelab_core.planning.declaration import read_declaration
from ia_homelab_core.planning.finetune import plan_run, plan_train, warnings_of
from ia_homelab_core.runs.run import Run
from ia_homelab_core.system import gpus
from ia_homelab_core.system.disk import free_bytes
from ia_homelab_core.system.files import tail_lines

from . import fields
from .datasets import Datasets
from .errors import ConflictError, FieldError, FieldErrors, NotFoundError
from .estimate import estimate, planned
from .events import Journal
from .jobs import Jobs, goal_of, step_of
from .models import Models
from .redact import Redactor
from .settings import Settings
from .shapes import Checkpoint, Event, Gpu, Job, Log, Machine, Model, Plan, Point, Promotion, Submitted

_MAX_LOG_LINES = 5000


class Operations:
    """What can be done with the runs, datasets and models under one data directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.data_dir)
        self.layout = self.engine.layout
        self.redactor = Redactor(_secrets(settings))
        self.jobs = Jobs(settings, self.engine, self.redactor)
        self.datasets = Datasets(settings, self.layout)
        self.models = Models(self.layout, settings.ollama_url)
        self.journal = Journal(settings, self.engine, self.jobs)

    # -- asking for runs -------------------------------------------------------------------------------------------

    def schema(self) -> dict[str, t.Any]:
        """The fields of a fine-tune as a JSON schema: what the form is made from."""
        return fields.form_schema()

    def train(
        self,
        request: t.Mapping[str, t.Any],
        goal: str = "train",
        submitted_by: str = "rest",
        note: t.Mapping[str, t.Any] | None = None,
    ) -> Submitted:
        """Ask for a fine-tune. The same request is the same job.

        :param request: fields of :func:`fields.form_schema`, in any of their spellings.
        :param goal: what it is for when the request does not say: ``train`` or ``model``.
        :param note: what a client wants to find again; it changes nothing.
        :raises FieldErrors: with every field that is wrong.
        """
        checked = fields.read(request, goal)
        run = self._run(checked, True, submitted_by)
        if note:
            run = dataclasses.replace(run, declaration={**run.declaration, "request": dict(note)})
        return self._submit(run)

    def plan(self, request: t.Mapping[str, t.Any], goal: str = "model") -> Plan:
        """What asking for it would do. Writes nothing."""
        checked = fields.read(request, goal)
        run = self._run(checked, False, "rest")
        view = self.engine.preview(run)
        plan = planned(self.settings, self.layout, run, view)
        job = self.jobs.show(view, run)
        why = {step["label"]: "; ".join(step["why"]) for step in plan["steps"] if step["changes"]}
        steps = [step.model_copy(update={"reason": why.get(step.label, step.reason)}) for step in job.steps]
        return Plan(
            job=job.model_copy(update={"steps": steps}),
            pending=view.pending,
            warnings=plan["warnings"],
            estimate=estimate(self.settings, self.layout, run, plan),
            declaration=checked.declaration,
            yaml=as_yaml(checked.declaration),
            curl=as_curl(self.settings, checked),
        )

    def _run(self, request: fields.Request, write: bool, submitted_by: str) -> Run:
        declaration, tools = request.declaration, self.settings.tools
        with _named("dataset"):
            self.datasets.load(str(declaration["dataset"]))
        if request.goal == "model":
            return plan_run(
                self.layout,
                declaration,
                tools,
                accelerator=self.settings.accelerator,
                write=write,
                submitted_by=submitted_by,
            )
        declared = read_declaration(declaration)
        run = plan_train(
            self.layout,
            declared.name,
            declared.base_model,
            declared.base_revision,
            declared.dataset,
            declared.hyper,
            tools,
            self.settings.accelerator,
            write,
            declared.memory_check,
        )
        return dataclasses.replace(run, declaration=dict(declaration), submitted_by=submitted_by)

    def _submit(self, run: Run) -> Submitted:
        known = self.engine.store.record(run.id)
        submission = self.engine.submit(run)
        self.jobs.unmark_paused(run.id)
        self.jobs.forget(run.id)
        self.jobs.keep(run)
        self.journal.sync(run.id)
        job = self.jobs.show(submission.view, run)
        created = bool(submission.pending) and not submission.attached
        return Submitted(
            **dict(job),
            created=created and (known is None or not known.is_unfinished),
            pending=list(submission.pending),
            warnings=warnings_of(run, self.layout),
            estimate=estimate(
                self.settings, self.layout, run, planned(self.settings, self.layout, run, submission.view)
            ),
        )

    def export(self, job_id: str, format: str = "gguf", submitted_by: str = "rest") -> Submitted:
        """Take what a job has trained to the model that answers in Ollama: a further run of the same fine-tune.

        :param format: ``gguf``.
        :raises ConflictError: when it has not been trained yet.
        """
        if str(format).lower() != "gguf":
            raise FieldErrors([FieldError("format", f"There is no format {format!r}.", "The format is gguf.")])
        run = self.jobs.run(job_id)
        spec = step_of(run, "train")
        if spec is None:
            raise ConflictError(f"The job {job_id} trains nothing.", "Export a job that POST /api/train has returned.")
        if goal_of(run) == "model":
            return self._submit(run)
        trained = next((step for step in self.look(job_id).steps if step.kind == "train"), None)
        if trained is None or trained.state != "whole":
            raise ConflictError(
                f"The job {job_id} has not been trained yet.",
                f"Wait until GET /api/status/{job_id} tells succeeded.",
            )
        declaration = fields.options_of(run.declaration)
        # what was trained, even if the dataset's name or the host's GPU stands for something else by now
        declaration.update(method=spec.options["resolved"]["method"])
        dataset = spec.upstream["dataset"]
        pinned = {
            str(declaration.get("dataset")): {
                "fingerprint": dataset,
                "outcome": receipt_results(self.layout, "dataset", dataset),
            }
        }
        export = plan_run(
            self.layout,
            declaration,
            self.settings.tools,
            datasets=pinned,
            accelerator=self.settings.accelerator,
            submitted_by=submitted_by,
        )
        found = step_of(export, "train")
        if found is None or found.fingerprint != spec.fingerprint:
            raise ConflictError(f"{run.name} is declared otherwise than {job_id} was trained.", "Train it again.")
        return self._submit(dataclasses.replace(export, declaration={**export.declaration, "trained_by": job_id}))

    def cancel(self, job_id: str) -> Job:
        """Stop a job, its checkpoint kept; one that has ended is left as it is."""
        self.jobs.run(job_id)
        self.engine.cancel(job_id)
        self.jobs.forget(job_id)
        self.journal.sync(job_id)
        return self.look(job_id)

    def pause(self, job_id: str) -> Job:
        """Stop a job for a while: :meth:`resume` goes on from its checkpoint.

        :raises ConflictError: when it has ended.
        """
        if self.look(job_id).ended:
            raise ConflictError(f"The job {job_id} has ended: there is nothing to pause.")
        self.jobs.mark_paused(job_id)
        self.engine.cancel(job_id)
        self.jobs.forget(job_id)
        self.journal.sync(job_id)
        return self.look(job_id)

    def resume(self, job_id: str) -> Submitted:
        """Go on with a paused, cancelled or failed job from its last checkpoint."""
        job = self.look(job_id)
        if job.status == "succeeded":
            raise ConflictError(f"The job {job_id} has succeeded: there is nothing to go on with.")
        tools = self.settings.tools
        return self._submit(dataclasses.replace(self.jobs.run(job_id), toolchain=tools, runner=tools.runner))

    def retry(self, job_id: str) -> Submitted:
        """The same for a job that failed."""
        return self.resume(job_id)

    # -- looking ---------------------------------------------------------------------------------------------------

    def look(self, job_id: str) -> Job:
        """A job as it stands now.

        :raises NotFoundError: when there is none.
        """
        return self.jobs.look(job_id)

    def look_json(self, job_id: str) -> bytes:
        """The same as JSON."""
        job = self.look(job_id)
        return self.jobs.fresh(job_id) or job.model_dump_json().encode("utf-8")

    def list_jobs(self, limit: int = 50, name: str = "", status: str = "") -> list[Job]:
        """Active jobs in the order of the queue, then the latest ended ones."""
        found = self.jobs.all(limit)
        return [job for job in found if (not name or job.name == name) and (not status or job.status == status)]

    def wait(self, job_id: str, seconds: float) -> Job:
        """A job once it has ended, or as it stands after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            job = self.look(job_id)
            if job.ended or time.monotonic() >= end:
                return job
            time.sleep(min(0.25, max(0.0, end - time.monotonic())))

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """What has happened to a job, from the event after that id on."""
        self.jobs.run(job_id)
        if not self.journal.settled(job_id):
            self.journal.sync(job_id)  # who has just seen a job's end finds it among its events, too
        return self.journal.read(job_id, after, limit)

    def log(self, job_id: str, lines: int = 200, step: str = "") -> Log:
        """The end of the output of a job's step at work, or of its last one, or of a named one."""
        run = self.jobs.run(job_id)
        record = self.engine.store.record(job_id)
        attempts = [job for job in record.jobs if not step or job.label == step] if record else []
        if step and step not in {one.label for one in run.steps}:
            labels = ", ".join(one.label for one in run.steps)
            raise NotFoundError(f"The job {job_id} has no step {step!r}.", f"Its steps are {labels}.")
        if not attempts:
            return Log(job_id=job_id, step=step, lines=[])
        path = os.path.join(attempts[-1].directory, "log.txt")
        wanted = max(0, min(lines, _MAX_LOG_LINES))
        tail = tail_lines(path, wanted, 1024 * 1024) if wanted else []
        return Log(job_id=job_id, step=attempts[-1].label, lines=[self.redactor.text(line) for line in tail])

    def curve(self, job_id: str, limit: int = 2000) -> list[Point]:
        """The training's losses and learning rates."""
        return self.jobs.curve(job_id, limit)

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """The points that a job's training can go on from, the last first."""
        return self.jobs.checkpoints(job_id)

    def machine(self) -> Machine:
        """What there is to train on, and who has it."""
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
        """Registered models with where they come from, the latest first."""
        return self.models.all(name)

    def promote(self, tag: str) -> Promotion:
        """Let the name that people use stand for this model."""
        return self.models.promote(tag)

    def rollback(self, name: str, to: str = "") -> Promotion:
        """Let it stand for the version before again, or for a named one."""
        return self.models.rollback(name, to)

    def release(self, name: str) -> bool:
        """End the hold that a rollback has left; False when there was none."""
        return self.models.release(name)

    # -- keeping it moving -----------------------------------------------------------------------------------------

    def reconcile(self) -> list[str]:
        """Settle what has ended, start what is next, write down what happened; ids of runs that got new events."""
        active = self.engine.store.active()
        if any(one.current_job is None or not one.current_job.is_supervised() for one in active):
            self.engine.reconcile()
        return [one.id for one in active if self.journal.sync(one.id)]


@contextlib.contextmanager
def _named(field: str) -> t.Iterator[None]:
    """Within it an error of the core is one of that field."""
    try:
        yield
    except InputError as error:
        raise FieldErrors([FieldError(field, error.message, error.hint)]) from error


def _secrets(settings: Settings) -> list[str]:
    if not settings.token_file:
        return []
    try:
        with open(settings.token_file, encoding="utf-8") as stream:
            return [stream.read().strip()]
    except (OSError, ValueError):
        return []


def as_yaml(declaration: t.Mapping[str, t.Any]) -> str:
    """A declaration as an entry of ``finetunes`` in an inventory. JSON's scalars and flow forms are YAML's."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in declaration.items()]
    return "finetunes:\n" + "".join(f"  {'-' if not index else ' '} {line}\n" for index, line in enumerate(lines))


def as_curl(settings: Settings, request: fields.Request) -> str:
    """A request for the same, to paste into a shell."""
    host = "127.0.0.1" if settings.on_loopback else settings.host
    body = json.dumps({**request.declaration, "goal": request.goal}, ensure_ascii=False)
    lines = [f"curl -X POST http://{host}:{settings.port}/api/train", "-H 'Content-Type: application/json'"]
    if settings.tokens_file:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    return " \\\n  ".join([*lines, f"-d {shlex.quote(body)}"])
