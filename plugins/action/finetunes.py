# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks declared fine-tunes, shows their plan, publishes their datasets and submits their runs."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.ia_homelab.llamafactory.plugins.filter.finetune_gate_tools import finetune_gate_tools
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError, InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import DEFAULT_URL
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plan_text import text as plan_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import declared_problems
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._result_table import result_lines

_COLLECTION = "ia_homelab.llamafactory"
_SPEC: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["planned", "submitted", "shown"], "default": "submitted"},
    "finetunes": {"type": "raw"},
    "runs": {"type": "list", "elements": "dict", "default": []},
    "datasets": {"type": "list", "elements": "dict", "default": []},
    "tools": {"type": "list", "elements": "dict", "default": []},
    "plan_file": {"type": "str", "default": ""},
    "data_dir": {"type": "path", "required": True},
    "toolchain": {"type": "dict"},
    "runner": {"type": "str", "default": "auto"},
    "accelerator": {"type": "str", "default": "auto"},
    "ollama_url": {"type": "str"},
    "token_file": {"type": "path", "no_log": False},
    "page_url": {"type": "str", "default": ""},
}
_OF_HOST = ("data_dir", "toolchain", "runner", "accelerator", "ollama_url", "token_file")

Answer = dict[str, t.Any]


class _Failed(Exception):
    """A part of the task failed; its argument is the failed result."""


class ActionModule(ActionBase):
    """One task for all of it: what is not declared needs no task that is skipped."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> Answer:
        task_vars = task_vars or {}
        result: Answer = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_SPEC)
        self._said: dict[str, list[t.Any]] = {}
        try:
            work = self._show if options["state"] == "shown" else self._work
            result.update(work(options, task_vars))
        except CoreError as error:
            result.update(failed=True, msg=str(error), details=error.details)
        except _Failed as failure:
            result.update(failure.args[0])
        result.update({key: said for key, said in self._said.items() if said})
        return _output.finished(self._task, result)

    def _show(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        """Print what runs have made."""
        arguments = {"data_dir": options["data_dir"], "runs": options["runs"], "wait": False, "summary": True}
        answer = self._part("job", arguments, task_vars)
        # in an apply the task that followed the training has warned of its findings
        explained = options["state"] != "shown"
        lines = result_lines(answer["results"], options["ollama_url"] or DEFAULT_URL, options["page_url"], explained)
        _output.show(lines)
        return {"changed": False, "results": answer["results"], "lines": lines}

    def _work(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        sets = {str(read["name"]): read["tools"] for read in self._each("tools_file", options["tools"], {}, task_vars)}
        declared = finetune_gate_tools(options["finetunes"], sets)
        problems = declared_problems(declared)
        if problems:
            raise _Failed({"failed": True, "msg": "\n".join(problems)})
        on_host = {name: options[name] for name in _OF_HOST if options[name] is not None}
        rows = {"data_dir": options["data_dir"], "tools": sets}
        # compared row by row: the plan says which rows were added or changed
        published = self._each("dataset", options["datasets"], rows, task_vars, check=True, diff=True)
        saved = (
            saved_plans(options["plan_file"], str(task_vars.get("inventory_hostname")))
            if options["plan_file"]
            else None
        )
        submission: Answer = {"state": "submitted", "finetunes": entries(declared), **on_host}
        if saved is not None:
            submission["plan"] = saved
        by_name = {str(each["name"]): each for each in published}
        said_before = {key: list(said) for key, said in self._said.items()}
        planned = self._part("job", {**submission, "datasets": by_name}, task_vars, check=True)
        plans = planned.get("plans") or []
        text = "\n".join(plan_text(plan) for plan in plans)
        _output.show(text.splitlines())
        is_plan = options["state"] == "planned"
        if is_plan or self._task.check_mode:
            changed = not is_plan and (bool(planned.get("changed")) or any(each.get("changed") for each in published))
            answer = {**planned, "plans": plans, "text": text, "changed": changed}
        else:
            # the submission warns of the same, and may know more by then
            self._said = said_before
            published = self._each("dataset", options["datasets"], rows, task_vars)
            by_name = {str(each["name"]): each for each in published}
            answer = self._part("job", {**submission, "datasets": by_name}, task_vars)
            answer = {**answer, "plans": plans, "text": text}
            answer["changed"] = bool(answer.get("changed")) or any(each.get("changed") for each in published)
            if not answer["changed"]:
                self._show({**options, "runs": answer["runs"]}, task_vars)
        diffs = [each.pop("diff") for each in published if each.get("diff")]
        answer.pop("diff", None)
        return {**answer, "datasets": published, **({"diff": diffs} if diffs and self._task.diff else {})}

    def _each(
        self, name: str, items: t.Sequence[Answer], common: Answer, task_vars: dict[str, t.Any], **modes: bool
    ) -> list[Answer]:
        """Run an action for each item that is declared."""
        return [self._part(name, {**common, **item}, task_vars, **modes) for item in items]

    def _part(
        self, name: str, arguments: Answer, task_vars: dict[str, t.Any], check: bool = False, diff: bool = False
    ) -> Answer:
        """Run another action of the collection as a part of this task, whose warnings become those of this task.

        :param check: whether it runs in check mode, even if the task does not.
        :param diff: whether it shows differences, even if the task does not.
        :raises _Failed: with its result, if it fails.
        """
        task = self._task.copy()
        task.action, task.args = f"{_COLLECTION}.{name}", arguments
        task.check_mode = check or self._task.check_mode
        task.diff = diff or self._task.diff
        action = self._shared_loader_obj.action_loader.get(
            task.action, task=task, connection=self._connection, play_context=self._play_context,
            loader=self._loader, templar=self._templar, shared_loader_obj=self._shared_loader_obj,
        )  # fmt: skip
        try:
            answer: Answer = action.run(task_vars=task_vars)
        except _output.Failure as failure:
            answer = failure.answer
        finally:
            action.cleanup()
        for key in ("warnings", "deprecations"):
            # left in place, they could not be passed to another part: Ansible makes objects of them
            self._said.setdefault(key, []).extend(answer.pop(key, []))
        if answer.get("failed") or answer.get("unreachable"):
            raise _Failed(answer)
        return answer


def saved_plans(path: str, host: str) -> list[Answer]:
    """Return the plans of a host in a file that ``playbooks/plan.yml`` has written; none if it does not have the host.

    :param path: relative to the working directory, or absolute.
    :raises InputError: if there is no such file, or it holds no plans.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        with open(path, encoding="utf-8") as stream:
            plans = json.load(stream)["hosts"].get(host)
    except OSError as error:
        raise InputError("planning.plan_file_unreadable", path=path, reason=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("planning.plan_file_invalid", path=path) from error
    return list(plans or [])
