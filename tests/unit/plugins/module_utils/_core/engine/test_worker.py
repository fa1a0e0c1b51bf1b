# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker process of a step: its exit status, and the error that the supervisor reads."""

from __future__ import annotations

import errno
import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core import main as core_main
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import worker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_access import (
    holder_of,
    ollama_access,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import registry, worker_command
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


class Job(t.NamedTuple):
    """A job whose step does what a test sets."""

    directory: Path
    does: dict[str, t.Callable[[StepContext], None]]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    lab = Lab(tmp_path)
    run: Run = lab.run("a", "true")
    lab.store.prepare()
    lab.store.enqueue(run)
    record = lab.store.record(run.id)
    assert record is not None
    directory = Path(lab.store.add_job(record, run, "step-0", exclusive=True).directory)
    does: dict[str, t.Callable[[StepContext], None]] = {}
    step = registry.get_step("probe")
    monkeypatch.setattr(type(step), "perform", lambda _self, ctx: does["work"](ctx))
    return Job(directory, does)


def error_of(job: Job) -> dict[str, t.Any] | None:
    path = job.directory / "error.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_the_step_gets_the_context_of_its_job(job: Job) -> None:
    seen: list[StepContext] = []
    job.does["work"] = seen.append
    assert core_main.main(["perform", str(job.directory)]) == 0
    assert (seen[0].spec.kind, seen[0].job_dir) == ("probe", str(job.directory))
    assert error_of(job) is None


def test_an_error_of_the_core_is_recorded_and_logged(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_ctx: StepContext) -> None:
        raise JobError("steps.merged_incomplete", problem="It broke.", details={"path": Path("/x")})

    job.does["work"] = fail
    assert worker.main(str(job.directory)) == 1
    assert error_of(job) == {
        "code": "steps.merged_incomplete",
        "parameters": {"problem": "It broke."},
        "message": "The merged model is incomplete: It broke.",
        "hint": "Apply again.",
        "details": {"path": "/x"},
    }
    assert capsys.readouterr().out == "ERROR: The merged model is incomplete: It broke. Apply again.\n"


def test_a_full_disk_is_an_error_with_figures(job: Job) -> None:
    def fail(ctx: StepContext) -> None:
        raise OSError(errno.ENOSPC, "No space left", f"{ctx.work}/x")

    job.does["work"] = fail
    assert worker.main(str(job.directory)) == 1
    error = error_of(job)
    assert error is not None and error["message"].startswith("The disk is full: ")
    assert error["details"]["free_bytes"] > 0


def test_a_defect_is_not_an_error_of_the_step(job: Job) -> None:
    """It ends the process with a traceback, which is in the log."""

    def fail(_ctx: StepContext) -> None:
        raise ZeroDivisionError

    job.does["work"] = fail
    with pytest.raises(ZeroDivisionError):
        worker.main(str(job.directory))
    assert error_of(job) is None


@pytest.mark.parametrize("name", ["job.json", "../run.json"])
def test_a_job_without_its_records_is_refused(job: Job, name: str) -> None:
    job.does["work"] = lambda _ctx: pytest.fail("it has no step")
    (job.directory / name).write_text("[]")
    with pytest.raises(StoreError):
        worker.main(str(job.directory))


@pytest.mark.parametrize("uses_ollama", [True, False])
def test_a_step_that_uses_ollama_keeps_it_from_being_stopped(
    job: Job, monkeypatch: pytest.MonkeyPatch, uses_ollama: bool
) -> None:
    """Even if its supervisor was killed: the worker has an access of its own."""
    monkeypatch.setattr(type(registry.get_step("probe")), "uses_ollama", uses_ollama)
    holders: list[list[str]] = []

    def ask(ctx: StepContext) -> None:
        training = ollama_access(ctx.layout, "training", exclusive=True)
        holders.append(training.request())
        training.release()

    job.does["work"] = ask
    assert worker.main(str(job.directory)) == 0
    ask(context(job))
    assert holders[0] == ([holder_of(str(job.directory))] if uses_ollama else [])
    assert holders[-1] == [], "it ends with the step"


def context(job: Job) -> StepContext:
    seen: list[StepContext] = []
    job.does["work"] = seen.append
    worker.main(str(job.directory))
    return seen[0]


def test_the_command_of_a_worker_runs_this_core(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any directory, and without the secrets of the process that starts it."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    command = worker_command.worker_command(context(job))
    assert command.argv[1] == "-m" and command.argv[3:] == ["perform", str(job.directory)]
    assert "HF_TOKEN" not in command.env and command.env["CUDA_VISIBLE_DEVICES"] == "1"
    (job.directory / "job.json").unlink()
    process = subprocess.run(command.argv, env=dict(command.env), cwd="/", capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert f"The record of the job {job.directory} is missing or damaged." in process.stderr


@pytest.mark.parametrize("arguments", [[], ["perform"], ["supervise", "a", "b"], ["destroy", "a"]])
def test_other_commands_of_the_core_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert core_main.main(arguments) == 2
    assert "supervise|perform JOB_DIR" in capsys.readouterr().err
