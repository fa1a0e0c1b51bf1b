# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools and resources that language models get.

Clients commonly give up on a call after a minute: no call takes longer than :data:`MAX_WAIT_SECONDS`, and those that
start a training return at once. Each result says what to call next.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
import typing as t

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.server.mcpserver.tools.base import Tool
from mcp_types import ToolAnnotations

from ia_homelab_core.artifacts.kinds import PARENTS
from ia_homelab_core.errors import CoreError

from ..application import schemas
from ..application.errors import DeniedError, NotFoundError
from ..application.operations import Operations
from ..http.access import READ, TRAIN
from ..http.security import check_scopes
from .arguments import CheckedTool, request_of, tool_errors
from .evaluations import to_info
from .schemas import DatasetList, Estimated, EvaluationInfo, JobInfo, JobList

#: Longest time that a request for the status may wait.
MAX_WAIT_SECONDS = 25.0
#: Seconds after which starting a training returns, even if the hub has not resolved the base model yet.
START_TIMEOUT_SECONDS = 1.5
#: Seconds between two polls while waiting.
_POLL_SECONDS = 0.5
#: What happens when a run is submitted again. Not every one has a checkpoint: it may have been stopped in the queue.
_RESUMED = "What is complete is not made again, and a training resumes from its last checkpoint if it has written one."
#: Largest number of log lines in a resource.
_MAX_LOG_LINES = 500

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
STARTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

#: Returns the scopes of a request.
ScopeLookup = t.Callable[[t.Any], t.Container[str]]

_Method = t.TypeVar("_Method", bound=t.Callable[..., t.Coroutine[t.Any, t.Any, t.Any]])


def needs(scope: str, error_class: type[Exception] = ToolError) -> t.Callable[[_Method], _Method]:
    """Declare the scope that a tool or resource needs.

    :param error_class: what is raised when the caller lacks it.
    """

    def declare(method: _Method) -> _Method:
        @functools.wraps(method)
        async def checked(self: Tools, *arguments: t.Any, ctx: Context[t.Any, t.Any], **options: t.Any) -> t.Any:
            try:
                self.check_scope(ctx, scope)
            except DeniedError as error:
                raise error_class(str(error)) from None  # the message is all there is to it
            return await method(self, *arguments, ctx=ctx, **options)

        checked.scope = scope  # type: ignore[attr-defined]
        return t.cast(_Method, checked)

    return declare


