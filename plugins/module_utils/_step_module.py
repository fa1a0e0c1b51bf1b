# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible of the modules that ask for steps and follow them: options, and what a step module answers.

Above :mod:`_ansible_module`, and no part of the installed core either.
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
from ._core.runs.run import ENDED, Run
from ._core.runs.spec import Toolchain
from ._core.runs.status import RunView
from ._core.system.files import read_json

#: Ansible ships the whole core with a module that imports this file: its jobs run from a copy of it.
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

#: Options of every module that has to know where things are on the host.
HOST_SPEC: dict[str, t.Any] = {
    "data_dir": {"type": "path", "required": True},
    "toolchain": {"type": "dict", "options": TOOLCHAIN_SPEC},
    "runner": {"type": "str", "choices": ["auto", "docker", "process"], "default": "auto"},
    "ollama_url": {"type": "str", "default": "http://127.0.0.1:11434"},
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
    """Where the tools are, from a module's options; the images among them only if jobs shall run in containers.

    :raises InputError: when they shall and no image is named.
    """
    given = {name: value for name, value in (params.get("toolchain") or {}).items() if value}
    runner = params.get("runner") or "auto"
    if runner == "process":
        given = {name: value for name, value in given.items() if not name.endswith("_image")}
    elif runner == "docker" and not given.get("llamafactory_image"):
        raise InputError(
            "The runner docker needs an image with LLaMA-Factory.",
            "Name it in toolchain.llamafactory_image (llamafactory_image in the inventory), or choose runner: process.",
        )
    return Toolchain(ollama_url=params["ollama_url"], token_file=params.get("token_file") or "", **given)


def run_entry(view: RunView, pending: t.Sequence[str], kinds: t.Container[str] | None) -> dict[str, t.Any]:
    """A run as modules hand it on to each other.

    :param pending: labels of the steps that had to be made when the run was asked for.
    :param kinds: the kinds of step that the asking module answers for; None for all.
    """
    value = view.as_dict()
    value["pending"] = list(pending)
    value["waiting"] = [
        step.label
        for step in view.steps
        if step.label in view.pending and step.label in pending and (kinds is None or step.kind in kinds)
        if view.state not in ENDED
    ]
    return value


def follow_step(module: AnsibleModule, kinds: tuple[str, ...], prepare: t.Callable[[Engine], Run]) -> dict[str, t.Any]:
    """What a step module does: converge, or follow the runs that an earlier task asked for.

    :param kinds: the kinds of step it answers for.
    :param prepare: makes the run when none was handed over.
    :returns: the module's answer.
    """
    engine = Engine(module.params["data_dir"])
    handed = module.params["runs"]
    if handed is None:
        from ._core.planning.finetune import (
            warnings_of,  # a third of the core: what only follows is started often, and goes without
        )

        run = prepare(engine)
        for warning in warnings_of(run, engine.layout):
            module.warn(warning)
        if module.check_mode:
            view = engine.preview(run)
            handed = [run_entry(view, view.pending, kinds)]
        else:
            # as it is told here: where all was whole, the store need not know of the run
            handed = [submission_entry(engine.submit(run), kinds)]
            wait_for(module, engine, handed, kinds)
        return answer(handed, kinds)
    return answer(follow_runs(module, engine, handed, kinds), kinds)


def follow_runs(
    module: AnsibleModule, engine: Engine, runs: t.Sequence[dict[str, t.Any]], kinds: tuple[str, ...]
) -> list[dict[str, t.Any]]:
    """Runs that an earlier task asked for, as they stand now, or at the end of waiting for them."""
    if module.check_mode:
        return list(runs)
    entries = [run_entry(engine.observe(run["id"]), run["pending"], kinds) for run in runs]
    wait_for(module, engine, entries, kinds)
    return entries


def wait_for(module: AnsibleModule, engine: Engine, entries: list[dict[str, t.Any]], kinds: tuple[str, ...]) -> None:
    """Where the module waits: follow runs, one after the other, until nothing of these kinds is still to be made or
    the module's time is up, and bring their entries up to date."""
    if not module.params["wait"]:
        return
    timeout = module.params["timeout"]
    end = None if timeout is None else time.monotonic() + timeout
    for entry in entries:
        if entry["waiting"]:
            left = None if end is None else max(0.0, end - time.monotonic())
            view = engine.follow(entry["id"], set(entry["waiting"]), left)
            entry.update(run_entry(view, entry["pending"], kinds))


def submission_entry(submission: Submission, kinds: t.Container[str] | None) -> dict[str, t.Any]:
    """The entry of a run that was just asked for."""
    return run_entry(submission.view, submission.pending, kinds)


def answer(runs: t.Sequence[dict[str, t.Any]], kinds: tuple[str, ...]) -> dict[str, t.Any]:
    """Results of the steps of these kinds, over all runs.

    :raises JobError: when one of them failed, with all that failed.
    """
    failures = []
    steps = []
    for run in runs:
        mine = [step for step in run["steps"] if step["kind"] in kinds]
        for step in mine:
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
        undone = any(step["label"] in run["pending"] and step["state"] != "whole" for step in mine)
        if undone and run["state"] in ("failed", "cancelled"):
            failures.append(run)
    if failures:
        raise JobError(*_failure_words(failures), {"runs": [run["error"] or {} for run in failures]})
    changed = any(step["changed"] for step in steps)
    value: dict[str, t.Any] = {"changed": changed, "runs": list(runs), "steps": steps}
    if len(steps) == 1:
        only = steps[0]
        value.update(fingerprint=only["fingerprint"], path=only["path"], outcome=only["outcome"])
    return value


def _failure_words(runs: t.Sequence[dict[str, t.Any]]) -> tuple[str, str]:
    sentences, hints = [], []
    for run in runs:
        error = run["error"] or {}
        if run["state"] == "cancelled":
            sentences.append(f"{run['name']}: cancelled.")
            hints.append("Apply again to go on from its checkpoint.")
        else:
            sentences.append(f"{run['name']}: {error.get('step', '')}: {error.get('message', 'failed')}")
            hints.append(error.get("hint", ""))
            log = (error.get("details") or {}).get("log")
            if log:
                hints.append(f"Log: {log}")
    return " ".join(sentences), " ".join(dict.fromkeys(hint for hint in hints if hint))
