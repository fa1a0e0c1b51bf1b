# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible of the modules that submit and follow steps: their options and their return values.

It builds on :mod:`_ansible_module` and is not part of the installed core either.
"""

from __future__ import annotations

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from . import _bundle
from ._core.artifacts.layout import RECEIPT
from ._core.engine.engine import Engine, Submission
from ._core.errors import InputError, JobError
from ._core.messages.message import Message
from ._core.ollama.syntax import DEFAULT_URL
from ._core.runners.command import check_container_user
from ._core.runners.registry import RUNNERS
from ._core.runs.run import Run
from ._core.runs.spec import Toolchain
from ._core.runs.states import RunState, StepState
from ._core.runs.status import RunView
from ._core.system.files import read_json

#: Makes Ansible ship the complete core with a module that imports this file, because its jobs run from a copy of it.
SHIPPED = _bundle.modules

TOOLCHAIN_SPEC: dict[str, t.Any] = {
    "llamafactory_venv": {"type": "path"},
    "converter_venv": {"type": "path"},
    "llama_cpp_dir": {"type": "path"},
    "llamafactory_image": {"type": "str"},
    "llama_cpp_image": {"type": "str"},
    "image_path": {"type": "str"},
    "image_llama_cpp_dir": {"type": "str", "default": "/app"},
    "ollama_while_training": {"type": "str", "choices": ["unload", "stop", "cpu", "share"], "default": "unload"},
    "docker_host": {"type": "str"},
    "gpus": {"type": "str", "default": "all"},
    "memory_limit": {"type": "str"},
    "cpus": {"type": "float"},
    "shm_size": {"type": "str", "default": "8g"},
    "container_user": {"type": "str"},
    "mounts": {"type": "list", "elements": "str", "default": []},
}

#: Options of every module that needs the paths and servers of the host.
HOST_SPEC: dict[str, t.Any] = {
    "data_dir": {"type": "path", "required": True},
    "toolchain": {"type": "dict", "options": TOOLCHAIN_SPEC},
    "runner": {"type": "str", "default": "auto"},
    "ollama_url": {"type": "str", "default": DEFAULT_URL},
    "token_file": {"type": "path", "no_log": False},
}

#: Options of every module that starts or follows detached work.
FOLLOW_SPEC: dict[str, t.Any] = {
    **HOST_SPEC,
    "runs": {"type": "list", "elements": "dict"},
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "float"},
}


def toolchain(params: t.Mapping[str, t.Any]) -> Toolchain:
    """Return the toolchain from a module's options; images are included only if jobs may run in containers.

    :raises InputError: for an unknown runner; when jobs must run in containers and no image is named; or when root's
        containers must run as another user.
    """
    options = {name: value for name, value in (params.get("toolchain") or {}).items() if value}
    runner = params.get("runner") or "auto"
    if runner != "auto" and runner not in RUNNERS:
        raise InputError("modules.runner_unknown", runner=runner, known=sorted(RUNNERS))
    if runner != "auto" and not RUNNERS[runner]:
        options = {name: value for name, value in options.items() if not name.endswith("_image")}
        options["host_runner"] = runner
    elif runner != "auto":
        if not options.get("llamafactory_image"):
            raise InputError("modules.runner_without_image", runner=runner)
        options["container_runner"] = runner
    check_container_user(options.get("container_user", ""))
    return Toolchain(ollama_url=params["ollama_url"], token_file=params.get("token_file") or "", **options)


def run_entry(view: RunView, pending: t.Sequence[str], kinds: t.Container[str] | None) -> dict[str, t.Any]:
    """Return the entry of a run that modules pass on to each other.

    :param pending: labels of the steps that were pending when the run was submitted.
    :param kinds: the kinds of step that the calling module handles; None for all.
    """
    value = view.as_dict()
    value["pending"] = list(pending)
    value["waiting"] = [
        step.label
        for step in view.steps
        if step.label in view.pending and step.label in pending and (kinds is None or step.kind in kinds)
        if not view.state.ended
    ]
    return value


def follow_step(module: AnsibleModule, kinds: tuple[str, ...], prepare: t.Callable[[Engine], Run]) -> dict[str, t.Any]:
    """Do the work of a step module: submit a run and wait for it, or follow the runs that an earlier task submitted.

    :param kinds: the kinds of step that the module handles.
    :param prepare: creates the run when none was passed to the module.
    :returns: the module's result.
    :raises JobError: when a step of these kinds failed.
    """
    engine = Engine(module.params["data_dir"])
    runs = module.params["runs"]
    if runs is None:
        # imported here because it loads a third of the core, and a module that only follows runs starts often
        from ._core.planning.planner import warnings_of

        run = prepare(engine)
        for warning in warnings_of(run, engine.layout):
            module.warn(str(warning))
        if module.check_mode:
            view = engine.preview(run)
            runs = [run_entry(view, view.pending, kinds)]
        else:
            for warning in engine.check_start([run]):
                module.warn(str(warning))
            # use the view of the submission: if all results were complete, the run may not be in the store
            runs = [submission_entry(engine.submit(run), kinds)]
        warn_unchecked(module, runs)
        if not module.check_mode:
            wait_for(module, engine, runs, kinds)
    else:
        runs = follow_runs(module, engine, runs, kinds)
    result = answer(runs, kinds)
    warn_findings(module, result)
    return result


def follow_runs(
    module: AnsibleModule, engine: Engine, runs: t.Sequence[dict[str, t.Any]], kinds: tuple[str, ...]
) -> list[dict[str, t.Any]]:
    """Return the current entries of runs that an earlier task submitted, after waiting if the module waits."""
    if module.check_mode:
        return list(runs)
    entries = [
        # a submission of which everything was there already has made no record
        run_entry(engine.observe(run["id"]), run["pending"], kinds)
        if run["pending"] or engine.store.record(run["id"]) is not None
        else dict(run)
        for run in runs
    ]
    wait_for(module, engine, entries, kinds)
    return entries


def warn_unchecked(module: AnsibleModule, runs: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Warn of the complete steps of runs whose state in Ollama is not checked now."""
    for run in runs:
        reasons: dict[str, list[str]] = {}
        for label, reason in run["unchecked"].items():
            reasons.setdefault(reason, []).append(label)
        for reason, labels in reasons.items():
            facts = {"name": run["name"], "steps": labels, "count": len(labels), "reason": reason}
            module.warn(str(Message("modules.unchecked_steps", **facts)))