class Tools:
    """The tools and resources."""

    def __init__(self, operations: Operations, scopes: ScopeLookup) -> None:
        self._operations, self._scopes = operations, scopes
        #: Submissions in progress, by their arguments.
        self._submissions: dict[str, asyncio.Future[schemas.Submitted]] = {}

    def all(self) -> list[Tool]:
        """Return the tools."""
        return [
            CheckedTool.of(self.llamafactory_train, "Start a fine-tune", STARTS, takes_options=True),
            CheckedTool.of(self.llamafactory_status, "Status of a job", READS),
            CheckedTool.of(self.llamafactory_cancel, "Stop a job", STOPS),
            CheckedTool.of(self.llamafactory_export, "Export to Ollama", STARTS),
            CheckedTool.of(self.llamafactory_list, "List jobs", READS),
            CheckedTool.of(self.llamafactory_estimate, "Estimate a fine-tune", READS, takes_options=True),
            CheckedTool.of(self.llamafactory_datasets, "List datasets", READS),
            CheckedTool.of(self.llamafactory_evaluation, "Evaluation of a model", READS),
        ]

    def add_resources(self, server: MCPServer[t.Any]) -> None:
        """Register the resources."""
        server.resource(
            "llamafactory://jobs/{job_id}/log", name="job log", mime_type="text/plain",
            description="The end of the output of a job's step at work, or of its last one.",
        )(self.log)  # fmt: skip
        server.resource(
            "llamafactory://jobs/{job_id}", name="job", mime_type="application/json",
            description="All that is known of a job.",
        )(self.job)  # fmt: skip
        server.resource(
            "llamafactory://receipts/{kind}/{fingerprint}", name="receipt", mime_type="application/json",
            description="What a result was made from, with which settings and versions, and what was measured.",
        )(self.receipt)  # fmt: skip

    # -- tools -------------------------------------------------------------------------------------------------

    @needs(TRAIN)
    async def llamafactory_train(
        self,
        ctx: Context[t.Any, t.Any],
        model: str = "qwen2.5:7b",
        method: str = "lora",
        dataset: str = "homelab",
        options: dict[str, t.Any] | None = None,
    ) -> JobInfo:
        """Start a fine-tune of a model with LLaMA-Factory. Answers at once; the same request again is the same job.

        Args:
            model: Base model: an Ollama-style name, a Hugging Face id, or a directory on the PC IA.
            method: lora, qlora, full, freeze, or auto (chosen from the GPU's memory, with the reason).
            dataset: Name of a dataset that llamafactory_datasets lists.
            options: Further options, by their names in playbooks, such as lr_scheduler, warmup_ratio, gate, extra.
        """
        with tool_errors():
            request = request_of(model, method, dataset, options)
        key = json.dumps(request, sort_keys=True, default=str)
        submission = self._submissions.get(key)
        if submission is None:
            submission = asyncio.ensure_future(asyncio.to_thread(self._operations.train, request, "train", "mcp"))
            self._submissions[key] = submission
            submission.add_done_callback(lambda _done: self._submissions.pop(key, None))
        done, _pending = await asyncio.wait([submission], timeout=START_TIMEOUT_SECONDS)
        if not done:
            return JobInfo(
                job_id="", status="starting", base_model=model, dataset=dataset, method=method,
                message=f"The hub is still being asked what {model} stands for.",
                next="Call llamafactory_train again with the same arguments in some seconds: it is the same job.",
            )  # fmt: skip
        with tool_errors():
            submitted = submission.result()
        return self._job_info(submitted, warnings=submitted.warnings)

    @needs(READ)
    async def llamafactory_status(self, ctx: Context[t.Any, t.Any], job_id: str, wait_seconds: float = 0.0) -> JobInfo:
        """How a job stands. With wait_seconds, answers when it has ended, or after so many seconds (at most 25).

        Args:
            job_id: The id that llamafactory_train has returned.
            wait_seconds: How long to wait for its end.
        """
        end = time.monotonic() + max(0.0, min(wait_seconds, MAX_WAIT_SECONDS))
        while True:
            job = await self._call(self._operations.get_job, job_id)
            if job.ended or time.monotonic() >= end:
                return self._job_info(job)
            if job.progress is not None and job.progress.percent is not None:
                await ctx.report_progress(job.progress.percent, 100, job.current_step)
            await asyncio.sleep(min(_POLL_SECONDS, max(0.0, end - time.monotonic())))

    @needs(TRAIN)
    async def llamafactory_cancel(self, ctx: Context[t.Any, t.Any], job_id: str) -> JobInfo:
        """Stop a job gracefully. What it has made is kept: submitting the same training again resumes it.

        Args:
            job_id: The id of the job.
        """
        return self._job_info(await self._call(self._operations.cancel, job_id))

    @needs(TRAIN)
    async def llamafactory_export(
        self, ctx: Context[t.Any, t.Any], job_id: str, format: t.Literal["gguf"] = "gguf"
    ) -> JobInfo:
        """Merge what a job has trained, convert it to GGUF, quantize it and register it in Ollama. Answers at once.

        Args:
            job_id: The id of a training that has succeeded.
            format: gguf.
        """
        submitted = await self._call(self._operations.export, job_id, format, "mcp")
        return self._job_info(submitted, warnings=submitted.warnings)

    @needs(READ)
    async def llamafactory_list(self, ctx: Context[t.Any, t.Any], limit: int = 10, status: str = "") -> JobList:
        """Jobs: those at work in the order of the queue, then the latest that have ended.

        Args:
            limit: How many ended ones at most (up to 50).
            status: Only those of this status: queued, running, paused, succeeded, failed or cancelled.
        """
        jobs = await self._call(self._operations.list_jobs, max(0, min(limit, 50)), "", status)
        hint = "llamafactory_status has the details of one." if jobs else "llamafactory_train starts one."
        return JobList(jobs=[self._job_info(job) for job in jobs], next=hint)

    @needs(READ)
    async def llamafactory_estimate(
        self,
        ctx: Context[t.Any, t.Any],
        model: str = "qwen2.5:7b",
        method: str = "auto",
        dataset: str = "homelab",
        options: dict[str, t.Any] | None = None,
    ) -> Estimated:
        """What a fine-tune would do and take: steps, GPU memory, disk, time. Starts nothing and writes nothing.

        Args:
            model: Base model, as for llamafactory_train.
            method: lora, qlora, full, freeze or auto.
            dataset: Name of a dataset.
            options: Further options, as for llamafactory_train.
        """
        with tool_errors():
            request = request_of(model, method, dataset, options)
        plan = await self._call(self._operations.plan, request, "train")  # as llamafactory_train
        fits = plan.estimate.fits
        hint = "llamafactory_train with the same arguments starts it."
        if fits is False:
            hint = f"It does not fit this machine. {plan.estimate.advice or 'Try method qlora, or a smaller model.'}"
        elif not plan.pending:
            hint = "Nothing has to be started."
        return Estimated(
            summary=[said.text for said in plan.summary], to_be_made=plan.pending,
            method=plan.job.method, method_reason=plan.job.method_reason,
            estimate=plan.estimate, warnings=plan.warnings, inventory=plan.yaml, next=hint,
            unchecked=_unchecked_in(plan),
        )  # fmt: skip

    @needs(READ)
    async def llamafactory_datasets(self, ctx: Context[t.Any, t.Any]) -> DatasetList:
        """The datasets that can be trained on, with their rows, formats and system prompts."""
        datasets = await self._call(self._operations.datasets.all)
        usable = [dataset.name for dataset in datasets if dataset.managed]
        hint = f'llamafactory_estimate or llamafactory_train with dataset "{usable[0]}".' if usable else (
            "There is none yet: it is published with the Ansible module dataset, on the page, or by POST /api/datasets."
        )  # fmt: skip
        return DatasetList(datasets=datasets, next=hint)

    @needs(READ)
    async def llamafactory_evaluation(
        self, ctx: Context[t.Any, t.Any], model: str, against: str = "", limit: int = 5
    ) -> EvaluationInfo:
        """How good a version of a model is: its measures against what was served, its requirements, its worst answers.

        Args:
            model: A version (its tag, such as homelab-model:3fa9c1d2e4b5-q4_K_M) or a name that is served.
            against: What to compare its answers with: served, base, or another version. By default what was served.
            limit: How many answers at most, those that became worse first (up to 20).
        """
        evaluations = self._operations.evaluations
        found = await self._call(evaluations.get, model)
        page = await self._call(evaluations.questions, model, against, 0, max(1, min(limit, 20)))
        return to_info(found, page)

    # -- resources ---------------------------------------------------------------------------------------------

    @needs(READ, ResourceError)
    async def log(self, job_id: str, ctx: Context[t.Any, t.Any]) -> str:
        """The end of a job's log."""
        log = await self._read_resource(self._operations.log, job_id, _MAX_LOG_LINES)
        return "\n".join(log.lines)

    @needs(READ, ResourceError)
    async def job(self, job_id: str, ctx: Context[t.Any, t.Any]) -> str:
        """All that is known of a job."""
        job = await self._read_resource(self._operations.get_job, job_id)
        return str(job.model_dump_json(indent=2))

    @needs(READ, ResourceError)
    async def receipt(self, kind: str, fingerprint: str, ctx: Context[t.Any, t.Any]) -> str:
        """The receipt of a result."""
        if kind not in PARENTS:
            raise ResourceNotFoundError(f"There is no kind of result {kind!r}: {', '.join(PARENTS)}.")
        receipt = await self._read_resource(self._operations.layout.receipt, kind, fingerprint)
        if receipt is None:
            raise ResourceNotFoundError(f"There is no receipt of a {kind} {fingerprint[:12]}.")
        return json.dumps(self._operations.redactor.value(receipt), indent=2, ensure_ascii=False)

    async def _read_resource(self, operation: t.Callable[..., t.Any], *arguments: t.Any) -> t.Any:
        try:
            return await asyncio.to_thread(operation, *arguments)
        except NotFoundError as error:
            raise ResourceNotFoundError(str(error)) from None
        except CoreError as error:
            raise ResourceError(str(error)) from error

    # -- helpers -----------------------------------------------------------------------------------------------

    def check_scope(self, ctx: Context[t.Any, t.Any], scope: str) -> None:
        """Check the scopes of a request.

        :raises DeniedError: when it lacks the scope.
        """
        check_scopes([scope], self._scopes(ctx.request_context.request))

    async def _call(self, operation: t.Callable[..., t.Any], *arguments: t.Any) -> t.Any:
        with tool_errors():
            return await asyncio.to_thread(functools.partial(operation, *arguments))

    def _job_info(self, job: schemas.Job, warnings: t.Sequence[str] = ()) -> JobInfo:
        progress = job.progress if not job.ended else None
        receipts = [
            f"llamafactory://receipts/{step.kind}/{step.fingerprint}" for step in job.steps if step.state == "whole"
        ]
        message, hint = _describe(job)
        return JobInfo(
            job_id=job.job_id, name=job.name, status=job.status, state=job.state.text,
            message=message, next=hint, step=job.current_step,
            percent=progress.percent if progress else None, loss=progress.loss if progress else None,
            eta_seconds=progress.eta_seconds if progress else None, position=job.position,
            base_model=job.base_model, dataset=job.dataset, method=job.method, model=job.model, error=job.error,
            warnings=list(warnings),
            unchecked=_unchecked(job),
            findings=[" ".join(filter(None, (one.text, one.hint))) for one in job.findings],
            evaluations=[f"{tag}: {line.text}" for tag, line in job.evaluations.items()],
            resources=[f"llamafactory://jobs/{job.job_id}/log", *receipts],
        )  # fmt: skip


