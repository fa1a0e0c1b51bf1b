# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans and submits declared fine-tunes, publishes their datasets, and ends an apply with a table."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

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
    "state": {
        "type": "str",
        "choices": ["prepared", "planned", "saved", "submitted", "finished"],
        "default": "submitted",
    },
    "finetunes": {"type": "raw"},
    "runs": {"type": "list", "elements": "dict", "default": []},
    "datasets": {"type": "list", "elements": "dict", "default": []},
    "tools": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "src": {"type": "str", "required": True},
            "mcp": {"type": "str"},
            "include": {"type": "list", "elements": "str", "default": []},
            "token_file": {"type": "str", "no_log": False},
        },
    },
    "plan_file": {"type": "str", "default": ""},
    "plans": {"type": "dict", "default": {}},
    "find_toolchain": {"type": "dict", "default": {}},
    "wait": {"type": "bool", "default": True},
    "changed": {"type": "bool", "default": True},
    "plots_dir": {"type": "str", "default": ""},
    "data_dir": {"type": "path", "required": True},
    "toolchain": {"type": "dict"},
    "runner": {"type": "str", "default": "auto"},
    "accelerator": {"type": "str", "default": "auto"},
    "ollama_url": {"type": "str"},
    "token_file": {"type": "path", "no_log": False},
    "page_url": {"type": "str", "default": ""},
    "ollama_program": {"type": "str", "default": "ollama"},
}
#: The steps that the last task of an apply follows; tasks before it follow the others.
LAST_KINDS = ["evaluate", "promote", "retain"]
#: Variables of the role ``llamafactory``: what its module ``toolchain_info`` has found, and the toolchain made of it.
_PROBE, _FOUND = "llamafactory_probe", "llamafactory_toolchain_found"
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
        work = {"prepared": self._prepare, "saved": self._save, "finished": self._finish}
        try:
            result.update(work.get(options["state"], self._work)(options, task_vars))
        except CoreError as error:
            result.update(failed=True, msg=str(error), details=error.details)
        except _Failed as failure:
            result.update(failure.args[0])
        result.update({key: said for key, said in self._said.items() if said})
        return _output.finished(self._task, result)

    def _finish(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        """Follow the last steps of runs, copy their loss plots, and print what they have made."""
        on_host = {"data_dir": options["data_dir"], "runs": options["runs"]}
        if options["changed"] and (not options["wait"] or self._task.check_mode):
            if not self._task.check_mode and options["runs"]:
                _output.show(["The runs are at work on the host. playbooks/status.yml shows how far they are."])
            return {"changed": False, "results": [], "lines": []}
        followed: Answer = {"changed": False}
        if options["changed"]:
            followed = self._part("job", {**on_host, "kinds": LAST_KINDS}, task_vars)
        if options["plots_dir"]:
            self._copy_plots(options, task_vars)
        results = self._part("job", {**on_host, "wait": False, "summary": True}, task_vars)["results"]
        # the task that followed a training has warned of its findings
        explained = not options["changed"]
        url, program = options["ollama_url"] or DEFAULT_URL, options["ollama_program"]
        lines = result_lines(results, url, options["page_url"], explained, program)
        _output.show(lines)
        return {"changed": bool(followed.get("changed")), "results": results, "lines": lines}

    def _copy_plots(self, options: Answer, task_vars: dict[str, t.Any]) -> None:
        arguments = {"data_dir": options["data_dir"], "runs": options["runs"], "wait": False}
        host = task_vars.get("inventory_hostname")
        for step in self._part("train", arguments, task_vars)["steps"]:
            if (step.get("outcome") or {}).get("loss_plot"):
                name = f"{host}-{step['name']}-{step['fingerprint'][:12]}.png"
                source = f"{step['path']}/{step['outcome']['loss_plot']}"
                copy = {"src": source, "dest": os.path.join(options["plots_dir"], name), "flat": True}
                self._part("ansible.builtin.fetch", copy, task_vars)

    def _save(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        """Write the plans of the hosts to a file on the controller, if there is to be one.

        :raises InputError: if it cannot be written.
        """
        if not options["plan_file"]:
            return {"changed": False}
        path = os.path.realpath(os.path.expanduser(options["plan_file"]))
        text = json.dumps({"schema": 1, "hosts": options["plans"]}, indent=4, sort_keys=True) + "\n"
        try:
            changed = not os.path.isfile(path) or Path(path).read_text(encoding="utf-8") != text
            if changed and not self._task.check_mode:
                Path(f"{path}.new").write_text(text, encoding="utf-8")
                os.replace(f"{path}.new", path)
        except OSError as error:
            raise InputError("planning.plan_file_unwritable", path=path, reason=error.strerror or str(error)) from error
        return {"changed": changed, "path": path}

    def _prepare(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        """Read the tools, check the declaration and find the programs.

        :raises _Failed: if the declaration is wrong.
        """
        tools = [{name: value for name, value in each.items() if value is not None} for each in options["tools"]]
        sets = {str(read["name"]): read["tools"] for read in self._each("tools_file", tools, {}, task_vars)}
        declared = finetune_gate_tools(options["finetunes"], sets)
        problems = declared_problems(declared)
        if problems:
            raise _Failed({"failed": True, "msg": "\n".join(problems)})
        toolchain = {**self._found_toolchain(options["find_toolchain"], task_vars), **(options["toolchain"] or {})}
        return {"changed": False, "tools": sets, "finetunes": entries(declared), "toolchain": toolchain}

    def _found_toolchain(self, find: Answer, task_vars: dict[str, t.Any]) -> Answer:
        """Return where the programs are on the host, as the role ``llamafactory`` has put them there.

        :param find: options of the module ``toolchain_info``; if it is empty, nothing is searched for.
        """
        if not find:
            return {}
        given = {name: value for name, value in find.items() if value not in ("", None)}
        probe = self._execute_module(f"{_COLLECTION}.toolchain_info", module_args=given, task_vars=task_vars)
        if probe.get("failed") or probe.get("unreachable"):
            raise _Failed(probe)
        # the names of images depend on the host, so the role computes them from what was found
        templar = self._templar.copy_with_new_env(available_variables={**task_vars, _PROBE: probe})
        found = templar.template(task_vars[_FOUND])
        return {name: value for name, value in found.items() if name != "complete"}

    def _work(self, options: Answer, task_vars: dict[str, t.Any]) -> Answer:
        prepared = self._prepare(options, task_vars)
        on_host = {name: options[name] for name in _OF_HOST if options[name] is not None}
        on_host["toolchain"] = prepared["toolchain"]
        rows = {"data_dir": options["data_dir"], "tools": prepared["tools"]}
        # compared row by row: the plan says which rows were added or changed
        published = self._each("dataset", options["datasets"], rows, task_vars, check=True, diff=True)
        saved = (
            saved_plans(options["plan_file"], str(task_vars.get("inventory_hostname")))
            if options["plan_file"]
            else None
        )
        submission: Answer = {"state": "submitted", "finetunes": prepared["finetunes"], **on_host}
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
        """Run another action as a part of this task, whose warnings become those of this task.

        :param name: of an action of the collection, or the complete name of another one.
        :param check: whether it runs in check mode, even if the task does not.
        :param diff: whether it shows differences, even if the task does not.
        :raises _Failed: with its result, if it fails.
        """
        task = self._task.copy()
        task.action, task.args = name if "." in name else f"{_COLLECTION}.{name}", arguments
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