def warn_findings(module: AnsibleModule, result: t.Mapping[str, t.Any]) -> None:
    """Warn of what the trainings that a task has followed to their end found out about themselves.

    :param result: result of the module (:func:`answer`).
    """
    for step in result["steps"]:
        if step["changed"]:
            for finding in step["outcome"].get("findings") or ():
                found = Message("modules.finding_of", name=step["name"], finding=Message.from_stored(finding))
                module.warn(str(found))


def wait_for(module: AnsibleModule, engine: Engine, entries: list[dict[str, t.Any]], kinds: tuple[str, ...]) -> None:
    """Follow runs, one after another, until no step of these kinds is pending or the timeout of the module expires.

    Updates the entries. No-op if the module does not wait.
    """
    if not module.params["wait"]:
        return
    timeout = module.params["timeout"]
    deadline = None if timeout is None else time.monotonic() + timeout
    for entry in entries:
        if entry["waiting"]:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            view = engine.follow(entry["id"], set(entry["waiting"]), remaining)
            entry.update(run_entry(view, entry["pending"], kinds))


def submission_entry(submission: Submission, kinds: t.Container[str] | None) -> dict[str, t.Any]:
    """Return the entry of a run that was just submitted."""
    return run_entry(submission.view, submission.pending, kinds)


def answer(runs: t.Sequence[dict[str, t.Any]], kinds: tuple[str, ...]) -> dict[str, t.Any]:
    """Return the result of a step module: the steps of these kinds, over all runs.

    :raises JobError: when runs failed before their steps of these kinds completed; names all of them.
    """
    failures = []
    steps = []
    for run in runs:
        own_steps = [step for step in run["steps"] if step["kind"] in kinds]
        for step in own_steps:
            receipt = read_json(os.path.join(step["path"], RECEIPT)) or {}
            steps.append(
                {
                    "run": run["id"],
                    "name": run["name"],
                    "step": step["label"],
                    "kind": step["kind"],
                    "fingerprint": step["fingerprint"],
                    "path": (receipt.get("results") or {}).get("location") or step["path"],
                    "changed": step["label"] in run["pending"],
                    "reason": step["reason"],
                    "outcome": receipt.get("results") or {},
                    "finished_at": receipt.get("finished_at", ""),
                }
            )
        is_incomplete = any(step["label"] in run["pending"] and step["state"] != StepState.WHOLE for step in own_steps)
        if is_incomplete and run["state"] in (RunState.FAILED, RunState.CANCELLED):
            failures.append(run)
    if failures:
        raise JobError(_failure_message(failures), details={"runs": [run["error"] or {} for run in failures]})
    changed = any(step["changed"] for step in steps)
    value: dict[str, t.Any] = {"changed": changed, "runs": list(runs), "steps": steps}
    if len(steps) == 1:
        only = steps[0]
        value.update(fingerprint=only["fingerprint"], path=only["path"], outcome=only["outcome"])
    return value


def _failure_message(runs: t.Sequence[dict[str, t.Any]]) -> Message:
    failures, hints = [], []
    for run in runs:
        error = run["error"] or {"message": "failed"}
        if run["state"] == "cancelled":
            failures.append(Message("modules.run_cancelled", name=run["name"]))
            hints.append(Message("modules.apply_again"))
        else:
            problem = Message.from_stored(error)
            failures.append(
                Message("modules.run_failed", name=run["name"], step=error.get("step", ""), problem=problem)
            )
            hints.append(Message("modules.hint_of", problem=problem))
            details = error.get("details") or {}
            line = (details.get("log_cause") or {}).get("line")
            if details.get("log"):
                code = "modules.log_line" if line else "modules.log"
                hints.append(Message(code, log=details["log"], **({"line": line} if line else {})))
    different = {str(hint): hint for hint in hints if hint.text}
    return Message("modules.runs_failed", failures=failures, hints=list(different.values()))