def _unchecked_in(plan: schemas.Plan) -> list[str]:
    """Return what a plan has not checked, each with the reason: the files of the base, and complete steps."""
    base = [f"The files of the base model were not checked: {plan.base_unchecked}"] if plan.base_unchecked else []
    said = ((step.label, cause) for step in plan.job.steps for cause in step.causes)
    return [*base, *(f"{label}: {cause.text}" for label, cause in said if cause.code == "planning.step_kept_unchecked")]


def _unchecked(job: schemas.Job) -> list[str]:
    """Return the complete steps of a job that were not checked, each with the reason."""
    return [f"{step.label}: {step.reason}" for step in job.steps if step.state == "whole" and step.reason]


def _describe(job: schemas.Job) -> tuple[str, str]:
    """Return the state of a job in a sentence, and what to do next."""
    wait = f"llamafactory_status with job_id {job.job_id} and wait_seconds {MAX_WAIT_SECONDS:.0f} follows it."
    if job.cancelling:
        return "It was asked to stop.", wait
    if job.status == "queued":
        waits_for = f", for {job.waiting_for}" if job.waiting_for else ""
        return f"It waits in the queue{waits_for}.", wait
    if job.status == "running":
        share = f" ({job.progress.percent} %)" if job.progress and job.progress.percent is not None else ""
        return f"{job.current_step or 'It'} is at work{share}.", wait
    if job.status == "failed":
        problem = job.error or schemas.Problem(message="It failed.")
        again = f"Fix that, then call llamafactory_train with the same arguments. {_RESUMED}"
        return problem.message, f"{problem.hint} {again}".strip()
    if job.status in ("cancelled", "paused"):
        return f"It was {'paused' if job.status == 'paused' else 'stopped'}.", (
            f"llamafactory_train with the same arguments resumes it. {_RESUMED}"
        )
    place = job.place.text if job.place is not None else ""
    if job.goal == "train":
        return f"It is trained. {place}".strip(), f"llamafactory_export with job_id {job.job_id} takes it to Ollama."
    if job.model:
        return f"The model {job.model} is served by Ollama.", f"Ask it: it is the model {job.model!r} in Ollama."
    return f"All of it is there. {place}".strip(), "Nothing is left to do."
